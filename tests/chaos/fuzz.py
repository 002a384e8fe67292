"""Spoil sound objects in thousands of ways and see that each has an ending, at the door and in the stages that read.

`python tests/chaos/fuzz.py --objects 20000 --seed 1`. Every object is sent to
a running daemon over an association, or its whole conversation is spoiled and
sent as bytes; then its file goes through the gap check, selection, decoder and
loader in a process of their own. Prints how many ended how; 1 where anything
crashed, hung, took much memory, left file handles or memory behind, or changed
the slices beside the spoiled one.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from screener.archive import encode_file_meta
from tests.chaos.fuzz_door import Door
from tests.chaos.fuzz_seeds import INSTANCE, make_seeds, make_slices, name_uid
from tests.chaos.fuzz_watch import WARM_OBJECTS, Reader
from tests.chaos.mutate import Mutant, mutate

CONVERSATION_SHARE = 0.15
TELL_EVERY = 500
MOST_TOLD = 40
LEAST_OBJECTS_FOR_MEMORY = 2000


def main() -> int:
    """Print the figures; 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("door", "reader"), help="leave the other out")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_found"), help="folder for objects that did harm")
    options = parser.parse_args()
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        fuzz = Fuzz(Path(name), options.seed, options.keep)
        try:
            fuzz.start(has_door=options.only != "reader", has_reader=options.only != "door")
            for number in range(options.objects):
                fuzz.try_object(number)
                if (number + 1) % TELL_EVERY == 0:
                    rate = (number + 1) / (time.monotonic() - began_at)
                    print(f"{number + 1} objects, {rate:.0f} a second; {len(fuzz.found)} did harm", flush=True)
        finally:
            fuzz.stop()
    fuzz.tell(options.objects, time.monotonic() - began_at)
    return 1 if fuzz.found else 0


class Fuzz:
    """All that runs, and what it was seen to do."""

    def __init__(self, folder: Path, seed: int, keep: Path) -> None:
        self._folder = folder
        self._keep = keep
        self._seed = seed
        self._seeds = make_seeds(folder)
        self._door: Door | None = None
        self._reader: Reader | None = None
        self._endings: Counter[tuple[str, str]] = Counter()
        self._kinds: Counter[str] = Counter()
        self.found: list[str] = []
        """A sentence for each harm done."""

    def start(self, *, has_door: bool, has_reader: bool) -> None:
        """Start what is under test."""
        sound = self._folder / "sound"
        sound.mkdir()
        for ds in make_slices():
            if ds.SOPInstanceUID != INSTANCE:  # the spoiled object stands in its place
                ds.save_as(sound / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
        if has_reader:
            self._reader = Reader(sound)
        if has_door:
            self._door = Door(self._folder / "hospital", self._seeds)

    def try_object(self, number: int) -> None:
        """Spoil object `number` and send it through; the same seed spoils it in the same way."""
        rng = random.Random(f"{self._seed}.{number}")  # noqa: S311 - chance, not a secret
        seed, other = (one.numbered(number) for one in rng.choices(self._seeds, k=2))
        mutant = mutate(seed, other, rng, has_bombs=number >= WARM_OBJECTS)
        path = self._folder / "object.dcm"
        meta = encode_file_meta(mutant.sop_class_uid, name_uid(INSTANCE, number), mutant.transfer_syntax_uid, "SCANNER")
        path.write_bytes(meta + mutant.data_set)
        self._kinds[mutant.how.partition(": ")[2].partition("+")[0].partition(" ")[0]] += 1
        if self._door is not None:
            if rng.random() < CONVERSATION_SHARE:
                self._note("conversation", self._door.converse(rng), number, mutant)
            else:
                self._note("door", self._door.send(path), number, mutant)
        if self._reader is not None:
            for stage, ending in self._reader.read(path, name_uid(INSTANCE, number), mutant.sop_class_uid).items():
                self._note(stage, ending, number, mutant)

    def _note(self, where: str, ending: str, number: int, mutant: Mutant) -> None:
        self._endings[where, ending] += 1
        if not ending.startswith(("CRASH", "HANG")):
            return
        self._keep.mkdir(parents=True, exist_ok=True)
        kept = self._keep / f"{number}.dcm"
        kept.write_bytes((self._folder / "object.dcm").read_bytes())
        self.found.append(f"object {number} ({mutant.how}), {where}: {ending}; kept as {kept}")
        if len(self.found) <= MOST_TOLD:
            print(self.found[-1], flush=True)

    def stop(self) -> None:
        """Stop what is under test, and look at what it leaves."""
        if self._door is not None:
            self.found += self._door.close()
        if self._reader is not None:
            self.found += self._reader.close()

    def tell(self, objects: int, seconds: float) -> None:
        """Print the figures."""
        print(f"\n{objects} objects in {seconds:.0f} s, seed {self._seed}")
        print("spoiled by: " + ", ".join(f"{how} {count}" for how, count in self._kinds.most_common()))
        for (where, ending), count in sorted(self._endings.items()):
            print(f"{where:<24} {count:>7}  {ending}")
        for part in (self._door, self._reader):
            if part is not None:
                print(part.figures)
        crashes, hangs = (sum(word in one for one in self.found) for word in ("CRASH", "HANG"))
        leaks = len(self.found) - crashes - hangs
        print(f"{crashes} crashes, {hangs} hangs, {leaks} leaks")
        for sentence in _last(self.found):
            print(f"  {sentence}")


def _last(found: Sequence[str]) -> Sequence[str]:
    return found[:MOST_TOLD]


if __name__ == "__main__":
    sys.exit(main())
