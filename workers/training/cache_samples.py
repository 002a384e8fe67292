"""Write the segmenter's training samples to a cache: `python -m workers.training.cache_samples --data DIR --out DIR`.

A sample costs far more to make than to train on, so each is made once. How it
looks (contrast, noise, kernel) is varied afresh each time it is used.
"""

import argparse
import logging
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy import ndimage

from workers.ct.segment_masses import BLUR_MM
from workers.models.networks import AIR_HU, SEGMENTER_SPACING_MM
from workers.training.look_alikes import add_look_alikes
from workers.training.read_patients import LEFT_LABEL, RIGHT_LABEL, Patient, read_patient
from workers.training.sample_crop import random_transform, sample_crop
from workers.training.synthetic_mass import draw_plan, insert_planned, insert_second

logger = logging.getLogger(__name__)

CROP_VOXELS = 56
"""112 mm a side, as the stage crops."""
GLAND_BIT, MASS_BIT = 1, 2

_SPACING = (SEGMENTER_SPACING_MM,) * 3
_REACH_MM = 85.0
_Sample = tuple[NDArray[np.int16], NDArray[np.uint8]]


def make_sample(patient: Patient, label: int, variant: int, seed: int) -> _Sample | None:
    """Return one crop around a gland: HU, and marks (GLAND_BIT, MASS_BIT), each (56, 56, 56); left turned to right.

    Even variants hold a mass. Most are changed on the patient's own grid, as a
    real mass is scanned; the others on the crop, where edges are finer than the
    patient's voxels. None where the gland is not contoured.
    """
    rng = np.random.default_rng((seed, label, variant, *patient.name.encode()))
    if not (patient.labels == label).any():
        return None
    hu, gland = _cut_around(patient, label)
    mass = np.zeros_like(gland)
    has_mass, on_own_grid = variant % 2 == 0, rng.random() < 0.65
    if on_own_grid:
        hu, gland, mass = _change(hu, gland, patient.spacing_mm, rng, has_mass=has_mass, psf_mm=None)
    center = np.array(ndimage.center_of_mass(gland | mass)) + rng.normal(0, 5, 3) / patient.spacing_mm
    crop = sample_crop(
        torch.from_numpy(
            np.stack([_smooth(hu, patient.spacing_mm), gland.astype(np.float32), mass.astype(np.float32)])
        ),
        patient.spacing_mm,
        center,
        random_transform(rng, max_degrees=10, scales=(0.87, 1.15)),
        size=CROP_VOXELS,
        step_mm=SEGMENTER_SPACING_MM,
        outside=(AIR_HU, 0, 0),
    )
    if label == LEFT_LABEL:
        crop = crop[..., ::-1].copy()
    hu, gland, mass = crop[0], crop[1] > 0.5, crop[2] > 0.5
    if not gland.any():
        return None
    if not on_own_grid:
        hu, gland, mass = _change(hu, gland, _SPACING, rng, has_mass=has_mass, psf_mm=float(rng.uniform(1.2, 2.0)))
    image = np.clip(np.rint(hu), -1000, 3000).astype(np.int16)
    return image, (gland * GLAND_BIT | mass * MASS_BIT).astype(np.uint8)


def _change(
    hu: NDArray[np.float32],
    gland: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    has_mass: bool,
    psf_mm: float | None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return image, gland and mass with look-alikes in most images and a mass, sometimes two, where wanted."""
    mass = np.zeros_like(gland)
    if rng.random() < (0.45 if has_mass else 0.75):
        disguised = add_look_alikes(hu, gland, spacing_mm, int(rng.integers(2**31)), psf_mm=psf_mm)
        if disguised.gland.any():
            hu, gland = disguised.hu, disguised.gland
    if has_mass:
        plan = draw_plan(rng)
        if rng.random() < 0.25:
            plan = replace(plan, diameter_mm=float(rng.uniform(8, 16)))
        inserted = insert_planned(hu, gland, spacing_mm, plan, rng, psf_mm=psf_mm)
        if rng.random() < 0.08:
            inserted = insert_second(inserted, gland, spacing_mm, rng)
        hu, mass = inserted.hu, inserted.mask
    return hu, gland, mass


def _cut_around(patient: Patient, label: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the patient's HU and gland within reach of the gland's middle."""
    gland = patient.labels == label
    center = np.array(ndimage.center_of_mass(gland))
    reach = _REACH_MM / np.array(patient.spacing_mm)
    low = np.maximum(np.floor(center - reach).astype(int), 0)
    high = np.minimum(np.ceil(center + reach).astype(int) + 1, gland.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return np.maximum(patient.hu[box].astype(np.float32), AIR_HU), gland[box]


def _smooth(hu: NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return `hu` without the detail that the stage smooths away before it samples a scan."""
    spacing = np.array(spacing_mm)
    sigma = np.sqrt(np.maximum(BLUR_MM**2 - (0.4 * spacing) ** 2, 0)) / spacing
    return np.asarray(ndimage.gaussian_filter(hu, sigma, mode="nearest", truncate=3), dtype=np.float32)


def _samples_of(folder: Path, variants: int, seed: int) -> list[_Sample]:
    torch.set_num_threads(1)
    patient = read_patient(folder)
    samples = [
        make_sample(patient, label, variant, seed) for label in (RIGHT_LABEL, LEFT_LABEL) for variant in range(variants)
    ]
    return [sample for sample in samples if sample is not None]


def write_samples(data: Sequence[Path], out: Path, *, variants: int, seed: int, jobs: int = 1) -> int:
    """Write `hu.npy`, `marks.npy` (n, 56, 56, 56) to `out` and return n; a finished cache is left as it is."""
    if (out / "count.txt").exists():
        return int((out / "count.txt").read_text())
    out.mkdir(parents=True, exist_ok=True)
    folders = [f for root in data for f in sorted(root.iterdir()) if (f / "image.nii.gz").exists()]
    shape = (len(folders) * 2 * variants, CROP_VOXELS, CROP_VOXELS, CROP_VOXELS)
    hu = open_memmap(out / "hu.npy", "w+", np.int16, shape)
    marks = open_memmap(out / "marks.npy", "w+", np.uint8, shape)
    count, started = 0, time.monotonic()
    make = partial(_samples_of, variants=variants, seed=seed)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for number, samples in enumerate(pool.imap(make, folders), start=1):
            for sample in samples:
                hu[count], marks[count] = sample
                count += 1
            logger.info(
                "cases=%d of %d samples=%d seconds=%.0f", number, len(folders), count, time.monotonic() - started
            )
    hu.flush()
    marks.flush()
    (out / "count.txt").write_text(f"{count}\n")
    return count


def main() -> None:
    """Read the command line and write the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, action="append", help="folder of patients; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("cache/segmenter_samples"))
    parser.add_argument("--variants", type=int, default=6, help="samples per gland; half of them hold a mass")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    write_samples(args.data, args.out, variants=args.variants, seed=args.seed, jobs=args.jobs)


if __name__ == "__main__":
    main()
