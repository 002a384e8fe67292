"""The verb of the night list: search a day, or fetch a study, one at a time, as long as window and limits allow.

Where it stands is in the store alone, so that it goes on after any stop where
it was. What a PACS says that it sent is not believed: a study is fetched once
every wanted series counts as many images here as there.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import ParamSpec, Protocol, TypeVar

from screener.clock import is_open, parse_window
from screener.config import Pull, Source
from screener.delays import next_delay
from screener.logs import describe_error
from screener.outcomes import TryAgain
from screener.pull.ask_pacs import AWAY
from screener.pull.backfill import describe_limit
from screener.pull.match import Series, is_wanted_series, pick_images
from screener.store import ListedStudy, Search, Store

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

LIST_AHEAD = 2000
"""Studies that may wait for their turn before no further day is searched."""
LONGEST_WAIT_SECONDS = 3600
DAYS_AFTER = 7
"""Days of which a source that refuses one must list one, before the fault is taken to be that day's."""
SETTLED = timedelta(hours=3)
"""So long after its end a day is searched: what was taken shortly before midnight is in the PACS by then."""


class Client(Protocol):
    """What the night list needs of a source; each may raise TryAgain."""

    @property
    def settings(self) -> Source:
        """The source's table of config.toml."""

    def find_studies(self, study_date: date, modalities: Sequence[str]) -> list[str]:
        """Study Instance UIDs of one day."""

    def find_series(self, study_instance_uid: str) -> list[Series]:
        """The series of one study."""

    def find_images(self, study_instance_uid: str, series_instance_uid: str) -> dict[str, str]:
        """SOP Instance UID to SOP Class UID of every instance of a series."""

    def fetch(self, study_instance_uid: str, series: Sequence[Series]) -> None:
        """Have these series sent to us; return when the source says that it is over."""

    def abort(self) -> None:
        """End what is under way."""


