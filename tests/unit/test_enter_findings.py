"""Findings on ultrasound that a person enters: kept with who and when, and the study decided anew."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.explain import describe_study
from screener.store import Kind
from screener.store.ultrasound import merge_entries
from screener.us_study import Answer, Finding
from tests.peers.values import an_instance
from tests.unit.test_screen_us import START, models_with
from tests.unit.test_us_findings import LOGIT, WORRYING, Office
from tests.unit.worksheets import make_worksheet

ALL = ["--shape", "irregular", "--margin", "poor", "--enhancement", "absent"]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    opened = Office(tmp_path, 60, models_with(LOGIT))
    yield opened
    opened.store.engine.dispose()


@pytest.fixture
def screener(tmp_path: Path) -> Callable[..., int]:
    """The command line on the office's database."""
    settings = tmp_path / "config.toml"
    settings.write_text(f'[database]\nurl = "sqlite:///{tmp_path}/screener.sqlite"\n', encoding="utf-8")
    return lambda *words: main(["findings", *words, "--config", str(settings)])


def test_entered_findings_lead_to_a_new_run_and_a_new_report(office: Office, screener: Callable[..., int]) -> None:
    office.work()
    assert screener("1", *ALL, "--by", "dr.gray") == 0
    assert office.dispatch(5, us_findings="decide") == 1
    run = office.work()
    assert run.lesion is not None
    assert (run.number, run.lesion.answer, run.is_flagged) == (2, Answer.MALIGNANT, True)
    assert "Entered by a person: irregular shape yes, poorly defined margin yes" in office.report(run)
    assert office.store.study_report(1).runs[0].state == "superseded"
    told = describe_study(office.store.study_report(1))
    assert "dr.gray entered findings: irregular shape yes, poorly defined margin yes, posterior enhancement no" in told


def test_of_each_finding_the_newest_entry_counts_and_none_is_lost(
    office: Office, screener: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert screener("1", "--shape", "irregular", "--nodes", "normal", "--by", "first") == 0
    assert screener("1", "--shape", "unknown", "--margin", "well", "--by", "second") == 0
    merged, elsewhere = merge_entries(office.store.entries_of(1), "", 0)
    assert merged == {
        Finding.IRREGULAR_SHAPE: None, Finding.SUSPICIOUS_LYMPH_NODES: False, Finding.POORLY_DEFINED_MARGIN: False,
    }  # fmt: skip
    assert elsewhere == []
    capsys.readouterr()
    assert screener("1") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("first: irregular shape yes, suspicious lymph nodes no")
    assert second.endswith("second: irregular shape not known, poorly defined margin no")


@pytest.mark.usefixtures("nameless_user")
def test_a_user_without_a_name_enters_findings_too(office: Office, screener: Callable[..., int]) -> None:
    assert screener("1", *ALL) == 0
    (entry,) = office.store.entries_of(1)
    assert entry.entered_by == f"user {os.getuid()}"


def test_the_same_findings_again_change_nothing(office: Office, screener: Callable[..., int]) -> None:
    office.receive(make_worksheet(*WORRYING, study=office.ds), -1)
    office.dispatch(1)
    office.work()
    assert screener("1", *ALL) == 0
    office.dispatch(5)
    assert "nothing new" in office.work().reason


def test_findings_of_a_study_in_flight_are_read_when_it_is_whole(office: Office, screener: Callable[..., int]) -> None:
    office.receive(make_worksheet(study=office.ds), 5)
    before = office.store.study_report(1)
    assert screener("1", *ALL) == 0
    assert office.store.study_report(1).news_at == before.news_at
    office.dispatch(10)
    run = office.work()
    assert run.lesion is not None
    assert len(run.lesion.findings) == 3


def test_what_is_no_ultrasound_takes_no_findings(
    office: Office, screener: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    office.store.record_instance(an_instance(7, kind=Kind.IMAGE), START)
    assert screener("2", *ALL) == 1
    assert "holds no ultrasound images" in capsys.readouterr().err
    assert office.store.entries_of(2) == []
    assert screener("99", *ALL) == 1


@pytest.mark.parametrize("name", ["", "  ", "a\x1bb"])
def test_a_name_that_cannot_be_printed_is_refused(office: Office, screener: Callable[..., int], name: str) -> None:
    assert screener("1", *ALL, "--by", name) == 1 or not name
    assert all(entry.entered_by.isprintable() and entry.entered_by for entry in office.store.entries_of(1))
