"""What was told is marked as told, and set right where a newer run has decided otherwise while it was on its way."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from screener.journey import Ending, Stage
from screener.store import tables as t
from screener.store.base import IN_FLIGHT, add_step, settle
from screener.store.owe import WITHDRAWN, told_places
from screener.store.same_finding import is_same_finding
from screener.store.standing import flagged_places, places_in_force
from screener.store.values import Hold, OwedNotice


def mark_told(connection: sa.Connection, notice: OwedNotice, *, attempts: int, sentence: str, now: datetime) -> None:
    """Mark a notice that its channel has taken; the study's row must be held.

    Whatever has become of it meanwhile, the recipient has heard it, and a
    later run that finds otherwise owes a word on that. Where such a run has
    ended before this mark, the word is owed now.
    """
    row = connection.execute(t.notices.select().where(t.notices.c.id == notice.notice_id)).one()
    if row.state == "sent":
        return
    connection.execute(
        t.notices.update()
        .where(t.notices.c.id == row.id)
        .values(
            state="sent",
            run_id=notice.run_id,  # whose figures were told, whatever run owes it meanwhile
            owed_since=notice.owed_since,  # as its link says
            sent_at=after_all_others(connection, row, now),
            attempts=attempts,
            last_error="",
            escalate_at=_next_step_at(row, now),
        )
    )
    add_step(connection, study_id=row.study_id, run_id=notice.run_id, at=now, stage=Stage.NOTIFIED, sentence=sentence)
    if row.state != "owed" or row.run_id != notice.run_id:
        _owe_correction(connection, row, notice.run_id, now)
    settle(connection, row.study_id, now)


def _next_step_at(row: sa.Row[Any], now: datetime) -> datetime | None:
    """When the rule's next step is due, counted from now: None where there is none, or where it was taken already."""
    return None if row.escalate_seconds is None else now + timedelta(seconds=row.escalate_seconds)


def after_all_others(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> datetime:
    """Give `now`, or the last time that this recipient was told of the study, where the clock was set back since.

    By this time it is known what the recipient has heard last.
    """
    told = sa.select(sa.func.max(t.notices.c.sent_at)).where(*_for_recipient_of(row))
    last: datetime | None = connection.execute(told).scalar()
    return now if last is None else max(now, last)


def _owe_correction(connection: sa.Connection, row: sa.Row[Any], told_run_id: int, now: datetime) -> None:
    """Owe the newest run's answer to who has just heard another, unless it is owed to them already."""
    run = connection.execute(newest_of_its_kind(told_run_id)).one_or_none()
    if run is None:
        return
    places = places_in_force(connection, run.id)
    told = told_places(row.finding_key)
    if not places and not told:
        return
    if not flagged_places(connection, run.id):
        if told and places and set(told.split("+")) <= set(places):  # not looked at again
            return
    elif told == "+".join(places) and is_same_finding(connection, told_run_id, run.id):
        return
    is_coming = (*_for_recipient_of(row), t.notices.c.run_id == run.id, t.notices.c.state == "owed")
    if connection.execute(t.notices.select().where(*is_coming)).first() is not None:
        return
    hold = Hold.NONE if run.backfill_id is None else Hold.PAST
    seconds = row.escalate_seconds if places and hold is Hold.NONE else None
    # A key of its own, that begins as this run's would: what it has told before was overtaken on its way.
    asked = f"#{run.reprocess_number}" if run.reprocess_number else ""
    key = f"{'+'.join(places)}{asked}@{run.number}" if places else f"{WITHDRAWN} by run {run.number}"
    connection.execute(
        t.notices.insert().values(
            study_id=row.study_id,
            run_id=run.id,
            channel=row.channel,
            recipient=row.recipient,
            finding_key=f"{key} after {row.id}",
            state="owed",
            attempts=0,
            owed_since=now,
            not_before=now,
            last_error="",
            is_in_digest=run.backfill_id is not None,
            rule=row.rule,
            why="what was told meanwhile was overtaken by a newer run",
            hold=hold,
            waits=hold.sentence,
            # It is to be answered as soon as what it corrects.
            escalate_seconds=seconds,
            escalate_at=None if seconds is None else now + timedelta(seconds=seconds),
            escalates_id=row.escalates_id if places else None,
        )
    )
    is_done = (t.studies.c.id == row.study_id, t.studies.c.ending == Ending.DONE)
    connection.execute(t.studies.update().where(*is_done).values(**IN_FLIGHT))


def newest_of_its_kind(run_id: int) -> sa.Select[Any]:
    """The newest decided run of the study and the queue of a run."""
    mine = sa.select(t.runs.c.study_id, t.runs.c.queue).where(t.runs.c.id == run_id).subquery()
    return (
        t.runs.select()
        .join_from(t.runs, mine, sa.and_(t.runs.c.study_id == mine.c.study_id, t.runs.c.queue == mine.c.queue))
        .where(t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
        .order_by(t.runs.c.number.desc())
        .limit(1)
    )


def _for_recipient_of(row: sa.Row[Any]) -> tuple[sa.ColumnElement[bool], ...]:
    """The notices of this study for this recipient."""
    return (
        t.notices.c.study_id == row.study_id,
        t.notices.c.channel == row.channel,
        t.notices.c.recipient == row.recipient,
    )
