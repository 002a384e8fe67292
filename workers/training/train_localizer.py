"""Train the localizer on real patients: `python -m workers.training.train_localizer --data DIR --out BUNDLE_DIR`."""

import argparse
import logging
from pathlib import Path

import torch

from workers.models.networks import LOCALIZER_DEFINITION
from workers.training.fit import add_options, fit
from workers.training.sample_localizer import draw_sample, read_heads

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


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, checkpoint=Path("cache/localizer.ckpt"), batch=3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    heads = read_heads(options.data)
    logger.info("patients=%d", len(heads))
    fit(LOCALIZER_DEFINITION, lambda rng: draw_sample(heads, rng), dice_and_cross_entropy, options)


if __name__ == "__main__":
    main()
