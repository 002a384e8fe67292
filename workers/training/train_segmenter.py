"""Train the segmenter on cached samples: `python -m workers.training.train_segmenter --data DIR --out BUNDLE_DIR`."""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch

from workers.models.networks import SEGMENTER_DEFINITION
from workers.training.cache_samples import write_samples
from workers.training.fit import Sample, add_options, fit
from workers.training.sample_segmenter import draw_patch

logger = logging.getLogger(__name__)


def dice_and_cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return soft Dice of the mass over the whole batch plus cross-entropy."""
    entropy = torch.nn.functional.cross_entropy(logits, classes)
    share = logits.softmax(1)[:, 1]
    truth = classes.to(share.dtype)
    return 3 * entropy + 1 - (2 * (share * truth).sum() + 50) / (share.sum() + truth.sum() + 50)


def main() -> None:
    """Read the command line, cache the samples where they are not yet, and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, checkpoint=Path("cache/segmenter.ckpt"), batch=4)
    parser.add_argument("--cache", type=Path, default=Path("cache/segmenter_samples"), help="folder of the samples")
    parser.add_argument("--variants", type=int, default=6, help="samples per gland; half of them hold a mass")
    parser.add_argument("--sample-seed", type=int, default=11)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    count = write_samples(options.data, options.cache, variants=options.variants, seed=options.sample_seed)
    hu = np.load(options.cache / "hu.npy", mmap_mode="r")
    marks = np.load(options.cache / "marks.npy", mmap_mode="r")
    logger.info("samples=%d", count)

    def draw(rng: np.random.Generator) -> Sample:
        chosen = rng.integers(0, count)
        return draw_patch(hu[chosen], marks[chosen], rng)

    fit(SEGMENTER_DEFINITION, draw, dice_and_cross_entropy, options)


if __name__ == "__main__":
    main()
