"""Read a few of many archived files, and leave those that cannot be had now to the next round."""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

Read = TypeVar("Read")

TRIED: Final = 1000
"""Files that cannot be had now keep no other waiting: so many are asked for at once."""


def read_each(found: Iterable[tuple[int, str]], read: Callable[[str], Read], most: int) -> list[tuple[int, Read]]:
    """Give what `read` makes of the path of each study, until there are `most`; who raises OSError is left out."""
    known: list[tuple[int, Read]] = []
    for study_id, path in found:
        try:
            known.append((study_id, read(path)))
        except OSError:
            continue
        if len(known) == most:
            break
    return known
