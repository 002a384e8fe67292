"""Whether a notice waits: for the end of a person's quiet hours, or for the digest where enough was told today."""

from collections.abc import Callable
from datetime import datetime, time

from screener.clock import is_open, parse_window
from screener.match_rules import DAYS
from screener.notice_settings import Person
from screener.store.values import Hold, OwedNotice
from screener.weigh_reports import Standing

CountTold = Callable[[datetime], int]
"""Other findings that the person was told one by one since then."""


def find_hold(person: Person, notice: OwedNotice, local: datetime, count_told: CountTold) -> tuple[Hold, str]:
    """Say why `notice` waits at the local time `local`, and the sentence for the operator; NONE where it does not.

    A withdrawal waits for the quiet hours, but is never put off to the digest: what was told no longer holds.
    """
    if notice.escalates_id is not None and person.quiet_lets_escalations_pass:
        return Hold.NONE, ""
    if is_quiet(person, local) and not breaks_quiet(person, notice):
        return Hold.QUIET, f"quiet hours of {person.name} ({describe_quiet(person)})"
    if person.daily_limit and notice.is_flagged:
        midnight = datetime.combine(local.date(), time.min).astimezone()
        if count_told(midnight) >= person.daily_limit:
            return Hold.LIMIT, f"{person.name} was told {person.daily_limit} findings that day, the daily limit"
    return Hold.NONE, ""


def is_mentioned(notice: OwedNotice) -> bool:
    """True: the radiology report mentions beyond doubt all that is told, and nobody was waited for in vain."""
    is_first = notice.escalates_id is None
    return is_first and notice.is_flagged and notice.reports.standing is Standing.MENTIONED


def is_quiet(person: Person, local: datetime) -> bool:
    """Tell whether the person is left in peace at this local time."""
    if DAYS[local.weekday()] in person.quiet_days:
        return True
    return bool(person.quiet_hours) and is_open(parse_window(person.quiet_hours), local)


def breaks_quiet(person: Person, notice: OwedNotice) -> bool:
    """Tell whether what was found is told in spite of the quiet."""
    largest = max((candidate.voxels for candidate in notice.candidates), default=0)
    if person.quiet_min_voxels and largest >= person.quiet_min_voxels:
        return True
    probability = notice.lesion.deciding_probability if notice.lesion and notice.is_flagged else None
    return bool(person.quiet_min_probability) and (probability or 0) >= person.quiet_min_probability


def describe_quiet(person: Person) -> str:
    """Give the settings in one phrase."""
    return ", ".join(part for part in (person.quiet_hours, *person.quiet_days) if part)
