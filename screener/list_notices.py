"""What is owed to whom and why, what waits, and what was passed on: what `screener notices` prints."""

from collections.abc import Sequence
from datetime import datetime

from screener.match_rules import Judgment
from screener.notice_settings import Notices, Rule
from screener.store.values import Hold, NoticeStory


def describe_notices(stories: Sequence[NoticeStory]) -> str:
    """Two lines or more for each notice, in local time; one sentence where there is none."""
    if not stories:
        return "no notice is owed"
    return "\n".join(line for story in stories for line in _describe(story))


def list_notice_warnings(notices: Notices) -> list[str]:
    """Say of settings that are valid where they may leave somebody untold."""
    warnings = []
    if notices.email.host and not notices.all_addresses:
        warnings.append("notices.email.host is set, but notices.email.recipients is empty: nobody is told")
    takes_all = any(not _conditions(rule) for rule in notices.rules)
    if notices.rules and not (notices.simple_addresses or takes_all):
        warnings.append("a finding that no rule of notices.rules takes is told to nobody; see `otherwise`")
    return warnings


def _conditions(rule: Rule) -> set[str]:
    """The keys by which a rule leaves something; `otherwise` is none of them, for it leaves it to other rules."""
    others = {"name", "emails", "webhooks", "hl7", "apprise", "urgency", "otherwise", "takes_unnamed_places"}
    return rule.model_fields_set - others - {"escalate_after_minutes", "escalate_to"}


def describe_judgments(judgments: Sequence[Judgment], local: datetime) -> str:
    """What each rule would say of a study's finding, were it made at this local time."""
    if not judgments:
        return "config.toml has no [[notices.rules]]"
    lines = [f"the rules, had it been found at {_moment(local)}:"]
    lines += [
        f"  {judgment.rule.name}: {'takes it' if judgment.takes else 'leaves it'}: {judgment.reason}"
        for judgment in judgments
    ]
    return "\n".join(lines)


def _describe(story: NoticeStory) -> list[str]:
    what = "withdrawal" if story.is_withdrawal else "finding"
    lines = [f"study {story.study_id}, {story.channel} to {story.recipient}: {what} of run {story.run_number}"]
    lines[0] += f", {_describe_state(story)}"
    if story.why:
        lines.append(f"  why: {story.why}")
    if story.escalates_id is not None:
        lines.append(f"  passed on, as nobody had acknowledged notice {story.escalates_id}")
    if story.state == "owed" and story.waits:
        lines.append(f"  waits: {story.waits}")
    if story.state == "owed" and story.last_error:
        lines.append(f"  attempt {story.attempts}: {story.last_error}; next try {_moment(story.not_before)}")
    if story.acknowledged_at is not None:
        lines.append(f"  acknowledged by {story.acknowledged_by}, {_moment(story.acknowledged_at)}")
    elif story.escalate_at is not None:
        lines.append(f"  passed on at {_moment(story.escalate_at)} unless somebody acknowledges it")
    return lines


def _describe_state(story: NoticeStory) -> str:
    if story.state == "sent" and story.sent_at is not None:
        return f"told {_moment(story.sent_at)}"
    if story.state == "owed":
        where = " in the next digest" if story.hold in {Hold.PAST, Hold.RULE, Hold.LIMIT, Hold.REPORTED} else ""
        return f"owed since {_moment(story.owed_since)}{where}"
    if story.state == "superseded" and story.sent_at is not None:
        return f"superseded; it left {_moment(story.sent_at)} and may have been heard"
    return story.state


def _moment(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
