"""Train the segmenter on cached samples: `python -m workers.training.train_segmenter --data DIR --out BUNDLE_DIR`."""

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.networks import (
    AIR_HU,
    SEGMENTER_DEFINITION,
    SEGMENTER_SPACING_MM,
    build_network,
    scale_hu,
    smooth_gland,
)
from workers.training.augment import change_look, cut_coverage
from workers.training.cache_samples import CROP_VOXELS, write_samples
from workers.training.keep_checkpoint import (
    Averaged,
    load_checkpoint,
    save_checkpoint,
    save_weights,
    set_learning_rate,
)
from workers.training.synthetic_mass import insert_distractors

logger = logging.getLogger(__name__)

PATCH_VOXELS = 48


def draw_patch(
    hu: NDArray[np.int16], marks: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return one augmented patch (3, z, y, x) of a cached sample and its classes (z, y, x)."""
    start = rng.integers(0, CROP_VOXELS - PATCH_VOXELS + 1, 3)
    where = tuple(slice(s, s + PATCH_VOXELS) for s in start)
    image = hu[where].astype(np.float32)
    gland = (marks[where] & 1) > 0
    mass = (marks[where] & 2) > 0
    found = corrupt_gland(gland, mass, rng)
    if rng.random() < 0.4 and gland.any():
        image = insert_distractors(image, gland, (SEGMENTER_SPACING_MM,) * 3, int(rng.integers(2**31)))
    image = change_look(image, gland & ~mass, rng, mass)
    classes = mass.astype(np.int64)
    if rng.random() < 0.1:
        gone = np.ones(PATCH_VOXELS, dtype=bool)
        gone[cut_coverage(image.shape, PATCH_VOXELS // 2, rng)] = False
        image[gone] = AIR_HU
        found[gone] = 0
        classes[gone] = 0
    return np.concatenate([scale_hu(image), found[None]]), classes


def corrupt_gland(gland: NDArray[np.bool_], mass: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the gland as the localizer might find it: shifted, too small or large, without its mass, or not at all."""
    if rng.random() < 0.1:
        return np.zeros(gland.shape, dtype=np.float32)
    kind = rng.random()
    found = gland | mass if kind < 0.5 else (gland & ~mass if kind < 0.75 else gland)
    steps = int(rng.integers(-1, 3))
    if steps > 0:
        found = ndimage.binary_dilation(found, iterations=steps)
    elif steps < 0:
        found = ndimage.binary_erosion(found)
    found = ndimage.shift(found.astype(np.float32), rng.normal(0, 1.2, 3), order=1)
    return smooth_gland(found, SEGMENTER_SPACING_MM)


def dice_and_cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return soft Dice of the mass over the whole batch plus cross-entropy."""
    entropy = torch.nn.functional.cross_entropy(logits, classes)
    share = logits.softmax(1)[:, 1]
    truth = classes.to(share.dtype)
    return 3 * entropy + 1 - (2 * (share * truth).sum() + 50) / (share.sum() + truth.sum() + 50)


def train(cache: Path, out: Path, *, steps: int, batch: int, seed: int, checkpoint: Path, learning_rate: float) -> None:
    """Train for `steps` steps, going on from `checkpoint` where one exists; weights go to `out`/models."""
    count = int((cache / "count.txt").read_text())
    hu = np.load(cache / "hu.npy", mmap_mode="r")
    marks = np.load(cache / "marks.npy", mmap_mode="r")
    torch.manual_seed(seed)
    network = build_network(SEGMENTER_DEFINITION)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    average = Averaged(network)
    first = load_checkpoint(checkpoint, network, optimizer, average)
    logger.info("samples=%d first_step=%d steps=%d", count, first, steps)
    started, running = time.monotonic(), 0.0
    network.train()
    for step in range(first, steps):
        rng = np.random.default_rng((seed, step))  # a step draws the same samples whether or not it was resumed
        chosen = rng.integers(0, count, batch)
        images, classes = zip(*[draw_patch(hu[i], marks[i], rng) for i in chosen], strict=True)
        loss = dice_and_cross_entropy(network(torch.from_numpy(np.stack(images))), torch.from_numpy(np.stack(classes)))
        set_learning_rate(optimizer, learning_rate, step, steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()
        average.update(network)
        running += (loss.item() - running) / min(step - first + 1, 50)
        if (step + 1) % 50 == 0:
            logger.info("step=%d loss=%.3f seconds=%.0f", step + 1, running, time.monotonic() - started)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            save_checkpoint(checkpoint, step + 1, network, optimizer, average)
            save_weights(average, out)


def main() -> None:
    """Read the command line, cache the samples where they are not yet, and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of patients, such as openkbp_train")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--cache", type=Path, default=Path("cache/segmenter_samples"))
    parser.add_argument("--checkpoint", type=Path, default=Path("cache/segmenter.ckpt"))
    parser.add_argument("--variants", type=int, default=6)
    parser.add_argument("--sample-seed", type=int, default=11)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    write_samples(args.data, args.cache, variants=args.variants, seed=args.sample_seed)
    train(
        args.cache, args.out, steps=args.steps, batch=args.batch, seed=args.seed,
        checkpoint=args.checkpoint, learning_rate=args.learning_rate,
    )


if __name__ == "__main__":
    main()
