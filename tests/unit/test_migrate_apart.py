"""The daemon's schema is brought up to date elsewhere, and what goes wrong there is told here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from screener.store import open_store
from screener.store.engine import migrate, open_engine
from screener.store.tables import metadata

DAEMON = """
import sys
from screener.store import open_store
store = open_store(sys.stdin.read(), is_migrating=True, is_long_lived=True)
print("alembic" in sys.modules, store.counts().received)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/screener.sqlite"
    server: str = request.getfixturevalue("postgresql")
    return server


def start(url: str) -> str:
    command = [sys.executable, "-c", DAEMON]
    return subprocess.run(command, input=url, text=True, capture_output=True, check=True, timeout=120).stdout.strip()


def test_the_schema_is_brought_up_to_date_and_alembic_is_not_kept(url: str) -> None:
    assert start(url) == "False 0"
    engine = open_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert start(url) == "False 0", "a second start"


def test_an_old_schema_is_seen(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/screener.sqlite"
    engine = open_engine(url)
    migrate(engine, "0003")
    engine.dispose()
    assert start(url) == "False 0"
    store = open_store(url)
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    store.engine.dispose()


def test_a_current_schema_costs_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/screener.sqlite"
    open_store(url, is_migrating=True).engine.dispose()
    monkeypatch.setattr("screener.store.migrate_apart.subprocess.run", None)
    open_store(url, is_migrating=True, is_long_lived=True).engine.dispose()


def test_a_schema_that_a_newer_screener_has_made_is_refused_here(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/screener.sqlite"
    engine = open_engine(url)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(Exception, match=re.escape("Can't locate revision identified by '9999'")):
        open_store(url, is_migrating=True, is_long_lived=True)
