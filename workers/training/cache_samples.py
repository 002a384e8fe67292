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

from screener.outcomes import NeedsPerson, Outcome
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


@dataclass(frozen=True, slots=True)
class _Scene:
    """What surrounds one gland; arrays (z, y, x)."""

    hu: NDArray[np.float32]
    gland: NDArray[np.bool_]
    mass: NDArray[np.bool_]
    spacing_mm: Spacing
    kinds: tuple[str, ...] = ()
    """Of the look-alikes that were put in."""


def make_sample(patient: Patient, label: int, variant: int, seed: int) -> _Sample | None:
    """Return crops around a gland and around the other one: HU, and marks (GLAND_BIT, MASS_BIT), each (2, 56, 56, 56).

    Left ones are turned to look right, so that the two resemble each other.
    Even variants hold a synthetic mass, unless the patient has a real one there.
    Most are changed on the patient's own grid, as a real mass is scanned; the
    others on the crop, where edges are finer than the patient's voxels. None
    where the gland is not outlined; air where only the other one is not.
    """
    rng = np.random.default_rng((seed, label, variant, *patient.name.encode()))
    if not (patient.labels == label).any():
        return None
    scene = _cut_around(patient, label)
    if not scene.gland.any():
        return None
    is_planted = variant % 2 == 0 and not scene.mass.any()
    psf_mm = None if rng.random() < 0.65 else float(rng.uniform(1.2, 2.0))
    if psf_mm is None:
        scene = _change(scene, rng, is_planted=is_planted, psf_mm=None)
    transform = random_transform(rng, max_degrees=10, scales=(0.87, 1.15))
    scene = _take_crop(scene, transform, rng, is_left=label == LEFT_LABEL)
    if not scene.gland.any():
        return None
    if psf_mm is not None:
        scene = _change(scene, rng, is_planted=is_planted, psf_mm=psf_mm)
    other = _make_other(patient, LEFT_LABEL + RIGHT_LABEL - label, scene.kinds, transform, psf_mm, rng)
    image = np.clip(np.rint(np.stack([scene.hu, other.hu])), AIR_HU, 3000).astype(np.int16)
    gland, mass = np.stack([scene.gland, other.gland]), np.stack([scene.mass, other.mass])
    return image, (gland * GLAND_BIT | mass * MASS_BIT).astype(np.uint8)


def _make_other(
    patient: Patient,
    label: int,
    kinds: tuple[str, ...],
    transform: NDArray[np.float64],
    psf_mm: float | None,
    rng: np.random.Generator,
) -> _Scene:
    """Return the crop around the gland of the other side, as it is or changed by itself; air where there is none.

    Often it has what the first gland has (`kinds` of look-alikes): much of it comes on both sides. Now and then it
    has a mass of its own, as in Warthin's tumor. It is changed on the patient's grid, or with `psf_mm` on the crop.
    """

    def change(scene: _Scene) -> _Scene:
        chance = rng.random()
        if scene.mass.any():
            return scene
        if kinds and chance < 0.4:
            scene = _disguise(scene, rng, kinds=kinds, psf_mm=psf_mm)
        elif chance > 0.75:
            scene = _disguise(scene, rng, kinds=None, psf_mm=psf_mm)
        return _plant(scene, rng, psf_mm=psf_mm) if rng.random() < 0.06 else scene

    if (patient.labels == label).any() and (scene := _cut_around(patient, label)).gland.any():
        if psf_mm is None:
            scene = change(scene)
        scene = _take_crop(scene, transform, rng, is_left=label == LEFT_LABEL)
        return scene if psf_mm is None or not scene.gland.any() else change(scene)
    nothing = np.zeros((CROP_VOXELS,) * 3, dtype=bool)
    return _Scene(np.full(nothing.shape, AIR_HU, np.float32), nothing, nothing, (SEGMENTER_SPACING_MM,) * 3)


