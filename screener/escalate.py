"""What nobody has acknowledged in time is told to the next: until somebody does, or the rules name no further step."""

import logging
from datetime import datetime
from typing import Protocol

from screener.logs import describe_error
from screener.match_rules import Recipient
from screener.notice_settings import Notices
from screener.store.escalations import NextStep

log = logging.getLogger(__name__)


class EscalationStore(Protocol):
    """What this verb needs of the store."""

    def due_escalations(self, now: datetime) -> list[int]:
        """Notices whose time for an answer is over."""

    def escalate(self, notice_id: int, next_step: NextStep, now: datetime) -> bool:
        """Owe the next step; False where nothing was owed."""


def escalate_unacknowledged(store: EscalationStore, settings: Notices, now: datetime) -> int:
    """Owe the next step of every notice whose time is over; returns how many did. Called again, it does nothing.

    One that cannot be passed on keeps no other from its turn.
    """
    escalated = 0
    for notice_id in store.due_escalations(now):
        try:
            is_owed = store.escalate(notice_id, lambda rule: name_next_step(settings, rule), now)
        except Exception as error:  # noqa: BLE001 - the edge of one notice: it has its turn again with the next look
            log.error("notice=%d cannot be passed on: %s", notice_id, describe_error(error))
            continue
        if is_owed:
            log.warning("notice=%d was acknowledged by nobody in time: the next step is told", notice_id)
            escalated += 1
    return escalated


def name_next_step(settings: Notices, name: str) -> tuple[list[Recipient], str]:
    """Name whom the rule after `name` tells, and why; nobody where the settings name no such rule any more."""
    rule = settings.find_rule(name)
    following = settings.find_rule(rule.escalate_to) if rule is not None else None
    if rule is None or following is None:
        return [], f"nobody has acknowledged in time what rule {name} told, and the settings name no next step any more"
    why = f"nobody has acknowledged within {rule.escalate_after_minutes:g} min what rule {rule.name} told"
    recipients = [
        Recipient(
            *address,
            rule=following.name,
            why=f"rule {following.name}: {why}",
            escalate_seconds=following.escalate_seconds,
        )
        for address in following.addresses
    ]
    return recipients, f"{why}: rule {following.name}"
