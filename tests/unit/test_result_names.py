"""Results that differ never share a UID, and every attempt of one run gives the same UIDs."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from screener.outcomes import TryAgain
from screener.store import Store
from screener.store.values import RunReport
from screener.us_study import Finding
from tests.peers.values import an_instance
from tests.unit.test_screen_us import START, models_with
from tests.unit.test_store import claimed, dispatch, finish
from tests.unit.test_us_findings import LOGIT, Office
from workers import screen_ct, screen_us
from workers.results import encode_results as encoding
from workers.results.identity import derive_uid


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    opened = Office(tmp_path, 60, models_with(LOGIT))
    yield opened
    opened.store.engine.dispose()


def uids(run: RunReport) -> Mapping[str, str]:
    """UIDs of a run's DICOM objects by role."""
    return {result.role: result.sop_instance_uid for result in run.results if result.sop_instance_uid}


def enter(office: Office, is_irregular: bool, minutes: float) -> None:
    """Say what the shape is, and open the run that follows."""
    now = START + timedelta(minutes=minutes)
    assert office.store.enter_findings(1, {Finding.IRREGULAR_SHAPE: is_irregular}, entered_by="dr.gray", now=now)
    office.dispatch(minutes + 1)


def correct_back(office: Office) -> RunReport:
    """Enter yes, then no, then yes again; give the run that said yes first, with the last one waiting."""
    office.work()
    enter(office, True, 5)
    first = office.work()
    enter(office, False, 10)
    office.work()
    enter(office, True, 15)
    return first


def test_an_ultrasound_finding_that_is_corrected_back_gets_objects_of_its_own(office: Office) -> None:
    first = correct_back(office)
    last = office.work()
    assert last.number == 4
    assert uids(first).keys() == uids(last).keys() == {"sr", "seg", "capture"}
    assert not set(uids(first).values()) & set(uids(last).values())


def test_an_attempt_that_is_taken_again_gives_the_same_objects(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    correct_back(office)
    made: list[str] = []
    keep = screen_us.keep_results

    def break_once(*args: Any) -> Any:
        results = keep(*args)
        made.append(next(result.sop_instance_uid for result in results if result.role == "sr"))
        if len(made) == 1:
            raise TryAgain("the disk was away")
        return results

    monkeypatch.setattr(screen_us, "keep_results", break_once)
    office.work()
    later = START + timedelta(days=1)
    office.bench.clock = lambda: later
    assert uids(office.work())["sr"] == made[1] == made[0]


def test_a_run_without_an_earlier_twin_is_named_by_its_key_alone(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    make = screen_us.make_run_key

    def note(*args: Any) -> str:
        keys.append(make(*args))
        return keys[-1]

    monkeypatch.setattr(screen_us, "make_run_key", note)
    assert uids(office.work())["sr"] == derive_uid(keys[0], "sr")
    enter(office, True, 5)
    assert uids(office.work())["sr"] == derive_uid(keys[1], "sr") != derive_uid(keys[0], "sr")


def screen_with_keys(store: Store, *keys: str) -> list[str]:
    """Screen one study once for each key, as often as a person asks for it; give what names each run's results."""
    names = []
    for hour, key in enumerate(keys):
        if hour:
            store.reprocess(1, START + timedelta(hours=hour))
        assert dispatch(store, START + timedelta(hours=hour, minutes=30)) == 1
        run = claimed(store, START + timedelta(hours=hour, minutes=30))
        assert store.record_series(run, (), key) is None
        names.append(store.name_results(run, key))
        finish(store, run, now=START + timedelta(hours=hour, minutes=40))
    return names


def test_a_key_that_comes_back_after_another_names_its_results_by_its_number_too(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    assert screen_with_keys(store, "a", "b", "a", "b", "c") == ["a", "b", "a run 3", "b run 4", "c"]


def test_the_results_of_ct_are_named_so_too(monkeypatch: pytest.MonkeyPatch, office: Office) -> None:
    asked: list[str] = []
    monkeypatch.setattr(encoding, "encode_results", lambda *_, **named: asked.append(named["run_key"]) or ())
    monkeypatch.setattr(office.store, "name_results", lambda _, key: f"{key} of its own", raising=False)
    plain: Any = SimpleNamespace(
        sop_instance_uids=(), glands=(), identity=None, number=3, thresholds=None, study_id=1, attempts=1
    )
    screen_ct._encode(office.bench, plain, "key", (), plain, (), (), plain, started_at=START, models=plain)
    assert asked == ["key of its own"]
