"""Train the segmenter on samples made beforehand: `python -m workers train ct-segmenter --data DIR --out BUNDLE`."""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.losses import DiceLoss, TverskyLoss
from numpy.typing import NDArray

from workers.models.device import choose_device
from workers.models.networks import PREPROCESSING_VERSION
from workers.models.weights import load_bundle
from workers.training.cache_samples import write_samples
from workers.training.digest_cases import READING, digest_cases, digest_code
from workers.training.find_hard_samples import find_hard_samples, repeat_hard_samples
from workers.training.fit import Loss, Sample, add_options, fit
from workers.training.read_cases import no_outlined_gland
from workers.training.sample_segmenter import FULL_VARIETY, MILD_VARIETY, draw_patch
from workers.training.show_progress import start_log

logger = logging.getLogger(__name__)

GENERATOR: Final = (
    *READING, "cache_samples", "look_alikes", "mass_shapes", "read_patients", "sample_crop", "synthetic_mass",
)  # fmt: skip
"""Modules of this folder that samples are made by; they are made anew when one changes."""
GENERATOR_STAGES: Final = ("check_values", "load_volume", "mask_body", "segment_masses", "select_series")

_SMOOTH_BATCH: Final[dict[str, Any]] = {"batch": True, "smooth_nr": 50, "smooth_dr": 50}
_SMOOTH_EACH: Final[dict[str, Any]] = {"smooth_nr": 10, "smooth_dr": 10}
"""By voxels of 2 mm: where there is no mass, a few that look like one cost little, and many nearly 1."""
_DICE_OF_BATCH: Final = DiceLoss(**_SMOOTH_BATCH)
_DICE_OF_EACH: Final = DiceLoss(**_SMOOTH_EACH)


