"""Send thousands of small studies through the whole installation and see that no process grows.

`python tests/chaos/soak.py --studies 2000`. Listener, completeness, workers, encoding, delivery to Orthanc and mail are
the product's; the networks are a stand-in. Memory of every process is measured when the first 200 studies have ended
and when all have; 1 where one holds over 10 % more by then, or a study did not end as it must.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from screener.journey import Queue
from tests.chaos.fuzz_watch import count_handles, proportional_kib
from tests.chaos.installation import Installation, open_installation
from tests.chaos.sender import Sender
from tests.chaos.small_study import SmallStudy, write_studies
from tests.peers.hospital import wait_until

MOST_GROWTH = 0.1
STUDY_SECONDS = 600.0
"""After which a study that has not ended counts as stuck."""
SPARED_HANDLES = 5
LOOK_SECONDS = 0.2

Measures = dict[str, tuple[int, int, int]]
"""Process to resident and proportional KiB and file handles."""


def main() -> int:
    """Print the table; 1 where something grew, or a study did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--first", type=int, default=200, help="studies after which is measured for the first time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=24, help="studies on their way at the same time")
    options = parser.parse_args()
    settings = {"completeness": {"quiet_seconds": 3, "max_wait_seconds": 120}, "log": {"level": "WARNING"}}
    began_at = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as name,
        open_installation(Path(name), settings=settings, screening_seconds=0.0) as installation,
    ):
        soak = Soak(installation, Path(name) / "scanner")
        for number, study in enumerate(write_studies(soak.folder, options.studies, options.seed), 1):
            soak.send(number, study, options.in_flight)
            if number == min(options.first, options.studies):
                soak.wait_until_ended(number)
                first = soak.measure()
                print(f"{number} studies ended after {time.monotonic() - began_at:.0f} s", flush=True)
        soak.wait_until_ended(options.studies)
        last = soak.measure()
        print(f"{options.studies} studies ended after {time.monotonic() - began_at:.0f} s")
        faults = soak.judge() + tell_growth(first, last, options.first, options.studies)
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


class Soak:
    """The installation and its one scanner."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self._installation = installation
        self._sender = Sender(installation.hospital.port, [], pause_seconds=0, seed=0)
        self.folder = folder
        self._flagged = 0

    def send(self, number: int, study: SmallStudy, in_flight: int) -> None:
        """Send one more study once there is room for it."""
        wait_until(lambda: number - self._ended() <= in_flight, STUDY_SECONDS, f"study {number} found no room")
        self._sender.send(study)
        self._flagged += study.is_flagged
        shutil.rmtree(study.paths[0].parent)

    def wait_until_ended(self, studies: int) -> None:
        wait_until(lambda: self._ended() >= studies, STUDY_SECONDS, lambda: f"{self._ended()} of {studies} ended")

    def _ended(self) -> int:
        time.sleep(LOOK_SECONDS)  # each look is a query
        counts = self._installation.hospital.store.counts()
        return counts.done + counts.set_aside + counts.failed

    def measure(self) -> Measures:
        """Look at every process of the product."""
        daemon, *others = self._installation.daemon_pids()
        pids = {"daemon": daemon} | {f"daemon's process {number}": pid for number, pid in enumerate(others, 1)}
        for queue in (Queue.CT, Queue.US, Queue.RESULTS):
            for number, pid in enumerate(self._installation.worker_pids(queue)):
                pids[f"worker {queue}" + (f", child {number}" if number else "")] = pid
        return {name: (_resident_kib(pid), proportional_kib(pid), count_handles(pid)) for name, pid in pids.items()}

    def judge(self) -> list[str]:
        """What did not end as it must."""
        counts = self._installation.hospital.store.counts()
        print(f"done {counts.done}, flagged {counts.flagged} of {self._flagged}, in flight {counts.in_flight}")
        faults = []
        if not counts.is_balanced or counts.done != counts.received:
            faults.append(f"received {counts.received}, done {counts.done}, failed {counts.failed}")
        if counts.flagged != self._flagged:
            faults.append(f"{counts.flagged} studies are flagged, {self._flagged} hold a mass")
        return faults


def tell_growth(first: Measures, last: Measures, after: int, studies: int) -> list[str]:
    """Print what each process holds; what grew."""
    print(f"{'process':<28} {'resident, MiB':>20} {'proportional, MiB':>20} {'file handles':>16}")
    print(f"{'after studies':<28} {after:>9} {studies:>10} {after:>9} {studies:>10} {after:>8} {studies:>7}")
    faults = [f"{name} was not there at both times" for name in first.keys() ^ last.keys()]
    for name in [name for name in last if name in first]:
        (rss, pss, handles), (last_rss, last_pss, last_handles) = first[name], last[name]
        print(
            f"{name:<28} {rss / 1024:>9.1f} {last_rss / 1024:>10.1f} {pss / 1024:>9.1f} {last_pss / 1024:>10.1f} "
            f"{handles:>8} {last_handles:>7}   {last_rss / rss - 1:+.1%} resident"
        )
        if last_rss > rss * (1 + MOST_GROWTH):
            faults.append(f"{name} grew from {rss} to {last_rss} KiB")
        if last_handles > handles + SPARED_HANDLES:
            faults.append(f"{name} has {last_handles} file handles, {handles} before")
    return faults


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS in status")


if __name__ == "__main__":
    sys.exit(main())
