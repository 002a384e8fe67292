"""Commits to SQLite that are synced afterwards, while others commit already.

With `synchronous=FULL` a commit holds SQLite's one write lock until the disk has answered. With NORMAL it only appends
to the write-ahead log, and is durable once that file is synced (sqlite.org/pragma.html#pragma_synchronous); what moves
from the log to the database is synced by SQLite itself in either setting.
"""

import os
import sqlite3
import threading
from contextlib import suppress

import sqlalchemy as sa

from screener.store.engine import BUSY_SECONDS, open_engine

MENDING_SECONDS = 5.0
"""So long the mending of a log waits for those who read from it."""

_NOT_MENDED = "the database's write-ahead log could not be synced, nor carried over to the database"


class LaterSync:
    """An engine whose commits are durable after `sync`, and not before; called by any number of threads."""

    def __init__(self, engine: sa.Engine) -> None:
        """`engine`: the same SQLite database with commits that are synced one by one; `fits` must be true of it."""
        if not self.fits(engine):
            raise ValueError("only a file of SQLite with a write-ahead log can be synced from outside")
        self.engine = open_engine(engine.url.render_as_string(hide_password=False), is_synced=False)
        with self.engine.connect() as connection:
            # What SQLite calls it: the URL's name may be a link's.
            name = connection.exec_driver_sql("PRAGMA database_list").one()[2]
        self._path = f"{name}-wal"
        self._lock = threading.Lock()
        self._descriptor = -1
        self._has_failed = True  # for all we know: who was here before may have left a log whose end was not written
        with suppress(OSError), self._lock:
            self._sync()

    @staticmethod
    def fits(engine: sa.Engine) -> bool:
        """Tell whether the database is a file of SQLite and has a write-ahead log; not every file system allows one."""
        if engine.dialect.name != "sqlite":
            return False
        with engine.connect() as connection:
            return bool(connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal")

    def sync(self) -> None:
        """Return when whatever was committed before the call would survive a power cut; OSError where it may not."""
        # One at a time: the system tells of a failure once for each descriptor, to whoever asks first (fsync(2)).
        with self._lock:
            try:
                self._sync()
            except OSError:
                with suppress(OSError):  # at once: what others commit would stand behind what was not written
                    self._sync()
                raise

    def _sync(self) -> None:
        if self._has_failed:
            self._mend()
        # The system forgets what it could not write: the next sync would find nothing amiss.
        self._has_failed = True
        os.fdatasync(self._open())
        self._has_failed = False

    def close(self) -> None:
        """Let go of the log and the connections; the next use takes hold of them again."""
        with self._lock:
            self._let_go()
        self.engine.dispose()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        """Give the descriptor of the log, another one where SQLite has begun another file."""
        if self._descriptor >= 0 and not _is_same(self._descriptor, self._path):
            self._let_go()
        if self._descriptor < 0:
            # A file on which SQLite holds no locks of ours: to close it loses none (sqlite.org/howtocorrupt.html).
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        return self._descriptor

    def _mend(self) -> None:
        """After a failure: have SQLite carry the whole log over to the database, and empty it.

        Left as it is, a log whose end was not written would bring old pages back after a power cut. That it is empty
        is synced by who calls.
        """
        connection = self.engine.raw_connection()  # outside of a transaction
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={MENDING_SECONDS * 1000:.0f}")
            try:
                (is_busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        except sqlite3.Error as error:
            raise OSError(_NOT_MENDED) from error
        finally:
            connection.close()
        if is_busy:
            raise OSError(_NOT_MENDED)


def _is_same(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116 - text costs less, see archive
    except FileNotFoundError:
        return False
