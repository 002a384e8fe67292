"""What the broker should be told: hints, never the truth."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from screener.journey import Queue
from screener.store import tables as t
from screener.store.base import Base
from screener.store.values import OwedHint


class Hints(Base):
    """Due work and when the broker was last told of it."""

    def owed_hints(self, now: datetime, repeat_after: timedelta) -> list[OwedHint]:
        """One hint per due row that the broker was never told of, and one per queue for all told of too long ago.

        However much waits, only what is new is read.
        """
        told_before = now - repeat_after
        hints = []
        with self._begin() as connection:
            for queue in Queue:
                table, is_due = _due(queue, now)
                new = sa.select(table.c.id).where(is_due, table.c.hinted_at.is_(None)).order_by(*_order(queue))
                hints += [OwedHint(queue=queue, row_id=row_id) for row_id in connection.execute(new).scalars()]
                old = sa.select(table.c.id).where(is_due, _is_stale(table, now, told_before)).limit(1)
                if connection.execute(old).first() is not None:
                    hints.append(OwedHint(queue=queue, told_before=told_before))
        return hints

    def hinted(self, owed: OwedHint, now: datetime) -> None:
        """Remember that the broker has taken a hint."""
        table, is_due = _due(owed.queue, now)
        which = table.c.id == owed.row_id
        if owed.told_before is not None:
            which = sa.and_(is_due, _is_stale(table, now, owed.told_before))
        with self._begin() as connection:
            connection.execute(table.update().where(which).values(hinted_at=now))


def _due(queue: Queue, now: datetime) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    """The table of a queue's work, and which of it a worker may take."""
    if queue is Queue.RESULTS:
        table = t.deliveries
        return table, sa.and_(table.c.state.in_(["owed", "sent"]), table.c.not_before <= now, table.c.owner.is_(None))
    return t.runs, sa.and_(t.runs.c.queue == queue, t.runs.c.state == "waiting", t.runs.c.not_before <= now)


def _order(queue: Queue) -> tuple[sa.Column[object], ...]:
    return (t.deliveries.c.id,) if queue is Queue.RESULTS else (t.runs.c.opened_at, t.runs.c.id)


def _is_stale(table: sa.Table, now: datetime, told_before: datetime) -> sa.ColumnElement[bool]:
    """True of what the broker was told of too long ago, or after `now`: the clock was set back since."""
    return sa.or_(table.c.hinted_at <= told_before, table.c.hinted_at > now)
