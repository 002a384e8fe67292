"""Results owed to a destination and notices owed to a person: marked after the effect, never before."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

from screener.journey import Stage
from screener.logs import describe_error
from screener.store import tables as t
from screener.store.base import Base, IsSlow, add_step, lock_study, nobody_is_slow, settle
from screener.store.decided_runs import candidate_of
from screener.store.mentions import weigh_run
from screener.store.owe import WITHDRAWN, was_heard
from screener.store.standing import flagged_places, is_screened_by, standing_runs
from screener.store.told import after_all_others, mark_told
from screener.store.ultrasound import lesion_of
from screener.store.values import UNCONFIRMED, Hold, Kind, OwedDelivery, OwedNotice
from screener.store.why_withdrawn import find_changed_settings
from screener.study import GlandVerdict, Presence, Side
from screener.weigh_reports import Standing

log = logging.getLogger(__name__)

CONFIRMED_BY = {
    "find": "as C-FIND shows",
    "commitment": "as it has committed to",
    UNCONFIRMED: "as its Success says: the settings ask for no other confirmation",
}
OPEN = t.deliveries.c.state.in_(["owed", "sent"])
"""Something is still to be done: to send, or to ask whether what was sent has arrived."""
BROKEN_ROW = (ArithmeticError, AttributeError, LookupError, MultipleResultsFound, NoResultFound, TypeError, ValueError)
"""What a notice raises whose rows do not hold what they should; whatever else is raised is the database's."""
UNREADABLE_WAIT = timedelta(hours=1)
FREE: dict[str, object] = {"owner": None, "lease_until": None, "hinted_at": None}


