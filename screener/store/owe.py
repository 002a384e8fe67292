"""What each recipient must still hear of a study is owed, once, however often the study is sent or screened again."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from screener.match_rules import Recipient
from screener.store import tables as t
from screener.store.values import Hold

WITHDRAWN: Final = "withdrawn"
"""What the finding key of a withdrawal begins with."""


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
    what was found, in order. What a backfill found is told in a digest, unless
    the same is owed by itself already, or `escalates_id` names the notice that
    nobody has acknowledged. Returns how many are owed now.
    """
    owed = 0
    for recipient in (Recipient(*several) for several in recipients):
        finding_key = _key_to_tell(connection, run, flagged, recipient)
        if finding_key is None:
            continue
        hold = Hold.NONE
        if escalates_id is None:
            hold = Hold.PAST if run.backfill_id is not None else Hold.RULE if recipient.is_in_digest else Hold.NONE
        _owe(connection, run, recipient, finding_key, hold, escalates_id, now)
        owed += 1
    return owed


def _key_to_tell(
    connection: sa.Connection, run: sa.Row[Any], flagged: Sequence[str], recipient: Recipient
) -> str | None:
    """The finding key of what this recipient must hear; None where there is nothing to tell."""
    heard = _heard_last(connection, run.study_id, recipient)
    finding_key = "+".join(flagged) if flagged else f"{WITHDRAWN} by run {run.number}"
    if flagged and run.reprocess_number:
        finding_key += f"#{run.reprocess_number}"
    earlier = connection.execute(_of(run.study_id, recipient, finding_key)).one_or_none()
    # An escalation that was on its way is owed still: the notice that it came from tells no third time.
    takes = recipient.takes or (earlier is not None and earlier.escalates_id is not None)
    if not (flagged and takes) and (heard is None or heard.startswith(WITHDRAWN)):
        return None
    # What a recipient has heard last is not told again; what was heard before something else is.
    if heard is not None and heard.partition("@")[0] == finding_key:
        return None
    if earlier is not None and earlier.state == "sent":
        finding_key += f"@{run.number}"
    return finding_key


def _owe(
    connection: sa.Connection,
    run: sa.Row[Any],
    recipient: Recipient,
    finding_key: str,
    hold: Hold,
    escalates_id: int | None,
    now: datetime,
) -> None:
    """Write the notice; where an earlier run owes the same, this run's figures are told instead."""
    earlier = connection.execute(_of(run.study_id, recipient, finding_key)).one_or_none()
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
    if escalates_id is not None:
        values["escalates_id"] = escalates_id
    elif not recipient.takes:  # it is an escalation still, and what it says of itself stays true
        values |= {name: getattr(earlier, name) for name in ("rule", "why", "escalate_seconds", "escalate_at")}
    if hold is Hold.NONE or earlier.state != "owed":
        values["digest_id"] = None
    connection.execute(t.notices.update().where(t.notices.c.id == earlier.id).values(**values))


def _heard_last(connection: sa.Connection, study_id: int, recipient: Recipient) -> str | None:
    """The finding key of what the recipient was told last of the study."""
    told: str | None = connection.execute(
        sa.select(t.notices.c.finding_key)
        .where(*_for(study_id, recipient), t.notices.c.state == "sent")
        .order_by(t.notices.c.sent_at.desc(), t.notices.c.id.desc())
        .limit(1)
    ).scalar()
    return told


def _of(study_id: int, recipient: Recipient, finding_key: str) -> sa.Select[Any]:
    return t.notices.select().where(*_for(study_id, recipient), t.notices.c.finding_key == finding_key)


def _for(study_id: int, recipient: Recipient) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        t.notices.c.study_id == study_id,
        t.notices.c.channel == recipient.channel,
        t.notices.c.recipient == recipient.recipient,
    )


def _reasons(recipient: Recipient, hold: Hold, now: datetime) -> Mapping[str, Any]:
    """What a notice keeps of the rule that owes it; one that waits for a digest escalates from when it was told."""
    seconds = recipient.escalate_seconds
    at = now + timedelta(seconds=seconds) if seconds is not None and hold is Hold.NONE else None
    return {
        "rule": recipient.rule,
        "why": recipient.why,
        "hold": hold,
        "waits": hold.sentence,
        "escalate_seconds": seconds,
        "escalate_at": at,
    }
