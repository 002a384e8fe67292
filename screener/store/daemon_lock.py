"""The lock of the one daemon on a database: held for its life, and free as soon as it has died.

PostgreSQL keeps it with the session that has taken it, the kernel with the
process that has locked a file beside an SQLite database. No row says who holds
it: a row would outlive a daemon that was killed.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

KEY = int.from_bytes(b"parotid!")
"""Of the advisory lock; it holds within one database of the server."""
SILENT_PEER = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""Seconds, the last milliseconds: each side of the session misses the other's machine within half a minute."""
CONNECT_SECONDS = 10


class DaemonLock(Protocol):
    """One lock per database, whichever kind of database it is."""

    @property
    def patience_seconds(self) -> float:
        """So long it may seem to be held by a daemon that has died."""

    def take(self) -> bool:
        """Take the lock, or see that it is still held; False: another daemon has it.

        Raises sqlalchemy.exc.DBAPIError where the database does not answer:
        the lock is not held then.
        """

    def release(self) -> None:
        """Let go of it; nothing happens where it is not held."""


def open_daemon_lock(url: str) -> DaemonLock:
    """Give the lock of the database at `url`, not yet taken."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return FileLock(Path(f"{parsed.database}.daemon"))
    return SessionLock(url)


def is_taken(engine: sa.Engine) -> bool:
    """Tell whether a daemon holds the lock of a database, in a way that keeps no daemon from it.

    Raises OSError where the file beside an SQLite database cannot be opened.
    """
    if engine.url.get_backend_name() == "sqlite":
        return _is_locked(Path(f"{engine.url.database}.daemon"))
    held = sa.text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
        " AND classid = :high AND objid = :low"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with engine.connect() as connection:
        return bool(connection.execute(held, {"high": KEY >> 32, "low": KEY & 0xFFFFFFFF}).scalar_one())


def _is_locked(path: Path) -> bool:
    """Share the lock for a moment: whoever else looks is not taken for a daemon, and a daemon tries again."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class FileLock:
    """flock(2) on a file; OSError where it cannot be opened."""

    patience_seconds = 5.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Lock the file; the descriptor is not inherited, so that no worker keeps it locked."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Close the file, which stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SessionLock:
    """pg_try_advisory_lock on a connection of its own."""

    patience_seconds = 60.0

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={**SILENT_PEER, "connect_timeout": CONNECT_SECONDS},
        )
        self._connection: sa.Connection | None = None

    def take(self) -> bool:
        """Ask over the session that holds the lock; one that has ended has lost it, and a new one tries."""
        if self._connection is not None:
            try:
                self._connection.execute(sa.text("SELECT 1"))
            except sa.exc.DBAPIError:
                self.release()
            else:
                return True
        return self._begin()

    def _begin(self) -> bool:
        self._connection = self._engine.connect()
        try:
            for name, value in SILENT_PEER.items():
                setting = name if name.startswith("tcp_") else f"tcp_{name}"
                # from pg_settings: a server without such a setting does without
                known = sa.text("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :name")
                self._connection.execute(known, {"name": setting, "value": str(value)})
            is_mine = bool(self._connection.execute(sa.select(sa.func.pg_try_advisory_lock(KEY))).scalar_one())
        except sa.exc.DBAPIError:
            self.release()
            raise
        if not is_mine:
            self.release()
        return is_mine

    def release(self) -> None:
        """End the session, and with it the lock."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
