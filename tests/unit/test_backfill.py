"""Ordering and reading backfills on the command line."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import Pull, Source
from screener.pull.backfill import (
    OrderError,
    describe_backfills,
    describe_limit,
    describe_report,
    describe_stop,
    make_order,
)
from screener.store import BackfillReport, open_store
from tests.peers.stores import open_new_store

SOURCES = [Source(name=name, ae_title=name.upper(), host="127.0.0.1", port=104) for name in ("pacs", "vna")]
SOURCE = '[[pull.sources]]\nname = "pacs"\nae_title = "PACS"\nhost = "10.0.0.5"\nport = 104\nhow = "move"\n'
YEAR = {"from_date": "2019-01-01", "to_date": "2019-12-31"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f'[storage]\nfolder = "var"\n{SOURCE}')
    (tmp_path / "var").mkdir()
    store = open_new_store(f"sqlite:///{tmp_path}/var/screener.sqlite")
    store.engine.dispose()
    return path


def test_an_order_without_a_source_asks_all_of_them() -> None:
    order = make_order(Pull(sources=SOURCES), **YEAR, modalities="ct, us", body_parts="head,,neck")
    assert order.sources == ("pacs", "vna")
    assert (order.modalities, order.body_parts) == (("CT", "US"), ("HEAD", "NECK"))
    assert (order.from_date, order.to_date) == (date(2019, 1, 1), date(2019, 12, 31))


@pytest.mark.parametrize(
    ("settings", "typed", "word"),
    [
        (Pull(), YEAR, "pull.sources"),
        (Pull(sources=SOURCES), YEAR | {"source": "pasc"}, "pasc"),
        (Pull(sources=SOURCES), {"from_date": "2019-02-30", "to_date": "2019-12-31"}, "2019-02-30"),
        (Pull(sources=SOURCES), {"from_date": "2019-12-31", "to_date": "2019-01-01"}, "lies before"),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why(settings: Pull, typed: dict[str, str], word: str) -> None:
    with pytest.raises(OrderError, match=word):
        make_order(settings, **typed)  # type: ignore[arg-type]


def a_report(**changes: object) -> BackfillReport:
    values: dict[str, object] = {
        "backfill_id": 3,
        "standing_for": None,
        "from_date": date(2019, 1, 1),
        "to_date": date(2019, 1, 31),
        "modalities": ("CT",),
        "body_parts": (),
        "is_now": False,
        "is_paused": True,
        "opened_at": datetime(2031, 1, 1, tzinfo=UTC),
        "next_dates": {"pacs": date(2019, 1, 11)},
        "states": {"listed": 4, "fetched": 2, "failed": 1},
        "reasons": {("failed", "pacs broke off"): 1},
        "endings": {"done": 1, "in flight": 1},
        "flagged": (12,),
    }
    return BackfillReport(**values | changes)  # type: ignore[arg-type]


def test_progress_is_told_in_days_and_studies() -> None:
    said = describe_backfills([a_report()])
    for words in ("backfill 3", "10 of 31 days", "listed 4", "fetched 2", "failed 1", "PAUSED", "flagged 1"):
        assert words in said


def test_a_report_tells_endings_reasons_and_flagged_studies() -> None:
    said = describe_report(a_report())
    for words in ("of the 2 fetched: done 1, in flight 1", "failed, 1: pacs broke off", "by our number: 12"):
        assert words in said


def test_a_backfill_is_ordered_listed_held_back_and_let_go(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        assert main(["backfill", *arguments, "--config", str(config)]) == 0
        return capsys.readouterr().out

    assert "no backfill" in said()
    assert "backfill 1" in said("--from", "2019-01-01", "--to", "2019-12-31", "--body-part", "HEAD,NECK")
    assert "body part HEAD, NECK" in said()
    assert "held back" in said("--pause", "1")
    assert "PAUSED" in said("--report", "1")
    assert "goes on" in said("--resume", "1")
    assert "PAUSED" not in said()


def test_who_ordered_and_held_back_a_backfill_stands_in_the_trail(config: Path) -> None:
    for arguments in (("--from", "2019-01-01", "--to", "2019-12-31"), ("--pause", "1"), ("--resume", "1"), ()):
        main(["backfill", *arguments, "--config", str(config)])
    store = open_store(f"sqlite:///{config.parent}/var/screener.sqlite")
    lines = [(line.action, line.detail) for line in reversed(store.audit_lines())]
    store.engine.dispose()
    assert lines == [
        ("backfill", "backfill 1 ordered, 2019-01-01 to 2019-12-31"),
        ("backfill", "backfill 1 held back"),
        ("backfill", "backfill 1 let go on"),
    ]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--from", "2019-01-01"), "--to"),
        (("--pause", "9"), "no backfill 9"),
        (("--report", "9"), "no backfill 9"),
        (("--from", "2019-01-01", "--to", "2019-01-02", "--source", "nosuch"), "nosuch"),
    ],
)
def test_what_cannot_be_done_is_said(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], word: str
) -> None:
    assert main(["backfill", *arguments, "--config", str(config)]) == 1
    assert word in capsys.readouterr().err


def test_a_source_that_may_not_send_to_us_is_warned_of(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--config", str(config)]) == 0
    assert "no [[listener.peers]] entry admits PACS at 10.0.0.5" in capsys.readouterr().out


DAY, NIGHT = (datetime(2031, 5, 6, hour).astimezone() for hour in (12, 23))
FINISHED = {"states": {"fetched": 5}, "next_dates": {"pacs": date(2019, 2, 1)}}


@pytest.mark.parametrize(
    ("changes", "now", "limit", "word"),
    [
        ({"is_paused": True}, NIGHT, "", "paused; `screener backfill --resume 3`"),
        ({}, DAY, "", "waits for the window 22:00-06:00"),
        ({}, NIGHT, "disk below reserve", "no further study is asked for: disk below reserve"),
        ({"is_now": True}, DAY, "at its limit", "no further study is asked for: at its limit"),
    ],
)
def test_a_backfill_says_why_it_stands_still(changes: dict[str, object], now: datetime, limit: str, word: str) -> None:
    report = a_report(**{"is_paused": False} | changes)
    assert word in describe_stop(report, Pull(sources=SOURCES), now, limit)


@pytest.mark.parametrize(
    ("changes", "now", "limit"),
    [
        ({}, NIGHT, ""),
        ({"is_now": True}, DAY, ""),
        ({"states": {}}, NIGHT, "a limit holds no search back"),
        (FINISHED, DAY, ""),
        (FINISHED | {"is_paused": True}, DAY, ""),
    ],
)
def test_a_backfill_that_goes_on_or_is_over_gives_no_such_reason(
    changes: dict[str, object], now: datetime, limit: str
) -> None:
    report = a_report(**{"is_paused": False} | changes)
    assert not describe_stop(report, Pull(sources=SOURCES), now, limit)


def test_the_limit_that_lets_no_study_in_is_named(config: Path) -> None:
    store = open_store(f"sqlite:///{config.parent}/var/screener.sqlite")
    settings = Pull(sources=SOURCES)
    assert not describe_limit(store, settings, NIGHT, has_room=True)
    assert "disk" in describe_limit(store, settings, NIGHT, has_room=False)
    for key in ("studies_in_flight", "studies_per_hour", "studies_per_night"):
        full = settings.model_copy(update={key: 0})
        assert f"pull.{key}" in describe_limit(store, full, NIGHT, has_room=True)
    store.engine.dispose()


def test_the_list_of_backfills_says_why_one_stands_still(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(f'[storage]\nfolder = "var"\n[pull]\nwindow = "00:00-24:00"\n{SOURCE}')
    for arguments in (["--from", "2019-01-01", "--to", "2019-12-31"], ["--pause", "1"], []):
        assert main(["backfill", *arguments, "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "waits: paused" in told
    assert "daemon: NOT RUNNING" in told
