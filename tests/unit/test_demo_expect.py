"""What the demo expects of ultrasound: results where there is a lesion, the report alone where there is none."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from screener.config import make_config
from screener.demo_expect import DemoStudy, Kept, check_study
from screener.demo_peers import Received
from screener.journey import Ending, Queue
from screener.store.values import LesionLine, RunReport, StudyReport
from screener.us_study import Answer

THRESHOLDS = make_config({}, base=Path(), environment={}).thresholds()
RECEIVED = Received(path=Path("x"), sop_class_uid="1", sop_instance_uid="2", study_instance_uid="3", at=0.0)
ALL = Kept(seg=RECEIVED, sr=RECEIVED, capture=RECEIVED, key_image=Path("x"), mails=[])
REPORT_ALONE = Kept(seg=None, sr=RECEIVED, capture=None, key_image=None, mails=[])
LESION = LesionLine(answer=Answer.BENIGN, probability=0.1, reason="", sop_instance_uid="1.2")
NO_LESION = LesionLine(answer=Answer.NO_LESION, probability=None, reason="")
PHANTOM = DemoStudy(
    title="phantom", study_instance_uid="3", is_mass_expected=None, is_lesion_expected=True, identity=frozenset()
)


def a_report(lesion: LesionLine | None, *, ending: Ending = Ending.DONE, code: str = "") -> StudyReport:
    run = RunReport(
        number=1, queue=Queue.US, state="ended", ending=ending, reason="", attempts=1, is_flagged=False,
        thresholds=THRESHOLDS, model_identity="", series=(), glands=(), candidates=(), results=(), deliveries=(),
        notices=(), lesion=lesion,
    )  # fmt: skip
    return StudyReport(
        study_id=1, study_instance_uid="3", stage="sent", ending=ending, code=code, reason="", images=1, documents=0,
        received_at=datetime(2031, 1, 1, tzinfo=UTC), own=0, expired=0, steps=(), runs=(run,), oddities=(),
    )  # fmt: skip


def is_met(report: StudyReport, kept: Kept, *, has_ultrasound: bool = True, study: DemoStudy = PHANTOM) -> bool:
    checks = check_study(study, report, kept, "study 1", has_ultrasound=has_ultrasound)
    assert checks
    return all(met for _, met in checks)


def test_a_lesion_owes_segmentation_report_and_capture() -> None:
    assert is_met(a_report(LESION), ALL)


@pytest.mark.parametrize("missing", ["seg", "sr", "capture", "key_image"])
def test_none_of_them_may_be_missing(missing: str) -> None:
    assert not is_met(a_report(LESION), replace(ALL, **{missing: None}))


def test_a_phantom_in_which_nothing_is_found_is_not_as_expected() -> None:
    assert not is_met(a_report(NO_LESION), REPORT_ALONE)


def test_a_study_of_ones_own_without_a_lesion_owes_its_report_alone() -> None:
    own = replace(PHANTOM, is_lesion_expected=False)
    assert is_met(a_report(NO_LESION), REPORT_ALONE, study=own)
    assert not is_met(a_report(NO_LESION), replace(REPORT_ALONE, sr=None), study=own)


def test_without_models_the_phantom_is_set_aside() -> None:
    nothing = replace(REPORT_ALONE, sr=None)
    aside = a_report(None, ending=Ending.SET_ASIDE, code="no_ultrasound_model")
    assert is_met(aside, nothing, has_ultrasound=False)
    assert not is_met(aside, nothing)
    assert not is_met(a_report(None, ending=Ending.FAILED), nothing, has_ultrasound=False)
