"""What each recipient must still hear of a study is owed, once, however often the study is sent or screened again."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from screener.match_rules import Recipient
from screener.store import tables as t
from screener.store.same_finding import is_same_finding
from screener.store.standing import flagged_places, standing_runs
from screener.store.values import Hold

WITHDRAWN: Final = "withdrawn"
"""What the finding key of a withdrawal begins with."""
STEP: Final = "!"
"""Before the notice that nobody acknowledged, in the key of an escalation to who has heard the finding already."""


def owe_notices(
    connection: sa.Connection,
    run: sa.Row[Any],
    flagged: Sequence[str],
    recipients: Iterable[Recipient | tuple[str, str]],
    now: datetime,
    *,
    escalates_id: int | None = None,
) -> int:
    """Owe what each recipient must still hear: a flag, and its withdrawal where a later run takes it back.

    `run` is a row of `runs`, its study held; `flagged` names the places of
    what was found, in order. What it has not looked at again stands as it was
    told, and is withdrawn only by a run that has. What a backfill found is told in a digest, unless
    the same is owed by itself already, or `escalates_id` names the notice that
    nobody has acknowledged. Returns how many are owed now.
    """
    owed = 0
    places = sorted({*standing_runs(connection, run.id), *flagged})
    for recipient in (Recipient(*several) for several in recipients):
        heard = _may_have_heard(connection, run, recipient)
        dropped = _dropped(connection, run, places, recipient) if escalates_id is None else None
        passes_on = escalates_id if dropped is None else dropped.escalates_id
        is_passed_on = escalates_id is not None or dropped is not None
        if places and not flagged and not is_passed_on and not _is_taken_back(heard, places):
            continue  # all that may have been heard stands
        going_on = _go_on(recipient, places, heard, dropped)
        finding_key = _key_to_tell(connection, run, places, going_on, heard, dropped, escalates_id)
        if finding_key is None:
            continue
        hold = Hold.NONE
        if passes_on is None:
            hold = Hold.PAST if run.backfill_id is not None else Hold.RULE if going_on.is_in_digest else Hold.NONE
        _owe(connection, run, going_on, finding_key, hold, passes_on, now)
        if dropped is not None and going_on is not recipient and hold is Hold.NONE:  # nobody has more time for it
            again = (*_for(run, recipient), t.notices.c.finding_key == finding_key)
            connection.execute(t.notices.update().where(*again).values(escalate_at=dropped.escalate_at))
        owed += 1
    return owed


def _is_taken_back(heard: Sequence[sa.Row[Any]], places: Sequence[str]) -> bool:
    """Tell whether something that may have been heard stands no more, of which these are the places that do."""
    return any(not set(told_places(row.finding_key).split("+")) <= set(places) for row in _findings(heard))


def _dropped(
    connection: sa.Connection, run: sa.Row[Any], places: Sequence[str], recipient: Recipient
) -> sa.Row[Any] | None:
    """What the recipient was owed of these places until this very run superseded it: an escalation first."""
    rows = connection.execute(
        t.notices.select()
        .where(*_for(run, recipient), t.notices.c.state == "superseded")
        .where(t.notices.c.last_error == superseded_by(run.number))
        .order_by(t.notices.c.escalates_id.is_(None), t.notices.c.id.desc())
    )
    return next((row for row in rows if set(told_places(row.finding_key).split("+")) & set(places)), None)


def _go_on(
    recipient: Recipient, places: Sequence[str], heard: Sequence[sa.Row[Any]], dropped: sa.Row[Any] | None
) -> Recipient:
    """Keep the rule and its time for an answer of what was owed or heard, where no rule takes what has become of it.

    An escalation that was on its way stays one, whichever rule takes the finding too.
    """
    before = dropped or next(iter(_findings(heard)), None)
    if not places or before is None:
        return recipient
    if recipient.takes and (dropped is None or dropped.escalates_id is None):
        return recipient
    kept = recipient._replace(rule=before.rule, escalate_seconds=before.escalate_seconds)
    if dropped is None:
        return kept
    return kept._replace(why=dropped.why, takes=True, is_in_digest=dropped.hold == Hold.RULE)


def _key_to_tell(
    connection: sa.Connection,
    run: sa.Row[Any],
    places: Sequence[str],
    recipient: Recipient,
    heard: Sequence[sa.Row[Any]],
    dropped: sa.Row[Any] | None,
    escalates_id: int | None,
) -> str | None:
    """The finding key of what this recipient must hear; None where there is nothing to tell."""
    if not (places and recipient.takes) and not _findings(heard):
        return None
    finding_key = "+".join(places) if places else f"{WITHDRAWN} by run {run.number}"
    if places and run.reprocess_number:
        finding_key += f"#{run.reprocess_number}"
    # What a recipient has heard last is not told again; what was heard before something else is.
    if places and _is_certain(heard) and all(_tells(connection, row, run, places) for row in heard):
        if dropped is not None and STEP in dropped.finding_key:
            return str(dropped.finding_key)
        if escalates_id is None or _has_heard_by_rule(connection, run, places, recipient):
            return None
        return f"{finding_key}{STEP}{escalates_id}"
    earlier = connection.execute(_of(run, recipient, finding_key)).one_or_none()
    if earlier is not None and earlier.state == "sent":
        finding_key += f"@{run.number}"
    return finding_key


def _tells(connection: sa.Connection, notice: sa.Row[Any], run: sa.Row[Any], places: Sequence[str]) -> bool:
    """Tell whether a notice has told what `run` finds and what stands beside it, of which these are the places.

    What a person asked to look at again is told again.
    """
    if told_places(notice.finding_key) != "+".join(places):
        return False
    asked = sa.select(t.runs.c.reprocess_number).where(t.runs.c.id == notice.run_id)
    is_asked_alike = connection.execute(asked).scalar() == run.reprocess_number
    if not flagged_places(connection, run.id):  # nothing but what stands
        return is_asked_alike and not flagged_places(connection, notice.run_id)
    return is_asked_alike and is_same_finding(connection, notice.run_id, run.id)


def _has_heard_by_rule(
    connection: sa.Connection, run: sa.Row[Any], places: Sequence[str], recipient: Recipient
) -> bool:
    """Tell whether the rule of this step has told the recipient already: its own time for an answer runs, or ran."""
    by_rule = t.notices.select().where(
        *_for(run, recipient), t.notices.c.rule == recipient.rule, t.notices.c.state.in_(["sent", "owed"])
    )
    return any(_tells(connection, row, run, places) for row in connection.execute(by_rule).all())


def told_places(finding_key: str) -> str:
    """The sides that a finding key names; empty for a withdrawal."""
    return "" if finding_key.startswith(WITHDRAWN) else re.split(f"[@#{STEP}]", finding_key)[0]


def superseded_by(run_number: int) -> str:
    """Say in a notice or a delivery why it is owed no more."""
    return f"superseded by run {run_number}"


def _owe(
    connection: sa.Connection,
    run: sa.Row[Any],
    recipient: Recipient,
    finding_key: str,
    hold: Hold,
    escalates_id: int | None,
    now: datetime,
) -> None:
    """Write the notice; where an earlier run owes the same, this run's figures are told instead.

    It is owed since then, unless it was owed no more in between: a run before this one had taken it back.
    """
    earlier = connection.execute(_of(run, recipient, finding_key)).one_or_none()
    if earlier is None:
        connection.execute(
            t.notices.insert().values(
                study_id=run.study_id,
                run_id=run.id,
                channel=recipient.channel,
                recipient=recipient.recipient,
                finding_key=finding_key,
                state="owed",
                attempts=0,
                owed_since=now,
                not_before=now,
                last_error="",
                is_in_digest=hold is not Hold.NONE,
                escalates_id=escalates_id,
                **_reasons(recipient, hold, now),
            )
        )
        return
    if not earlier.is_in_digest:
        hold = Hold.NONE
    values: dict[str, object] = {"state": "owed", "run_id": run.id, "not_before": now}
    values |= {"is_in_digest": hold is not Hold.NONE, **_reasons(recipient, hold, now)}
    if earlier.state == "superseded" and earlier.last_error != superseded_by(run.number):
        values["owed_since"] = now
    if escalates_id is not None:
        values["escalates_id"] = escalates_id
    if hold is Hold.NONE or earlier.state != "owed":
        values["digest_id"] = None
    connection.execute(t.notices.update().where(t.notices.c.id == earlier.id).values(**values))


def was_heard(connection: sa.Connection, withdrawal: sa.Row[Any]) -> bool:
    """Tell whether it is certain that the recipient of a withdrawal has heard what it takes back."""
    recipient = Recipient(withdrawal.channel, withdrawal.recipient)
    run = connection.execute(t.runs.select().where(t.runs.c.id == withdrawal.run_id)).one()
    heard = _may_have_heard(connection, run, recipient)
    return any(row.state == "sent" for row in _findings(heard))


def _may_have_heard(connection: sa.Connection, run: sa.Row[Any], recipient: Recipient) -> Sequence[sa.Row[Any]]:
    """What the recipient may have heard of the study by runs of this kind, newest first.

    What was heard for certain ends it. A notice that has left may have been heard, also where a newer run has
    superseded it since.
    """
    left = connection.execute(
        t.notices.select()
        .where(*_for(run, recipient), t.notices.c.sent_at.is_not(None))
        .order_by(t.notices.c.sent_at.desc(), t.notices.c.id.desc())
    ).all()
    certain = next((number for number, row in enumerate(left, start=1) if row.state == "sent"), len(left))
    return left[:certain]


def _findings(heard: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
    return [row for row in heard if told_places(row.finding_key)]


def _is_certain(heard: Sequence[sa.Row[Any]]) -> bool:
    return bool(heard) and heard[-1].state == "sent"


def _of(run: sa.Row[Any], recipient: Recipient, finding_key: str) -> sa.Select[Any]:
    return t.notices.select().where(*_for(run, recipient), t.notices.c.finding_key == finding_key)


def _for(run: sa.Row[Any], recipient: Recipient) -> tuple[sa.ColumnElement[bool], ...]:
    """The recipient's notices of the study by runs of this kind: CT and ultrasound say nothing of each other."""
    alike = sa.select(t.runs.c.id).where(t.runs.c.study_id == run.study_id, t.runs.c.queue == run.queue)
    return (
        t.notices.c.run_id.in_(alike),
        t.notices.c.study_id == run.study_id,
        t.notices.c.channel == recipient.channel,
        t.notices.c.recipient == recipient.recipient,
    )


def _reasons(recipient: Recipient, hold: Hold, now: datetime) -> Mapping[str, Any]:
    """What a notice keeps of the rule that owes it; one that waits for a digest escalates from when it was told.

    Past studies never escalate: their findings are never told one by one.
    """
    seconds = None if hold is Hold.PAST else recipient.escalate_seconds
    at = now + timedelta(seconds=seconds) if seconds is not None and hold is Hold.NONE else None
    return {
        "rule": recipient.rule,
        "why": recipient.why,
        "hold": hold,
        "waits": hold.sentence,
        "escalate_seconds": seconds,
        "escalate_at": at,
    }
