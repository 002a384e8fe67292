"""A reader's findings beside the image: what they come to, which of both decides, and who is told what of it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset

from screener.channels.message import compose_message
from screener.decide_us import decide_ultrasound
from screener.dispatch import dispatch_study
from screener.explain import describe_study
from screener.journey import Ending, Queue
from screener.store import Kind, Receipt, ReceivedInstance
from screener.store.values import RunReport
from screener.study import Thresholds
from screener.us_study import Answer, Finding, ReadFindings, UltrasoundVerdict
from tests.unit.test_screen_us import START, Clinic, models_with
from tests.unit.worksheets import (
    ACOUSTIC,
    CIRCUMSCRIBED,
    ENHANCED,
    INDISTINCT,
    IRREGULAR,
    MARGINS,
    OVAL,
    SHADOWED,
    SHAPE,
    code_item,
    make_worksheet,
)
from workers.results.draw_us_capture import draw_us_capture
from workers.screen_us import screen_us
from workers.tasks import work_on_run
from workers.us.nomogram import Nomogram, combine_findings
from workers.us.read_worksheet import merge_entered

SHAPED, MARGIN = Finding.IRREGULAR_SHAPE, Finding.POORLY_DEFINED_MARGIN
ENHANCEMENT, NODES = Finding.POSTERIOR_ENHANCEMENT, Finding.SUSPICIOUS_LYMPH_NODES
WORRYING = (code_item(SHAPE, IRREGULAR), code_item(MARGINS, INDISTINCT), code_item(ACOUSTIC, SHADOWED))
HARMLESS = (code_item(SHAPE, OVAL), code_item(MARGINS, CIRCUMSCRIBED), code_item(ACOUSTIC, SHADOWED))
LOGIT = -0.2
"""Probability 0.45 by the image; 0.58 with irregular shape and poorly defined margin (odds times 1.257 x 1.323)."""


def decide(probability: float, findings: Mapping[Finding, bool], use: str) -> UltrasoundVerdict:
    thresholds = Thresholds(min_voxels=500, min_probability=0.5, config_revision="r1", us_findings=use)
    return decide_ultrasound(
        frames=2,
        has_lesion=True,
        malignancy=probability,
        thresholds=thresholds,
        findings=ReadFindings(values=findings, reason="Worksheet."),
        combination=combine_findings(probability, findings),
    )


ALL = {SHAPED: True, MARGIN: True, ENHANCEMENT: False}


def test_reported_findings_decide_nothing() -> None:
    verdict = decide(0.45, ALL, "report")
    assert (verdict.answer, verdict.is_by_findings, verdict.deciding_probability) == (Answer.BENIGN, False, 0.45)
    assert verdict.combination is not None
    assert verdict.combination.probability == pytest.approx(0.576, abs=0.001)
    assert "findings" not in verdict.reason


def test_deciding_findings_decide_with_the_image_and_the_sentence_says_so() -> None:
    verdict = decide(0.45, ALL, "decide")
    assert (verdict.answer, verdict.is_flagged, verdict.is_by_findings) == (Answer.MALIGNANT, True, True)
    assert (verdict.probability, verdict.deciding_probability) == (0.45, pytest.approx(0.576, abs=0.001))
    assert "0.58 by the image and a reader's findings (0.45 by the image alone)" in verdict.reason


def test_with_a_finding_missing_the_image_alone_decides_and_it_is_said() -> None:
    verdict = decide(0.45, {SHAPED: True, MARGIN: True}, "decide")
    assert (verdict.answer, verdict.is_by_findings) == (Answer.BENIGN, False)
    assert "by the image alone, for findings are missing" in verdict.reason


def test_no_combination_stands_without_an_image() -> None:
    thresholds = Thresholds(min_voxels=500, min_probability=0.5, config_revision="r1")
    with pytest.raises(ValueError, match="without one of the image"):
        decide_ultrasound(
            frames=1, has_lesion=True, malignancy=None, thresholds=thresholds, combination=combine_findings(0.5, ALL)
        )


def test_what_a_person_enters_stands_in_place_of_the_worksheet() -> None:
    worksheet = ReadFindings(values={SHAPED: True, MARGIN: True}, reason="From the worksheet.")
    merged = merge_entered(worksheet, {SHAPED: False, MARGIN: None, NODES: True})
    assert merged.values == {SHAPED: False, NODES: True}
    assert merged.reason == (
        "Entered by a person: irregular shape no, suspicious lymph nodes yes. "
        "Entered by a person as not known: poorly defined margin. From the worksheet."
    )
    assert merge_entered(worksheet, {}) is worksheet


# The journey


class Office(Clinic):
    """A clinic whose sonographers send worksheets."""

    def receive(self, ds: FileDataset, minutes: float) -> Receipt:
        """Take a worksheet, so many minutes after the study was dispatched."""
        path = self.bench.archive.folder / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        return self.store.record_instance(
            ReceivedInstance(
                study_instance_uid=str(self.ds.StudyInstanceUID), series_instance_uid=str(ds.SeriesInstanceUID),
                sop_instance_uid=str(ds.SOPInstanceUID), sop_class_uid=str(ds.SOPClassUID), modality="SR",
                transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID), kind=Kind.DOCUMENT, path=path.name,
                sha256="0" * 64, size_bytes=path.stat().st_size, calling_ae_title="US1",
            ),
            START + timedelta(minutes=minutes),
        )  # fmt: skip

    def dispatch(self, minutes: float, **settings: str) -> int:
        """Open what runs are due; returns how many."""
        now = START + timedelta(minutes=minutes)
        self.bench.clock = lambda: now
        studies = self.store.quiet_studies(now, quiet=timedelta(seconds=1), max_wait=timedelta(days=1))
        for study in studies:
            dispatch_study(self.store, study, replace(self.bench.config.thresholds(), **settings), now)
        return len(studies)

    def work(self) -> RunReport:
        """Screen the run that waits, and give it."""
        assert work_on_run(self.bench, Queue.US, screen_us)
        return self.store.study_report(1).runs[-1]

    def report(self, run: RunReport) -> str:
        """Every text and number of the run's structured report."""
        (path,) = (result.path for result in run.results if result.role == "sr")
        ds = pydicom.dcmread(self.bench.archive.path(path))
        return "\n".join(str(element.value) for element in ds.iterall() if element.VR != "SQ")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    opened = Office(tmp_path, 60, models_with(LOGIT))
    yield opened
    opened.store.engine.dispose()


