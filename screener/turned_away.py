"""Remember who was turned away, so that `screener status` can tell: at most so many, and each once a minute."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from screener.logs import describe_error
from screener.store import Store

AGAIN_SECONDS = 60.0
MOST_REMEMBERED = 100
"""Callers in memory; what more of them say within a minute stands in the log alone."""

_logger = logging.getLogger(__name__)


class TurnedAway:
    """Called by any number of threads; whoever calls without end, under whatever titles, costs few writes."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`turn` keeps other processes out, as for `RowWriter`."""
        self._store = store
        self._clock = clock
        self._turn = turn
        self._lock = threading.Lock()
        self._written_at: dict[str, float] = {}

    def remember(self, reason: str) -> None:
        """Write down a caller, named in a sentence, unless that was done a moment ago."""
        if not self._is_news(reason, time.monotonic()):
            return
        try:
            with self._turn():
                self._store.record_caller(reason, self._clock())
        except SQLAlchemyError as error:
            _logger.error("a rejected caller is not remembered: %s", describe_error(error))

    def _is_news(self, reason: str, now: float) -> bool:
        with self._lock:
            self._written_at = {known: at for known, at in self._written_at.items() if now - at < AGAIN_SECONDS}
            if reason in self._written_at or len(self._written_at) >= MOST_REMEMBERED:
                return False
            self._written_at[reason] = now
            return True
