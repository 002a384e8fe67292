"""Databases that more than one file of tests asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from screener.store import Store
from tests.peers.servers import open_postgresql
from tests.peers.stores import open_new_store


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of the file's own, without tables."""
    with open_postgresql() as url:
        yield url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of the test's own, in SQLite."""
    opened = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def nameless_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a number that no user has."""

    def refuse() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", refuse)
