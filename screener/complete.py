"""RECEIVED -> COMPLETE: decide that a study has stopped arriving.

DICOM has no end-of-study message for C-STORE. Three signals must agree: no
new image for a while, counted per study and across associations; no hole in
the rows of slices; and, where a PACS can be asked, no more images there than
here. After `max_wait` the study waits no longer, and its story says what was
missing. A late image reopens it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pydicom.uid import CTImageStorage

from screener.config import Completeness, Config
from screener.dispatch import dispatch_study
from screener.find_gaps import Place, find_gaps
from screener.logs import describe_error
from screener.read_place import read_place
from screener.store import QuietStudy, Store
from screener.study import Thresholds

logger = logging.getLogger(__name__)

CALM: Final = timedelta(seconds=2)
"""Silence after which a study that had been quiet, and waited for slices, is looked at again."""
INCOMPLETE: Final = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What the slices or PACS say of a study."""

    missing: tuple[str, ...] = ()
    """A sentence for each series of which slices have not come."""
    remarks: tuple[str, ...] = ()
    """What else they say, or that they say nothing; a sentence for each PACS."""


AskCount = Callable[[QuietStudy, datetime], Count | None]
"""Give what is known of a study as it now is, without waiting; None while the question is under way."""


@dataclass(slots=True)
class _Watch:
    """A study that has been quiet, and waits."""

    news_at: datetime
    places: dict[Path, Place] = field(default_factory=dict)
    """Read once per file."""
    gaps: tuple[str, ...] | None = None
    """None: not looked for yet."""
    is_held: bool = False
    """True: something is missing. False: only an answer of a PACS is waited for."""


