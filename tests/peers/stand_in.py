"""A worker whose screening takes a fixed time: for tests of the queue, in which no network has to look."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import OperationalError

from screener.decide import decide
from screener.journey import Queue
from screener.store import LeaseLostError, Run, Screening, Store
from screener.study import Side
from tests.peers.values import BOTH_ASSESSED, a_candidate

LEASE = timedelta(seconds=30)


class StandIn:
    """Takes run after run in the store's order; `finds` gives the voxels of the mass found in the left gland."""

    def __init__(
        self,
        store: Store,
        *,
        seconds: float = 0.0,
        finds: Callable[[Run], int] = lambda _: 0,
        recipients: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._finds = finds
        self._recipients = recipients
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stand-in worker", daemon=True)
        self.screened: list[tuple[str, datetime]] = []
        """Study Instance UID and time of each run, as they ended."""

    def __enter__(self) -> "StandIn":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._is_over.is_set():
            try:
                run = self._store.claim_run(Queue.CT, "stand-in", datetime.now(UTC), LEASE)
            except OperationalError:  # the schema is not there yet
                run = None
            if run is None:
                self._is_over.wait(0.1)
                continue
            time.sleep(self._seconds)
            try:
                self._finish(run)
            except LeaseLostError:
                continue
            self.screened.append((run.study_instance_uid, datetime.now(UTC)))

    def _finish(self, run: Run) -> None:
        voxels = self._finds(run)
        candidates = (a_candidate(1, voxels, Side.LEFT),) if voxels else ()
        screening = Screening(
            assessments=BOTH_ASSESSED,
            candidates=candidates,
            verdict=decide(BOTH_ASSESSED, candidates, run.thresholds),
            results=(),
            model_identity="2.25.1",
        )
        self._store.finish_run(
            run,
            screening,
            destinations=[],
            recipients=self._recipients,
            seconds=self._seconds,
            now=datetime.now(UTC),
        )
