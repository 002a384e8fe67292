"""How long a study stands still when its worker is killed, with default settings: less than 30 s.

`python tests/chaos/recovery.py --times 6 [--backend servers]`. The worker and its child are ended by SIGKILL, or only
one of the two, while a study is in hand; measured is the time until a worker has claimed the study again. Workers have
the shipped networks, whose loading is part of the time; with `--stand-in` they have none.
"""

import argparse
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from screener.config import Queue as QueueSettings
from screener.journey import Ending, Queue
from screener.phantom import make_phantom, write_phantom
from screener.store import StudyReport
from tests.chaos.installation import Installation, open_installation
from tests.chaos.small_study import write_study
from tests.chaos.supervisor import kill

LIMIT_SECONDS = 30.0
RESTART_SECONDS = {"embedded": 5.0, "servers": 5.0}  # RestartSec of the units in deploy/systemd
WAIT_SECONDS = 600.0


def main() -> int:
    """Print each time; 1 where one is too long, or a study did not end as done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=6)
    parser.add_argument("--backend", choices=sorted(RESTART_SECONDS), default="embedded")
    parser.add_argument("--stand-in", action="store_true", help="no networks: how long the queue alone takes")
    options = parser.parse_args()
    settings = {"queue": QueueSettings().model_dump(), "completeness": {"quiet_seconds": 1}}
    with (
        tempfile.TemporaryDirectory() as temporary,
        open_installation(
            Path(temporary),
            backend=options.backend,
            settings=settings,
            screening_seconds=15,
            restart_seconds=RESTART_SECONDS[options.backend],
            has_networks=not options.stand_in,
        ) as installation,
    ):
        seconds = []
        for number, what in enumerate(islice(cycle(("worker and child", "child", "worker")), options.times)):
            seconds.append(measure(installation, Path(temporary) / "scanner" / str(number), number, what, options))
    worst = max(seconds)
    print(f"{len(seconds)} times: {min(seconds):.1f} to {worst:.1f} s, limit {LIMIT_SECONDS:g} s")
    return 0 if worst < LIMIT_SECONDS else 1


def measure(installation: Installation, folder: Path, number: int, what: str, options: argparse.Namespace) -> float:
    """Send a study, kill its worker while it is in hand; seconds until it is in hand again."""
    hospital = installation.hospital
    if options.stand_in:
        study_instance_uid, paths = (study := write_study(folder, number, 20)).study_instance_uid, study.paths
    else:
        phantom = make_phantom(seed=number)
        study_instance_uid, paths = phantom.study_instance_uid, write_phantom(phantom, folder)
    hospital.scanner.send(paths)
    hospital.wait_for(study_instance_uid, lambda report: has_reached(report, "loaded"), WAIT_SECONDS)
    pids = installation.worker_pids(Queue.CT)
    began = time.monotonic()
    kill({"worker and child": pids, "child": pids[1:], "worker": pids[:1]}[what])
    hospital.wait_for(study_instance_uid, lambda report: report.runs[0].attempts == 2, WAIT_SECONDS)
    seconds = time.monotonic() - began
    report = hospital.wait_for_ending(study_instance_uid, WAIT_SECONDS)
    print(f"{what} killed: study {report.study_id} in hand again after {seconds:.1f} s, {report.ending} in the end")
    assert report.ending is Ending.DONE, report.reason
    return seconds


def has_reached(report: StudyReport, stage: str) -> bool:
    return any(step.stage == stage for step in report.steps)


if __name__ == "__main__":
    sys.exit(main())