def _take_crop(scene: _Scene, transform: NDArray[np.float64], rng: np.random.Generator, *, is_left: bool) -> _Scene:
    """Return what the stage sees of the scene, turned and scaled by `transform`, the gland nearly in its middle."""
    center = np.array(ndimage.center_of_mass(scene.gland | scene.mass)) + rng.normal(0, 5, 3) / scene.spacing_mm
    channels = [
        smooth_as_staged(scene.hu, scene.spacing_mm, BLUR_MM),
        scene.gland.astype(np.float32),
        scene.mass.astype(np.float32),
    ]
    crop = sample_crop(
        torch.from_numpy(np.stack(channels)),
        scene.spacing_mm,
        center,
        transform,
        size=CROP_VOXELS,
        step_mm=SEGMENTER_SPACING_MM,
        outside=(AIR_HU, 0, 0),
    )
    if is_left:
        crop = crop[..., ::-1].copy()
    return _Scene(crop[0], crop[1] > 0.5, crop[2] > 0.5, (SEGMENTER_SPACING_MM,) * 3, scene.kinds)


def _change(scene: _Scene, rng: np.random.Generator, *, is_planted: bool, psf_mm: float | None) -> _Scene:
    """Return the scene with look-alikes in most and a mass, sometimes two, where wanted; a real mass stays as it is."""
    if not scene.mass.any() and rng.random() < (0.45 if is_planted else 0.75):
        scene = _disguise(scene, rng, kinds=None, psf_mm=psf_mm)
    return _plant(scene, rng, psf_mm=psf_mm) if is_planted else scene


def _disguise(scene: _Scene, rng: np.random.Generator, *, kinds: Sequence[str] | None, psf_mm: float | None) -> _Scene:
    """Return the scene with look-alikes, of `kinds` or random ones; as it was where they leave nothing of the gland."""
    seed = int(rng.integers(2**31))
    disguised = add_look_alikes(scene.hu, scene.gland, scene.spacing_mm, seed, kinds=kinds, psf_mm=psf_mm)
    if not disguised.gland.any():
        return scene
    return replace(scene, hu=disguised.hu, gland=disguised.gland, kinds=disguised.kinds)


def _plant(scene: _Scene, rng: np.random.Generator, *, psf_mm: float | None) -> _Scene:
    """Return the scene with a mass, sometimes two."""
    plan = draw_plan(rng)
    if rng.random() < 0.25:
        plan = replace(plan, diameter_mm=float(rng.uniform(8, 16)))
    inserted = insert_planned(scene.hu, scene.gland, scene.spacing_mm, plan, rng, psf_mm=psf_mm)
    if rng.random() < 0.08:
        inserted = insert_second(inserted, scene.gland, scene.spacing_mm, rng, psf_mm=psf_mm)
    return replace(scene, hu=inserted.hu, mass=inserted.mask)


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
    """Write `hu.npy`, `marks.npy` (n, 2, 56, 56, 56) to `out` and return n; a finished cache is left as it is.

    A case that cannot be read is logged with its reason and passed over. A
    cache without samples is not finished: the cases may be mended. Raises
    NeedsPerson for a finished cache of another shape.
    """
    finished = out / "count.txt"
    if finished.exists() and (count := int(finished.read_text())):
        _check_shape(out)
        return count
    finished.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    folders = [folder for root in data for folder in list_cases(root)]
    shape = (len(folders) * 2 * variants, 2, CROP_VOXELS, CROP_VOXELS, CROP_VOXELS)
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


def _check_shape(out: Path) -> None:
    """Raise NeedsPerson where the samples in `out` are not pairs of crops: those of before show one gland alone."""
    shapes = {name: np.load(out / f"{name}.npy", mmap_mode="r").shape[1:] for name in ("hu", "marks")}
    if set(shapes.values()) != {(2, *(CROP_VOXELS,) * 3)}:
        reason = f"The samples in {out} are of another shape than this version makes; name another folder or remove it."
        raise NeedsPerson(reason, code="other_samples")


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
