"""A small disk, filled to the brim in the middle of studies: images are refused, nothing is half written, all recovers.

`python tests/chaos/disk.py --studies 12 --seed 1` (needs root, for the small file system). First the disk is filled
down to the reserve while studies stream in: new images must be refused with 0xA700 and the reserve stay free. Then
another program takes the last byte: nothing can be written, not even a row. Then there is room again, and the senders,
who try as scanners do, must get rid of all they have, without anybody having touched the screener.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from tests.chaos.installation import open_installation
from tests.chaos.judge import Verdict
from tests.chaos.small_study import write_studies
from tests.chaos.stream import Stream
from tests.peers.hospital import wait_until
from tests.peers.scanner import read_data_set_bytes

DISK_MIB, RESERVE_MIB = 96, 24
ROOM_MIB = 8
"""What the disk has left above its reserve when the stream begins: less than the studies need."""
PADDING_BYTES = 200_000
"""Added to each image, so that a few studies fill the disk."""
REFUSED = 0xA700
SENDERS = 4
_NAME = re.compile(r"[0-9a-f]{64}-([0-9a-f]{16})-[0-9a-f]{8}\.dcm")


def main() -> int:
    """Print what was refused and how little was free; 1 where the reserve was touched or anything is amiss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full-seconds", type=float, default=15, help="for which not one byte is free")
    parser.add_argument("--minutes", type=float, default=15, help="after which the run counts as stuck")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with open_disk(folder / "disk") as disk:
            if disk is None:
                return 0
            return run(folder, disk, options)


@contextmanager
def open_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small file system; None, with the reason printed, where this is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        print(f"SKIPPED: no small file system can be mounted here: {mounted.stderr.strip()}")
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(folder: Path, disk: Path, options: argparse.Namespace) -> int:
    studies = list(write_studies(folder / "scanner", options.studies, options.seed, padding_bytes=PADDING_BYTES))
    need_mib = sum(path.stat().st_size for study in studies for path in study.paths) >> 20
    assert need_mib > ROOM_MIB, f"{options.studies} studies of {need_mib} MiB do not fill the disk"
    assert need_mib < DISK_MIB - RESERVE_MIB - 8, f"{options.studies} studies of {need_mib} MiB never fit"
    settings = {
        "storage": {"folder": str(disk / "var"), "reserve_mib": RESERVE_MIB, "clean_below_mib": 0},
        "completeness": {"quiet_seconds": 10, "max_wait_seconds": 600},
        "queue": {"retry_seconds": 1, "max_attempts": 50},
    }
    with open_installation(folder, settings=settings, screening_seconds=0.1) as installation:
        fill(disk / "ballast", free_bytes(disk) - ((RESERVE_MIB + ROOM_MIB) << 20))
        stream = Stream(installation, studies, pause_seconds=0, seed=options.seed, senders=SENDERS)
        with stream:
            with FreeWatch(disk) as watch:
                wait_until(lambda: refused(stream) >= SENDERS, 120, "no image was refused")
                time.sleep(3)
            print(
                f"{len(stream.sent)} images taken, {refused(stream)} refused with 0x{REFUSED:04X}; "
                f"least free {watch.least / 2**20:.2f} MiB, reserve {RESERVE_MIB} MiB"
            )
            verdict = Verdict()
            if watch.least < RESERVE_MIB << 20:
                verdict.add("reserve", f"touched by {((RESERVE_MIB << 20) - watch.least) / 1024:.0f} KiB")
            fill(disk / "brim", free_bytes(disk))
            taken, before = len(stream.sent), refused(stream)
            time.sleep(options.full_seconds)
            more = len(stream.sent) - taken
            print(f"not one byte free for {options.full_seconds:g} s: {refused(stream) - before} refused, {more} taken")
            if not installation.supervisor.are_up():
                verdict.add("daemon", "ended on the full disk")
            for name in ("brim", "ballast"):
                (disk / name).unlink()
            began = time.monotonic()
            wait_until(lambda: len(stream.sent) > taken + more, 120, "no image is taken again")
            print(f"room again: the next image was taken after {time.monotonic() - began:.1f} s")
            for kind, found in stream.finish(options.minutes * 60).faults.items():
                verdict.faults.setdefault(kind, []).extend(found)
        find_halves(disk / "var", verdict)
        starts = installation.supervisor.units["daemon"].starts
        if starts != 1:
            verdict.add("daemon", f"started {starts} times")
    print(verdict.describe())
    return 1 if verdict.faults else 0


def refused(stream: Stream) -> int:
    return sum(sender.answers.get(REFUSED, 0) for sender in stream.senders)


def free_bytes(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def fill(path: Path, size_bytes: int) -> None:
    """Write a file of this size, or of what there is room for."""
    block = bytes(1 << 16)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while size_bytes > 0:
            size_bytes -= os.write(descriptor, block[:size_bytes])
    except OSError:  # no room for a whole block
        return
    finally:
        os.close(descriptor)


class FreeWatch:
    """Remembers the least that was free."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="free", daemon=True)
        self.least = free_bytes(disk)

    def __enter__(self) -> "FreeWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(0.002):
            self.least = min(self.least, free_bytes(self._disk))


def find_halves(storage: Path, verdict: Verdict) -> None:
    """Every file has the content that its name says; nothing unfinished is left."""
    whole = 0
    for path in (storage / "received").rglob("*"):
        if path.is_dir():
            continue
        match = _NAME.fullmatch(path.name)
        if match is None:
            verdict.add("unfinished", path.name)
        elif not hashlib.sha256(read_data_set_bytes(path)).hexdigest().startswith(match[1]):
            verdict.add("half", path.name)
        else:
            whole += 1
    print(f"{whole} files in the archive, each whole")


if __name__ == "__main__":
    sys.exit(main())
