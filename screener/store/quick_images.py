"""The row of a further image of a study whose images still arrive, in SQLite: nearly all that ever comes.

What SQLAlchemy does around a statement costs more than what SQLite does for it, and the time counts twice: nobody else
commits meanwhile. So these two statements, made by SQLAlchemy from the tables, go to the driver as they are.
Whatever is not as plain as that is left to `intake`.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import OperationalError

from screener.journey import Stage
from screener.store import tables as t
from screener.store.base import IN_FLIGHT
from screener.store.values import Kind, ReceivedInstance

_FURTHER_IMAGE = (
    t.studies.update()
    .where(
        t.studies.c.study_instance_uid == sa.bindparam("uid"),
        t.studies.c.news_since_at.is_not(None),
        t.studies.c.news_at.is_not(None),
    )
    .values(
        news_at=sa.func.max(t.studies.c.news_at, sa.bindparam("now", type_=t.studies.c.news_at.type)),
        stage=Stage.RECEIVED,
        **IN_FLIGHT,
    )
    .returning(t.studies.c.id)
)
Describe = Callable[[ReceivedInstance, int, datetime], Mapping[str, object]]


class QuickImages:
    """Two statements that are made once."""

    def __init__(self, engine: sa.Engine, describe: Describe) -> None:
        """`describe` gives the values of an instance's row."""
        self._engine = engine
        self._describe = describe
        self._hold = _Prepared(_FURTHER_IMAGE, engine.dialect)
        self._insert = _Prepared(sqlite.insert(t.instances).on_conflict_do_nothing(), engine.dialect)

    @staticmethod
    def fits(engine: sa.Engine) -> bool:
        """Tell whether the database is an SQLite that knows RETURNING (sqlite.org/lang_returning.html)."""
        return engine.dialect.name == "sqlite" and sqlite3.sqlite_version_info >= (3, 35)

    def record(self, arrived: Sequence[tuple[ReceivedInstance, datetime]]) -> bool:
        """Commit the rows of them all; False, and nothing is changed, where one of them is not as plain as that.

        Each study's row is written before the instance's, so that their numbers grow with the arrivals of a study.
        """
        if any(received.kind is not Kind.IMAGE for received, _ in arrived):
            return False
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            if all(self._record(cursor, received, now) for received, now in arrived):
                cursor.execute("COMMIT")
                return True
        except sqlite3.OperationalError as error:  # locked for too long, or the disk is full: no better a second time
            raise OperationalError("a further image", None, error) from error
        except (sqlite3.Error, ValueError):  # what it means is for `intake` to say, which meets it again
            pass
        finally:
            connection.close()  # to the pool, which rolls back what was not committed
        return False

    def _record(self, cursor: DBAPICursor, received: ReceivedInstance, now: datetime) -> bool:
        study = self._hold.run(cursor, {"uid": received.study_instance_uid, "now": now}).fetchall()
        return bool(study) and self._insert.run(cursor, self._describe(received, study[0][0], now)).rowcount == 1


class _Prepared:
    """A statement as the driver takes it, with what turns values into the driver's own."""

    def __init__(self, statement: sa.ClauseElement, dialect: sa.Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._constants = compiled.params
        self._places = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup
        ]

    def run(self, cursor: DBAPICursor, values: Mapping[str, Any]) -> DBAPICursor:
        """Execute it with `values` by name; those that it does not name stand in the statement already."""
        given = {**self._constants, **values}
        cursor.execute(
            self._text,
            [given[name] if process is None else process(given[name]) for name, process in self._places],
        )
        return cursor
