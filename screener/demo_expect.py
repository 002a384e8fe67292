"""What the demo sends, what came of it, and what was expected."""

from dataclasses import dataclass, field
from pathlib import Path

from screener.demo_peers import Mail, Received
from screener.journey import Ending
from screener.store import StudyReport


@dataclass(slots=True, kw_only=True)
class DemoStudy:
    """One study that is sent, and what is expected of it."""

    title: str
    study_instance_uid: str
    is_mass_expected: bool | None
    """True or False for a CT phantom; None where nobody knows, and for ultrasound."""
    identity: frozenset[str]
    """The patient's name, ID and accession number, which no log may hold."""
    is_lesion_expected: bool = False
    """True: an ultrasound phantom, of which a lesion is expected to be outlined; benign or malignant is not known."""
    sent_at: float = 0.0
    """time.monotonic() when its last image was answered."""
    checks: list[tuple[str, bool]] = field(default_factory=list)
    """Expectations in words, and whether they were met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What came of one study; what there is of it lies in the folder that stays."""

    seg: Received | None
    sr: Received | None
    capture: Received | None
    key_image: Path | None
    mails: list[Mail]


def check_study(
    demo_study: DemoStudy, report: StudyReport, kept: Kept, name: str, *, has_ultrasound: bool
) -> list[tuple[str, bool]]:
    """Hold what happened against what was expected; `has_ultrasound`: the settings name models for it."""
    run = report.runs[-1] if report.runs else None
    is_flagged = bool(run and run.is_flagged)
    if demo_study.is_lesion_expected and not has_ultrasound:
        return [(f"{name} is set aside, for no ultrasound model is named", report.code == "no_ultrasound_model")]
    checks = [(f"{name} is screened, or set aside with the reason", report.ending is not Ending.FAILED)]
    if demo_study.is_mass_expected is not None:
        wanted = "flagged" if demo_study.is_mass_expected else "not flagged"
        checks = [
            (f"{name} is screened to its end", report.ending is Ending.DONE),
            (f"{name}, {demo_study.title}, is {wanted}", is_flagged == demo_study.is_mass_expected),
        ]
    elif demo_study.is_lesion_expected:
        checks = [(f"{name}, {demo_study.title}, has its lesion outlined", _has_lesion(report))]
    if report.ending is Ending.DONE:
        checks += _check_results(report, kept, name, is_flagged=is_flagged)
    return checks


def _check_results(report: StudyReport, kept: Kept, name: str, *, is_flagged: bool) -> list[tuple[str, bool]]:
    """What a study that is done owes: of ultrasound without a lesion the report alone."""
    is_ultrasound = report.runs[-1].lesion is not None
    if is_ultrasound and not _has_lesion(report):
        return [(f"{name} has its report in the PACS", kept.sr is not None)]
    is_sent = kept.seg is not None and kept.sr is not None and (kept.capture is not None or not is_ultrasound)
    owed = "segmentation, report and capture" if is_ultrasound else "segmentation and report"
    return [
        (f"{name} has its {owed} in the PACS", is_sent),
        (f"{name} has its key image", kept.key_image is not None),
        (f"{name}: a mail {'arrived' if is_flagged else 'is not owed'}", bool(kept.mails) == is_flagged),
    ]


def _has_lesion(report: StudyReport) -> bool:
    """Whether the study's newest run outlined a lesion on ultrasound."""
    lesion = report.runs[-1].lesion if report.runs else None
    return lesion is not None and bool(lesion.sop_instance_uid)
