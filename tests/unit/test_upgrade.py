"""An installation of any earlier version, with rows in every table, is brought up to date and keeps them."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from screener.store import tables as t
from screener.store.engine import MIGRATIONS, migrate, open_engine

REVISIONS = sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("0*.py"))


def fill(engine: sa.Engine) -> dict[str, int]:
    """Put one row into every table; the number of rows by the tables' names."""
    found = sa.MetaData()
    found.reflect(engine)
    tables = [table for table in found.sorted_tables if table.name != "alembic_version"]
    with engine.begin() as connection:
        for table in tables:
            connection.execute(table.insert().values({column.name: make_value(column) for column in table.columns}))
    return count(engine, [table.name for table in tables])


def make_value(column: sa.Column[Any]) -> object:
    if column.foreign_keys:
        return 1
    kind = column.type.python_type if not isinstance(column.type, sa.types.NullType) else str
    if issubclass(kind, bool):
        return False
    if issubclass(kind, datetime):
        return datetime(2026, 1, 1, tzinfo=UTC)
    if issubclass(kind, date):
        return date(2026, 1, 1)
    if issubclass(kind, (int, float)):
        return 1
    return {} if isinstance(column.type, sa.JSON) else "1"


def count(engine: sa.Engine, names: list[str]) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            name: connection.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one()
            for name in names
        }


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_rows_of_every_table_come_through_from_every_version(tmp_path: Path, revision: str) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/screener.sqlite")
    come_through(engine, revision)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    engine.dispose()


@pytest.mark.parametrize(("newest_seen", "next_number"), [(1, 3), (17, 18), (None, 3)])
def test_no_number_is_given_out_again_that_the_audit_trail_knows(
    tmp_path: Path, newest_seen: int | None, next_number: int
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/screener.sqlite")
    migrate(engine, "0023")
    fill(engine)
    another = (
        "INSERT INTO studies (id, study_instance_uid, stage, code, reason, received_at, reprocess_number)"
        " SELECT 2, '1.2', stage, code, reason, received_at, reprocess_number FROM studies"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit SET study_id = ?", (newest_seen,))
        connection.exec_driver_sql(another)
    migrate(engine)
    values = {"study_instance_uid": "1.3", "stage": "received", "received_at": datetime(2026, 1, 1, tzinfo=UTC)}
    with engine.begin() as connection:
        connection.execute(t.studies.delete().where(t.studies.c.id == 2))
        assert connection.execute(t.studies.insert().values(values)).inserted_primary_key == (next_number,)
    engine.dispose()


@pytest.mark.parametrize("revision", ["0010", "0016"])
def test_rows_of_every_table_come_through_on_a_server(postgresql: str, revision: str) -> None:
    engine = open_engine(postgresql)
    come_through(engine, revision)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


def come_through(engine: sa.Engine, revision: str) -> None:
    migrate(engine, revision)
    before = fill(engine)
    assert set(before.values()) == {1}
    migrate(engine)
    kept = {name: number for name, number in before.items() if name in t.metadata.tables}
    assert count(engine, list(kept)) == kept
