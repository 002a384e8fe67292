"""Digests: what backfills found is told in one message a night, owed and marked like any notice."""

from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from screener.store import pull_tables as p
from screener.store import tables as t
from screener.store.base import Base, lock_study
from screener.store.outbox import is_due, read_notices
from screener.store.told import mark_told
from screener.store.values import Hold, OwedDigest, OwedNotice


class Digests(Base):
    """One message for many notices."""

    def open_digests(self, night: date, now: datetime, opens_at: datetime | None = None) -> int:
        """Gather what is owed into one digest per recipient, unless that recipient had one tonight; returns how many.

        From then on its content is fixed: should it go out twice, it is the same message. What a scanner has sent
        since `opens_at`, when today's digests were due, waits for tomorrow's.
        """
        waiting = [t.notices.c.is_in_digest, t.notices.c.state == "owed", t.notices.c.digest_id.is_(None)]
        if opens_at is not None:
            owed_since = t.notices.c.owed_since
            is_of_the_day = t.notices.c.hold.in_([Hold.RULE, Hold.LIMIT, Hold.REPORTED])
            # later than now: the clock was set back since
            waiting.append(sa.or_(~is_of_the_day, owed_since < opens_at, owed_since > now))
        opened = 0
        with self._begin() as connection:
            recipients = connection.execute(
                sa.select(t.notices.c.channel, t.notices.c.recipient).where(*waiting).distinct()
            ).all()
            for channel, recipient in recipients:
                tonight = sa.select(p.digests.c.id).where(
                    p.digests.c.night == night, p.digests.c.channel == channel, p.digests.c.recipient == recipient
                )
                if connection.execute(tonight).first() is not None:
                    continue
                inserted = connection.execute(
                    p.digests.insert().values(
                        night=night,
                        channel=channel,
                        recipient=recipient,
                        state="owed",
                        attempts=0,
                        owed_since=now,
                        not_before=now,
                        last_error="",
                    )
                )
                connection.execute(
                    t.notices.update()
                    .where(*waiting, t.notices.c.channel == channel, t.notices.c.recipient == recipient)
                    .values(digest_id=inserted.inserted_primary_key[0] if inserted.inserted_primary_key else None)
                )
                opened += 1
        return opened

    def owed_digests(self, now: datetime, longest_wait: timedelta | None = None) -> list[OwedDigest]:
        """Digests that are due, oldest first; no wait is longer than `longest_wait`."""
        with self._begin() as connection:
            rows = connection.execute(
                p.digests.select()
                .where(p.digests.c.state == "owed", is_due(p.digests.c.not_before, now, longest_wait))
                .order_by(p.digests.c.owed_since, p.digests.c.id)
            ).all()
            return [_digest(connection, row) for row in rows]

    def owed_digest(self, digest_id: int) -> OwedDigest | None:
        """A listed digest as it is now, without what newer runs have taken back; None where it is owed no more."""
        with self._begin() as connection:
            still = (p.digests.c.id == digest_id, p.digests.c.state == "owed")
            row = connection.execute(p.digests.select().where(*still)).one_or_none()
            return None if row is None else _digest(connection, row)

    def digest_told(self, digest: OwedDigest, notice: OwedNotice, now: datetime) -> None:
        """Mark one notice of a digest that its channel has taken."""
        sentence = f"told in digest {digest.digest_id}; {digest.channel} to {digest.recipient} was taken"
        with self._begin() as connection:
            lock_study(connection, notice.study_id)
            mark_told(connection, notice, attempts=digest.attempts + 1, sentence=sentence, now=now)

    def digest_sent(self, digest: OwedDigest, now: datetime) -> None:
        """Mark a digest that its channel has taken, and each notice that it told."""
        for notice in digest.notices:
            self.digest_told(digest, notice, now)
        with self._begin() as connection:
            left = (t.notices.c.digest_id == digest.digest_id, t.notices.c.state == "owed")
            connection.execute(t.notices.update().where(*left).values(digest_id=None))  # tomorrow's digest tells them
            connection.execute(
                p.digests.update()
                .where(p.digests.c.id == digest.digest_id)
                .values(
                    state="sent" if digest.notices else "superseded",
                    sent_at=now if digest.notices else None,
                    attempts=p.digests.c.attempts + int(bool(digest.notices)),
                    last_error="",
                )
            )

    def digest_failed(self, digest: OwedDigest, error: str, not_before: datetime) -> None:
        """Put a digest back until `not_before`."""
        with self._begin() as connection:
            connection.execute(
                p.digests.update()
                .where(p.digests.c.id == digest.digest_id, p.digests.c.state == "owed")
                .values(attempts=p.digests.c.attempts + 1, not_before=not_before, last_error=error)
            )
            connection.execute(
                t.notices.update()
                .where(t.notices.c.digest_id == digest.digest_id, t.notices.c.state == "owed")
                .values(attempts=digest.attempts + 1, last_error=error)
            )


def _digest(connection: sa.Connection, row: sa.Row[Any]) -> OwedDigest:
    notices = connection.execute(
        t.notices.select()
        .where(t.notices.c.digest_id == row.id, t.notices.c.state == "owed")
        .order_by(t.notices.c.study_id, t.notices.c.id)
    ).all()
    return OwedDigest(
        digest_id=row.id,
        channel=row.channel,
        recipient=row.recipient,
        attempts=row.attempts,
        owed_since=row.owed_since,
        notices=tuple(read_notices(connection, notices)),
    )
