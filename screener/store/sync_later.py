"""Commits to SQLite that are synced afterwards, while others commit already.

With `synchronous=FULL` a commit holds SQLite's one write lock until the disk has answered. With NORMAL it only appends
to the write-ahead log, and is durable once that file is synced (sqlite.org/pragma.html#pragma_synchronous); what moves
from the log to the database is synced by SQLite itself in either setting.
"""

import os
import sqlite3
import threading

import sqlalchemy as sa

from screener.store.engine import open_engine

_NOT_MENDED = "the database's write-ahead log could not be synced, nor carried over to the database"


class LaterSync:
    """An engine whose commits are durable after `sync`, and not before; called by any number of threads."""

    def __init__(self, engine: sa.Engine) -> None:
        """`engine`: the same SQLite database with commits that are synced one by one."""
        database = engine.url.database
        if engine.dialect.name != "sqlite" or not database:
            raise ValueError("only a file of SQLite has a write-ahead log that can be synced from outside")
        self.engine = open_engine(engine.url.render_as_string(hide_password=False), is_synced=False)
        self._path = f"{database}-wal"
        self._lock = threading.Lock()
        self._descriptor = -1
        self._has_failed = False

    def sync(self) -> None:
        """Return when whatever was committed before the call would survive a power cut; OSError where it may not."""
        # One at a time: the system tells of a failure once for each descriptor, to whoever asks first (fsync(2)).
        with self._lock:
            if self._has_failed:
                self._mend()
            # The system forgets what it could not write: the next sync would find nothing amiss.
            self._has_failed = True
            os.fdatasync(self._open())
            self._has_failed = False

    def close(self) -> None:
        """Let go of the log and the connections; the next use takes hold of them again."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        self.engine.dispose()

    def _open(self) -> int:
        """Give the descriptor of the log, another one where SQLite has begun another file."""
        if self._descriptor < 0 or not os.fstat(self._descriptor).st_nlink:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
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
            (is_busy, *_) = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise OSError(_NOT_MENDED) from error
        finally:
            connection.close()
        if is_busy:
            raise OSError(_NOT_MENDED)