def test_without_a_worksheet_report_and_history_say_what_is_missing(office: Office) -> None:
    run = office.work()
    assert run.lesion is not None
    assert (run.lesion.combined_probability, run.lesion.findings) == (None, {})
    for text in (office.report(run), describe_study(office.store.study_report(1))):
        assert "No worksheet came with the study." in text
        assert "not known are irregular shape, poorly defined margin, posterior enhancement" in text
        assert "not calibrated to this model" in text


def test_a_worksheet_that_came_with_the_pictures_is_reported_beside_them(office: Office) -> None:
    office.receive(make_worksheet(*WORRYING, study=office.ds), -1)
    office.dispatch(1)
    run = office.work()
    assert run.lesion is not None
    assert run.lesion.findings == {
        "irregular shape": True,
        "poorly defined margin": True,
        "posterior enhancement": False,
    }
    assert run.lesion.combined_probability == pytest.approx(0.58, abs=0.01)
    assert (run.lesion.answer, run.is_flagged) == (Answer.BENIGN, False)
    report = office.report(run)
    assert run.lesion.probability is not None
    percents = [f"{100 * one:.1f}" for one in (run.lesion.combined_probability, run.lesion.probability)]
    for words in ("COMB_PROBABILITY", *percents, "irregular shape yes", "The image alone decided"):
        assert words in report
    told = describe_study(office.store.study_report(1))
    assert "0.58 by the image and a reader's findings, 0.45 by the image: the latter alone decided" in told
    assert "thresholds: probability of malignancy 0.5, config revision" in told


def test_a_worksheet_of_another_patient_needs_a_person(office: Office) -> None:
    worksheet = make_worksheet(*WORRYING, study=office.ds)
    worksheet.PatientName, worksheet.PatientID = "BAKER^CANARY", "CANARY-ID-2"
    office.receive(worksheet, -1)
    office.dispatch(1)
    run = office.work()
    assert (run.ending, run.lesion) == (Ending.FAILED, None)
    assert office.store.study_report(1).code == "mixed_patients"


