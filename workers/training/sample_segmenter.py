"""Draw the segmenter's training samples from the cache: patches at 2 mm with the gland as the localizer finds it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.networks import AIR_HU, SEGMENTER_SPACING_MM, scale_hu, smooth_gland
from workers.training.augment import add_little_noise, bend, change_contrast, change_look, cut_coverage
from workers.training.cache_samples import CROP_VOXELS, GLAND_BIT, MASS_BIT
from workers.training.look_alikes import add_look_alikes

PATCH_VOXELS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Variety:
    """The shares of the patches that are changed, by what is changed."""

    bent: float
    look_alikes: float
    """Another look-alike is put in."""
    contrast: float
    """Of those with a mass: `change_contrast`."""
    look: float
    """Looks as on another scanner, `change_look`."""
    noise: float
    """Of those that do not: `add_little_noise`."""
    cut: float
    """Its slices end early."""


FULL_VARIETY: Final = Variety(bent=0.6, look_alikes=0.2, contrast=0.0, look=1.0, noise=0.0, cut=0.12)
MILD_VARIETY: Final = Variety(bent=0.3, look_alikes=0.1, contrast=0.3, look=0.45, noise=0.36, cut=0.06)
"""Nearer to what scanners show: for the last of several trainings."""

_EVERYWHERE = ("streaks", "beam_hardening", "pad", "vessels")
_IN_HEALTHY_GLANDS = ("fatty", "small_nodes", "nodes")


def draw_patch(
    hu: NDArray[np.int16], marks: NDArray[np.uint8], rng: np.random.Generator, variety: Variety = FULL_VARIETY
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return one augmented patch (3, z, y, x) of a cached sample and its classes (z, y, x)."""
    start = rng.integers(0, CROP_VOXELS - PATCH_VOXELS + 1, 3)
    where = tuple(slice(s, s + PATCH_VOXELS) for s in start)
    image = hu[where].astype(np.float32)
    gland = (marks[where] & GLAND_BIT) > 0
    mass = (marks[where] & MASS_BIT) > 0
    if rng.random() < variety.bent:
        image, (gland, mass) = bend(image, np.stack([gland, mass]), rng)
    found = corrupt_gland(gland, mass, rng)
    if rng.random() < variety.look_alikes and gland.any():
        kinds = _EVERYWHERE if mass.any() else _EVERYWHERE + _IN_HEALTHY_GLANDS
        chosen = [str(rng.choice(kinds))]
        image = add_look_alikes(
            image, gland, (SEGMENTER_SPACING_MM,) * 3, int(rng.integers(2**31)), kinds=chosen, psf_mm=1.5
        ).hu
    tissue = gland & ~mass
    if mass.any() and tissue.any() and rng.random() < variety.contrast:
        image = change_contrast(image, tissue, mass, rng)
    if rng.random() < variety.look:
        image = change_look(image, tissue, rng, mass)
    elif rng.random() < variety.noise:
        image = add_little_noise(image, rng)
    classes = mass.astype(np.int64)
    if rng.random() < variety.cut:
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
