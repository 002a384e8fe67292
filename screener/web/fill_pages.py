"""How values are written on the pages."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from screener.explain import tell_local

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400


def write_moment(at: datetime | None) -> str:
    """Local time with its offset from UTC; empty for none."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def write_age(since: datetime) -> str:
    """How long ago, in its largest unit."""
    seconds = max((datetime.now(UTC) - since).total_seconds(), 0)
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds // HOUR:.0f} h"
    return f"{seconds // DAY:.0f} d"


def write_number(value: float | None, digits: int = 0) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def write_bytes(value: float) -> str:
    """Gibibytes."""
    return f"{value / (1 << 30):.1f} GiB"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "moment": write_moment,
    "local": tell_local,
    "age": write_age,
    "number": write_number,
    "gib": write_bytes,
}