@pytest.mark.parametrize("patient", [("", ""), ("CANARY^DONOTLOG", "4711"), ("BAKER^CANARY", "CANARY^DONOTLOG")])
def test_a_worksheet_that_writes_the_patient_in_another_way_is_read(office: Office, patient: tuple[str, str]) -> None:
    worksheet = make_worksheet(*WORRYING, study=office.ds)
    worksheet.PatientName, worksheet.PatientID = patient
    office.receive(worksheet, -1)
    office.dispatch(1)
    run = office.work()
    assert run.lesion is not None
    assert len(run.lesion.findings) == 3


def test_findings_that_decide_flag_a_study_and_the_notice_says_by_what(office: Office) -> None:
    office.receive(make_worksheet(*WORRYING, study=office.ds), -1)
    office.dispatch(1, us_findings="decide")
    run = office.work()
    assert run.lesion is not None
    assert (run.is_flagged, run.lesion.is_by_findings, run.lesion.deciding_probability) == (
        True, True, run.lesion.combined_probability,
    )  # fmt: skip
    (notice,) = office.store.owed_notices(START + timedelta(hours=1))
    text = compose_message(notice).text
    assert "probability of malignancy 0.58" in text
    assert "by the image alone: 0.45" in text
    assert "Worksheet: irregular shape yes" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "decided together" in office.report(run)
    assert "us_findings=decide" in office.report(run)
    told = describe_study(office.store.study_report(1))
    assert "thresholds: probability of malignancy 0.5, by the image and a reader's findings where known" in told


def test_a_worksheet_that_comes_late_is_looked_at_in_a_new_run(office: Office) -> None:
    first = office.work()
    office.receive(make_worksheet(*HARMLESS, study=office.ds), 5)
    assert office.dispatch(10) == 1
    second = office.work()
    assert second.number == first.number + 1
    assert second.lesion is not None
    assert second.lesion.combined_probability == pytest.approx(0.45, abs=0.01)
    assert office.store.study_report(1).runs[0].state == "superseded"
    assert "a structured report arrived" in describe_study(office.store.study_report(1))


def test_a_late_report_that_tells_nothing_of_the_lesion_changes_nothing(office: Office) -> None:
    office.work()
    office.receive(make_worksheet(study=office.ds), 5)
    office.dispatch(10)
    run = office.work()
    assert "nothing new" in run.reason
    assert office.store.study_report(1).runs[0].results
    assert office.store.study_report(1).runs[0].state == "ended"


def test_the_nomogram_of_a_hospital_is_the_one_that_counts(office: Office) -> None:
    ours = Nomogram(intercept=0, of_image=0, of_findings={NODES: 1.0}, source="our own cases")
    office.bench._ultrasound_models = replace(models_with(LOGIT), nomogram=ours)
    run = office.work()
    assert "not known are suspicious lymph nodes; with them it would lie within 0.50 to 0.73 (our own cases)" in (
        office.report(run)
    )


def test_the_capture_tells_the_probability_that_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.test_screen_us import a_lesion
    from workers.results import draw_us_capture as module

    told: list[str] = []
    monkeypatch.setattr(module, "compose_panels", lambda _, lines: told.extend(text for text, _ in lines))
    draw_us_capture(a_lesion(), decide(0.45, ALL, "decide"), None, "")
    assert told[0] == "Answer of the models: malignant, probability of malignancy 58 % with a reader's findings."
    draw_us_capture(a_lesion(), decide(0.45, ALL, "report"), None, "")
    assert "benign, probability of malignancy 45 %." in " ".join(told)


def test_findings_that_take_a_flag_back_withdraw_the_notice_and_it_says_why(office: Office) -> None:
    office.bench._ultrasound_models = models_with(0.05)
    office.work()
    later = START + timedelta(hours=1)
    (flag,) = office.store.owed_notices(later)
    office.store.notice_sent(flag, later)
    calming = (code_item(SHAPE, OVAL), code_item(MARGINS, CIRCUMSCRIBED), code_item(ACOUSTIC, ENHANCED))
    office.receive(make_worksheet(*calming, study=office.ds), 5)
    office.dispatch(10, us_findings="decide")
    assert office.work().is_flagged is False
    (withdrawal,) = office.store.owed_notices(later)
    text = compose_message(withdrawal).text
    assert "on the ultrasound images and findings now at hand" in " ".join(text.split())
    assert "posterior enhancement yes" in " ".join(text.split())
