"""The one rule that says which ultrasound cases are trained on, which choose among trainings, and which judge.

A case's part follows from its source and group alone, so that it stays the same
whatever cases are added or taken away, and whoever asks: training, evaluation
or a comparison. Groups are never split.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from workers.training.us_read_cases import CaseRow

TEST_SHARE: Final = 0.20
VALIDATION_SHARE: Final = 0.15
_SALT: Final = "ultrasound 1909/"
"""Of 3,000 tried, the one whose counts by source, label and machine come nearest to the shares in the data that the
shipped models learn from; nothing but counts was looked at. In other data the shares hold on average."""


class Part(StrEnum):
    """What a case may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    """Which step of a training ships; never trained on."""
    TEST = "test"
    """Never trained on, and nothing is chosen by it."""


def find_part(source: str, group: str) -> Part:
    """Return the part of every case of `group` in `source`."""
    place = _place(f"{source}/{group}")
    if place < TEST_SHARE:
        return Part.TEST
    return Part.VALIDATION if place < TEST_SHARE + VALIDATION_SHARE else Part.TRAIN


def find_fold(source: str, group: str, folds: int) -> int:
    """Return the fold, 1 to `folds`, in which every case of `group` is judged; it has nothing to do with the part."""
    return 1 + int(_place(f"fold/{source}/{group}") * folds)


def take_part(rows: Iterable[CaseRow], part: Part) -> list[CaseRow]:
    """Return the rows that belong to `part`, in their order."""
    return [row for row in rows if find_part(row.source, row.group) is part]


def count_parts(rows: Iterable[CaseRow]) -> dict[str, dict[str, int]]:
    """Return the cases by `source label`, then by part."""
    counts = Counter((f"{row.source} {row.label}", find_part(row.source, row.group)) for row in rows)
    kinds = sorted({kind for kind, _ in counts})
    return {kind: {part.value: counts[kind, part] for part in Part} for kind in kinds}


def _place(words: str) -> float:
    """Return where `words` fall, 0 to 1; all places are alike."""
    digest = hashlib.sha256(f"{_SALT}{words}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