def dice_and_cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy plus soft Dice of the mass, over the whole batch and of each sample.

    `logits` are (n, 2, z, y, x), `classes` (n, z, y, x). The Dice of the batch
    is that of its large masses; that of each sample counts a small one as much.
    """
    return _add_up(logits, classes, _DICE_OF_BATCH, _DICE_OF_EACH)


def tversky_and_cross_entropy(beta: float) -> Loss:
    """Return a loss like `dice_and_cross_entropy` that counts a missed voxel of a mass `beta`, another 1 - `beta`.

    Salehi et al. 2017, Tversky loss function for image segmentation using 3D
    fully convolutional deep networks. In the part of each sample, one without
    a mass costs what it does there; in that of the batch, what it invents
    counts 1 - `beta` as well.
    """
    of_batch = TverskyLoss(alpha=1 - beta, beta=beta, **_SMOOTH_BATCH)
    of_each = TverskyLoss(alpha=1 - beta, beta=beta, reduction="none", **_SMOOTH_EACH)
    dice_of_each = DiceLoss(reduction="none", **_SMOOTH_EACH)

    def of_each_by_kind(share: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        holds_mass = truth.flatten(1).any(1)
        return torch.where(holds_mass, of_each(share, truth).flatten(), dice_of_each(share, truth).flatten()).mean()

    return lambda logits, classes: _add_up(logits, classes, of_batch, of_each_by_kind)


def _add_up(logits: torch.Tensor, classes: torch.Tensor, of_batch: Loss, of_each: Loss) -> torch.Tensor:
    """Return the cross-entropy plus both losses of the shares of the mass against the truth, each (n, 1, z, y, x)."""
    share = logits.softmax(1)[:, 1:2]
    truth = classes[:, None].to(share.dtype)
    entropy = torch.nn.functional.cross_entropy(logits, classes)
    return 3 * entropy + of_batch(share, truth) / 2 + of_each(share, truth)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, make the samples where they are not yet, and train; 0 when the bundle is written."""
    parser = argparse.ArgumentParser(prog="python -m workers train ct-segmenter", description=__doc__)
    add_options(parser, name="parotid_mass_segmenter", checkpoint=Path("cache/segmenter.ckpt"), batch=4)
    parser.add_argument("--cache", type=Path, help="folder of the samples; default beside the checkpoint, by content")
    parser.add_argument("--variants", type=int, default=6, help="samples per gland; half of them hold a mass")
    parser.add_argument("--sample-seed", type=int, default=11)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make the samples")
    parser.add_argument(
        "--harder", action="store_true", help="draw the samples that the bundle of --init judges wrong more often"
    )
    parser.add_argument(
        "--mild",
        action="store_true",
        help="change the samples less, and how masses stand out from their gland: for the last of several trainings",
    )
    parser.add_argument(
        "--tversky-beta",
        type=float,
        metavar="BETA",
        help="what a missed voxel of a mass counts, a falsely marked one counting 1 - BETA; "
        "above 0.5 masses are found larger; default the Dice, which weighs them alike",
    )
    options = parser.parse_args(argv)
    if options.tversky_beta is not None and not 0 < options.tversky_beta < 1:
        parser.error(f"--tversky-beta is between 0 and 1, not {options.tversky_beta:g}")
    if options.harder and options.init is None:
        parser.error("--harder needs --init: what is hard is hard for a network")
    start_log()
    torch.set_num_threads(options.threads)
    cache = options.cache or name_cache(options)
    if (cache / "count.txt").exists():
        logger.info("cache=%s holds the samples already%s", cache, "" if options.cache is None else ", as --cache says")
    else:
        others = sorted(other.name for other in cache.parent.glob("segmenter_samples_*") if other != cache)
        logger.info("cache=%s is made; others there, not of these cases and code: %s", cache, others or "none")
    count = write_samples(options.data, cache, variants=options.variants, seed=options.sample_seed, jobs=options.jobs)
    logger.info("samples=%d cache=%s", count, cache)
    if not count:
        raise no_outlined_gland(options.data)
    hu = np.load(cache / "hu.npy", mmap_mode="r")[:count]  # the file has room for samples that were not made
    marks = np.load(cache / "marks.npy", mmap_mode="r")[:count]
    order = choose_order(hu, marks, cache, options)
    variety = MILD_VARIETY if options.mild else FULL_VARIETY

    def draw(rng: np.random.Generator) -> Sample:
        chosen = order[rng.integers(0, len(order))]
        return draw_patch(hu[chosen], marks[chosen], rng, variety)

    beta = options.tversky_beta
    loss_of = dice_and_cross_entropy if beta is None else tversky_and_cross_entropy(beta)
    fit("parotid_mass_segmenter", draw, loss_of, options)
    return 0


def choose_order(
    hu: NDArray[np.int16], marks: NDArray[np.uint8], cache: Path, options: argparse.Namespace
) -> NDArray[np.intp]:
    """Return the indices of the samples to draw from, the hard ones several times where they are asked for.

    Which ones are hard for a network is kept in `cache`, beside the samples, and found anew when that code changes.
    """
    if not options.harder:
        return np.arange(len(hu))
    device, _ = choose_device(options.device)
    folder = options.init.resolve()
    bundle = load_bundle(folder.name, device, folder.parent)
    known = cache / f"hard_{bundle.digest[:16]}_{digest_code(['find_hard_samples'], [])[:8]}.npy"
    if not known.exists():
        unfinished = known.with_suffix(".part.npy")
        np.save(unfinished, find_hard_samples(hu, marks, bundle))
        unfinished.replace(known)
    hard = np.load(known)
    logger.info("samples=%d hard=%d", len(hu), len(hard))
    return repeat_hard_samples(len(hu), hard)


def name_cache(options: argparse.Namespace) -> Path:
    """Return a folder beside the checkpoint that no other files, code, number of variants or seed share."""
    what = [
        digest_cases(options.data),
        digest_code(GENERATOR, GENERATOR_STAGES),
        PREPROCESSING_VERSION,
        options.variants,
        options.sample_seed,
    ]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:8]
    return Path(options.checkpoint).parent / f"segmenter_samples_{digest}"


if __name__ == "__main__":
    sys.exit(main())
