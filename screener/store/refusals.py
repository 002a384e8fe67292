"""What was refused and left no bytes behind: remembered for a while, never without a bound."""

from datetime import datetime

import sqlalchemy as sa

from screener.store import tables as t
from screener.store.base import Base

MOST_CALLERS = 200
CALLER = "caller"
WITHOUT_BYTES = (CALLER, "disk_full", "too_long")


class Refusals(Base):
    """Callers that were turned away, and studies that found no room."""

    def record_caller(self, reason: str, now: datetime) -> None:
        """Remember a caller that was turned away, once; of very many the newest."""
        mine = (t.oddities.c.sop_instance_uid == "", t.oddities.c.code == CALLER)  # the first is indexed
        with self._begin() as connection:
            if connection.execute(sa.select(t.oddities.c.id).where(*mine, t.oddities.c.reason == reason)).first():
                return
            values = {"sop_instance_uid": "", "code": CALLER, "reason": reason, "path": "", "sha256": "", "at": now}
            connection.execute(t.oddities.insert().values(values))
            newest = sa.select(t.oddities.c.id).where(*mine).order_by(t.oddities.c.id.desc())
            oldest_kept = newest.offset(MOST_CALLERS - 1).limit(1).scalar_subquery()
            connection.execute(t.oddities.delete().where(*mine, t.oddities.c.id < oldest_kept))

    def forget_refusals(self, before: datetime) -> int:
        """Delete callers that were turned away, and refusals for want of room or for length; returns how many."""
        old = (t.oddities.c.code.in_(WITHOUT_BYTES), t.oddities.c.path == "", t.oddities.c.at <= before)
        with self._begin() as connection:
            return connection.execute(t.oddities.delete().where(*old)).rowcount