class NightList:
    """`begin` once, `work` again and again, `stop` from another thread."""

    def __init__(
        self,
        store: Store,
        settings: Pull,
        clients: Mapping[str, Client],
        *,
        has_room: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        """`has_room` False: the disk takes no further study for now."""
        self._store = store
        self._settings = settings
        self._window = parse_window(settings.window)
        self._clients = clients
        self._has_room = has_room
        self._clock = clock
        self._is_over = threading.Event()
        self._failures: dict[str, int] = {}
        self._away_until: dict[str, datetime] = {}
        self._refused: dict[tuple[int, date], int] = {}

    def begin(self) -> None:
        """Hold the backfills that the settings ask for, and let go of what is no longer asked for."""
        now = self._clock()
        for source in (client.settings for client in self._clients.values()):
            if source.from_date:
                last = date.fromisoformat(source.to_date) if source.to_date else None
                self._store.keep_standing(source.name, date.fromisoformat(source.from_date), last, now)
        self._store.release_fetches(list(self._clients), is_open=is_open(self._window, now.astimezone()))

    def work(self, _: datetime | None = None) -> int:
        """Do what may be done now; returns how many searches and studies that was."""
        steps = 0
        while not self._is_over.is_set() and self._step():
            steps += 1
        return steps

    def stop(self) -> None:
        """Break off; the next start goes on with the same study."""
        self._is_over.set()
        for client in self._clients.values():
            client.abort()

    def _step(self) -> bool:
        now = self._clock()
        local = now.astimezone()
        is_night = is_open(self._window, local)
        self._store.release_fetches(list(self._clients), is_open=is_night)
        ready = [name for name in self._clients if self._away_until.get(name, now) <= now]
        with_new = self._may_begin(now)
        item = self._store.take_listed(ready, now, is_open=is_night, with_new=with_new)
        if item is not None:
            self._work_on(item)
            return True
        if self._store.waiting_studies(ready, is_open=is_night) >= LIST_AHEAD:
            return False
        search = self._store.next_search(ready, (local - SETTLED).date(), is_open=is_night)
        if search is not None:
            self._search(search)
        return search is not None

    def _may_begin(self, now: datetime) -> bool:
        return not describe_limit(self._store, self._settings, now, has_room=self._has_room())

    def _search(self, search: Search) -> None:
        client = self._clients[search.source]
        modalities = search.modalities or client.settings.modalities
        try:
            found = self._ask(client.find_studies, search.next_date, modalities)
        except TryAgain as outcome:
            self._stand_back(search.source, outcome.reason)
            if outcome.code != AWAY:
                self._count_refusal(search, modalities, outcome.reason)
            return
        self._failures.pop(search.source, None)
        self._refused.pop((search.search_id, search.next_date), None)
        listed = self._store.record_listing(search, found, self._clock())
        logger.info(
            "backfill=%d source=%s date=%s found=%d listed=%d",
            search.backfill_id, search.source, search.next_date, len(found), listed,
        )  # fmt: skip

    def _count_refusal(self, search: Search, modalities: Sequence[str], reason: str) -> None:
        """Give a day up once it was refused as often as a study may be, and others are not: it would hold them up."""
        day = (search.search_id, search.next_date)
        tries = self._refused[day] = self._refused.get(day, 0) + 1
        if tries < self._settings.max_attempts or not self._lists_later_days(search, modalities):
            return
        del self._refused[day], self._away_until[search.source], self._failures[search.source]  # it answers
        sentence = f"the studies of {search.next_date} could not be listed: {reason}; tried {tries} times"
        self._store.give_up_day(search, sentence, self._clock())
        logger.warning("backfill=%d source=%s %s", search.backfill_id, search.source, sentence)

    def _lists_later_days(self, search: Search, modalities: Sequence[str]) -> bool:
        client = self._clients[search.source]
        for ahead in range(1, 1 + DAYS_AFTER):
            try:
                self._ask(client.find_studies, search.next_date + timedelta(days=ahead), modalities)
            except TryAgain as outcome:
                if outcome.code == AWAY:
                    return False
            else:
                return True
        return False

    def _work_on(self, item: ListedStudy) -> None:
        client = self._clients[item.source]
        try:
            offered = self._ask(client.find_series, item.study_instance_uid)
            wanted = [self._count(item, client, series) for series in self._wanted(item, client.settings, offered)]
        except TryAgain as outcome:
            if outcome.code == AWAY:
                self._stand_back(item.source, outcome.reason)
                self._wait(item, outcome.reason, self._clock())
            else:  # it refuses this very study: that counts, or the study would hold up all others
                self._store.begin_fetch(item, self._clock())
                self._leave(item, outcome.reason)
            return
        missing = self._missing(item, wanted)
        if not offered:
            self._end(item, "skipped", "gone", "the source no longer has it")
        elif not wanted:
            self._end(item, "skipped", "no_series", "no series of it is wanted")
        elif not missing and item.has_begun:
            self._end_fetched(item, wanted)
        elif not missing:
            uncounted = describe_uncounted(wanted)
            known = f"received before; {uncounted}" if uncounted else "received before, and nothing of it is missing"
            self._end(item, "skipped", "known", known)
        elif item.attempts >= self._settings.max_attempts:
            self._give_up(item, item.attempts, "no fetch of it came to its end")
        else:
            self._fetch(item, client, wanted, missing)

    def _fetch(self, item: ListedStudy, client: Client, wanted: Sequence[Series], missing: Sequence[Series]) -> None:
        self._store.begin_fetch(item, self._clock())
        try:
            self._ask(client.fetch, item.study_instance_uid, missing)
        except TryAgain as outcome:
            if self._is_over.is_set():  # broken off by ourselves
                return
            if outcome.code == AWAY:
                self._stand_back(item.source, outcome.reason)
            self._leave(item, outcome.reason)
            return
        self._failures.pop(item.source, None)
        still = self._missing(item, wanted)
        if still:
            self._leave(item, f"{len(still)} of {len(wanted)} series did not come whole")
        else:
            self._end_fetched(item, wanted)

    def _ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask a source; TryAgain, whatever goes wrong: it must not be repeated at once, nor hold up other studies."""
        try:
            return question(*args, **kwargs)
        except TryAgain:
            raise
        except Exception as error:
            logger.error("source %s", describe_error(error))
            raise TryAgain(f"an error that nobody expected ({type(error).__name__})", code="unexpected") from error

    def _wanted(self, item: ListedStudy, source: Source, offered: Sequence[Series]) -> list[Series]:
        modalities = item.modalities or source.modalities
        body_parts = item.body_parts or source.body_parts
        return [series for series in offered if is_wanted_series(series, source, modalities, body_parts)]

    def _count(self, item: ListedStudy, client: Client, series: Series) -> Series:
        """Count the images of a series of which the source gives no count, where it tells of each image."""
        if series.images:
            return series
        try:
            found = self._ask(client.find_images, item.study_instance_uid, series.series_instance_uid)
        except TryAgain as outcome:
            if outcome.code == AWAY:
                raise
            found = {}
        return replace(series, images=len(pick_images(found)) or None)

    def _missing(self, item: ListedStudy, wanted: Sequence[Series]) -> list[Series]:
        """Series of which fewer images are here than there; where the source gives no count, those of which none is."""
        held = self._store.images_by_series(item.study_instance_uid) or {}
        return [
            series
            for series in wanted
            if held.get(series.series_instance_uid, 0) < (1 if series.images is None else series.images)
        ]

    def _leave(self, item: ListedStudy, reason: str) -> None:
        """After an attempt that failed: another one later, or none."""
        attempts = item.attempts + 1
        if attempts >= self._settings.max_attempts:
            self._give_up(item, attempts, reason)
            return
        wait = next_delay(attempts, self._settings.retry_seconds, LONGEST_WAIT_SECONDS)
        self._wait(item, reason, self._clock() + wait)
        logger.warning(
            "backfill=%d item=%d attempt=%d, again in %.0f s: %s",
            item.backfill_id, item.item_id, attempts, wait.total_seconds(), reason,
        )  # fmt: skip

    def _wait(self, item: ListedStudy, reason: str, not_before: datetime) -> None:
        """Leave a study for another attempt; where some of it is here, its story says what that waits for."""
        is_begun = self._store.fetch_failed(item, reason, not_before)
        study_id = self._store.find_study(item.study_instance_uid) if is_begun else None
        if study_id is not None:
            self._store.record_wait(study_id, f"waits for the rest of it: {reason}", self._clock())

    def _give_up(self, item: ListedStudy, attempts: int, reason: str) -> None:
        """What has come of a study is screened; where nothing has, a person must look."""
        sentence = f"{reason}; tried {attempts} times"
        if self._store.images_by_series(item.study_instance_uid):
            self._end(item, "fetched", "incomplete", sentence)
        else:
            self._end(item, "failed", "not_fetched", sentence)

    def _end_fetched(self, item: ListedStudy, wanted: Sequence[Series]) -> None:
        uncounted = describe_uncounted(wanted)
        self._end(item, "fetched", "uncounted" if uncounted else "", uncounted)

    def _end(self, item: ListedStudy, state: str, code: str = "", reason: str = "") -> None:
        self._store.end_fetch(item, state, code=code, reason=reason, now=self._clock())
        logger.info(
            "backfill=%d item=%d study=%s state=%s %s",
            item.backfill_id, item.item_id, self._store.find_study(item.study_instance_uid), state, reason,
        )  # fmt: skip

    def _stand_back(self, source: str, reason: str) -> None:
        failures = self._failures[source] = self._failures.get(source, 0) + 1
        wait = next_delay(failures, self._settings.retry_seconds, LONGEST_WAIT_SECONDS)
        self._away_until[source] = self._clock() + wait
        level = logging.WARNING if failures == 1 else logging.DEBUG
        logger.log(level, "source=%s left alone for %.0f s: %s", source, wait.total_seconds(), reason)


def describe_uncounted(wanted: Sequence[Series]) -> str:
    """Say of how many series nobody knows how many images they have; empty where there is none."""
    uncounted = sum(series.images is None for series in wanted)
    return f"of {uncounted} of its series the source does not say how many images there are" if uncounted else ""
