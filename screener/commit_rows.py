"""Commit the rows of received instances together where several wait: one transaction, one sync of the disk.

Who comes first commits, at once where nobody else is about to come or waits
for the disk, and for all that have come by then; who comes meanwhile is
committed by the next, while the first waits for the disk.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from screener.store import Store
from screener.store.values import Receipt, ReceivedInstance

MOST_AT_ONCE = 64
LINGER_SECONDS = 0.001
"""So long at most a commit waits for those who are about to come."""


@dataclass(slots=True)
class _Waiting:
    received: ReceivedInstance
    now: datetime
    receipt: Receipt | None = None
    is_durable: bool = False
    is_called: threading.Event = field(default_factory=threading.Event)
    """Committed and synced by another; or it has to see to it itself: to both, or to the sync alone."""
    leads: bool = False


class RowWriter:
    """Called by any number of threads."""

    def __init__(
        self,
        store: Store,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
        sync: Callable[[], None] = lambda: None,
    ) -> None:
        """`turn` keeps other processes out: SQLite lets who waits for it sleep, and too long.

        `sync` makes durable what `store` has committed, where its commits alone do not.
        """
        self._store = store
        self._turn = turn
        self._sync = sync
        self._lock = threading.Lock()
        self._has_come = threading.Condition(self._lock)
        self._waiting: list[_Waiting] = []
        self._coming = 0
        self._is_led = False

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Around `record` and the work just before it, so that others may wait a moment to be committed together."""
        with self._lock:
            self._coming += 1
        try:
            yield
        finally:
            with self._lock:
                self._coming -= 1
                self._has_come.notify_all()

    def record(self, received: ReceivedInstance, now: datetime) -> Receipt:
        """Return once the row is committed; raise what kept it from that."""
        mine = _Waiting(received, now)
        with self._lock:
            self._waiting.append(mine)
            mine.leads = not self._is_led
            self._is_led = True
            self._has_come.notify_all()
        if not mine.leads:
            mine.is_called.wait()
        if mine.leads:
            self._commit_batch(mine)
        if mine.receipt is None:
            with self._turn():
                mine.receipt = self._store.record_instance(received, now)
        if not mine.is_durable:
            self._sync()
        return mine.receipt

    def _commit_batch(self, mine: _Waiting) -> None:
        """Commit whatever waits by then; after it the next leads, while this one waits for the disk."""
        batch = [mine]
        try:
            try:
                with self._has_come:
                    self._has_come.wait_for(lambda: len(self._waiting) >= self._coming, LINGER_SECONDS)
                with self._turn():
                    with self._lock:
                        batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                    self._commit(batch)
            finally:
                self._hand_over(mine)
            if mine.receipt is not None:
                self._sync()
                for waiting in batch:
                    waiting.is_durable = True  # a batch is committed as a whole
        finally:
            for waiting in batch:
                waiting.is_called.set()

    def _hand_over(self, mine: _Waiting) -> None:
        with self._lock:
            self._waiting = [waiting for waiting in self._waiting if waiting is not mine]
            heir = self._waiting[0] if self._waiting else None
            self._is_led = heir is not None
        if heir is not None:
            heir.leads = True
            heir.is_called.set()

    def _commit(self, batch: list[_Waiting]) -> None:
        if len(batch) == 1:
            batch[0].receipt = self._store.record_instance(batch[0].received, batch[0].now)
            return
        try:
            receipts = self._store.record_instances([(waiting.received, waiting.now) for waiting in batch])
        except SQLAlchemyError:
            return  # one of them may be to blame: each tries by itself
        for waiting, receipt in zip(batch, receipts, strict=True):
            waiting.receipt = receipt