class Outbox(Base):
    """Deliveries and notices."""

    def claim_delivery(self, owner: str, now: datetime, lease: timedelta) -> OwedDelivery | None:
        """Take the oldest due delivery, to send it or to ask whether it has arrived; None when there is none.

        One whose lease expired waits for recovery.
        """
        with self._begin() as connection:
            is_free = t.deliveries.c.owner.is_(None)
            due = (
                sa.select(t.deliveries.c.id)
                .where(OPEN, t.deliveries.c.not_before <= now, is_free)
                .order_by(t.deliveries.c.not_before, t.deliveries.c.id)
            )
            is_owed = t.deliveries.c.state == "owed"
            for delivery_id in connection.execute(due).scalars().all():
                taken = connection.execute(
                    t.deliveries.update()
                    .where(t.deliveries.c.id == delivery_id, OPEN, is_free)
                    .values(
                        owner=owner,
                        lease_until=now + lease,
                        attempts=t.deliveries.c.attempts + sa.case((is_owed, 1), else_=0),
                        confirm_attempts=t.deliveries.c.confirm_attempts + sa.case((is_owed, 0), else_=1),
                    )
                )
                if taken.rowcount == 1:
                    return _delivery(connection, delivery_id)
        return None

    def renew_delivery(self, delivery: OwedDelivery, until: datetime) -> bool:
        """Hold the claim longer; False: it was lost, and another sends or asks."""
        with self._begin() as connection:
            held = (t.deliveries.c.id == delivery.delivery_id, t.deliveries.c.owner.is_not(None), _is_claim(delivery))
            return connection.execute(t.deliveries.update().where(*held).values(lease_until=until)).rowcount == 1

    def delivery_sent(
        self, delivery: OwedDelivery, *, seconds: float, now: datetime, ask_at: datetime | None = None
    ) -> None:
        """Mark a delivery whose every object the destination has answered with Success.

        From `ask_at` on the destination is asked whether it holds them, and
        nothing is delivered before it says so; None: the answer is believed.
        """
        sentence = f"{delivery.destination} has answered Success for {len(delivery.paths)} object(s)"
        values: dict[str, object] = {"sent_at": now, "last_error": "", "confirm_attempts": 0}
        if ask_at is None:
            values |= {"state": "delivered", "delivered_at": now, "confirmed_by": UNCONFIRMED}
            sentence += "; it is not asked whether it holds them"
        else:
            values |= {"state": "sent", "not_before": ask_at}
            sentence += "; not yet confirmed"
        stage = Stage.SENT if ask_at is None else "answered"
        self._mark(delivery, _is("owed"), values, stage=stage, sentence=sentence, now=now, seconds=seconds)

    def delivery_confirmed(self, delivery: OwedDelivery, *, by: str, now: datetime) -> None:
        """Mark a delivery of which the destination has said, asked the way `by`, that it holds every object."""
        values = {"state": "delivered", "delivered_at": now, "confirmed_by": by, "last_error": ""}
        sentence = f"{delivery.destination} holds {len(delivery.paths)} object(s), {CONFIRMED_BY[by]}"
        self._mark(delivery, _is("sent"), values, stage=Stage.SENT, sentence=sentence, now=now)

    def delivery_missing(
        self, delivery: OwedDelivery, *, error: str, not_before: datetime | None, now: datetime
    ) -> None:
        """Owe a delivery again of which the destination has said that it does not hold every object.

        None for `not_before` gives it up and leaves the study to a person.
        """
        again = {"state": "given up"} if not_before is None else {"state": "owed", "not_before": not_before}
        then = _then(not_before, "sent again")
        sentence = f"{delivery.destination} has not kept what it answered with Success: {error}; {then}"
        self._mark(delivery, _is("sent"), {"last_error": error} | again, stage="missing", sentence=sentence, now=now)

    def expired_deliveries(self, now: datetime, *, is_slow: IsSlow = nobody_is_slow) -> list[OwedDelivery]:
        """Deliveries that were claimed and never answered for, oldest first; `is_slow` spares some."""
        with self._begin() as connection:
            expired = (
                sa.select(t.deliveries.c.id, t.deliveries.c.owner, t.deliveries.c.lease_until)
                .where(OPEN, t.deliveries.c.owner.is_not(None), t.deliveries.c.lease_until < now)
                .order_by(t.deliveries.c.id)
            )
            found = connection.execute(expired).all()
            return [_delivery(connection, row.id) for row in found if not is_slow(row.owner, row.lease_until)]

    def delivery_failed(
        self, delivery: OwedDelivery, *, error: str, not_before: datetime | None, now: datetime
    ) -> None:
        """Put a delivery back until `not_before`; None gives it up and leaves the study to a person.

        It could not be sent, or the destination could not be asked whether it
        has arrived. Nothing happens where it has been claimed again since.
        """
        later: dict[str, object] = {"state": "given up"} if not_before is None else {"not_before": not_before}
        is_same_claim = _is_claim(delivery)
        is_sending = delivery.state == "owed"
        asked = "" if is_sending else f", asked {delivery.confirm_attempts} time(s) whether it has arrived"
        then = _then(not_before, "next try")
        sentence = f"{delivery.destination}, attempt {delivery.attempts}{asked}: {error}; {then}"
        stage = "not sent" if is_sending else "not confirmed"
        self._mark(delivery, is_same_claim, {"last_error": error} | later, stage=stage, sentence=sentence, now=now)

    def _mark(
        self,
        delivery: OwedDelivery,
        condition: sa.ColumnElement[bool],
        values: Mapping[str, object],
        *,
        stage: str,
        sentence: str,
        now: datetime,
        seconds: float | None = None,
    ) -> None:
        """Let go of a delivery with `values` and tell it in the study's history; nothing where `condition` has gone."""
        with self._begin() as connection:
            lock_study(connection, delivery.study_id)
            mine = t.deliveries.update().where(t.deliveries.c.id == delivery.delivery_id, condition)
            if connection.execute(mine.values({**FREE, **values})).rowcount != 1:
                return
            add_step(
                connection,
                study_id=delivery.study_id,
                run_id=delivery.run_id,
                at=now,
                stage=stage,
                seconds=seconds,
                sentence=sentence,
            )
            settle(connection, delivery.study_id, now)

    def owed_notices(self, now: datetime, longest_wait: timedelta | None = None) -> list[OwedNotice]:
        """Notices that are due and told each by itself, oldest first; no wait is longer than `longest_wait`.

        One that cannot be read is put back for as long, and keeps no other waiting.
        """
        with self._begin() as connection:
            rows = connection.execute(
                t.notices.select()
                .where(t.notices.c.state == "owed", t.notices.c.is_in_digest.is_(False))
                .where(is_due(t.notices.c.not_before, now, longest_wait))
                .order_by(t.notices.c.owed_since, t.notices.c.id)
            ).all()
            wait = UNREADABLE_WAIT if longest_wait is None else longest_wait
            return read_notices(connection, rows, not_before=now + wait, attempts=t.notices.c.attempts + 1)

    def owed_notice(self, notice_id: int) -> OwedNotice | None:
        """A listed notice as it is now; None where a newer run has taken it back, or moved it into a digest."""
        with self._begin() as connection:
            still = (t.notices.c.id == notice_id, t.notices.c.state == "owed", t.notices.c.is_in_digest.is_(False))
            rows = connection.execute(t.notices.select().where(*still)).all()
            return next(iter(read_notices(connection, rows)), None)

    def begin_telling(self, notices: Sequence[OwedNotice], now: datetime) -> tuple[OwedNotice, ...]:
        """Write down that these notices leave now; returns those of them that are still owed as they were read.

        Kept before any channel has them: whatever becomes of the answer, the recipient may have heard them from
        here on, and a later run that finds otherwise owes a word on that.
        """
        begun = []
        for notice in notices:
            with self._begin() as connection:
                row = _held_notice(connection, notice.notice_id)
                if row.state != "owed" or row.run_id != notice.run_id:
                    continue
                mine = t.notices.update().where(t.notices.c.id == row.id)
                connection.execute(mine.values(sent_at=after_all_others(connection, row, now)))
            begun.append(notice)
        return tuple(begun)

    def telling_refused(self, notices: Sequence[OwedNotice]) -> None:
        """Take back that these notices have left: the other side has said that it does not take them."""
        for notice in notices:
            with self._begin() as connection:
                mine = (t.notices.c.id == notice.notice_id, t.notices.c.state == "owed")
                connection.execute(t.notices.update().where(*mine).values(sent_at=notice.begun_at))

    def notice_sent(self, notice: OwedNotice, now: datetime) -> None:
        """Mark a notice that its channel has taken."""
        with self._begin() as connection:
            row = _held_notice(connection, notice.notice_id)
            taker = "the mail server" if row.channel == "email" else "the other side"
            because = f" ({row.why})" if row.why else ""
            sentence = f"{row.channel} to {row.recipient} was taken by {taker}{because}"
            mark_told(connection, notice, attempts=row.attempts + 1, sentence=sentence, now=now)

    def notice_failed(self, notice_id: int, error: str, not_before: datetime, now: datetime) -> None:
        """Put a notice back until `not_before`."""
        with self._begin() as connection:
            row = _held_notice(connection, notice_id)
            connection.execute(
                t.notices.update()
                .where(t.notices.c.id == notice_id, t.notices.c.state == "owed")
                .values(attempts=t.notices.c.attempts + 1, not_before=not_before, last_error=error)
            )
            add_step(
                connection,
                study_id=row.study_id,
                run_id=row.run_id,
                at=now,
                stage="not notified",
                sentence=f"{row.channel} to {row.recipient}, attempt {row.attempts + 1}: {error}",
            )

    def hold_notice(self, notice_id: int, hold: Hold, sentence: str, *, not_before: datetime, now: datetime) -> None:
        """Let a notice wait: told in the next digest (LIMIT, REPORTED), or looked at again at `not_before` (QUIET).

        The study's history tells it once, however often it is looked at. What no report mentions any more (REPORTED)
        does not wait: another may have been read since the reports were weighed.
        """
        with self._begin() as connection:
            row = _held_notice(connection, notice_id)
            if row.state != "owed" or row.is_in_digest:
                return
            if hold is Hold.REPORTED and not _is_mentioned(connection, row):
                return
            values: dict[str, object] = {"hold": hold, "waits": sentence, "not_before": not_before}
            if hold in {Hold.LIMIT, Hold.REPORTED}:
                values |= {"is_in_digest": True, "digest_id": None}
            values["escalate_at"] = None  # nobody has been told: the time for an answer begins later
            connection.execute(t.notices.update().where(t.notices.c.id == notice_id).values(values))
            if row.hold != hold:
                told = f"{row.channel} to {row.recipient} waits: {sentence}"
                add_step(
                    connection, study_id=row.study_id, run_id=row.run_id, at=now, stage="notice waits", sentence=told
                )

    def count_told_alone(self, addresses: Collection[tuple[str, str]], since: datetime, notice: OwedNotice) -> int:
        """Count the findings that these addresses were told one by one from `since` on, but for that of `notice`.

        One that was told to several of them counts once, and what only withdraws one not at all.
        """
        told = sa.select(t.notices.c.study_id, t.notices.c.finding_key)
        query = told.join(t.runs, t.runs.c.id == t.notices.c.run_id).where(
            t.runs.c.is_flagged,
            sa.tuple_(t.notices.c.channel, t.notices.c.recipient).in_(list(addresses)),
            t.notices.c.state == "sent",
            t.notices.c.is_in_digest.is_(False),
            t.notices.c.sent_at >= since,
        )
        with self._begin() as connection:
            found = {(row.study_id, row.finding_key) for row in connection.execute(query)}
        return len(found - {(notice.study_id, notice.finding_key)})


