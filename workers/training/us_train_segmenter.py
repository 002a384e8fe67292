"""Train the ultrasound segmenter: `python -m workers train us-segmenter --data DIR --out BUNDLE`.

DIR holds `index.csv`, pictures and outlines (`us_read_cases.py`). The step with the best Dice on the validation part
ships; the test part is not looked at.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from monai.losses import DiceCELoss

from workers.models.us_networks import LESION_SEGMENTER
from workers.training.fit import Validation, fit
from workers.training.show_progress import start_log
from workers.training.us_draw_samples import draw_for_segmenter, sort_for_segmenter
from workers.training.us_judge_networks import judge_segmenter
from workers.training.us_load_cases import add_us_options, load_cases

_LOSS: Final = DiceCELoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
"""Dice over the whole batch: pictures without a lesion would make a Dice of their own meaningless."""


def dice_and_cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return MONAI's DiceCE of `logits` (n, 1, rows, columns) and `classes` (n, rows, columns)."""
    loss: torch.Tensor = _LOSS(logits, classes[:, None].to(logits.dtype))
    return loss


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and train; 0 when the bundle is written."""
    parser = argparse.ArgumentParser(
        prog="python -m workers train us-segmenter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_us_options(parser, name=LESION_SEGMENTER, checkpoint=Path("cache/us_segmenter.ckpt"), healthy_share=0.2)
    options = parser.parse_args(argv)
    start_log()
    torch.set_num_threads(options.threads)
    cases = load_cases(options.data, is_fixed=options.fixed)
    urns = sort_for_segmenter(cases.train)
    fit(
        LESION_SEGMENTER,
        lambda rng: draw_for_segmenter(urns, rng, side_px=options.side, healthy_share=options.healthy_share),
        dice_and_cross_entropy,
        options,
        cases=cases.digest,
        validation=None
        if options.fixed
        else Validation(
            judge=judge_segmenter(cases.validation, options.side),
            score="dice",
            every_steps=options.validate_every or cases.steps_of_an_epoch(options.batch),
        ),
        about=cases.describe(),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
