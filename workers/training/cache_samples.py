"""Write the segmenter's training samples to a cache: `python -m workers.training.cache_samples --data DIR --out DIR`.

A sample costs far more to make than to train on, so each is made once. How it
looks (contrast, noise, kernel) is varied afresh each time it is used.
"""

import argparse
import logging
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy import ndimage

from screener.outcomes import Outcome
from workers.ct.segment_masses import BLUR_MM
from workers.models.networks import AIR_HU, SEGMENTER_SPACING_MM
from workers.training.look_alikes import add_look_alikes
from workers.training.mass_shapes import Spacing
from workers.training.read_cases import list_cases
from workers.training.read_patients import LEFT_LABEL, RIGHT_LABEL, Patient, read_patient
from workers.training.sample_crop import random_transform, sample_crop, smooth_as_staged
from workers.training.synthetic_mass import draw_plan, insert_planned, insert_second

logger = logging.getLogger(__name__)

CROP_VOXELS = 56
"""112 mm a side, as the stage crops."""
GLAND_BIT, MASS_BIT = 1, 2

_REACH_MM = 85.0
_Sample = tuple[NDArray[np.int16], NDArray[np.uint8]]


def make_sample(patient: Patient, label: int, variant: int, seed: int) -> _Sample | None:
    """Return one crop around a gland: HU, and marks (GLAND_BIT, MASS_BIT), each (56, 56, 56); left turned to right.

    Even variants hold a synthetic mass, unless the patient has a real one there.
    Most are changed on the patient's own grid, as a real mass is scanned; the
    others on the crop, where edges are finer than the patient's voxels. None
    where the gland is not outlined.
    """
    rng = np.random.default_rng((seed, label, variant, *patient.name.encode()))
    if not (patient.labels == label).any():
        return None
    scene = _cut_around(patient, label)
    if not scene.gland.any():
        return None
    is_planted, on_own_grid = variant % 2 == 0 and not scene.mass.any(), rng.random() < 0.65
    if on_own_grid:
        scene = _change(scene, rng, is_planted=is_planted, psf_mm=None)
    spacing_mm = scene.spacing_mm
    center = np.array(ndimage.center_of_mass(scene.gland | scene.mass)) + rng.normal(0, 5, 3) / spacing_mm
    channels = [
        smooth_as_staged(scene.hu, spacing_mm, BLUR_MM),
        scene.gland.astype(np.float32),
        scene.mass.astype(np.float32),
    ]
    crop = sample_crop(
        torch.from_numpy(np.stack(channels)),
        spacing_mm,
        center,
        random_transform(rng, max_degrees=10, scales=(0.87, 1.15)),
        size=CROP_VOXELS,
        step_mm=SEGMENTER_SPACING_MM,
        outside=(AIR_HU, 0, 0),
    )
    if label == LEFT_LABEL:
        crop = crop[..., ::-1].copy()
    scene = _Scene(crop[0], crop[1] > 0.5, crop[2] > 0.5, (SEGMENTER_SPACING_MM,) * 3)
    if not scene.gland.any():
        return None
    if not on_own_grid:
        scene = _change(scene, rng, is_planted=is_planted, psf_mm=float(rng.uniform(1.2, 2.0)))
    image = np.clip(np.rint(scene.hu), -1000, 3000).astype(np.int16)
    return image, (scene.gland * GLAND_BIT | scene.mass * MASS_BIT).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What surrounds one gland; arrays (z, y, x)."""

    hu: NDArray[np.float32]
    gland: NDArray[np.bool_]
    mass: NDArray[np.bool_]
    spacing_mm: Spacing


def _change(scene: _Scene, rng: np.random.Generator, *, is_planted: bool, psf_mm: float | None) -> _Scene:
    """Return the scene with look-alikes in most and a mass, sometimes two, where wanted; a real mass stays as it is."""
    hu, gland, mass = scene.hu, scene.gland, scene.mass
    if not mass.any() and rng.random() < (0.45 if is_planted else 0.75):
        disguised = add_look_alikes(hu, gland, scene.spacing_mm, int(rng.integers(2**31)), psf_mm=psf_mm)
        if disguised.gland.any():
            hu, gland = disguised.hu, disguised.gland
    if is_planted:
        plan = draw_plan(rng)
        if rng.random() < 0.25:
            plan = replace(plan, diameter_mm=float(rng.uniform(8, 16)))
        inserted = insert_planned(hu, gland, scene.spacing_mm, plan, rng, psf_mm=psf_mm)
        if rng.random() < 0.08:
            inserted = insert_second(inserted, gland, scene.spacing_mm, rng, psf_mm=psf_mm)
        hu, mass = inserted.hu, inserted.mask
    return _Scene(hu, gland, mass, scene.spacing_mm)


def _cut_around(patient: Patient, label: int) -> _Scene:
    """Return what lies within reach of the middle of the patient's gland."""
    gland = patient.labels == label
    center = np.array(ndimage.center_of_mass(gland))
    reach = _REACH_MM / np.array(patient.spacing_mm)
    low = np.maximum(np.floor(center - reach).astype(int), 0)
    high = np.minimum(np.ceil(center + reach).astype(int) + 1, gland.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    gland = gland[box]
    mass = np.zeros_like(gland) if patient.mass is None else patient.mass[box]
    return _thin_out(_Scene(np.maximum(patient.hu[box].astype(np.float32), AIR_HU), gland, mass, patient.spacing_mm))


def _thin_out(scene: _Scene) -> _Scene:
    """Return the scene with voxels of at least 1.6 mm: finer detail is smoothed away in any case, and costs."""
    spacing = np.array(scene.spacing_mm)
    ratio = np.maximum(1.6 / spacing, 1.0)
    if (ratio == 1).all():
        return scene
    shape = tuple(int(n) for n in np.maximum(scene.hu.shape / ratio, 1))
    smooth = ndimage.gaussian_filter(scene.hu, np.where(ratio > 1, 0.35 * ratio, 0), mode="nearest", truncate=3)
    hu, gland, mass = (
        ndimage.affine_transform(values.astype(np.float32), ratio, output_shape=shape, order=1, mode="nearest")
        for values in (smooth, scene.gland, scene.mass)
    )
    z, y, x = (float(value) for value in spacing * ratio)
    return _Scene(np.asarray(hu, dtype=np.float32), gland > 0.5, mass > 0.5, (z, y, x))


def _samples_of(folder: Path, variants: int, seed: int) -> list[_Sample] | str:
    """Return the case's samples, or why it cannot be read: a pool's processes do not share the log."""
    torch.set_num_threads(1)
    try:
        patient = read_patient(folder)
    except Outcome as outcome:
        return outcome.reason
    samples = [
        make_sample(patient, label, variant, seed) for label in (RIGHT_LABEL, LEFT_LABEL) for variant in range(variants)
    ]
    return [sample for sample in samples if sample is not None]


def write_samples(data: Sequence[Path], out: Path, *, variants: int, seed: int, jobs: int = 1) -> int:
    """Write `hu.npy`, `marks.npy` (n, 56, 56, 56) to `out` and return n; a finished cache is left as it is.

    A case that cannot be read is logged with its reason and passed over. A
    cache without samples is not finished: the cases may be mended.
    """
    finished = out / "count.txt"
    if finished.exists() and (count := int(finished.read_text())):
        return count
    finished.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    folders = [folder for root in data for folder in list_cases(root)]
    shape = (len(folders) * 2 * variants, CROP_VOXELS, CROP_VOXELS, CROP_VOXELS)
    hu = open_memmap(out / "hu.npy", "w+", np.int16, shape)
    marks = open_memmap(out / "marks.npy", "w+", np.uint8, shape)
    count, started = 0, time.monotonic()
    make = partial(_samples_of, variants=variants, seed=seed)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for number, (folder, made) in enumerate(zip(folders, pool.imap(make, folders), strict=True), start=1):
            if isinstance(made, str):
                logger.warning("case=%s passed over: %s", folder.name, made)
                continue
            for sample in made:
                hu[count], marks[count] = sample
                count += 1
            logger.info(
                "cases=%d of %d samples=%d seconds=%.0f", number, len(folders), count, time.monotonic() - started
            )
    hu.flush()
    marks.flush()
    if count:
        finished.write_text(f"{count}\n")
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
