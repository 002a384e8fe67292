"""What a database is asked, and how SQLite goes about it: no question of every few seconds may read a whole table."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from screener.store import Store


@contextmanager
def watch_statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Give each statement with its values, as they come."""
    asked: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        asked.append(arguments[2:4])

    sa.event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", note)


def plan_lines(store: Store, asked: list[tuple[str, Any]]) -> set[str]:
    """What SQLite does for the statements that were watched (sqlite.org/eqp.html)."""
    plans: set[str] = set()
    with store.engine.connect() as connection:
        for statement, values in asked:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                plans |= {row.detail for row in rows}
    return plans
