"""Train the localizer on cases with outlined glands: `python -m workers train ct-localizer --data DIR --out BUNDLE`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from monai.losses import DiceCELoss

from workers.training.fit import add_options, fit
from workers.training.read_cases import no_outlined_gland
from workers.training.sample_localizer import draw_sample, read_heads
from workers.training.show_progress import start_log

logger = logging.getLogger(__name__)


_LOSS: Final = DiceCELoss(
    softmax=True, to_onehot_y=True, include_background=False, batch=True, smooth_nr=20, smooth_dr=20
)


def dice_and_cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return MONAI's DiceCE of `logits` (n, classes, z, y, x) and `classes` (n, z, y, x), Dice over the whole batch."""
    loss: torch.Tensor = _LOSS(logits, classes[:, None])
    return loss


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and train; 0 when the bundle is written."""
    parser = argparse.ArgumentParser(prog="python -m workers train ct-localizer", description=__doc__)
    add_options(parser, name="parotid_localizer", checkpoint=Path("cache/localizer.ckpt"), batch=3)
    options = parser.parse_args(argv)
    start_log()
    torch.set_num_threads(options.threads)
    heads = [head for folder in options.data for head in read_heads(folder)]
    logger.info("patients=%d", len(heads))
    if not heads:
        raise no_outlined_gland(options.data)
    fit("parotid_localizer", lambda rng: draw_sample(heads, rng), dice_and_cross_entropy, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
