"""What nobody has acknowledged in time is passed on, and what there is to say of notices is listed."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from screener.journey import Ending
from screener.match_rules import Recipient
from screener.store import review_tables as r
from screener.store import tables as t
from screener.store.base import IN_FLIGHT, Base, add_step, lock_study
from screener.store.owe import WITHDRAWN, owe_notices, told_places
from screener.store.same_finding import is_same_finding
from screener.store.standing import flagged_places, places_in_force, standing_runs
from screener.store.told import newest_of_its_kind
from screener.store.values import NoticeStory

ESCALATED = "escalated"

NextStep = Callable[[str], tuple[Sequence[Recipient], str]]
"""Given the name of a rule: whom its next step tells, and why, up to the verb; a whole sentence where it is nobody."""


class Escalations(Base):
    """Acknowledged, or told to the next."""

    def due_escalations(self, now: datetime) -> list[int]:
        """Notices whose time for an answer is over, oldest first."""
        query = sa.select(t.notices.c.id).where(t.notices.c.escalate_at <= now)
        with self._begin() as connection:
            return list(connection.execute(query.order_by(t.notices.c.escalate_at, t.notices.c.id)).scalars())

    def escalate(self, notice_id: int, next_step: NextStep, now: datetime) -> bool:
        """Owe the next step of a notice that nobody has acknowledged; False where nothing was owed.

        Nothing is where somebody has, or a newer run has found otherwise. Either way its time is over: called
        again, nothing happens. What a newer run has found beside what was acknowledged has a notice and a time of
        its own.
        """
        with self._begin() as connection:
            query = t.notices.select().where(t.notices.c.id == notice_id)
            lock_study(connection, connection.execute(query).one().study_id)
            row = connection.execute(query).one()
            if row.escalate_at is None or row.escalate_at > now:
                return False
            # One step for all that the rule told of it, however many addresses it has.
            same = [getattr(t.notices.c, name) == getattr(row, name) for name in ("study_id", "rule", "finding_key")]
            connection.execute(t.notices.update().where(*same).values(escalate_at=None))
            run = _run_in_force(connection, row)
            if run is None or _is_acknowledged(connection, run) or acknowledgement_for(connection, row) is not None:
                return False
            connection.execute(t.notices.update().where(*same).values(escalate_seconds=None))  # it is taken now
            recipients, sentence = next_step(row.rule)
            places = sorted(flagged_places(connection, run.id))
            owed = owe_notices(connection, run, places, recipients, now, escalates_id=row.id)
            if recipients:
                sentence += f" tells {owed} address(es)"
            if owed < len(recipients):
                sentence += f"; {len(recipients) - owed} heard it by that rule before"
            add_step(connection, study_id=row.study_id, run_id=run.id, at=now, stage=ESCALATED, sentence=sentence)
            if owed:
                is_done = (t.studies.c.id == row.study_id, t.studies.c.ending == Ending.DONE)
                connection.execute(t.studies.update().where(*is_done).values(**IN_FLIGHT))
            return owed > 0

    def notice_stories(self, *, study_id: int | None = None, sent_since: datetime | None = None) -> list[NoticeStory]:
        """Every notice that is owed, or told since then, oldest first; of one study all that it ever had."""
        where = [t.notices.c.study_id == study_id]
        if study_id is None:
            is_recent = t.notices.c.sent_at >= sent_since if sent_since is not None else sa.false()
            where = [sa.or_(t.notices.c.state == "owed", sa.and_(t.notices.c.state == "sent", is_recent))]
        told = sa.select(t.notices, t.runs.c.number, t.runs.c.is_flagged)
        query = told.join(t.runs, t.runs.c.id == t.notices.c.run_id).where(*where)
        with self._begin() as connection:
            rows = connection.execute(query.order_by(t.notices.c.owed_since, t.notices.c.id)).all()
            return [_story(connection, row) for row in rows]

    def notice_as_told(self, notice_id: int, run_id: int) -> NoticeStory | None:
        """A notice as it told of a run of its study, of whichever it tells by now; None where there is none."""
        others = [column for column in t.notices.c if column is not t.notices.c.run_id]
        query: sa.Select[Any] = (
            sa.select(*others, t.runs.c.id.label("run_id"), t.runs.c.number, t.runs.c.is_flagged)
            .join_from(t.notices, t.runs, t.runs.c.study_id == t.notices.c.study_id)
            .where(t.notices.c.id == notice_id, t.runs.c.id == run_id)
        )
        with self._begin() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else _story(connection, row)


def _run_in_force(connection: sa.Connection, notice: sa.Row[Any]) -> sa.Row[Any] | None:
    """The newest decided run of the notice's kind, where it flags anything or something stands beside it.

    Where it flags nothing, the newest of those that found what stands, if what that one tells is all that stands, and
    no more. None where nothing does, or the notice told no flag.
    """
    run = connection.execute(newest_of_its_kind(notice.run_id)).one_or_none()
    if run is None or run.is_flagged or not told_places(notice.finding_key):
        return run if told_places(notice.finding_key) else None
    standing = standing_runs(connection, run.id)
    for run_id in sorted(set(standing.values()), reverse=True):
        if set(places_in_force(connection, run_id)) == standing.keys():
            return connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    return run if standing else None


def _is_acknowledged(connection: sa.Connection, run: sa.Row[Any]) -> bool:
    """Tell whether somebody has taken note of what the run flags, or where it flags nothing, of what stands beside."""
    told = [run.id] if run.is_flagged else list(standing_runs(connection, run.id).values())
    taken = set(
        connection.execute(
            sa.select(r.acknowledgements.c.run_id).where(r.acknowledgements.c.run_id.in_(told))
        ).scalars()
    )
    return taken == set(told)


def acknowledgement_for(connection: sa.Connection, notice: sa.Row[Any]) -> sa.Row[Any] | None:
    """Who took note of what a notice tells: of its own run, or since then of another that found the same.

    What they saw may have been larger than what the notice tells, never smaller.
    """
    taken = connection.execute(
        r.acknowledgements.select()
        .where(r.acknowledgements.c.study_id == notice.study_id)
        .where(sa.or_(r.acknowledgements.c.run_id == notice.run_id, r.acknowledgements.c.at >= notice.owed_since))
        .order_by(r.acknowledgements.c.at, r.acknowledgements.c.id)
    ).all()
    return next((row for row in taken if is_same_finding(connection, row.run_id, notice.run_id)), None)


def _story(connection: sa.Connection, row: sa.Row[Any]) -> NoticeStory:
    taken = acknowledgement_for(connection, row)
    return NoticeStory(
        notice_id=row.id,
        study_id=row.study_id,
        run_number=row.number,
        channel=row.channel,
        recipient=row.recipient,
        state=row.state,
        attempts=row.attempts,
        owed_since=row.owed_since,
        not_before=row.not_before,
        sent_at=row.sent_at,
        last_error=row.last_error,
        run_id=row.run_id,
        finding_key=row.finding_key,
        rule=row.rule,
        why=row.why,
        hold=row.hold,
        waits=row.waits,
        is_withdrawal=row.finding_key.startswith(WITHDRAWN) or row.is_flagged is False,
        escalate_at=row.escalate_at,
        escalates_id=row.escalates_id,
        acknowledged_by="" if taken is None else taken.by,
        acknowledged_at=None if taken is None else taken.at,
    )
