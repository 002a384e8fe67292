"""Findings that a person has entered hold of the lesion that was outlined then, not of one on another picture."""

import copy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from screener.store import Kind, ReceivedInstance
from screener.store.ultrasound import EnteredFindings, merge_entries
from screener.us_study import Finding
from screener.web.enter_findings import ELSEWHERE, ask_findings
from tests.unit.test_screen_us import START, models_with
from tests.unit.test_us_findings import ENHANCEMENT, LOGIT, MARGIN, NODES, SHAPED, Office
from workers.screen_us import ON_ANOTHER_PICTURE

SEEN = {SHAPED: True, MARGIN: True, ENHANCEMENT: False, NODES: True}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    opened = Office(tmp_path, 30, models_with(LOGIT))
    yield opened
    opened.store.engine.dispose()


def enter(office: Office, minutes: float) -> None:
    now = START + timedelta(minutes=minutes)
    assert office.store.enter_findings(1, SEEN, entered_by="dr.gray", now=now)


def receive_larger_lesion(office: Office, minutes: float) -> str:
    """Take one more picture of the study, with a larger lesion; give its SOP Instance UID."""
    ds = copy.deepcopy(office.ds)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["larger"])
    pixels = np.array(office.ds.pixel_array)
    rows, columns = int(ds.Rows), int(ds.Columns)
    y, x = np.indices((rows, columns))
    pixels[(y - rows / 2) ** 2 + (x - columns / 2) ** 2 < 60**2] = 255
    ds.PixelData = pixels.tobytes()
    path = office.bench.archive.folder / "larger.dcm"
    ds.save_as(path, enforce_file_format=True)
    office.store.record_instance(
        ReceivedInstance(
            study_instance_uid=str(ds.StudyInstanceUID), series_instance_uid=str(ds.SeriesInstanceUID),
            sop_instance_uid=str(ds.SOPInstanceUID), sop_class_uid=str(ds.SOPClassUID), modality="US",
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID), kind=Kind.IMAGE, path=path.name,
            sha256="1" * 64, size_bytes=path.stat().st_size, calling_ae_title="US1",
        ),
        START + timedelta(minutes=minutes),
    )  # fmt: skip
    return str(ds.SOPInstanceUID)


def test_what_was_entered_of_one_lesion_is_not_known_of_another_that_comes_late(office: Office) -> None:
    first = office.work()
    enter(office, 5)
    office.dispatch(6)
    second = office.work()
    assert first.lesion is not None
    assert second.lesion is not None
    assert second.lesion.findings == SEEN
    larger = receive_larger_lesion(office, 10)
    office.dispatch(15)
    third = office.work()
    assert third.lesion is not None
    assert third.lesion.sop_instance_uid == larger != first.lesion.sop_instance_uid
    assert third.lesion.findings == {NODES: True}
    assert third.lesion.combined_probability is None
    reason = f"{ON_ANOTHER_PICTURE}: irregular shape, poorly defined margin, posterior enhancement."
    assert reason in third.lesion.findings_reason
    assert reason in office.report(third)
    asked = ask_findings(office.store.study_report(1), third, office.store.entries_of(1))
    assert asked is not None
    assert [one.stands for one in asked.questions] == [ELSEWHERE] * 3 + ["suspicious, entered"]


def test_the_same_words_of_the_other_lesion_are_news(office: Office) -> None:
    office.work()
    enter(office, 5)
    receive_larger_lesion(office, 6)
    office.dispatch(10)
    assert office.work().lesion.findings == {NODES: True}  # type: ignore[union-attr]
    enter(office, 15)
    office.dispatch(16)
    run = office.work()
    assert run.lesion is not None
    assert run.lesion.findings == SEEN
    assert ON_ANOTHER_PICTURE not in run.lesion.findings_reason
    enter(office, 20)
    office.dispatch(21)
    assert "nothing new" in office.work().reason


def entry(findings: dict[Finding, bool | None], picture: str, frame: int = 0) -> EnteredFindings:
    return EnteredFindings(
        at=START, entered_by="dr.gray", findings=findings, sop_instance_uid=picture, frame_number=frame
    )


def test_of_each_finding_the_newest_that_holds_of_the_lesion_counts() -> None:
    entries = [
        entry({SHAPED: True, MARGIN: True}, "1.1", 2),
        entry({SHAPED: False}, "1.2"),
        entry({NODES: None}, "1.2"),
    ]
    assert merge_entries(entries, "1.1", 2) == ({SHAPED: True, MARGIN: True, NODES: None}, [])
    assert merge_entries(entries, "1.1", 3) == ({NODES: None}, [SHAPED, MARGIN])
    assert merge_entries(entries, "1.2", 0) == ({SHAPED: False, NODES: None}, [MARGIN])


def test_what_was_entered_before_any_lesion_was_outlined_holds_of_any() -> None:
    assert merge_entries([entry({SHAPED: True}, "")], "1.1", 1) == ({SHAPED: True}, [])
