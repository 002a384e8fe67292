"""Train the localizer on cases with outlined glands: `python -m workers train ct-localizer --data DIR --out BUNDLE`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from workers.training.fit import add_options, fit
from workers.training.read_cases import no_outlined_gland
from workers.training.sample_localizer import draw_sample, read_heads
from workers.training.show_progress import start_log

logger = logging.getLogger(__name__)


def dice_and_cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return soft Dice over the whole batch (Milletari et al. 2016) plus cross-entropy."""
    entropy = torch.nn.functional.cross_entropy(logits, classes)
    shares = logits.softmax(1)[:, 1:]
    truth = torch.nn.functional.one_hot(classes, logits.shape[1]).movedim(-1, 1)[:, 1:].to(shares.dtype)
    overlap = (shares * truth).sum((0, 2, 3, 4))
    total = (shares + truth).sum((0, 2, 3, 4))
    dice = 1 - (2 * overlap + 20) / (total + 20)
    return entropy + dice.mean()


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
