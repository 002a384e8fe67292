"""Only one daemon works on a database: two would each send every notice, and clear each other's unfinished files."""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.exc import DBAPIError

from screener.config import ConfigError
from screener.logs import describe_error
from screener.store.daemon_lock import DaemonLock

logger = logging.getLogger(__name__)

TAKEN = "database.url: another screener daemon works on this database; stop one of them, or give each its own"
AGAIN_SECONDS = 0.5


class OneDaemon:
    """Holds the database's lock from the start of the daemon to its end."""

    def __init__(self, lock: DaemonLock, on_lost: Callable[[], object]) -> None:
        """`on_lost` is called once another daemon has taken the database for good."""
        self._lock = lock
        self._on_lost = on_lost
        self._taken_since: float | None = None
        self.is_alone = False
        """False: whatever changes or tells anything must wait."""
        self.is_lost = False
        """True: another daemon has taken the database, and this one must end."""

    def begin(self) -> None:
        """Take the lock, from a daemon that ends if need be; ConfigError where another holds on to it."""
        deadline = time.monotonic() + self._lock.patience_seconds
        try:
            if not self._lock.take():
                logger.warning("another daemon works on this database: waiting for its end")
                self._wait(deadline)
        except OSError as error:
            raise ConfigError(f"database.url: {error.filename}: {error.strerror}") from None
        self.is_alone = True

    def _wait(self, deadline: float) -> None:
        while not self._lock.take():
            if time.monotonic() >= deadline:
                raise ConfigError(TAKEN)
            time.sleep(AGAIN_SECONDS)

    def watch(self, _now: datetime) -> None:
        """See that the lock is still held, and take it again where the database has lost it.

        Where another daemon has it, that may be this one's own lost session,
        which the server has not missed yet: this one ends after a while.
        """
        was_alone = self.is_alone
        try:
            self.is_alone = self._lock.take()
        except DBAPIError as error:
            self.is_alone, self._taken_since = False, None
            if was_alone:
                logger.warning("the database is away, and all work waits for it: %s", describe_error(error))
            return
        if self.is_alone:
            self._taken_since = None
            if not was_alone:
                logger.warning("the database is back, and the work goes on")
        elif self._taken_since is None:
            self._taken_since = time.monotonic()
            logger.error("another daemon has taken the database: this one does nothing, and ends if that stays so")
        elif time.monotonic() - self._taken_since >= self._lock.patience_seconds:
            self.is_lost = True
            self._on_lost()

    def alone(self, verb: Callable[[datetime], object]) -> Callable[[datetime], object]:
        """Give a verb that does nothing while another daemon may be at work."""
        return lambda now: verb(now) if self.is_alone else None

    def end(self) -> None:
        """Leave the database to the next daemon."""
        self.is_alone = False
        self._lock.release()
