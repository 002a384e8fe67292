"""Instances per second through the door, beside Orthanc and DCMTK's storescp on the same machine in the same run.

`python tests/benchmarks/ingest.py [--slices 400] [--senders 1 4 8] [--processes 1]`. Each sender has an association and
a study of its own, and waits for each answer. Ours answers after file, folder and row are durable; Orthanc
after it has synced the file; storescp after it has written it. Rounds alternate between the receivers, and
the best of each counts, because the machine is rarely ours alone. Beside the ratio of the best stands the median of
the rounds' own ratios with their range, which tells how far one run may be trusted.

`--touch-memory` where the machine is a virtual one that gets its memory from its host when it touches it first: that
costs more than all else here (0.4 or 2 ms of the system's time to write one slice), and falls to any of the receivers.

`--slices 20000 --senders 8 --rounds 1 --only ours` shows the memory of each listener process over the time.
"""

import argparse
import mmap
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from tests.benchmarks.receivers import (
    ROOT,
    Receiver,
    orthanc,
    our_daemon,
    processor_seconds,
    proportional_bytes,
    storescp,
)
from tests.benchmarks.time_a_study import describe_a_study

SIDE = 512  # voxels
SAMPLE_SECONDS = 0.5
TOUCHED_BYTES = 4 << 30
_POPULATE_WRITE = 23  # madvise(2), MADV_POPULATE_WRITE
Opener = Callable[[Path], AbstractContextManager[Receiver]]


class Memory:
    """Samples the proportional set size of processes until it is stopped."""

    def __init__(self, process_ids: tuple[int, ...]) -> None:
        self.samples: dict[int, list[int]] = {process_id: [] for process_id in process_ids}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            for process_id, samples in self.samples.items():
                samples.append(proportional_bytes(process_id))
            if self._is_over.wait(SAMPLE_SECONDS):
                return


def main() -> int:
    """Measure and print; 1 where an answer was not Success."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=400, help="of all senders together (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--processes", type=int, default=1, help="of our listener")
    parser.add_argument("--only", choices=("ours", "orthanc", "storescp"), nargs="+")
    parser.add_argument("--side", type=int, default=SIDE, help="voxels along a side of a slice")
    parser.add_argument("--folder", type=Path, help="where to store, such as on the disk of interest")
    parser.add_argument(
        "--touch-memory", action="store_true", help="touch 4 GiB of free memory before each measurement"
    )
    parser.add_argument("--no-study", action="store_true", help="leave out the time of one study of 300 slices")
    options = parser.parse_args()
    openers: dict[str, Opener] = {
        "ours": lambda folder: our_daemon(folder, options.processes),
        "orthanc": orthanc,
        "storescp": storescp,
    }
    names = [name for name in openers if name in (options.only or openers)]
    memories: list[Memory] = []
    print(
        f"{options.slices} slices of {options.side} x {options.side}, best of {options.rounds} rounds, "
        f"{options.processes} process(es) of ours; instances per second"
    )
    heads = f"{'senders':>8}" + "".join(f"{name:>10}" for name in names) + _ratio_heads(names)
    print(heads + "   ms of processor for each", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        for senders in options.senders:
            rates: dict[str, list[float]] = {name: [] for name in names}
            costs: dict[str, list[float]] = {name: [] for name in names}
            for number in range(options.rounds):
                for name in names[number % len(names) :] + names[: number % len(names)]:  # each comes first in turn
                    # Kept to the end: a file system looks longer for a place while others have just been deleted.
                    folder = Path(temporary) / f"{name}-{senders}-{number}"
                    with openers[name](folder) as receiver, Memory(receiver.process_ids) as memory:
                        used = processor_seconds(receiver.process_id)
                        rates[name].append(
                            measure(
                                receiver, options.slices, senders, options.side, touches_memory=options.touch_memory
                            )
                        )
                        used = processor_seconds(receiver.process_id) - used
                        costs[name].append(1000 * used / options.slices)
                    if name == "ours":
                        memories.append(memory)
            best = {name: max(rates[name]) for name in names}
            row = f"{senders:>8}" + "".join(f"{best[name]:>10.0f}" for name in names)
            row += "".join(f"{_describe_ratio(rates['ours'], rates[name]):>26}" for name in _others(names))
            print(row + "   " + " / ".join(f"{min(costs[name]):.1f}" for name in names), flush=True)
        if memories:
            describe_memory(memories)
        if not options.no_study and "ours" in names:
            describe_a_study(Path(temporary) / "study", options.side)
    return 0


def measure(receiver: Receiver, slices: int, senders: int, side: int, *, touches_memory: bool = False) -> float:
    """Send `slices` in all from `senders` at the same time; instances per second, first request to last answer.

    How long a sender takes to open its association, and to end as a process, is none of the receiver's time.
    """
    command = [sys.executable, "-m", "tests.benchmarks.send_load", str(receiver.port), receiver.ae_title]
    processes = [
        subprocess.Popen(
            [*command, str(slices // senders), str(number + 1), str(side)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(senders)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it stands ready
    if touches_memory:
        touch_memory()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate()[0].split() for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a sender has failed")
    began, ended = zip(*(map(float, instants) for instants in printed), strict=True)
    return slices // senders * senders / (max(ended) - min(began))


def touch_memory() -> None:
    """Touch more memory than a round of 5,000 slices of 512 x 512 fills, and give it back."""
    with mmap.mmap(-1, TOUCHED_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(_POPULATE_WRITE)


def describe_memory(memories: list[Memory]) -> None:
    """Print how much each of our listener processes held, first and last."""
    mib = 1 << 20
    longest = max(memories, key=lambda memory: max(map(len, memory.samples.values())))
    peak = max(max(samples) for memory in memories for samples in memory.samples.values())
    print(f"memory of ours (proportional set size): at most {peak / mib:.0f} MiB in a process")
    for process_id, samples in longest.samples.items():
        tenth = max(len(samples) // 10, 1)
        tenths = [statistics.median(samples[start : start + tenth]) for start in range(0, len(samples), tenth)]
        print(f"  process {process_id}: " + " ".join(f"{size / mib:.0f}" for size in tenths) + " MiB, in ten parts")


def _others(names: list[str]) -> list[str]:
    return [name for name in names if name != "ours"] if "ours" in names else []


def _ratio_heads(names: list[str]) -> str:
    return "".join(f"{f'ours/{name}':>26}" for name in _others(names))


def _describe_ratio(ours: list[float], theirs: list[float]) -> str:
    """Give the ratio of the best, and the median and the range of the rounds' own ratios."""
    by_round = [our / their for our, their in zip(ours, theirs, strict=True)]
    return f"{max(ours) / max(theirs):.2f} ({statistics.median(by_round):.2f}, {min(by_round):.2f}-{max(by_round):.2f})"


if __name__ == "__main__":
    raise SystemExit(main())
