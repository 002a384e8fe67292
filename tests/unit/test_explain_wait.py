"""What a study that does not go on waits for, and until when: the last line of `screener explain`."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import Completeness
from screener.explain import describe_wait
from screener.store import Store
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.test_store import dispatch

START = datetime.now(UTC).replace(microsecond=0)
SETTINGS = Completeness(quiet_seconds=60, max_wait_seconds=900)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "var").mkdir()
    opened = open_new_store(f"sqlite:///{tmp_path}/var/screener.sqlite")
    yield opened
    opened.engine.dispose()


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def local(seconds: float) -> str:
    return after(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def receive(store: Store, number: int, seconds: float) -> None:
    store.record_instance(an_instance(number), after(seconds))


def test_a_study_that_has_just_come_waits_for_silence_from_its_newest_image_on(store: Store) -> None:
    receive(store, 1, 0)
    receive(store, 2, 20)
    told = describe_wait(store.study_report(1), SETTINGS, after(30))
    assert told.startswith("waits: 60 s must pass without a new image")
    assert f"at {local(80)} at the latest, or 60 s after the daemon's last start" in told


def test_missing_slices_are_waited_for_from_the_first_image_on(store: Store) -> None:
    receive(store, 1, 0)
    receive(store, 2, 20)
    store.record_wait(1, "waits: 161 slices are missing", after(80))
    told = describe_wait(store.study_report(1), SETTINGS, after(90))
    assert told.startswith(f"waits: 161 slices are missing; goes on at {local(900)} at the latest, or 900 s after")
    receive(store, 3, 100)
    told = describe_wait(store.study_report(1), SETTINGS, after(110))
    assert f"161 slices are missing (as seen at {local(80)}); goes on" in told


def test_a_study_that_will_be_set_aside_is_not_told_to_go_on(store: Store) -> None:
    receive(store, 1, 0)
    store.record_wait(1, "waits: 161 slices are missing", after(80))
    settings = Completeness(after_max_wait="set_aside")
    assert "goes on if whole, else is set aside, at" in describe_wait(store.study_report(1), settings, after(90))


def test_no_time_that_is_over_is_told_as_one_to_come(store: Store) -> None:
    receive(store, 1, 0)
    told = describe_wait(store.study_report(1), SETTINGS, after(4000))
    assert "60 s after the daemon's last start at the latest" in told
    assert local(60) not in told


def test_a_study_that_is_being_fetched_waits_for_that(store: Store) -> None:
    receive(store, 1, 0)
    report = replace(store.study_report(1), is_being_fetched=True)
    told = describe_wait(report, SETTINGS, after(90))
    assert told.startswith(f"waits: a backfill is fetching it; where no more comes, it goes on at {local(900)}")


def test_a_study_that_waits_for_nothing_has_no_such_line(store: Store) -> None:
    receive(store, 1, -3600)
    dispatch(store, START)
    assert not describe_wait(store.study_report(1), SETTINGS, after(90))


def test_explain_ends_with_it_and_with_whether_a_daemon_runs(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('[storage]\nfolder = "var"\n')
    receive(store, 1, 0)
    assert main(["explain", "1", "--config", str(tmp_path / "config.toml")]) == 0
    daemon, wait = capsys.readouterr().out.splitlines()[-2:]
    assert daemon.startswith("daemon: NOT RUNNING")
    assert wait.startswith("waits: ")
