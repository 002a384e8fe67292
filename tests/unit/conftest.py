"""Databases that more than one file of tests asks for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from screener.store import Store, open_store
from tests.peers.servers import open_postgresql


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of the file's own, without tables."""
    with open_postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database, so that the migrations run once."""
    path = tmp_path_factory.mktemp("template") / "screener.sqlite"
    open_store(f"sqlite:///{path}", is_migrating=True).engine.dispose()
    return path


@pytest.fixture
def store(tmp_path: Path, template: Path) -> Iterator[Store]:
    """A store of the test's own, in SQLite."""
    shutil.copy(template, tmp_path / "screener.sqlite")
    opened = open_store(f"sqlite:///{tmp_path}/screener.sqlite")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def nameless_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a number that no user has."""

    def refuse() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", refuse)
