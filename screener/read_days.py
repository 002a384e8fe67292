"""How many days a question may be about: the same for every command and every page."""

import argparse
import math
from typing import Final

MOST_DAYS: Final = 3660.0
ALLOWED: Final = f"only a number, more than 0 and at most {MOST_DAYS:g}"


def parse_days(text: str) -> float | None:
    """Return the number of days that `text` gives; None where it gives none that may be asked about."""
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    return days if 0 < days <= MOST_DAYS else None


def read_days(text: str) -> float:
    """Read the option --days; the command line is wrong where it is none that may be asked about."""
    days = parse_days(text)
    if days is None:
        raise argparse.ArgumentTypeError(f"{text.strip() or 'nothing'} is not allowed, {ALLOWED}")
    return days
