"""The night list against a source that does as it is told, and the store as it is."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from screener.clock import is_open, night_began, parse_window
from screener.complete import Completion
from screener.config import Pull, Source, make_config
from screener.dispatch import dispatch_study
from screener.journey import Ending, Queue
from screener.outcomes import TryAgain
from screener.pull.ask_pacs import AWAY, MOST_CONTEXTS, _contexts_for
from screener.pull.match import Series, is_wanted_series, is_wanted_study
from screener.pull.night_list import NightList
from screener.store import BackfillOrder, BackfillReport, Store
from screener.store import pull_tables as p
from screener.store import tables as t
from tests.peers.scanner import make_ct
from tests.peers.values import CT, an_instance
from tests.unit.test_store import THRESHOLDS

NIGHT = datetime(2031, 3, 4, 23, 0).astimezone()
"""A local time in the window of every test that names none."""
QUIET, MAX_WAIT, LEASE = timedelta(seconds=60), timedelta(hours=1), timedelta(minutes=2)
AXIAL = [1, 0, 0, 0, 1, 0]
FIRST, LAST = date(2019, 1, 1), date(2019, 1, 3)


def a_series(number: int, images: int | None = 2, **changes: object) -> Series:
    values: dict[str, object] = {"modality": "CT", "body_part": "HEADNECK", "station_name": "CT1", "images": images}
    return Series(series_instance_uid=f"1.9.{number}", **values | changes)  # type: ignore[arg-type]


class Archive:
    """A source with studies of `days`, whose images it puts into the store as the door would."""

    def __init__(self, store: Store, **settings: object) -> None:
        self.settings = Source.model_validate(
            {"name": "old", "ae_title": "OLD", "host": "127.0.0.1", "port": 104} | settings
        )
        self.days: dict[date, list[str]] = {}
        self.series: dict[str, list[Series]] = {}
        self.asked: list[tuple[str, list[str]]] = []
        """Study, and the series that were asked for, of each fetch."""
        self.loses: set[str] = set()
        """Series of which no image ever comes."""
        self.refusal: Exception | None = None
        self.refused_days: set[date] = set()
        self.breaks: dict[str, Exception] = {}
        """What the fetch of a study raises."""
        self.holds: dict[str, int] = {}
        """How many images a series has of which it gives no count."""
        self.now = NIGHT
        self._store = store

    def add(self, study: str, day: date, *series: Series) -> None:
        self.days.setdefault(day, []).append(study)
        self.series[study] = list(series)

    def find_studies(self, study_date: date, modalities: Sequence[str]) -> list[str]:
        assert list(modalities) == ["CT"]
        self._refuse()
        if study_date in self.refused_days:
            raise TryAgain("old answered C-FIND with status 0xA700", code="source_refused")
        return self.days.get(study_date, [])

    def find_series(self, study_instance_uid: str) -> list[Series]:
        self._refuse()
        return self.series[study_instance_uid]

    def find_images(self, study_instance_uid: str, series_instance_uid: str) -> dict[str, str]:
        self._refuse()
        (series,) = (one for one in self.series[study_instance_uid] if one.series_instance_uid == series_instance_uid)
        count = self.holds.get(series_instance_uid, series.images or 0)
        return {f"{study_instance_uid}.{series_instance_uid}.{number}": CT for number in range(count)}

    def fetch(self, study_instance_uid: str, series: Sequence[Series]) -> None:
        self.asked.append((study_instance_uid, [one.series_instance_uid for one in series]))
        if study_instance_uid in self.breaks:
            raise self.breaks[study_instance_uid]
        for one in series:
            if one.series_instance_uid not in self.loses:
                count = one.images if one.images is not None else self.holds[one.series_instance_uid]
                receive(self._store, study_instance_uid, replace(one, images=count), self.now)

    def abort(self) -> None:
        pass

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal


def receive(store: Store, study: str, series: Series, now: datetime, sender: str = "OLD") -> None:
    for number in range(series.images or 0):
        image = an_instance(
            study_instance_uid=study,
            series_instance_uid=series.series_instance_uid,
            sop_instance_uid=f"{study}.{series.series_instance_uid}.{number}",
            path=f"received/{study}-{series.series_instance_uid}-{number}.dcm",
            calling_ae_title=sender,
        )
        store.record_instance(image, now)


def night_list(store: Store, archive: Archive, now: datetime = NIGHT, **settings: object) -> NightList:
    archive.now = now
    pull = Pull.model_validate(settings)
    return NightList(store, pull, {"old": archive}, has_room=lambda: True, clock=lambda: archive.now)


def order(store: Store, first: date = FIRST, last: date = LAST, **changes: object) -> int:
    values: dict[str, object] = {"sources": ("old",), "from_date": first, "to_date": last}
    return store.add_backfill(BackfillOrder(**values | changes), NIGHT)  # type: ignore[arg-type]


def report(store: Store, number: int = 1) -> BackfillReport:
    (found,) = store.backfill_reports(number)
    return found


def backfills_of_runs(store: Store) -> list[int | None]:
    with store.engine.begin() as connection:
        return list(connection.execute(sa.select(t.runs.c.backfill_id).order_by(t.runs.c.id)).scalars())


def dispatch(store: Store, now: datetime) -> int:
    studies = store.quiet_studies(now, quiet=QUIET, max_wait=MAX_WAIT)
    return sum(dispatch_study(store, study, THRESHOLDS, now) is not None for study in studies)


# The window


@pytest.mark.parametrize(
    ("window", "clock", "answer"),
    [
        ("22:00-06:00", (21, 59), False),
        ("22:00-06:00", (22, 0), True),
        ("22:00-06:00", (3, 0), True),
        ("22:00-06:00", (6, 0), False),
        ("12:00-13:00", (12, 30), True),
        ("12:00-13:00", (13, 0), False),
        ("00:00-24:00", (17, 0), True),
    ],
)
def test_a_window_may_pass_midnight(window: str, clock: tuple[int, int], answer: bool) -> None:
    assert is_open(parse_window(window), NIGHT.replace(hour=clock[0], minute=clock[1])) is answer


def test_a_night_begins_on_the_evening_before() -> None:
    window = parse_window("22:00-06:00")
    assert night_began(window, NIGHT) == NIGHT.replace(hour=22)
    assert night_began(window, NIGHT + timedelta(hours=4)) == NIGHT.replace(hour=22)


@pytest.mark.parametrize("text", ["", "22-6", "22:00", "25:00-06:00", "22:00-06:60"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_window(text)


# What is wanted


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, True),
        ({"modality": "MR"}, False),
        ({"body_part": "CHEST"}, False),
        ({"body_part": "NECK"}, True),
        ({"body_part": ""}, True),
        ({"station_name": "CT9"}, False),
    ],
)
def test_a_series_is_wanted_for_what_it_says(changes: dict[str, str], answer: bool) -> None:
    source = Source(name="old", ae_title="OLD", host="h", port=104, station_names=["CT1"])
    assert is_wanted_series(a_series(1, **changes), source, ["CT"], ["head", "NECK"]) is answer


def test_a_series_without_body_part_can_be_left() -> None:
    source = Source(name="old", ae_title="OLD", host="h", port=104, takes_unnamed_body_parts=False)
    assert not is_wanted_series(a_series(1, body_part=""), source, ["CT"], ["HEAD"])


@pytest.mark.parametrize(("description", "answer"), [("CT Neck with contrast", True), ("CT chest", False), ("", False)])
def test_a_study_is_wanted_for_its_description(description: str, answer: bool) -> None:
    source = Source(name="old", ae_title="OLD", host="h", port=104, study_descriptions=["*NECK*"])
    said = Dataset()
    said.StudyDescription = description
    assert is_wanted_study(said, source, "CT") is answer


def test_a_study_without_the_modality_is_not_wanted() -> None:
    source = Source(name="old", ae_title="OLD", host="h", port=104)
    said = Dataset()
    said.ModalitiesInStudy = ["MR", "SR"]
    assert not is_wanted_study(said, source, "CT")


@pytest.mark.parametrize("modality", ["CT", "US", "MR"])
def test_what_is_proposed_fits_into_one_association(modality: str) -> None:
    assert len(_contexts_for(modality)) < MOST_CONTEXTS


# Searching and fetching


def test_every_day_is_searched_and_every_study_fetched_once(store: Store) -> None:
    archive = Archive(store)
    for number, day in enumerate((FIRST, FIRST, LAST), start=1):
        archive.add(f"1.2.{number}", day, a_series(number))
    order(store)
    night_list(store, archive).work()
    night_list(store, archive).work()
    assert [study for study, _ in archive.asked] == ["1.2.1", "1.2.2", "1.2.3"]
    assert report(store).states == {"fetched": 3}
    assert report(store).next_dates == {"old": LAST + timedelta(days=1)}


def test_today_and_what_is_to_come_are_not_searched(store: Store) -> None:
    order(store, NIGHT.date() - timedelta(days=1), NIGHT.date() + timedelta(days=9))
    night_list(store, Archive(store)).work()
    assert report(store).next_dates == {"old": NIGHT.date()}


def test_outside_the_window_nothing_is_asked_unless_it_is_ordered_now(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store)
    noon = NIGHT.replace(hour=12)
    assert night_list(store, archive, noon).work() == 0
    order(store, is_now=True)
    night_list(store, archive, noon).work()
    assert report(store, 2).states == {"fetched": 1}


def test_what_the_window_holds_back_keeps_no_day_from_being_searched_now(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.pull.night_list.LIST_AHEAD", 2)
    archive = Archive(store)
    for number in range(3):
        archive.add(f"1.2.{number}", FIRST, a_series(number))
    archive.add("1.2.9", LAST, a_series(9))
    order(store, FIRST, FIRST)
    night_list(store, archive, studies_per_hour=1, studies_in_flight=9).work()
    assert report(store).states == {"fetched": 1, "listed": 2}
    order(store, LAST, LAST, is_now=True)
    night_list(store, archive, NIGHT.replace(hour=12) + timedelta(days=1), studies_in_flight=9).work()
    assert report(store).states == {"fetched": 1, "listed": 2}
    assert report(store, 2).states == {"fetched": 1}


def test_a_study_that_is_known_and_whole_is_skipped(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    receive(store, "1.2.1", a_series(1), NIGHT, sender="SCANNER")
    order(store)
    night_list(store, archive).work()
    assert archive.asked == []
    assert report(store).states == {"skipped": 1}
    assert ("skipped", "received before, and nothing of it is missing") in report(store).reasons


def test_only_the_series_that_is_missing_is_fetched(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2), a_series(3, modality="SR"))
    receive(store, "1.2.1", a_series(1), NIGHT)
    order(store)
    night_list(store, archive).work()
    assert archive.asked == [("1.2.1", ["1.9.2"])]


def test_a_study_of_another_body_part_is_skipped_with_the_reason(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1, body_part="CHEST"))
    order(store, body_parts=("HEAD", "NECK"))
    night_list(store, archive).work()
    assert report(store).reasons == {("skipped", "no series of it is wanted"): 1}


def test_two_backfills_never_fetch_the_same_study(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store)
    order(store)
    night_list(store, archive).work()
    assert len(archive.asked) == 1
    assert report(store, 2).reasons == {("skipped", "on the list of backfill 1 already"): 1}


@pytest.mark.parametrize("is_listed_only", [False, True])
def test_another_body_part_of_a_study_is_fetched_for_another_backfill(store: Store, *, is_listed_only: bool) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1, body_part="HEAD"), a_series(2, body_part="NECK"))
    order(store, body_parts=("HEAD",))
    if not is_listed_only:
        night_list(store, archive).work()
    order(store, body_parts=("NECK",))
    night_list(store, archive).work()
    assert archive.asked == [("1.2.1", ["1.9.1"]), ("1.2.1", ["1.9.2"])]
    assert report(store, 2).states == {"fetched": 1}


def test_the_same_parts_in_another_order_are_the_same_order(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store, body_parts=("HEAD", "NECK"))
    order(store, body_parts=("NECK", "HEAD"))
    night_list(store, archive).work()
    assert report(store, 2).reasons == {("skipped", "on the list of backfill 1 already"): 1}


def test_what_a_backfill_could_not_bring_comes_with_the_next_one_and_is_told_in_the_digest(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2))
    archive.loses = {"1.9.2"}
    order(store)
    night_list(store, archive, max_attempts=1).work()
    dispatch(store, NIGHT + QUIET)
    archive.loses = set()
    order(store)
    night_list(store, archive, NIGHT + timedelta(hours=1)).work()
    assert archive.asked[-1] == ("1.2.1", ["1.9.2"])
    assert report(store, 2).states == {"fetched": 1}
    dispatch(store, NIGHT + timedelta(hours=2))
    assert backfills_of_runs(store) == [1, 2]


@pytest.mark.parametrize("sender", ["SCANNER", "OLD"])
def test_a_past_study_that_a_scanner_added_to_is_daytime_work_for_the_next_backfill_too(
    store: Store, sender: str
) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1, body_part="HEAD"), a_series(2, body_part="NECK"))
    order(store, body_parts=("HEAD",))
    night_list(store, archive).work()
    receive(store, "1.2.1", a_series(3), NIGHT + timedelta(hours=1), sender=sender)
    dispatch(store, NIGHT + timedelta(hours=2))
    order(store, body_parts=("NECK",))
    night_list(store, archive, NIGHT + timedelta(hours=3)).work()
    dispatch(store, NIGHT + timedelta(hours=4))
    assert backfills_of_runs(store) == [None, None]


def test_the_backfill_that_was_let_go_on_last_is_the_one_that_brought_a_study(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1, body_part="HEAD"), a_series(2, body_part="NECK"))
    order(store, body_parts=("HEAD",))
    night_list(store, archive, studies_in_flight=1)._step()
    store.pause_backfill(1, True)
    order(store, body_parts=("NECK",))
    night_list(store, archive).work()
    store.pause_backfill(1, False)
    night_list(store, archive, NIGHT + timedelta(hours=1)).work()
    dispatch(store, NIGHT + timedelta(hours=2))
    assert backfills_of_runs(store) == [1]


def test_a_study_that_was_interrupted_goes_first_and_only_the_rest_of_it_is_fetched(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.add("1.2.2", FIRST, a_series(2), a_series(3))
    order(store)
    list_only = night_list(store, archive, studies_in_flight=1)
    while not report(store).states:
        list_only._step()
    interrupted = store.take_listed(["old"], NIGHT, is_open=True, with_new=True)
    assert interrupted is not None
    store.end_fetch(interrupted, "fetched", code="", reason="", now=NIGHT)
    interrupted = store.take_listed(["old"], NIGHT, is_open=True, with_new=True)
    assert interrupted is not None
    store.begin_fetch(interrupted, NIGHT)
    receive(store, "1.2.2", a_series(2), NIGHT)
    assert dispatch(store, NIGHT + QUIET) == 0, "a study that is half here was screened"
    night_list(store, archive).work()
    assert archive.asked == [("1.2.2", ["1.9.3"])]
    assert dispatch(store, NIGHT + QUIET) == 1


def test_a_paused_backfill_waits_and_what_was_begun_is_let_go(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.loses = {"1.9.1"}
    order(store)
    night_list(store, archive).work()
    assert report(store).states == {"fetching": 1}
    assert store.pause_backfill(1, True)
    night_list(store, archive, NIGHT + timedelta(hours=1)).work()
    assert report(store).states == {"listed": 1}
    assert store.pause_backfill(1, False)
    archive.loses = set()
    night_list(store, archive, NIGHT + timedelta(hours=2)).work()
    assert report(store).states == {"fetched": 1}


def test_a_study_of_which_nothing_comes_fails_with_its_reason(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.loses = {"1.9.1"}
    order(store)
    for hour in range(3):
        night_list(store, archive, NIGHT + timedelta(hours=hour), max_attempts=2).work()
    assert report(store).states == {"failed": 1}
    assert report(store).reasons == {("failed", "1 of 1 series did not come whole; tried 2 times"): 1}


def test_a_study_that_stays_incomplete_is_screened_with_what_has_come(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2))
    archive.loses = {"1.9.2"}
    order(store)
    for hour in range(2):
        night_list(store, archive, NIGHT + timedelta(hours=hour), max_attempts=2).work()
    assert report(store).states == {"fetched": 1}
    assert dispatch(store, NIGHT + timedelta(hours=2)) == 1


class Reading:
    """Completeness as the daemon judges it."""

    def __init__(self, store: Store, folder: Path, **settings: object) -> None:
        tables = {
            "storage": {"folder": str(folder)},
            "completeness": {"max_wait_seconds": MAX_WAIT.total_seconds(), **settings},
        }
        (folder / "received").mkdir(exist_ok=True)  # the files of the images have gone, the disk is there
        self.store = store
        self.completion = Completion(store, make_config(tables, base=folder, environment={}))

    def look(self, now: datetime) -> int:
        return self.completion.dispatch_complete_studies(now)

    def story(self, study: str = "1.2.1") -> list[str]:
        study_id = self.store.find_study(study)
        assert study_id is not None
        return [step.sentence for step in self.store.study_report(study_id).steps]


def test_the_story_of_a_study_that_was_given_up_says_what_did_not_come(store: Store, tmp_path: Path) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2))
    archive.loses = {"1.9.2"}
    order(store)
    night_list(store, archive, max_attempts=1).work()
    reading = Reading(store, tmp_path)
    assert reading.look(NIGHT + QUIET) == 1
    assert "night list: 1 of 2 series did not come whole; tried 1 times" in reading.story()[-1]


def test_the_story_of_a_study_that_was_let_go_says_that_its_fetch_is_held_back(store: Store, tmp_path: Path) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2))
    archive.loses = {"1.9.2"}
    order(store)
    night_list(store, archive).work()
    store.pause_backfill(1, True)
    night_list(store, archive, NIGHT + QUIET).work()
    reading = Reading(store, tmp_path)
    assert reading.look(NIGHT + QUIET) == 1
    assert "night list: held back by window, pause or settings before all of it had come" in reading.story()[-1]


def test_a_past_study_that_came_in_part_is_waited_for_where_slices_are_missing(store: Store, tmp_path: Path) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1, images=20))
    order(store)
    night_list(store, archive).work()
    with store.engine.begin() as connection:
        connection.execute(p.worklist.update().values(code="incomplete", reason="3 of 4 series did not come whole"))
    (tmp_path / "received").mkdir()
    for number in range(20):
        ds = make_ct(ImagePositionPatient=[0, 0, 3 * number + 3 * (number > 9)], ImageOrientationPatient=AXIAL)
        ds.save_as(tmp_path / f"received/1.2.1-1.9.1-{number}.dcm", enforce_file_format=True)
    reading = Reading(store, tmp_path)
    assert reading.look(NIGHT + QUIET) == 0
    assert "waits: 1 slice is missing" in reading.story()[-1]
    assert reading.look(NIGHT + MAX_WAIT) == 1
    assert "night list: 3 of 4 series did not come whole" in reading.story()[-1]


def test_a_study_that_came_whole_is_not_judged_again(store: Store, tmp_path: Path) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store)
    night_list(store, archive).work()
    (study,) = store.quiet_studies(NIGHT + QUIET, quiet=QUIET, max_wait=MAX_WAIT)
    assert (study.is_fetched, study.fetch_reason) == (True, "")


def test_images_are_counted_one_by_one_where_the_source_gives_no_count(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1, images=None))
    archive.holds = {"1.9.1": 5}
    receive(store, "1.2.1", a_series(1, images=2), NIGHT)
    order(store)
    night_list(store, archive).work()
    assert archive.asked == [("1.2.1", ["1.9.1"])]
    assert store.images_by_series("1.2.1") == {"1.9.1": 5}
    assert report(store).reasons == {}


def test_a_study_of_which_the_source_counts_nothing_is_not_called_whole(store: Store, tmp_path: Path) -> None:
    archive = Archive(store)
    archive.find_images = lambda *_: {}  # type: ignore[method-assign]
    archive.add("1.2.1", FIRST, a_series(1, images=None))
    archive.holds = {"1.9.1": 5}
    receive(store, "1.2.2", a_series(2), NIGHT)
    archive.add("1.2.2", FIRST, a_series(2, images=None))
    order(store)
    night_list(store, archive).work()
    reason = "of 1 of its series the source does not say how many images there are"
    assert report(store).reasons == {("fetched", reason): 1, ("skipped", f"received before; {reason}"): 1}
    reading = Reading(store, tmp_path)
    assert reading.look(NIGHT + QUIET) == 2
    assert f"night list: {reason}" in reading.story()[-1]


def test_a_study_whose_source_stays_away_is_released_after_max_wait_and_the_rest_supersedes(
    store: Store, tmp_path: Path
) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2))
    archive.loses = {"1.9.2"}
    order(store)
    pulling = night_list(store, archive)
    pulling.work()
    archive.refusal = TryAgain("old cannot be reached", code=AWAY)
    reading = Reading(store, tmp_path)
    while archive.now < NIGHT + MAX_WAIT - timedelta(minutes=5):
        archive.now += timedelta(minutes=5)
        pulling.work()
        assert reading.look(archive.now) == 0, "a study that is half here was screened"
    assert reading.story()[-1] == "waits for the rest of it: old cannot be reached"
    assert sum("cannot be reached" in line for line in reading.story()) == 1
    assert reading.look(NIGHT + MAX_WAIT) == 1
    told = reading.story()[-1]
    assert "not waited for any longer than 3600 s after the first image: night list: old cannot be reached" in told
    archive.now += timedelta(hours=1)
    pulling.work()
    assert reading.story()[-1] == told, "it waits no longer"
    archive.refusal, archive.loses = None, set()
    archive.now += timedelta(hours=2)
    pulling.work()
    assert report(store).states == {"fetched": 1}
    assert reading.look(archive.now + QUIET) == 1
    assert len(store.study_report(1).runs) == 2


def test_a_day_is_searched_once_it_has_been_over_for_hours(store: Store) -> None:
    archive = Archive(store, from_date=(NIGHT.date() - timedelta(days=1)).isoformat())
    midnight = NIGHT.replace(hour=0) + timedelta(days=1)
    pulling = night_list(store, archive, midnight + timedelta(seconds=1))
    pulling.begin()
    pulling.work()
    assert report(store).next_dates == {"old": NIGHT.date()}
    archive.now = midnight + timedelta(hours=3)
    pulling.work()
    assert report(store).next_dates == {"old": NIGHT.date() + timedelta(days=1)}


def test_a_source_that_is_away_is_left_alone_for_longer_and_longer(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.refusal = TryAgain("old cannot be reached", code=AWAY)
    order(store)
    pulling = night_list(store, archive, retry_seconds=60)
    assert pulling.work() == 1
    archive.now += timedelta(seconds=59)
    assert pulling.work() == 0
    archive.now += timedelta(seconds=1)
    assert pulling.work() == 1
    archive.now += timedelta(seconds=119)
    assert pulling.work() == 0
    archive.refusal = None
    archive.now += timedelta(seconds=1)
    pulling.work()
    assert report(store).states == {"fetched": 1}


def test_a_study_that_the_source_refuses_holds_up_no_other(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.add("1.2.2", FIRST, a_series(2))
    order(store)
    pulling = night_list(store, archive)
    pulling._step()
    archive.refusal = TryAgain("old answered C-FIND with status 0xC001", code="source_refused")
    pulling._step()
    archive.refusal = None
    pulling.work()
    assert report(store).states == {"fetching": 1, "fetched": 1}


def test_an_error_that_nobody_expected_is_an_attempt_and_holds_up_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.add("1.2.2", FIRST, a_series(2))
    order(store)
    pulling = night_list(store, archive)
    pulling._step()
    archive.refusal = TypeError("CANARY^DONOTLOG")
    pulling._step()
    archive.refusal = None
    pulling.work()
    assert report(store).states == {"fetching": 1, "fetched": 1}
    assert "TypeError at night_list.py" in caplog.text
    assert "CANARY" not in caplog.text


def work_for(pulling: NightList, archive: Archive, tries: int) -> None:
    for _ in range(tries):
        pulling.work()
        archive.now += timedelta(hours=1)


def test_a_day_that_the_source_always_refuses_ends_with_its_reason_and_holds_up_no_later_one(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive(store)
    archive.refused_days = {FIRST, FIRST + timedelta(days=1)}
    archive.add("1.2.1", LAST, a_series(1))
    order(store)
    work_for(night_list(store, archive, window="00:00-24:00", max_attempts=2), archive, 3)
    assert report(store).states == {"failed": 2, "fetched": 1}
    reason = "the studies of 2019-01-01 could not be listed: old answered C-FIND with status 0xA700; tried 2 times"
    assert report(store).reasons[("failed", reason)] == 1
    assert reason in caplog.text


@pytest.mark.parametrize("code", [AWAY, "source_refused"])
def test_no_day_is_given_up_where_the_source_answers_for_none(store: Store, code: str) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.refusal = TryAgain("old does not answer", code=code)
    order(store)
    pulling = night_list(store, archive, window="00:00-24:00", max_attempts=2)
    work_for(pulling, archive, 5)
    assert report(store).next_dates == {"old": FIRST}
    archive.refusal = None
    pulling.work()
    assert report(store).states == {"fetched": 1}


def test_a_day_that_was_given_up_is_told_no_more_once_it_was_searched(store: Store) -> None:
    archive = Archive(store)
    archive.refused_days = {FIRST}
    order(store, FIRST, FIRST)
    pulling = night_list(store, archive, window="00:00-24:00", max_attempts=1)
    for is_refused in (True, True, False):
        archive.refused_days = {FIRST} if is_refused else set()
        with store.engine.begin() as connection:
            connection.execute(p.searches.update().values(next_date=FIRST))
        work_for(pulling, archive, 1)
        assert report(store).states == ({"failed": 1} if is_refused else {})


def test_a_search_that_fails_unexpectedly_is_tried_again_after_a_while(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.refusal = TypeError()
    order(store)
    pulling = night_list(store, archive, retry_seconds=60)
    assert pulling.work() == 1
    archive.refusal = None
    assert pulling.work() == 0
    archive.now += timedelta(seconds=60)
    pulling.work()
    assert report(store).states == {"fetched": 1}


def test_a_fetch_that_fails_unexpectedly_is_tried_again_after_a_while_and_says_why(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    archive.breaks["1.2.1"] = KeyError("x")
    order(store)
    pulling = night_list(store, archive, max_attempts=2)
    for _ in range(5):
        pulling.work()
    assert len(archive.asked) == 1
    archive.now += timedelta(hours=1)
    pulling.work()
    assert report(store).reasons == {("failed", "an error that nobody expected (KeyError); tried 2 times"): 1}


@pytest.mark.parametrize(
    ("limit", "then"),
    [
        ({"studies_per_hour": 2}, timedelta(minutes=61)),
        ({"studies_per_night": 2, "studies_in_flight": 9}, timedelta(hours=23)),
        ({"studies_in_flight": 2}, None),
    ],
)
def test_a_limit_holds_the_rest_back(store: Store, limit: dict[str, int], then: timedelta | None) -> None:
    archive = Archive(store)
    for number in range(3):
        archive.add(f"1.2.{number}", FIRST, a_series(number))
    order(store)
    night_list(store, archive, **limit).work()
    assert report(store).states == {"fetched": 2, "listed": 1}
    if then is None:  # screening makes room
        archive.now += QUIET
        dispatch(store, archive.now)
        night_list(store, archive, archive.now, **limit).work()
        assert report(store).states == {"fetched": 2, "listed": 1}
        run = store.claim_run(Queue.CT, "worker", archive.now, LEASE)
        assert run is not None
        store.end_run(run, Ending.SET_ASIDE, code="c", reason="r", now=NIGHT)
        night_list(store, archive, archive.now, **limit).work()
    else:
        night_list(store, archive, NIGHT + then, **limit).work()
    assert report(store).states == {"fetched": 3}


def test_the_disk_holds_the_next_study_back(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store)
    NightList(store, Pull(), {"old": archive}, has_room=lambda: False, clock=lambda: NIGHT).work()
    assert report(store).states == {"listed": 1}


def test_settings_can_ask_for_the_past_night_after_night(store: Store) -> None:
    archive = Archive(store, from_date=(NIGHT.date() - timedelta(days=2)).isoformat())
    for _ in range(2):
        pulling = night_list(store, archive)
        pulling.begin()
        pulling.work()
    assert report(store).standing_for == "old"
    assert report(store).next_dates == {"old": NIGHT.date()}
    night_list(store, archive, NIGHT + timedelta(days=1)).work()
    assert report(store).next_dates == {"old": NIGHT.date() + timedelta(days=1)}


# Daytime first


def test_a_study_from_a_scanner_overtakes_the_backlog(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store)
    night_list(store, archive).work()
    dispatch(store, NIGHT + QUIET)
    later = NIGHT + timedelta(minutes=5)
    receive(store, "1.2.99", a_series(99), later, sender="SCANNER")
    dispatch(store, later + QUIET)
    taken = [store.claim_run(Queue.CT, "worker", later + QUIET, LEASE) for _ in range(2)]
    assert [run.study_instance_uid for run in taken if run] == ["1.2.99", "1.2.1"]


def test_a_person_who_asks_for_a_past_study_again_does_not_wait_behind_the_backlog(store: Store) -> None:
    archive = Archive(store)
    for number in (1, 2):
        archive.add(f"1.2.{number}", FIRST, a_series(number))
    order(store)
    night_list(store, archive).work()
    now = NIGHT + QUIET
    dispatch(store, now)
    store.reprocess(2, now)
    dispatch(store, now + QUIET)
    run = store.claim_run(Queue.CT, "worker", now + QUIET, LEASE)
    assert run is not None
    assert run.study_instance_uid == "1.2.2"


def test_an_image_that_a_scanner_adds_makes_a_past_study_daytime_work(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store)
    night_list(store, archive).work()
    dispatch(store, NIGHT + QUIET)
    receive(store, "1.2.1", a_series(7), NIGHT + timedelta(hours=1), sender="SCANNER")
    dispatch(store, NIGHT + timedelta(hours=2))
    assert store.backlog_in_flight() == 0


@pytest.mark.parametrize("hours", [0, 10], ids=["while it is fetched", "after it was let go"])
def test_an_image_that_a_scanner_adds_to_what_is_half_here_makes_it_daytime_work(store: Store, hours: int) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2))
    archive.loses = {"1.9.2"}
    order(store)
    night_list(store, archive).work()
    morning = NIGHT + timedelta(hours=hours)
    receive(store, "1.2.1", a_series(2), morning, sender="SCANNER")
    night_list(store, archive, morning).work()
    dispatch(store, morning + MAX_WAIT)
    assert backfills_of_runs(store) == [None]


def test_a_past_study_that_a_scanner_added_to_stays_daytime_work_when_asked_for_again(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1))
    order(store)
    night_list(store, archive).work()
    receive(store, "1.2.1", a_series(7), NIGHT + timedelta(hours=1), sender="SCANNER")
    store.reprocess(1, NIGHT + timedelta(hours=2))
    dispatch(store, NIGHT + timedelta(hours=2))
    assert backfills_of_runs(store) == [None]
