"""Write the segmenter's training samples to a cache: `python -m workers.training.cache_samples --data DIR --out DIR`.

A sample costs far more to make than to train on, so each is made once. How it
looks (contrast, noise, kernel) is varied afresh each time it is used.
"""

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.networks import AIR_HU, SEGMENTER_SPACING_MM
from workers.training.read_patients import LEFT_LABEL, RIGHT_LABEL, Patient, read_patients
from workers.training.sample_crop import random_transform, sample_crop
from workers.training.synthetic_mass import insert_distractors, insert_mass

logger = logging.getLogger(__name__)

CROP_VOXELS = 56
"""112 mm a side, as the stage crops."""

_SPACING = (SEGMENTER_SPACING_MM,) * 3


def make_sample(
    patient: Patient, label: int, variant: int, seed: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8]] | None:
    """Return one crop around a gland: HU, and marks (bit 0 gland, bit 1 mass), each (56, 56, 56); left turned to right.

    Even variants hold a mass. None where the gland is not contoured.
    """
    rng = np.random.default_rng((seed, label, variant, *patient.name.encode()))
    gland = patient.labels == label
    if not gland.any():
        return None
    center = np.array(ndimage.center_of_mass(gland)) + rng.normal(0, 5, 3) / patient.spacing_mm
    hu = np.maximum(patient.hu.astype(np.float32), AIR_HU)
    crop = sample_crop(
        torch.from_numpy(np.stack([hu, gland.astype(np.float32)])),
        patient.spacing_mm,
        center,
        random_transform(rng, max_degrees=10, scales=(0.87, 1.15)),
        size=CROP_VOXELS,
        step_mm=SEGMENTER_SPACING_MM,
        outside=(AIR_HU, 0),
    )
    if label == LEFT_LABEL:
        crop = crop[..., ::-1].copy()
    image, gland = crop[0], crop[1] > 0.5
    mass = np.zeros_like(gland)
    if not gland.any():
        return None
    if rng.random() < 0.5:
        image = insert_distractors(image, gland, _SPACING, int(rng.integers(2**31)))
    if variant % 2 == 0:
        image, mass = insert_mass(
            image, gland, _SPACING, int(rng.integers(2**31)), edge_mm=float(rng.uniform(0.9, 2.1))
        )
    image = np.clip(np.rint(image), -1000, 3000).astype(np.int16)
    return image, (gland | (mass << 1)).astype(np.uint8)


def write_samples(data: Path, out: Path, *, variants: int, seed: int) -> int:
    """Write `hu.npy`, `marks.npy` (n, 56, 56, 56) to `out` and return n; a finished cache is left as it is."""
    if (out / "count.txt").exists():
        return int((out / "count.txt").read_text())
    out.mkdir(parents=True, exist_ok=True)
    folders = sum(1 for folder in data.iterdir() if (folder / "image.nii.gz").exists())
    shape = (folders * 2 * variants, CROP_VOXELS, CROP_VOXELS, CROP_VOXELS)
    hu = open_memmap(out / "hu.npy", "w+", np.int16, shape)
    marks = open_memmap(out / "marks.npy", "w+", np.uint8, shape)
    count, started = 0, time.monotonic()
    for patient in read_patients(data):
        for label in (RIGHT_LABEL, LEFT_LABEL):
            for variant in range(variants):
                sample = make_sample(patient, label, variant, seed)
                if sample is not None:
                    hu[count], marks[count] = sample
                    count += 1
        logger.info("patient=%s samples=%d seconds=%.0f", patient.name, count, time.monotonic() - started)
    hu.flush()
    marks.flush()
    (out / "count.txt").write_text(f"{count}\n")
    return count


def main() -> None:
    """Read the command line and write the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of patients, such as openkbp_train")
    parser.add_argument("--out", type=Path, default=Path("cache/segmenter_samples"))
    parser.add_argument("--variants", type=int, default=6, help="samples per gland; half of them hold a mass")
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    write_samples(args.data, args.out, variants=args.variants, seed=args.seed)


if __name__ == "__main__":
    main()
