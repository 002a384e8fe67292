"""How sure a share is: Wilson's interval."""

from typing import Final

Z_95: Final = 1.959964
Interval = tuple[float, float]


def wilson_interval(hits: int, count: int) -> Interval | None:
    """Return the 95 % score interval of `hits` in `count` (Wilson 1927); None where nothing was counted."""
    if count == 0:
        return None
    share, square = hits / count, Z_95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 / (1 + square / count) * (share * (1 - share) / count + square / (4 * count**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def describe_share(hits: int, count: int) -> str:
    """Say a share with its interval, such as "12 of 15, 0.80 (0.55 to 0.93)"; without cases that there are none."""
    interval = wilson_interval(hits, count)
    if interval is None:
        return "none"
    return f"{hits} of {count}, {hits / count:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"
