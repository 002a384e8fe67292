"""Stores for tests: a process runs the migrations once for SQLite, and every store after that begins as a copy."""

import tempfile
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from screener.store import Store, open_store


@cache
def _empty_database() -> bytes:
    """The file of an SQLite database with all tables and no rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "screener.sqlite"
        open_store(f"sqlite:///{path}", is_migrating=True).engine.dispose()
        return path.read_bytes()


def open_new_store(url: str) -> Store:
    """Open a store with all its tables at `url`; an SQLite file that is not there begins as a copy."""
    database = sa.make_url(url).database
    if not url.startswith("sqlite") or database in {None, ":memory:"} or Path(str(database)).exists():
        return open_store(url, is_migrating=True)
    Path(str(database)).write_bytes(_empty_database())
    return open_store(url)