def is_due(not_before: sa.Column[datetime], now: datetime, longest_wait: timedelta | None) -> sa.ColumnElement[bool]:
    """True: its time has come, or lies so far ahead that it was written before the clock was set back."""
    due = not_before <= now
    return due if longest_wait is None else sa.or_(due, not_before > now + longest_wait)


def _then(not_before: datetime | None, what: str) -> str:
    return "given up" if not_before is None else f"{what} at {not_before:%Y-%m-%d %H:%M:%S} UTC"


def _held_notice(connection: sa.Connection, notice_id: int) -> sa.Row[Any]:
    """A notice, its study held."""
    query = t.notices.select().where(t.notices.c.id == notice_id)
    lock_study(connection, connection.execute(query).one().study_id)
    return connection.execute(query).one()


def _is_mentioned(connection: sa.Connection, row: sa.Row[Any]) -> bool:
    return weigh_run(connection, row.study_id, row.run_id).standing is Standing.MENTIONED


def _is(state: str) -> sa.ColumnElement[bool]:
    return t.deliveries.c.state == state


def _is_claim(delivery: OwedDelivery) -> sa.ColumnElement[bool]:
    """True for the row as this claim left it: each claim counts an attempt."""
    return sa.and_(
        _is(delivery.state),
        t.deliveries.c.attempts == delivery.attempts,
        t.deliveries.c.confirm_attempts == delivery.confirm_attempts,
    )


