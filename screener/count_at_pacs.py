"""Ask PACS how many images of a study they hold, while nobody waits for the answer.

A count per series first; where it is larger than ours, or none is given, the
images themselves, because a series may hold what the door does not take. A
PACS that cannot be asked is no reason to wait.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydicom import Dataset

from screener.complete import Count
from screener.config import AskedPacs, Source
from screener.logs import describe_error
from screener.outcomes import TryAgain
from screener.pull.ask_pacs import Caller, PacsSource
from screener.pull.match import Series, pick_images
from screener.store import QuietStudy, Store

logger = logging.getLogger(__name__)

MODALITIES: Final = frozenset({"CT", "US"})
"""Of series that a run reads; what others hold may come or not."""
AGAIN_AFTER: Final = timedelta(seconds=15)
"""A PACS that holds more is asked again, as long as the study waits."""
AWAY_FOR: Final = timedelta(seconds=60)
"""A PACS that did not answer is not asked meanwhile."""
THREADS: Final = 2
MOST_KEPT: Final = 1000
"""Studies of which an answer is kept."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked of one state of a study."""

    news_at: datetime
    asked_at: datetime
    answer: Future[Count]


class PacsCounts:
    """Asks each PACS of `[[completeness.pacs]]` that the senders of a study share it with."""

    def __init__(self, pacs: Sequence[AskedPacs], store: Store, *, ae_title: str, timeout_seconds: float) -> None:
        self._store = store
        caller = Caller(ae_title=ae_title, timeout_seconds=timeout_seconds, store=_take_nothing)
        self._pacs = [(one, PacsSource(_as_source(one), caller), threading.Lock()) for one in pacs]
        self._away_until: dict[str, datetime] = {}
        self._questions: dict[int, _Question] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="count at PACS")

    def ask(self, study: QuietStudy, now: datetime) -> Count | None:
        """Give the newest answer about the study as it now is; None while there is none yet. Never waits."""
        asked = [one for one in self._pacs if one[0].answers_for(study.senders)]
        if not asked:
            return Count()
        question = self._questions.get(study.study_id)
        if question is not None and not question.answer.done():
            return None
        is_old = question is None or question.news_at != study.news_at
        if question is not None and not is_old:
            answer = question.answer.result()
            if not answer.missing or now - question.asked_at < AGAIN_AFTER:
                return answer
        while len(self._questions) >= MOST_KEPT:
            self._questions.pop(next(iter(self._questions)))
        work: Callable[..., Count] = self._count
        self._questions[study.study_id] = _Question(study.news_at, now, self._threads.submit(work, study, asked, now))
        return answer if question is not None and not is_old else None

    def close(self) -> None:
        """End what is under way: the daemon stops."""
        for _, source, _ in self._pacs:
            source.abort()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _count(
        self, study: QuietStudy, asked: Sequence[tuple[AskedPacs, PacsSource, threading.Lock]], now: datetime
    ) -> Count:
        missing: list[str] = []
        remarks: list[str] = []
        for pacs, source, lock in asked:
            with lock:  # one question at a time to each: a source holds one association
                if now < self._away_until.get(pacs.name, now):
                    remarks.append(f"{pacs.name} did not say how many images it holds: it did not answer lately")
                    continue
                try:
                    held = self._store.instances_by_series(study.study_id)
                    series = [one for one in source.find_series(study.study_instance_uid) if one.modality in MODALITIES]
                    found = list(_compare(pacs, source, study.study_instance_uid, series, held))
                except TryAgain as away:
                    self._away_until[pacs.name] = now + AWAY_FOR
                    logger.warning("study=%d images are not counted: %s", study.study_id, away.reason)
                    remarks.append(f"{pacs.name} did not say how many images it holds: {away.reason}")
                    continue
                except Exception as error:  # noqa: BLE001 - the edge: what fails on this thread is nobody's standstill
                    logger.error("study=%d images are not counted: %s", study.study_id, describe_error(error))
                    remarks.append(f"{pacs.name} was not asked how many images it holds: {type(error).__name__}")
                    continue
            missing += found
            if not series:
                remarks.append(f"{pacs.name} does not know the study")
            elif not found:
                remarks.append(f"{pacs.name} holds no more images")
        return Count(missing=tuple(missing), remarks=tuple(remarks))


def _compare(
    pacs: AskedPacs,
    source: PacsSource,
    study_instance_uid: str,
    series: Sequence[Series],
    held: Mapping[str, frozenset[str]],
) -> Iterator[str]:
    """Yield a sentence for each series of which the PACS holds images that have not come."""
    for one in series:
        here = held.get(one.series_instance_uid, frozenset())
        if (not here and not pacs.whole_studies) or (one.images is not None and one.images <= len(here)):
            continue
        images = source.find_images(study_instance_uid, one.series_instance_uid)
        # A PACS that does not answer for images has counted them all the same.
        missing = len(pick_images(images) - here) if images else (one.images or 0) - len(here)
        if missing > 0:
            yield (
                f"{missing} {'image' if missing == 1 else 'images'} of series {one.series_instance_uid}, which "
                f"{pacs.name} holds, {'has' if missing == 1 else 'have'} not come ({len(here)} have)"
            )


def _as_source(pacs: AskedPacs) -> Source:
    return Source(name=pacs.name, ae_title=pacs.ae_title, host=pacs.host, port=pacs.port)


def _take_nothing(_: object) -> Dataset:
    raise AssertionError("nothing is fetched here")
