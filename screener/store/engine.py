"""Opening the database: SQLite as safe as PostgreSQL, and the schema brought up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from screener.config import ConfigError
from screener.store.daemon_lock import CONNECT_SECONDS, SILENT_PEER

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
BUSY_SECONDS = 60
_READING = "screener_is_reading"


def open_engine(url: str, *, is_synced: bool = True) -> sa.Engine:
    """Open the database at `url`.

    SQLite gets a write-ahead log and `synchronous=FULL`, so that a committed
    row survives a power cut, and every transaction takes the write lock when
    it begins, so that a read followed by a write never fails halfway; those of
    an engine that `reading` gives do not. With `is_synced` false a commit to
    SQLite may be lost again, and only that (see `sync_later`). A PostgreSQL
    whose machine is gone is missed within half a minute.
    """
    if not url.startswith("sqlite"):
        limits = {**SILENT_PEER, "connect_timeout": CONNECT_SECONDS}
        return sa.create_engine(url, pool_pre_ping=True, connect_args=limits)
    # The connection that was used last: each has a cache of its own, which a commit of another one empties.
    connect_args = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = sa.create_engine(url, connect_args=connect_args, pool_use_lifo=True)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if is_synced else 'NORMAL'}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        is_reading = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")

    return engine


def reading(engine: sa.Engine) -> sa.Engine:
    """The same database for transactions that only read: on SQLite they wait for no writer, nor does one for them."""
    return engine.execution_options(**{_READING: True})


def check_durability(engine: sa.Engine) -> None:
    """Raise ConfigError where a server may lose what it has committed: C-STORE's Success rests on that."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        settings = ("fsync", "synchronous_commit")
        off = [name for name in settings if connection.exec_driver_sql(f"SHOW {name}").scalar_one() == "off"]
    if off:
        engine.dispose()
        sentence = f"the server has {' and '.join(off)} off: a committed row need not survive a power cut"
        raise ConfigError(f"database.url: {sentence}")


def migrate(engine: sa.Engine, revision: str = "head") -> None:
    """Bring the schema up to date, or to `revision`.

    Called by the daemon at its start, before anything else uses the database.
    """
    from alembic import command  # 11 MiB that a listener process and a worker have no use for
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.connect() as connection, _without_references(connection):
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def _without_references(connection: sa.Connection) -> Iterator[None]:
    """Let SQLite drop a table that others refer to and put its successor in its place, as a migration does.

    The way that SQLite names for it (sqlite.org/lang_altertable.html, section
    7): the setting changes outside of a transaction only; `check_references`
    comes before the commit. A server alters its tables in place.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    sqlite: Any = connection.connection.dbapi_connection
    sqlite.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        connection.rollback()
        sqlite.execute("PRAGMA foreign_keys=ON")


def check_references(connection: sa.Connection) -> None:
    """Raise RuntimeError where a migration has left rows in SQLite that refer to nothing."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise RuntimeError(f"rows of the table {broken[0]} refer to nothing")
