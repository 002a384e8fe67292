"""Draw the segmenter's training samples from the cache: patches at 2 mm with the gland as the localizer finds it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.networks import AIR_HU, SEGMENTER_SPACING_MM, scale_hu, smooth_gland
from workers.training.augment import bend, change_look, cut_coverage
from workers.training.cache_samples import CROP_VOXELS, GLAND_BIT, MASS_BIT
from workers.training.look_alikes import add_look_alikes

PATCH_VOXELS = 48
BENT_SHARE = 0.6

_EVERYWHERE = ("streaks", "beam_hardening", "pad", "vessels")
_IN_HEALTHY_GLANDS = ("fatty", "small_nodes", "nodes")


def draw_patch(
    hu: NDArray[np.int16], marks: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return one augmented patch (3, z, y, x) of a cached sample and its classes (z, y, x)."""
    start = rng.integers(0, CROP_VOXELS - PATCH_VOXELS + 1, 3)
    where = tuple(slice(s, s + PATCH_VOXELS) for s in start)
    image = hu[where].astype(np.float32)
    gland = (marks[where] & GLAND_BIT) > 0
    mass = (marks[where] & MASS_BIT) > 0
    if rng.random() < BENT_SHARE:
        image, (gland, mass) = bend(image, np.stack([gland, mass]), rng)
    found = corrupt_gland(gland, mass, rng)
    if rng.random() < 0.2 and gland.any():
        kinds = _EVERYWHERE if mass.any() else _EVERYWHERE + _IN_HEALTHY_GLANDS
        chosen = [str(rng.choice(kinds))]
        image = add_look_alikes(
            image, gland, (SEGMENTER_SPACING_MM,) * 3, int(rng.integers(2**31)), kinds=chosen, psf_mm=1.5
        ).hu
    image = change_look(image, gland & ~mass, rng, mass)
    classes = mass.astype(np.int64)
    if rng.random() < 0.12:
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