def _delivery(connection: sa.Connection, delivery_id: int) -> OwedDelivery:
    row = connection.execute(t.deliveries.select().where(t.deliveries.c.id == delivery_id)).one()
    paths = connection.execute(
        sa.select(t.results.c.path)
        .where(t.results.c.run_id == row.run_id, t.results.c.sop_class_uid != "")
        .order_by(t.results.c.role)  # "seg" before "sr": the report refers to the segmentation
    ).scalars()
    return OwedDelivery(
        delivery_id=row.id,
        study_id=row.study_id,
        run_id=row.run_id,
        destination=row.destination,
        state=row.state,
        attempts=row.attempts,
        confirm_attempts=row.confirm_attempts,
        owed_since=row.owed_since,
        paths=tuple(paths),
    )


def read_notices(connection: sa.Connection, rows: Iterable[sa.Row[Any]], **values: object) -> list[OwedNotice]:
    """Give the notices of `rows`, but for those that cannot be read: each keeps its reason, and is given `values`."""
    notices = []
    for row in rows:
        try:
            notices.append(notice_of(connection, row))
        except BROKEN_ROW as error:
            reason = f"the notice cannot be read from the database: {type(error).__name__}"
            log.error("study=%d notice=%d waits: %s", row.study_id, row.id, describe_error(error))
            mine = t.notices.update().where(t.notices.c.id == row.id, t.notices.c.state == "owed")
            connection.execute(mine.values(last_error=reason, **values))
    return notices


