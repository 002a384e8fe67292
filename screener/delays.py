"""How long to wait before something that failed is tried again."""

from datetime import timedelta

_MOST_DOUBLINGS = 60  # keeps the power inside a float however long a peer is away


def next_delay(attempts: int, first_seconds: float, longest_seconds: float) -> timedelta:
    """Give the wait after failed try number `attempts` (1, 2, ...): doubling from the first, never above the longest.

    No jitter: a few rows per hospital cannot make a stampede, and an operator
    can foretell the next try.
    """
    doublings = min(max(attempts, 1) - 1, _MOST_DOUBLINGS)
    return timedelta(seconds=min(first_seconds * 2.0**doublings, longest_seconds))
