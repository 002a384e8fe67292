"""How long an ultrasound study of 10 pictures takes from the end of its quiet period to results owed and delivered.

`python tests/benchmarks/us_study_seconds.py [--studies 5] [--decides image fusion]`. A real daemon with its real
workers and the bundles that ship, two threads; the pictures are synthetic, 600 x 800 in color with a lesion each,
sent through the door one study after the other, to a small PACS that confirms by C-FIND. Processor seconds of the
ultrasound worker stand beside the clock's, because the machine is rarely ours alone. `--stand-ins` takes networks
that have learned nothing and cost next to nothing: what is left is the way through the daemon.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from screener.phantom_us import make_us_phantom
from screener.store import StudyReport
from screener.store.values import StepLine
from tests.peers.hospital import Hospital, open_hospital, wait_until
from tests.peers.mailbox import open_mailbox
from tests.peers.pacs import Pacs
from tests.peers.us_bundles import write_stand_ins

PICTURES = 10
THREADS = 2
QUIET_SECONDS = 2
READY = ("worker for queue ct is ready", "worker for queue us is ready")
MOST_SECONDS = {"image": 10.0, "fusion": 25.0}
AIM_SECONDS = {"image": 4.0, "fusion": 12.0}
"""From the end of the quiet period until the PACS has answered for the results, by what decides."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Where the seconds of one study went; in the order of what happened."""

    noticed: float
    """From the end of the quiet period until a run was opened."""
    waited: float
    """Until a worker began."""
    selected: float
    segmented: float
    decided: float
    """Classified, and where fusion decides, measured and fused."""
    encoded: float
    owed: float
    """The sum so far: results are owed, and notices."""
    delivered: float
    """From the end of the quiet period until the PACS has answered for all results."""
    processor: float
    """Processor seconds of the ultrasound worker."""


def main() -> int:
    """Time each way of deciding; 0 where the median is within its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--decides", nargs="+", choices=list(MOST_SECONDS), default=["image"])
    parser.add_argument("--fusion", default="us_fusion", help="the bundle that decides where fusion does")
    parser.add_argument("--stand-ins", action="store_true", help="networks that cost next to nothing")
    options = parser.parse_args()
    is_met = True
    for decides in options.decides:
        with tempfile.TemporaryDirectory() as folder:
            models = write_stand_ins(Path(folder) / "bundles") if options.stand_ins else {}
            if decides == "fusion":
                models |= {"us_decides": "fusion", "us_fusion": options.fusion}
            first, *others = time_studies(Path(folder), models, options.studies + 1)
        print(tabulate(decides, first, others))
        median = statistics.median(times.delivered for times in others)
        is_met &= median <= MOST_SECONDS[decides]
        print(
            f"{'met   ' if median <= MOST_SECONDS[decides] else 'MISSED'}  delivered after {median:.1f} s (median), "
            f"at most {MOST_SECONDS[decides]:g}; aim {AIM_SECONDS[decides]:g}"
        )
    return 0 if is_met else 1


def time_studies(folder: Path, models: dict[str, Any], count: int) -> list[Times]:
    """Send `count` studies, each after the last one is over; the worker has its models before the first."""
    with open_ready_hospital(folder, models | {"threads": THREADS}) as hospital:
        return [_time_study(hospital, seed) for seed in range(count)]


@contextmanager
def open_ready_hospital(folder: Path, models: dict[str, Any]) -> Iterator[Hospital]:
    """Run a daemon with a PACS and a mailbox; its workers have their models."""
    pacs = Pacs()
    pacs.start()
    destination = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
    settings: dict[str, dict[str, Any]] = {
        "models": {"us_segmenter": "us_lesion_segmenter"} | models,
        "completeness": {"quiet_seconds": QUIET_SECONDS, "max_wait_seconds": 600},
    }
    try:
        with open_mailbox() as mailbox:
            hospital = Hospital(folder / "hospital", mailbox, [destination], settings=settings)
            with open_hospital(hospital):
                for line in READY:
                    wait_until(lambda line=line: line in hospital.log_path.read_text(), 180, line)  # type: ignore[misc]
                yield hospital
    finally:
        pacs.stop()


def _time_study(hospital: Hospital, seed: int) -> Times:
    phantom = make_us_phantom(lesion_mm=12.0 + 2 * (seed % 5), pictures=PICTURES, seed=seed)
    before = _processor_seconds(hospital)
    hospital.scanner.send(phantom.datasets)
    is_quiet_at = datetime.now(UTC) + timedelta(seconds=QUIET_SECONDS)
    report = hospital.wait_for_ending(phantom.study_instance_uid)
    lesion = report.runs[-1].lesion
    if lesion is None or not lesion.sop_instance_uid:
        raise SystemExit(f"no lesion was found, so this is not what a study costs: {report.reason}")
    return _read_times(report, is_quiet_at, _processor_seconds(hospital) - before)


def _read_times(report: StudyReport, is_quiet_at: datetime, processor: float) -> Times:
    steps: dict[str, StepLine] = {}
    for step in report.steps:
        steps.setdefault(step.stage, step)  # of several "sent" the PACS's answer is the first
    spent = {stage: step.seconds or 0.0 for stage, step in steps.items()}
    after = {stage: (step.at - is_quiet_at).total_seconds() for stage, step in steps.items()}
    return Times(
        noticed=after["complete"],
        waited=after["selected"] - spent["selected"] - after["complete"],
        selected=spent["selected"],
        segmented=spent["segmented"],
        decided=after["encoded"] - spent["encoded"] - after["segmented"],
        encoded=spent["encoded"],
        owed=after["encoded"],
        delivered=after["sent"],
        processor=processor,
    )


def _processor_seconds(hospital: Hospital) -> float:
    """What the ultrasound worker and its child have used so far."""
    ticks = 0
    for process_id in hospital.worker_pids("us"):
        fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def tabulate(decides: str, first: Times, others: list[Times]) -> str:
    """The first study's times beside median and range of the others."""
    load = os.getloadavg()[0]
    lines = [
        f"\n{PICTURES} pictures, decided by {decides}; {THREADS} threads, {os.cpu_count()} cores, load {load:.1f}; "
        f"{time.strftime('%Y-%m-%d')}",
        f"{'seconds':<12}{'median':>9}{'least':>9}{'most':>9}{'first':>9}   (of {len(others)}, the first apart)",
    ]
    for name in Times.__dataclass_fields__:
        values = [getattr(times, name) for times in others]
        shown = (statistics.median(values), min(values), max(values), getattr(first, name))
        lines.append(f"{name:<12}" + "".join(f"{value:>9.2f}" for value in shown))
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
