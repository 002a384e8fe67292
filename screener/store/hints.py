"""What the broker should be told: hints, never the truth."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from screener.journey import Queue
from screener.store import tables as t
from screener.store.base import Base
from screener.store.values import OwedHint


class Hints(Base):
    """Due work and when the broker was last told of it."""

    def owed_hints(self, now: datetime, repeat_after: timedelta) -> list[OwedHint]:
        """One hint per due row that the broker was never told of, and one per queue for all told of too long ago."""
        with self._begin() as connection:
            runs = connection.execute(
                sa.select(t.runs.c.id, t.runs.c.queue, t.runs.c.hinted_at)
                .where(t.runs.c.state == "waiting", t.runs.c.not_before <= now)
                .order_by(t.runs.c.opened_at, t.runs.c.id)
            ).all()
            deliveries = connection.execute(
                sa.select(t.deliveries.c.id, sa.literal(Queue.RESULTS.value).label("queue"), t.deliveries.c.hinted_at)
                .where(
                    t.deliveries.c.state.in_(["owed", "sent"]),
                    t.deliveries.c.not_before <= now,
                    t.deliveries.c.owner.is_(None),
                )
                .order_by(t.deliveries.c.id)
            ).all()
        rows: list[Any] = list(runs)
        rows += deliveries
        return list(_group(rows, now, now - repeat_after))

    def hinted(self, owed: OwedHint, now: datetime) -> None:
        """Remember that the broker has taken a hint."""
        table = t.deliveries if owed.queue is Queue.RESULTS else t.runs
        with self._begin() as connection:
            connection.execute(table.update().where(table.c.id.in_(owed.row_ids)).values(hinted_at=now))


def _group(rows: list[Any], now: datetime, told_before: datetime) -> Iterator[OwedHint]:
    stale: dict[Queue, list[int]] = {}
    for row in rows:
        if row.hinted_at is None:
            yield OwedHint(queue=Queue(row.queue), row_ids=(row.id,))
        elif row.hinted_at <= told_before or row.hinted_at > now:  # the clock was set back since
            stale.setdefault(Queue(row.queue), []).append(row.id)
    for queue, ids in stale.items():
        yield OwedHint(queue=queue, row_ids=tuple(ids))
