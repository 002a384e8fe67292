"""Draw the segmenter's training samples from the cache: patches at 2 mm with the gland as the localizer finds it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.networks import AIR_HU, SEGMENTER_SPACING_MM, join_channels, smooth_gland
from workers.training.augment import change_looks, cut_coverage
from workers.training.cache_samples import CROP_VOXELS, GLAND_BIT, MASS_BIT
from workers.training.look_alikes import add_look_alikes

PATCH_VOXELS = 48

_EVERYWHERE = ("streaks", "beam_hardening", "pad", "vessels")
_THROUGH_THE_HEAD = ("streaks", "beam_hardening")
_IN_HEALTHY_GLANDS = ("fatty", "small_nodes", "nodes")


def draw_patch(
    hu: NDArray[np.int16], marks: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return one augmented patch (5, z, y, x) of a cached sample (2, z, y, x) and its classes (z, y, x).

    Sometimes the other gland of the sample is the one to be searched, most often one without a mass opposite one with.
    """
    start = rng.integers(0, CROP_VOXELS - PATCH_VOXELS + 1, 3)
    where = (slice(None), *(slice(s, s + PATCH_VOXELS) for s in start))
    images = hu[where].astype(np.float32)
    glands = (marks[where] & GLAND_BIT) > 0
    masses = (marks[where] & MASS_BIT) > 0
    if rng.random() < 0.2 and glands[1].any():
        images, glands, masses = images[::-1], glands[::-1], masses[::-1]
    found, other_found = (corrupt_gland(gland, mass, rng) for gland, mass in zip(glands, masses, strict=True))
    if rng.random() < 0.2 and glands[0].any():
        kinds = _EVERYWHERE if masses[0].any() else _EVERYWHERE + _IN_HEALTHY_GLANDS
        images = _disguise(images, glands, str(rng.choice(kinds)), int(rng.integers(2**31)))
    images = np.stack(change_looks(list(zip(images, glands & ~masses, masses, strict=True)), rng))
    classes = masses[0].astype(np.int64)
    if rng.random() < 0.12:
        gone = np.ones(PATCH_VOXELS, dtype=bool)
        gone[cut_coverage(classes.shape, PATCH_VOXELS // 2, rng)] = False
        images[:, gone] = AIR_HU
        for values in (found, other_found, classes):
            values[gone] = 0
    return join_channels(images[0], found, images[1], other_found), classes


def _disguise(images: NDArray[np.float32], glands: NDArray[np.bool_], kind: str, seed: int) -> NDArray[np.float32]:
    """Return the images (2, z, y, x) with a look-alike in the first; what metal and bone do to a scan, in both."""
    shown = [
        add_look_alikes(image, gland, (SEGMENTER_SPACING_MM,) * 3, seed, kinds=[kind], psf_mm=1.5).hu
        if number == 0 or (kind in _THROUGH_THE_HEAD and gland.any())
        else image
        for number, (image, gland) in enumerate(zip(images, glands, strict=True))
    ]
    return np.stack(shown)


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