def notice_of(connection: sa.Connection, row: sa.Row[Any]) -> OwedNotice:
    """A row of `notices` with all that its text is made of."""
    above = connection.execute(
        t.candidates.select()
        .where(t.candidates.c.run_id == row.run_id, t.candidates.c.is_above_threshold)
        .order_by(t.candidates.c.number)
    ).all()
    glands = connection.execute(t.glands.select().where(t.glands.c.run_id == row.run_id).order_by(t.glands.c.id)).all()
    key_image = connection.execute(
        sa.select(t.results.c.path).where(
            t.results.c.run_id == row.run_id, t.results.c.role == "key_image", t.results.c.expired_at.is_(None)
        )
    ).scalar()
    study_instance_uid = connection.execute(
        sa.select(t.studies.c.study_instance_uid).where(t.studies.c.id == row.study_id)
    ).scalar_one()
    lesion = lesion_of(connection, row.run_id)
    candidates = tuple(candidate_of(found.features) for found in above)
    is_withdrawal = row.finding_key.startswith(WITHDRAWN)
    standing = tuple(standing_runs(connection, row.run_id))
    takes_back = is_withdrawal or (standing and not flagged_places(connection, row.run_id))
    return OwedNotice(
        notice_id=row.id,
        study_id=row.study_id,
        run_id=row.run_id,
        channel=row.channel,
        recipient=row.recipient,
        attempts=row.attempts,
        owed_since=row.owed_since,
        begun_at=row.sent_at,
        glands=tuple(
            GlandVerdict(
                side=Side(gland.side),
                presence=Presence(gland.presence),
                reason=gland.reason,
                candidate_numbers=tuple(found.number for found in above if found.side == gland.side),
                covered_share=gland.covered_share,
                is_partial=gland.is_partial,
            )
            for gland in glands
        ),
        candidates=candidates,
        example_path=_find_example(connection, row),
        lesion=lesion,
        finding_key=row.finding_key,
        rule=row.rule,
        why=row.why,
        hold=Hold(row.hold),
        waits=row.waits,
        escalates_id=row.escalates_id,
        study_instance_uid=study_instance_uid,
        key_image_path=key_image or "",
        changed_settings=find_changed_settings(connection, row) if is_withdrawal else "",
        is_heard=not takes_back or was_heard(connection, row),
        standing=standing,
        reports=weigh_run(connection, row.study_id, row.run_id),
    )


def _find_example(connection: sa.Connection, row: sa.Row[Any]) -> str:
    """Find the image that names the patient: one whose file is there, and of these one that the run has screened.

    Empty where the study has none: they went, and have come again as images of another study.
    """
    screened_first = sa.case((is_screened_by(row.run_id), 0), else_=1)
    path: str | None = connection.execute(
        sa.select(t.instances.c.path)
        .where(t.instances.c.study_id == row.study_id, t.instances.c.kind == Kind.IMAGE)
        .order_by(t.instances.c.expired_at.is_not(None), screened_first, t.instances.c.id)
        .limit(1)
    ).scalar()
    return path or ""
