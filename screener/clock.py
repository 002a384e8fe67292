"""Times of day in the settings: a window of local time that may pass midnight, and a time in the morning."""

import re
from datetime import datetime, time, timedelta

_WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


def parse_window(text: str) -> tuple[time, time]:
    """Read "22:00-06:00" as its two ends; both the same, or "00:00-24:00", mean always. ValueError otherwise."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError('a window is written like "22:00-06:00"')
    first_hour, first_minute, last_hour, last_minute = (int(part) for part in match.groups())
    if (last_hour, last_minute) == (24, 0):
        last_hour = 0
    return time(first_hour, first_minute), time(last_hour, last_minute)


def parse_time(text: str) -> time:
    """Read "06:30"; ValueError otherwise."""
    if re.fullmatch(r"\d\d:\d\d", text) is None:
        raise ValueError('a time of day is written like "06:30"')
    return time(int(text[:2]), int(text[3:]))


def is_open(window: tuple[time, time], local: datetime) -> bool:
    """Tell whether `local`, a local time, lies in the window; its end does not."""
    begin, end = window
    clock = local.time()
    if begin == end:
        return True
    return begin <= clock < end if begin < end else clock >= begin or clock < end


def night_began(window: tuple[time, time], local: datetime) -> datetime:
    """Give the last instant at or before `local` at which the window opened: a night's quota counts from there."""
    began = local.replace(hour=window[0].hour, minute=window[0].minute, second=0, microsecond=0)
    return began if began <= local else began - timedelta(days=1)
