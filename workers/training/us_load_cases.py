"""What both ultrasound trainings share: their options, and the cases that they learn from and choose by."""

import argparse
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.models.us_networks import DEFAULT_SIDE_PX, SIDE_MULTIPLE
from workers.training.fit import add_options
from workers.training.us_read_cases import CaseRow, UsCase, digest_rows, list_rows, read_cases
from workers.training.us_split_cases import Part, count_parts, take_part

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCases:
    """Cases in memory; those of the test part are never read."""

    train: list[UsCase]
    validation: list[UsCase]
    digest: str
    """Of the files, of both parts."""
    counts: dict[str, dict[str, int]]
    """As `count_parts` returns them, the test part's among them."""

    def describe(self) -> dict[str, Any]:
        """Return what the model card needs to know of them."""
        sources = {case.row.source for case in (*self.train, *self.validation)}
        parts = [Part.TRAIN] if self.validation else [Part.TRAIN, Part.VALIDATION]
        return {"sources": sorted(sources), "cases": self.counts, "trained_on": [part.value for part in parts]}

    def steps_of_an_epoch(self, batch: int) -> int:
        """Return after how many steps as many samples were drawn as there are cases."""
        return max(1, math.ceil(len(self.train) / batch))


def add_us_options(
    parser: argparse.ArgumentParser, *, name: str, checkpoint: Path | None, healthy_share: float
) -> None:
    """Add what both trainings take; without a `checkpoint` nothing is chosen among steps, see `add_options`."""
    add_options(parser, name=name, checkpoint=checkpoint, batch=8, learning_rate=1e-3)
    add = parser.add_argument
    add("--side", type=_side, default=DEFAULT_SIDE_PX, help="of the square that the network sees; default %(default)s")
    add(
        "--healthy-share",
        type=_share,
        default=healthy_share,
        help="of the samples, those of pictures without a lesion; default %(default)s",
    )
    add(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="weights of MobileNetV2 that learned on photographs, for the networks made of it (us_pretrained.py)",
    )
    if checkpoint is None:
        return
    add(
        "--fixed",
        action="store_true",
        help="learn from the validation part, too, and ship the last step: cross-validation has found the steps",
    )
    add("--validate-every", type=int, metavar="STEPS", help="judge after so many steps; default an epoch")


def load_cases(folders: Sequence[Path], *, is_fixed: bool = False) -> TrainingCases:
    """Decode the cases of `folders` to train on and to choose by; say the counts of all three parts.

    Where `is_fixed`, nothing is chosen, and the validation part is trained on.
    """
    rows: list[CaseRow] = [row for folder in folders for row in list_rows(folder)]
    counts = count_parts(rows)
    for kind, by_part in counts.items():
        logger.info("cases=%s %s", kind, " ".join(f"{part}={count}" for part, count in by_part.items()))
    train, validation = take_part(rows, Part.TRAIN), take_part(rows, Part.VALIDATION)
    if is_fixed:
        train, validation = [*train, *validation], []
    return TrainingCases(
        train=list(read_cases(train)),
        validation=list(read_cases(validation)),
        digest=digest_rows([*train, *validation]),
        counts=counts,
    )


def _side(word: str) -> int:
    side_px = int(word)
    if side_px < SIDE_MULTIPLE or side_px % SIDE_MULTIPLE:
        message = f"must be a multiple of {SIDE_MULTIPLE}"
        raise argparse.ArgumentTypeError(message)
    return side_px


def _share(word: str) -> float:
    share = float(word)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError("must be at least 0 and less than 1")
    return share
