"""Whether CT and ultrasound starve each other: the turnaround of each alone, and beside a backlog of the other.

`python tests/benchmarks/side_by_side.py [--ct-backlog 50] [--us-backlog 60] [--probes 4]`. A real daemon with both
queues and real workers on the bundles that ship, settings for the models as shipped; synthetic studies through the
door. Each probe is sent after the last one is over, and timed from the end of its quiet period until its results
are owed. The measurements of a kind follow each other in the same run, because the machine is rarely ours alone.
`--stand-ins` takes ultrasound networks that have learned nothing and cost next to nothing.
"""

import argparse
import copy
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

from pydicom import Dataset
from pydicom.uid import generate_uid

from screener.phantom import make_phantom
from screener.phantom_us import make_us_phantom
from screener.store import StudyReport
from tests.benchmarks.us_study_seconds import PICTURES, QUIET_SECONDS, open_ready_hospital
from tests.peers.hospital import Hospital, wait_until
from tests.peers.us_bundles import write_stand_ins

CT_SPACING_MM = (2.0, 2.0, 3.0)
CT_ROWS = 128
STUDY_SECONDS = 600.0
MOST_RATIO = 3.0
"""Of two kinds on the same cores each has half of them, and its share of the memory's speed."""
MOST_DELAY_SECONDS = 15.0
"""By so much a backlog of the other kind may delay a study, where its own turnaround is short."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Turnarounds of one kind, in seconds."""

    kind: str
    alone: list[float]
    beside: list[float]
    backlog: int
    """Studies of the other kind that were sent before."""
    left: int
    """Of them, those that were still waiting after the last probe."""

    @property
    def is_fair(self) -> bool:
        """Whether the backlog lasted, and delayed no more than it may."""
        alone, beside = statistics.median(self.alone), statistics.median(self.beside)
        return self.left > 0 and (beside <= MOST_RATIO * alone or beside - alone <= MOST_DELAY_SECONDS)


def main() -> int:
    """Measure both kinds and print the table; 0 where neither starves the other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ct-backlog", type=int, default=50)
    parser.add_argument("--us-backlog", type=int, default=60)
    parser.add_argument("--probes", type=int, default=4)
    parser.add_argument("--stand-ins", action="store_true", help="ultrasound networks that cost next to nothing")
    options = parser.parse_args()
    ct = make_phantom(mass_mm=20.0, spacing_mm=CT_SPACING_MM, rows=CT_ROWS).datasets
    us = make_us_phantom(lesion_mm=16.0, pictures=PICTURES).datasets
    with tempfile.TemporaryDirectory() as folder:
        models = write_stand_ins(Path(folder) / "bundles") if options.stand_ins else {}
        rows = [
            measure(Path(folder) / kind, models, kind, probe, backlog, count, options.probes)
            for kind, probe, backlog, count in (
                ("ultrasound", us, ct, options.ct_backlog),
                ("CT", ct, us, options.us_backlog),
            )
        ]
    print(tabulate(rows))
    return 0 if all(row.is_fair for row in rows) else 1


def measure(
    folder: Path,
    models: dict[str, Any],
    kind: str,
    probe: list[Dataset],
    backlog: list[Dataset],
    count: int,
    probes: int,
) -> Row:
    """Time `probes` studies alone, then as many while `count` studies of the other kind wait."""
    folder.mkdir()
    with open_ready_hospital(folder, models) as hospital:
        time_probe(hospital, probe)  # the first one warms up
        alone = [time_probe(hospital, probe) for _ in range(probes)]
        with waiting(hospital, backlog, count) as sent:
            beside = [time_probe(hospital, probe) for _ in range(probes)]
            left = sum(not is_over(hospital, study) for study in sent)
    return Row(kind=kind, alone=alone, beside=beside, backlog=count, left=left)


@contextmanager
def waiting(hospital: Hospital, backlog: list[Dataset], count: int) -> Iterator[list[str]]:
    """Send `count` studies and wait until a worker has begun with them; gives their Study Instance UIDs."""
    sent = [send_anew(hospital, backlog) for _ in range(count)]
    wait_until(
        lambda: any(has_step(hospital.report(study), "selected") for study in sent), STUDY_SECONDS, "a worker has begun"
    )
    yield sent


def time_probe(hospital: Hospital, datasets: list[Dataset]) -> float:
    """Send one study; seconds from the end of its quiet period until its results are owed."""
    study = send_anew(hospital, datasets)
    is_quiet_at = datetime.now(UTC) + timedelta(seconds=QUIET_SECONDS)
    report = hospital.wait_for(
        study, lambda report: has_step(report, "encoded") or report.ending is not None, STUDY_SECONDS
    )
    if not has_step(report, "encoded"):
        raise SystemExit(f"the study was not screened: {report.reason}")
    return next((step.at - is_quiet_at).total_seconds() for step in report.steps if step.stage == "encoded")


def has_step(report: StudyReport, stage: str) -> bool:
    """Whether a study has reached a stage."""
    return any(step.stage == stage for step in report.steps)


def send_anew(hospital: Hospital, datasets: list[Dataset]) -> str:
    """Send a copy of a study under UIDs of its own; gives its Study Instance UID."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    copies = [copy.copy(ds) for ds in datasets]
    for ds in copies:
        ds.file_meta = copy.copy(ds.file_meta)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study, series, generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        if "FrameOfReferenceUID" in ds:
            ds.FrameOfReferenceUID = frame
    answers = hospital.scanner.send(copies)
    assert all(answer.status == 0x0000 for answer in answers)
    return str(study)


def is_over(hospital: Hospital, study: str) -> bool:
    return hospital.report(study).ending is not None


def tabulate(rows: list[Row]) -> str:
    """One line a kind, and whether it was fair."""
    lines = [
        f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {time.strftime('%Y-%m-%d')}; seconds from the end "
        "of the quiet period until results are owed, median (least to most)",
        f"{'kind':<12}{'alone':>22}{'beside a backlog':>22}{'ratio':>7}  backlog",
    ]
    for row in rows:
        ratio = statistics.median(row.beside) / statistics.median(row.alone)
        lines.append(
            f"{row.kind:<12}{_range(row.alone):>22}{_range(row.beside):>22}{ratio:>7.1f}  "
            f"{row.backlog} of the other kind, {row.left} left at the end"
        )
    for row in rows:
        verdict = "met   " if row.is_fair else "MISSED"
        lines.append(
            f"{verdict}  {row.kind}: at most {MOST_RATIO:g} times as long, or {MOST_DELAY_SECONDS:g} s longer, "
            "while the backlog lasts"
        )
    return "\n".join(lines)


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    raise SystemExit(main())
