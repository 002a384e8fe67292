"""Kill everything, again and again, while studies stream in: none lost, none reported twice, none stuck.

`python tests/chaos/kill.py --kills 60 --studies 200 --seed 1 --backend embedded|servers`. Daemon (listener and
scheduler), workers, and with `servers` Redis and PostgreSQL, are ended by SIGKILL at random moments and started again
as systemd does. The networks are a stand-in of fixed time; Orthanc is the PACS. A study that was hit twice by chance is
spared a third time; one that kills its own worker is sent at the end and must fail by itself.
"""

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

import psycopg

from screener.journey import Ending, Queue
from tests.chaos.installation import Installation, open_installation
from tests.chaos.small_study import POISON_HU, write_studies, write_study
from tests.chaos.stream import Stream
from tests.peers.hospital import wait_until

SENDERS = 2
TARGETS = {
    # name: weight; those in HITS end a screening that is in hand
    "embedded": {"daemon": 3, "listener": 2, "ct worker": 3, "ct child": 2, "results worker": 2, "all": 2},
    "servers": {
        "daemon": 3,
        "listener": 2,
        "ct worker": 3,
        "ct child": 1,
        "results worker": 2,
        "redis": 3,
        "postgresql": 3,
        "all": 1,
    },
}
HASTY_SHARE = 0.2
"""Of the kills, those that do not wait until what was killed before is at work again."""
BACK_SECONDS = 600.0
HITS = {"ct worker", "ct child", "postgresql", "all"}


def main() -> int:
    """Print what was killed and what became of the studies; 1 on any loss, duplicate or stuck study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=sorted(TARGETS), default="embedded")
    parser.add_argument("--listeners", type=int, default=1, help="processes that receive")
    parser.add_argument("--screening-seconds", type=float, default=0.5)
    parser.add_argument("--quiet-seconds", type=float, default=15, help="longer than any service is down")
    parser.add_argument("--most-wait-seconds", type=float, default=10, help="between all being up and the next kill")
    parser.add_argument("--minutes", type=float, default=60, help="after which the run counts as stuck")
    parser.add_argument("--no-poison", action="store_true", help="leave out the study that kills its worker")
    parser.add_argument("--folder", type=Path, help="where everything is kept (default: a folder that is removed)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return run(options, options.folder or Path(temporary))


def run(options: argparse.Namespace, folder: Path) -> int:
    studies = list(write_studies(folder / "scanner", options.studies, options.seed))
    settings: dict[str, dict[str, object]] = {
        "completeness": {"quiet_seconds": options.quiet_seconds, "max_wait_seconds": 600},
        "queue": {"lease_seconds": 10, "retry_seconds": 1, "max_attempts": 3},
    }
    if options.listeners > 1:
        settings["listener"] = {"processes": options.listeners}
    began = time.monotonic()
    with open_installation(
        folder, backend=options.backend, settings=settings, screening_seconds=options.screening_seconds
    ) as installation:
        killer = Killer(installation, options)
        # about as long as the kills take, so that studies are on their way at each of them
        pause_seconds = SENDERS * options.kills * (options.most_wait_seconds / 2 + 4) / max(len(studies), 1)
        with Stream(installation, studies, pause_seconds=pause_seconds, seed=options.seed, senders=SENDERS) as stream:
            killer.work()
            print(
                f"{killer.killed.total()} kills after {time.monotonic() - began:.0f} s: {dict(killer.killed)}; "
                f"{killer.spared} not carried out, to spare a third attempt"
            )
            verdict = stream.finish(options.minutes * 60)
        print(f"all ended after {time.monotonic() - began:.0f} s")
        if not options.no_poison and (wrong := poison(installation, folder)):
            verdict.add("poison", wrong)
        print(verdict.describe())
        return 1 if verdict.faults else 0


class Killer:
    """Draws what to kill and when."""

    def __init__(self, installation: Installation, options: argparse.Namespace) -> None:
        self._installation = installation
        self._options = options
        self._random = random.Random(options.seed)  # noqa: S311 - repeatable, not secret
        self.killed: Counter[str] = Counter()
        self.spared = 0
        self._claims: tuple[int, int] | None = None

    def work(self) -> None:
        """Kill as often as asked for, each time after a random wait, mostly once all is at work again."""
        targets = TARGETS[self._options.backend]
        while self.killed.total() < self._options.kills:
            if self._random.random() >= HASTY_SHARE:
                wait_until(self._has_progress, BACK_SECONDS, "nothing goes on although work waits")
                wait_until(self._installation.is_running, BACK_SECONDS, "what was killed has not come back")
            time.sleep(self._random.uniform(0, self._options.most_wait_seconds))
            (name,) = self._random.choices(list(targets), list(targets.values()))
            pids = self._find(name)
            if pids and self._installation.kill_sparing(pids, hits_screening=name in HITS):
                self.killed[name] += 1
                self._claims = self._count_claims()
            else:
                self.spared += 1

    def _has_progress(self) -> bool:
        """Tell whether a worker has taken a run since the last kill, or none waits."""
        counted = self._count_claims()
        return counted is not None and (counted[1] == 0 or self._claims is None or counted[0] > self._claims[0])

    def _count_claims(self) -> tuple[int, int] | None:
        """How often runs were taken, and how many wait; None while the database gives no answer."""
        try:
            return self._installation.count_claims()
        except (psycopg.Error, sqlite3.Error):
            return None

    def _find(self, name: str) -> list[int]:
        here = self._installation
        if name == "all":  # a power cut
            workers = {pid for queue in Queue for pid in here.worker_pids(queue)}
            return sorted({pid for unit in here.supervisor.units for pid in here.pids(unit)} | workers)
        parts: dict[str, Callable[[], list[int]]] = {
            "daemon": here.daemon_pids,
            "listener": lambda: here.daemon_pids()[1:2],  # a process of its own only where there are several
            "ct worker": lambda: here.worker_pids(Queue.CT),
            "ct child": lambda: here.worker_pids(Queue.CT)[1:],
            "results worker": lambda: here.worker_pids(Queue.RESULTS),
        }
        return parts[name]() if name in parts else here.pids(name)


def poison(installation: Installation, folder: Path) -> str:
    """Send a study that kills its own worker, and one behind it; what is wrong with how they end, or nothing."""
    hospital = installation.hospital
    poisonous = write_study(folder / "scanner" / "poisonous", 999_999_999, 20, mass_hu=POISON_HU)
    sound = write_study(folder / "scanner" / "sound", 999_999_998, 0)
    for study in (poisonous, sound):
        hospital.scanner.send(study.paths)
    began = time.monotonic()
    report = hospital.wait_for_ending(poisonous.study_instance_uid, 300)
    other = hospital.wait_for_ending(sound.study_instance_uid, 300)
    print(f"poisonous study: {report.ending} after {time.monotonic() - began:.0f} s: {report.reason}")
    print(f"the study behind it: {other.ending}")
    if (report.ending, report.code) != (Ending.FAILED, "worker_died"):
        return f"the poisonous study is {report.ending} ({report.code})"
    return "" if other.ending is Ending.DONE else "the study behind the poisonous one did not get through"


if __name__ == "__main__":
    sys.exit(main())