class Completion:
    """Looks again and again at the studies that have fallen silent, and lets go of those that are whole."""

    def __init__(
        self,
        store: Store,
        config: Config,
        ask_count: AskCount | None = None,
        thresholds: Callable[[], Thresholds] | None = None,
    ) -> None:
        """`thresholds` gives those in force at the moment; None leaves it at those of `config`."""
        self._thresholds = thresholds or config.thresholds
        self._store = store
        self._config = config
        self._settings: Completeness = config.completeness
        self._quiet = timedelta(seconds=self._settings.quiet_seconds)
        self._max_wait = timedelta(seconds=self._settings.max_wait_seconds)
        self._ask_count = ask_count
        self._watched: dict[int, _Watch] = {}
        self._began_at = datetime.min.replace(tzinfo=UTC)

    def begin(self, now: datetime) -> None:
        """The door is open: what could not be sent before may come from now on, and waiting counts from now on."""
        self._began_at = now

    def dispatch_complete_studies(self, now: datetime) -> int:
        """Dispatch every study that counts as whole at `now`; returns how many."""
        dispatched = 0
        self._began_at = min(self._began_at, now)  # the clock may be set back
        calm = min(CALM, self._quiet) if self._watched else self._quiet
        for study in self._store.quiet_studies(now, quiet=calm, max_wait=self._max_wait):
            watch = self._watched.get(study.study_id)
            is_calm = self._has_waited(study.news_at, calm if watch and watch.is_held else self._quiet, now)
            is_over = self._has_waited(study.news_since_at or study.news_at, self._max_wait, now)
            if study.is_being_fetched:  # nothing comes of it any more: its source is away
                is_over = is_calm = self._has_waited(study.news_at, self._max_wait, now)
            if is_calm or is_over or study.is_asked_for:
                dispatched += self._judge_alone(study, now, is_calm=is_calm, is_over=is_over)
        return dispatched

    def _has_waited(self, since: datetime, wait: timedelta, now: datetime) -> bool:
        """Tell whether so much has passed while images could come."""
        return max(since, self._began_at) <= now - wait

    def _judge_alone(self, study: QuietStudy, now: datetime, *, is_calm: bool, is_over: bool) -> bool:
        """Judge one study; what goes wrong with it keeps no other from its turn."""
        try:
            return self._judge(study, now, is_calm=is_calm, is_over=is_over)
        except Exception as error:  # noqa: BLE001 - the edge of one study: it has its turn again with the next look
            logger.error("study=%d stage=received %s", study.study_id, describe_error(error))
            return False

    def _judge(self, study: QuietStudy, now: datetime, *, is_calm: bool, is_over: bool) -> bool:
        """Let a study go on, set it aside or keep it waiting; True: it waits no longer."""
        if study.is_asked_for or study.is_fetched:  # a person's word; a PACS's count has been compared already
            return self._let_go(study, self._describe_silence(study, now, is_calm=is_calm), now)
        found = self._find_missing(study, now, is_over=is_over)
        if found is None:
            return False
        missing, remarks = found.missing, found.remarks
        if study.fetch_reason:
            told = (f"night list: {study.fetch_reason}",)
            missing, remarks = (told + missing, remarks) if study.is_being_fetched else (missing, told + remarks)
        if missing and not is_over:
            self._hold(study, "; ".join(missing), now)
            return False
        silence = self._describe_silence(study, now, is_calm=is_calm)
        if missing or not is_calm:
            waited = f"{self._settings.max_wait_seconds:g} s after the first image"
            if self._settings.after_max_wait == "set_aside":
                reason = "; ".join([f"not whole {waited}", *([] if is_calm else [silence]), *missing])
                return self._set_aside(study, reason, remarks, now)
            silence = "; ".join([silence, *(f"not waited for any longer than {waited}: {one}" for one in missing)])
        return self._let_go(study, "; ".join([silence, *remarks]), now)

    def _find_missing(self, study: QuietStudy, now: datetime, *, is_over: bool) -> Count | None:
        """What is missing by the places of the slices and by the count of PACS; None while a PACS is waited for."""
        try:
            slices = self._look_if_readable(study, is_over=is_over)
            count = self._ask_count(study, now) if self._ask_count is not None else Count()
        except Exception as error:  # noqa: BLE001 - the edge of one study: it must come to its end all the same
            logger.error("study=%d stage=received %s", study.study_id, describe_error(error))
            return Count(missing=(f"nobody can tell whether it is whole ({type(error).__name__})",))
        if count is None:
            if not is_over:
                return None
            count = Count(remarks=("no PACS has said yet how many images it holds",))
        return Count(missing=slices.missing + count.missing, remarks=slices.remarks + count.remarks)

    def _look_if_readable(self, study: QuietStudy, *, is_over: bool) -> Count:
        """As `_look`; a disk that is away is waited for, and what is over goes on: workers wait longer for it."""
        try:
            return self._look(study)
        except OSError as error:
            told = (f"the disk does not give its images now ({type(error).__name__})",)
            return Count(remarks=told) if is_over else Count(missing=told)

    def _look(self, study: QuietStudy) -> Count:
        """Tell which slices are missing between those that have come."""
        watch = self._watched.get(study.study_id)
        if watch is None or watch.news_at != study.news_at or watch.gaps is None:
            watch = self._read_places(study)
        gaps = watch.gaps or ()
        if gaps or CTImageStorage not in study.sop_class_uids:
            return Count(missing=gaps)
        is_placed = any(place.position_mm and place.orientation for place in watch.places.values())
        return Count(remarks=("no slice is missing between others" if is_placed else "no slice says where it lies",))

    def _read_places(self, study: QuietStudy) -> _Watch:
        """Read where the slices lie that have come since the last look."""
        watch = self._watched.setdefault(study.study_id, _Watch(study.news_at))
        watch.news_at, watch.gaps, places = study.news_at, None, watch.places
        for image in self._store.images_of(study.study_id, self._config.storage_folder):
            if image.sop_class_uid == CTImageStorage and image.path not in places:
                places[image.path] = read_place(image.path, image.series_instance_uid)
        watch.gaps = tuple(map(str, find_gaps(places.values())))
        return watch

    def _hold(self, study: QuietStudy, missing: str, now: datetime) -> None:
        watch = self._watched.setdefault(study.study_id, _Watch(study.news_at))
        if not watch.is_held:
            logger.info("study=%d stage=received waits=%r", study.study_id, missing)
        watch.is_held = True
        self._store.record_wait(study.study_id, f"waits: {missing}", now)

    def _describe_silence(self, study: QuietStudy, now: datetime, *, is_calm: bool) -> str:
        if study.news_at <= now - self._quiet:
            return f"no new image for {self._settings.quiet_seconds:g} s"
        if is_calm:
            return "what was missing has come"
        return f"images still arrive, but the first is {self._settings.max_wait_seconds:g} s old"

    def _let_go(self, study: QuietStudy, signal: str, now: datetime) -> bool:
        study = replace(study, signal=signal)
        ended = dispatch_study(self._store, study, self._thresholds(), now)
        if ended is None:  # an image has come meanwhile
            return False
        self._watched.pop(study.study_id, None)
        logger.info("study=%d stage=complete signal=%r next=%r", study.study_id, signal, ended)
        return True

    def _set_aside(self, study: QuietStudy, reason: str, remarks: tuple[str, ...], now: datetime) -> bool:
        waited = f"not waited for any longer than {self._settings.max_wait_seconds:g} s"
        study = replace(study, signal="; ".join([waited, *remarks]))
        if not self._store.set_aside_study(study, code=INCOMPLETE, reason=reason, now=now):
            return False
        self._watched.pop(study.study_id, None)
        logger.info("study=%d stage=complete next='set aside' reason=%r", study.study_id, reason)
        return True
