"""What a training sample is changed into keeps its mass and its outlines where they belong."""

import numpy as np
import pytest
from scipy import ndimage

from workers.training.augment import bend, change_contrast, change_look, cut_coverage
from workers.training.cache_samples import CROP_VOXELS, GLAND_BIT, MASS_BIT
from workers.training.sample_segmenter import FULL_VARIETY, MILD_VARIETY, PATCH_VOXELS, draw_patch

SIDE = 40
GLAND_HU, MASS_HU, FAT_HU = -25.0, 60.0, -95.0


@pytest.fixture(scope="module")
def scene():
    """Fat with a gland and a mass in it: HU and both masks (2, z, y, x)."""
    z, y, x = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    gland = z**2 + y**2 + x**2 < 14**2
    mass = (z - 3) ** 2 + (y + 2) ** 2 + x**2 < 6**2
    hu = np.where(mass, MASS_HU, np.where(gland, GLAND_HU, FAT_HU)).astype(np.float32)
    return hu, np.stack([gland & ~mass, mass])


@pytest.fixture(scope="module")
def crop():
    """A cached sample of the same: HU and marks."""
    z, y, x = np.indices((CROP_VOXELS,) * 3) - (CROP_VOXELS - 1) / 2
    gland, mass = z**2 + y**2 + x**2 < 14**2, z**2 + y**2 + x**2 < 6**2
    hu = np.where(mass, MASS_HU, np.where(gland, GLAND_HU, FAT_HU)).astype(np.int16)
    marks = (gland * GLAND_BIT | mass * MASS_BIT).astype(np.uint8)
    return hu, marks


@pytest.mark.parametrize("seed", range(6))
def test_masks_are_bent_as_the_image_is(scene, seed):
    hu, masks = scene
    bent, (gland, mass) = bend(hu, masks, np.random.default_rng(seed))
    assert (bent.shape, gland.dtype) == (hu.shape, np.dtype(bool))
    assert FAT_HU - 0.1 < bent.min() < bent.max() < MASS_HU + 0.1
    between = (MASS_HU + GLAND_HU) / 2
    assert (bent[mass] > between).mean() > 0.99
    assert (bent[gland] < between).mean() > 0.97
    assert (bent[gland] > (GLAND_HU + FAT_HU) / 2).mean() > 0.97
    assert 0.5 < mass.sum() / masks[1].sum() < 2
    assert (gland != masks[0]).any()


def test_bending_follows_its_seed(scene):
    hu, masks = scene
    one, again, other = (bend(hu, masks, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_mass_stays_apart_from_its_gland_however_the_scan_looks(scene):
    hu, (gland, mass) = scene
    contrasts = []
    for seed in range(40):
        seen = change_look(hu, gland, np.random.default_rng(seed), mass)
        contrasts.append(abs(float(np.median(seen[mass]) - np.median(seen[gland]))))
    assert min(contrasts) > 12
    assert np.ptp(contrasts) > 30


def test_a_mass_is_told_by_its_contrast_whatever_its_density(scene):
    hu, (gland, mass) = scene
    far = ndimage.binary_dilation(gland | mass, iterations=7)
    masses, contrasts = [], []
    for seed in range(60):
        seen = change_contrast(hu, gland, mass, np.random.default_rng(seed))
        masses.append(float(np.median(seen[mass])))
        contrasts.append(masses[-1] - float(np.median(seen[gland])))
        assert (seen[~far] == FAT_HU).all()
    assert min(abs(contrast) for contrast in contrasts) > 25
    assert -86 < min(masses) < -30 < MASS_HU < max(masses)
    assert min(contrasts) < -25 < 80 < max(contrasts)
    assert sum(abs(contrast - (MASS_HU - GLAND_HU)) < 1 for contrast in contrasts) > 15  # both alike


def test_a_mild_sample_is_nearer_to_the_scan(crop):
    def roughness(variety):
        drawn = [draw_patch(*crop, np.random.default_rng(seed), variety)[0][0] for seed in range(60)]
        return np.median([np.abs(np.diff(patch, 2, axis=0)).mean() for patch in drawn])

    assert roughness(MILD_VARIETY) < 0.6 * roughness(FULL_VARIETY)


def test_a_cut_keeps_some_slices_beside_the_anchor():
    for seed in range(50):
        kept = cut_coverage((SIDE, 1, 1), SIDE // 2, np.random.default_rng(seed))
        assert 0 <= kept.start < kept.stop <= SIDE
        assert (kept.start == 0) != (kept.stop == SIDE) or kept.stop - kept.start == SIDE


def test_a_patch_has_its_channels_and_classes_and_follows_its_seed(crop):
    for seed in range(8):
        image, classes = draw_patch(*crop, np.random.default_rng(seed))
        assert image.shape == (3, *(PATCH_VOXELS,) * 3)
        assert image.dtype == np.float32
        assert set(np.unique(classes)) <= {0, 1}
        again, _ = draw_patch(*crop, np.random.default_rng(seed))
        assert np.array_equal(image, again)
