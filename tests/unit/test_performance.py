"""Figures of quality: each is counted from rows that can be checked by eye."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.know_scanners import know_new_scanners, read_scanner
from screener.performance import Performance, Share, describe_performance, find_limits, measure_performance
from screener.store import Store, open_store
from screener.store.feedback import Judgment
from screener.store.quality import NO_NAME, QualityRow, Scanner
from screener.store.reviews import Opinion
from tests.peers.scanner import make_ct
from tests.peers.values import an_instance
from tests.unit.test_replay_all import Measured, mass, review, screen_all

NOW = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_row(number: int, hours_ago: float, **changes: object) -> QualityRow:
    at = NOW - hours_ago * HOUR
    row = QualityRow(
        study_id=number,
        scanner="CT1",
        received_at=at,
        ending="done",
        decided_at=at + timedelta(minutes=4),
        queue="ct",
        is_flagged=False,
        is_assessed=True,
        is_first=True,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def measure(rows: list[QualityRow], judgments: dict[int, Judgment] | None = None) -> Performance:
    return measure_performance(sorted(rows, key=lambda row: row.received_at), judgments or {}, NOW, days=90)


def test_ppv_is_told_by_month_with_what_nobody_reviewed() -> None:
    rows = [a_row(number, 24 * 40 + number, is_flagged=True) for number in range(4)]
    rows += [a_row(10, 24, is_flagged=True), a_row(11, 24), a_row(12, 24)]
    judgments = {0: Judgment.FINDING, 1: Judgment.FINDING, 2: Judgment.NO_FINDING, 10: Judgment.DISPUTED}
    performance = measure(rows, judgments | {11: Judgment.FINDING, 12: Judgment.NO_FINDING})
    assert list(performance.months) == ["2026-02", "2026-03"]
    february, march = performance.months.values()
    assert (february.agreed, february.disagreed, february.unreviewed) == (2, 1, 1)
    assert (march.agreed, march.disagreed, march.disputed, march.unreviewed) == (0, 0, 1, 0)
    assert performance.missed == 1
    assert "2026-02: 2 of 3, 0.67 (0.21 to 0.94); 1 of 4 not reviewed" in describe_performance(performance)


def test_rates_endings_and_times_are_counted() -> None:
    rows = [a_row(number, number, decided_at=NOW - number * HOUR + number * HOUR / 60) for number in range(1, 102)]
    rows += [a_row(200, 3, is_first=False, is_flagged=True, decided_at=NOW), a_row(201, 3, is_assessed=False)]
    rows += [a_row(202, 1, ending=None, decided_at=None), a_row(203, 1, ending="set aside", decided_at=None)]
    performance = measure(rows)
    assert dict(performance.endings) == {"done": 103, "in flight": 1, "set aside": 1}
    assert (performance.flagged, performance.not_assessed) == (Share(hits=1, count=103), Share(hits=1, count=103))
    assert performance.median_turnaround == timedelta(minutes=50.5)
    assert performance.long_turnaround is not None
    assert timedelta(minutes=94) < performance.long_turnaround < timedelta(minutes=97)


def test_limits_are_three_standard_errors_around_the_time_before() -> None:
    low, high = find_limits(Share(hits=9, count=98), 25)
    assert (low, high) == (0.0, pytest.approx(0.1 + 3 * (0.1 * 0.9 / 25) ** 0.5))


def weeks(flagged_before: int, flagged_latest: int) -> list[QualityRow]:
    """60 studies in the weeks before, one in 12 hours, and 12 in the last one."""
    rows = [a_row(n, 24 * 8 + 12 * n, is_flagged=n < flagged_before) for n in range(60)]
    return rows + [a_row(100 + n, 12 * n + 1, is_flagged=n < flagged_latest) for n in range(12)]


@pytest.mark.parametrize(("latest", "is_drifting"), [(0, False), (3, False), (6, True), (12, True)])
def test_a_scanner_that_flags_far_more_than_before_drifts(latest: int, *, is_drifting: bool) -> None:
    performance = measure(weeks(6, latest))
    (scanner,) = performance.scanners
    assert scanner.charts[0].is_drifting is is_drifting
    assert bool(performance.alarms) is is_drifting


def test_the_first_flag_of_a_scanner_is_no_drift() -> None:
    assert measure(weeks(0, 1)).alarms == ()


def test_too_few_studies_draw_no_limits() -> None:
    rows = [a_row(n, 24 * 8 + n) for n in range(19)] + [a_row(50 + n, n + 1, is_flagged=True) for n in range(12)]
    performance = measure(rows)
    assert performance.scanners[0].charts[0].low is None
    assert "too few for limits" in describe_performance(performance)


@pytest.mark.parametrize(("hours", "is_silent"), [(9, False), (11, True)])
def test_a_scanner_that_falls_silent_raises_the_alarm(hours: float, *, is_silent: bool) -> None:
    rows = [a_row(n, hours + 2 * n) for n in range(30)] + [a_row(100 + n, 0.5 + n, scanner="CT2") for n in range(30)]
    performance = measure(rows)
    assert [scanner.is_silent for scanner in performance.scanners] == [is_silent, False]
    assert any("CT1 is silent" in alarm for alarm in performance.alarms) is is_silent


def test_past_studies_say_nothing_of_a_scanners_silence() -> None:
    rows = [a_row(n, 11 + 2 * n) for n in range(30)] + [a_row(100 + n, n / 60, is_past=True) for n in range(30)]
    assert measure(rows).scanners[0].is_silent


def test_nothing_is_told_of_nothing() -> None:
    performance = measure([])
    assert (performance.alarms, performance.median_turnaround, performance.scanners) == ((), None, ())
    assert "no alarm" in describe_performance(performance)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/screener.sqlite", is_migrating=True)
    yield opened
    opened.engine.dispose()


def test_what_made_the_images_is_read_once_and_names_no_patient(store: Store, tmp_path: Path) -> None:
    ds = make_ct()
    ds.StationName, ds.Manufacturer, ds.ManufacturerModelName = "CT 7\t", "Maker\\Other", "M1"
    ds.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    store.record_instance(an_instance(path="image.dcm"), NOW)
    assert know_new_scanners(store, tmp_path, NOW) == 1
    assert know_new_scanners(store, tmp_path, NOW) == 0
    (row,) = store.quality_rows(NOW - HOUR)
    assert (row.scanner, row.decided_at) == ("CT 7", None)


def test_a_file_that_cannot_be_read_is_of_an_unnamed_scanner(store: Store, tmp_path: Path) -> None:
    store.record_instance(an_instance(path="gone.dcm"), NOW)
    assert know_new_scanners(store, tmp_path, NOW) == 1
    assert store.quality_rows(NOW - HOUR)[0].scanner == NO_NAME
    assert read_scanner(tmp_path / "gone.dcm") == Scanner()


def test_maker_and_model_stand_for_a_station_without_a_name() -> None:
    assert Scanner(manufacturer="Maker", model="M1").name == "Maker M1"


def test_old_studies_are_not_asked_any_more(store: Store, tmp_path: Path) -> None:
    store.record_instance(an_instance(), NOW - timedelta(days=8))
    assert know_new_scanners(store, tmp_path, NOW) == 0


def test_the_rows_are_of_the_newest_decision(store: Store) -> None:
    studies = screen_all(store, [mass(900), mass(100), Measured(is_ultrasound=True, malignancy=0.9)])
    rows = {row.study_id: row for row in store.quality_rows(datetime(2020, 1, 1, tzinfo=UTC))}
    assert [rows[study].is_flagged for study in studies] == [True, False, True]
    assert [rows[study].queue for study in studies] == ["ct", "ct", "us"]
    assert all(row.is_assessed and row.is_first for row in rows.values())


def test_the_command_ends_well_without_an_alarm(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('[storage]\nfolder = "."\n', encoding="utf-8")
    (study,) = screen_all(store, [mass(900)])
    review(store, study, Opinion.AGREE)
    assert main(["performance", "--config", str(tmp_path / "config.toml")]) == 0
    told = capsys.readouterr().out
    assert "1 of 1, 1.00 (0.21 to 1.00)" in told
    assert NO_NAME in told
