"""Figures of quality: each is counted from rows that can be checked by eye."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from screener import know_scanners
from screener.__main__ import main
from screener.dispatch import dispatch_study
from screener.journey import Ending, Queue
from screener.know_scanners import know_new_scanners, read_scanner
from screener.performance import (
    NO_PROTOCOL,
    Performance,
    Share,
    describe_performance,
    find_limits,
    measure_performance,
)
from screener.store import BackfillOrder, Store
from screener.store.feedback import Judgment
from screener.store.quality import NO_NAME, QualityRow, Scanner
from screener.store.reviews import Opinion
from tests.peers.scanner import make_ct
from tests.peers.values import an_instance
from tests.unit.test_replay_all import OLD, Measured, mass, review, screen, screen_all

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


def test_what_made_the_images_is_read_once_and_names_no_patient(store: Store, tmp_path: Path) -> None:
    ds = make_ct()
    ds.StationName, ds.Manufacturer, ds.ManufacturerModelName = "CT 7\t", "Maker\\Other", "M1"
    ds.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    store.record_instance(an_instance(path="image.dcm"), NOW)
    assert know_new_scanners(store, tmp_path, NOW) == 1
    assert know_new_scanners(store, tmp_path, NOW) == 0
    (row,) = store.quality_rows(NOW - HOUR)
    assert (row.scanner, row.decided_at) == ("CT 7", None)


def test_a_file_that_cannot_be_had_for_a_while_still_names_its_scanner(store: Store, tmp_path: Path) -> None:
    store.record_instance(an_instance(path="image.dcm"), NOW)
    assert know_new_scanners(store, tmp_path, NOW) == 0
    assert store.quality_rows(NOW - HOUR)[0].scanner == NO_NAME
    ds = make_ct()
    ds.StationName = "CT 7"
    ds.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    assert know_new_scanners(store, tmp_path, NOW) == 1
    assert store.quality_rows(NOW - HOUR)[0].scanner == "CT 7"


def test_files_that_cannot_be_had_keep_no_other_scanner_from_being_known(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(know_scanners, "AT_ONCE", 1)
    make_ct().save_as(tmp_path / "image.dcm", enforce_file_format=True)
    for number, path in enumerate(["gone.dcm", "gone too.dcm", "image.dcm"], 1):
        instance = an_instance(number, study_instance_uid=f"1.{number}", sop_instance_uid=f"1.{number}.1", path=path)
        store.record_instance(instance, NOW)
    know_new_scanners(store, tmp_path, NOW)
    assert {path for _, path in store.studies_without_scanner(NOW - HOUR, 9)} == {"gone.dcm", "gone too.dcm"}


def test_a_file_that_is_spoiled_is_of_an_unnamed_scanner(store: Store, tmp_path: Path) -> None:
    store.record_instance(an_instance(path="image.dcm"), NOW)
    (tmp_path / "image.dcm").write_bytes(b"no DICOM file")
    assert know_new_scanners(store, tmp_path, NOW) == 1
    assert know_new_scanners(store, tmp_path, NOW) == 0
    assert store.quality_rows(NOW - HOUR)[0].scanner == NO_NAME
    assert read_scanner(tmp_path / "image.dcm") == Scanner()


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


def fetch(store: Store, study_instance_uid: str, now: datetime) -> None:
    """A backfill finds and fetches one study of one image."""
    day = date(2019, 1, 1)
    store.add_backfill(BackfillOrder(sources=("old",), from_date=day, to_date=day), now)
    search = store.next_search(["old"], now.date(), is_open=True)
    assert search is not None
    store.record_listing(search, [study_instance_uid], now)
    item = store.take_listed(["old"], now, is_open=True, with_new=True)
    assert item is not None
    store.begin_fetch(item, now)
    image = an_instance(2, study_instance_uid=study_instance_uid, calling_ae_title="OLD")
    store.record_instance(image, now)
    store.end_fetch(item, "fetched", code="", reason="", now=now)


@pytest.mark.parametrize("ending", [None, Ending.SET_ASIDE, Ending.FAILED])
def test_a_fetched_study_that_nothing_was_decided_of_says_nothing_of_its_scanner(
    store: Store, ending: Ending | None
) -> None:
    fetch(store, "1.2.3", NOW)
    if ending is not None:
        (study,) = store.quiet_studies(NOW + HOUR, quiet=HOUR, max_wait=HOUR)
        dispatch_study(store, study, OLD, NOW + HOUR)
        run = store.claim_run(Queue.CT, "worker", NOW + HOUR, HOUR)
        assert run is not None
        store.end_run(run, ending, code="code", reason="reason", now=NOW + HOUR)
    (row,) = store.quality_rows(NOW - HOUR)
    assert (row.ending, row.is_past) == (ending, True)


def test_a_study_that_a_scanner_sent_before_more_of_it_was_fetched_is_no_past_one(store: Store) -> None:
    store.record_instance(an_instance(1), NOW)
    fetch(store, "1.2.3", NOW + HOUR)
    assert not store.quality_rows(NOW - HOUR)[0].is_past


def test_the_time_of_a_past_study_that_a_scanner_added_to_is_not_that_of_a_screening(store: Store) -> None:
    fetch(store, "1.2.7", NOW)
    screen(store, 7, mass(900), OLD, came_at=NOW + HOUR)
    (row,) = store.quality_rows(NOW - HOUR)
    assert (row.is_flagged, row.is_past, row.is_first) == (True, True, False)


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


# Week by week


def test_each_week_is_held_against_the_time_before_the_latest() -> None:
    (scanner,) = measure(weeks(6, 6)).scanners
    chart = scanner.charts[0]
    assert [week.weeks_ago for week in chart.weeks] == [5, 4, 3, 2, 1, 0]
    assert sum(week.share.count for week in chart.weeks) == 72
    latest = chart.weeks[-1]
    assert (latest.share, latest.limits) == (Share(hits=6, count=12), (chart.low, chart.high))
    assert [week.is_outside for week in chart.weeks] == [False] * 4 + [True, True]  # the six before came in one week
    assert chart.weeks[1].limits == find_limits(chart.before, chart.weeks[1].share.count)


def test_disagreement_is_a_share_of_the_reviewed_flags_alone() -> None:
    rows = weeks(60, 12)
    judgments = dict.fromkeys(range(60), Judgment.FINDING) | dict.fromkeys(range(100, 108), Judgment.NO_FINDING)
    judgments |= {108: Judgment.DISPUTED}
    (scanner,) = measure(rows, judgments).scanners
    chart = scanner.charts[2]
    assert (chart.before, chart.latest) == (Share(hits=0, count=60), Share(hits=8, count=8))
    assert chart.is_drifting
    assert any("disagreed" in alarm for alarm in measure(rows, judgments).alarms)


def test_each_protocol_of_a_scanner_has_its_own_limits() -> None:
    rows = [replace(row, protocol="NECK" if row.study_id % 2 else "HEAD") for row in weeks(0, 0)]
    rows = [replace(row, is_flagged=row.study_id >= 100 and row.protocol == "NECK") for row in rows]
    (scanner,) = measure(rows).scanners
    assert [(each.protocol, each.studies) for each in scanner.protocols] == [("HEAD", 36), ("NECK", 36)]
    assert [each.charts[0].is_drifting for each in scanner.protocols] == [False, True]
    alarms = measure(rows).alarms
    assert any(alarm.startswith("CT1, protocol NECK, drifts: flagged 6 of 6") for alarm in alarms)
    assert not any("HEAD" in alarm for alarm in alarms)


def test_one_protocol_alone_raises_no_alarm_twice() -> None:
    performance = measure(weeks(6, 12))
    assert performance.scanners[0].protocols[0].protocol == NO_PROTOCOL
    assert len(performance.alarms) == 1


def by_week(counts: list[int], **changes: object) -> list[QualityRow]:
    """So many studies in each week, the latest first; the last one is cut off by where the list begins."""
    return [
        a_row(1000 * ago + n, 24 * 7 * ago + 1 + 160 * n / count, **changes)
        for ago, count in enumerate(counts)
        for n in range(count)
    ]


@pytest.mark.parametrize(("latest", "is_drifting"), [(10, False), (20, False), (1, True), (45, True)])
def test_volumes_are_held_against_how_much_weeks_differ(latest: int, *, is_drifting: bool) -> None:
    (scanner,) = measure(by_week([latest, 18, 21, 16, 22, 19, 17, 20, 5])).scanners
    volume = scanner.trends[0]
    assert [count for _, count in volume.weeks] == [20, 17, 19, 22, 16, 21, 18, latest]  # the oldest is not whole
    assert volume.is_drifting is is_drifting


def test_weeks_without_a_study_count_and_past_studies_do_not() -> None:
    rows = by_week([3, 0, 4, 5, 4, 3, 5, 4, 4])
    (scanner,) = measure([*rows, *by_week([50, 50], is_past=True)]).scanners
    assert [count for _, count in scanner.trends[0].weeks] == [4, 5, 3, 4, 5, 4, 0, 3]


@pytest.mark.parametrize(("minutes", "is_drifting"), [(1, False), (5, False), (30, True)])
def test_results_that_come_late_raise_the_alarm_and_early_ones_do_not(minutes: float, *, is_drifting: bool) -> None:
    rows = by_week([9] * 9)
    late = [
        replace(row, decided_at=row.received_at + timedelta(minutes=minutes)) if row.study_id < 1000 else row
        for row in rows
    ]
    time = measure(late).scanners[0].trends[1]
    assert time.weeks[-1] == (0, pytest.approx(minutes))
    assert time.is_drifting is is_drifting
    assert any("first image to results" in alarm for alarm in measure(late).alarms) is is_drifting


def test_too_few_weeks_have_no_limits_and_it_is_said() -> None:
    performance = measure(by_week([9, 9, 9]))
    assert performance.scanners[0].trends[0].limits is None
    told = describe_performance(performance)
    assert "studies: 9 studies in the latest week, too few weeks for limits" in told
    assert "studies: no whole week" in describe_performance(measure(by_week([4])))


def test_the_protocol_is_read_with_the_scanner(store: Store, tmp_path: Path) -> None:
    ds = make_ct()
    ds.ProtocolName = "NECK\tvenous"
    ds.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    store.record_instance(an_instance(path="image.dcm"), NOW)
    know_new_scanners(store, tmp_path, NOW)
    assert store.quality_rows(NOW - HOUR)[0].protocol == "NECK venous"
