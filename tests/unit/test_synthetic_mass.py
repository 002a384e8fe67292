"""A synthetic mass is where and what it says, and leaves the rest of the patient alone."""

import math

import numpy as np
import pytest

from tests.unit.heads import FLESH_HU, make_head
from workers.training.synthetic_mass import draw_blob, insert_distractors, insert_mass

SPACING_MM = (2.0, 2.0, 2.0)
GLAND_HU = -20
BONE_HU = 900


@pytest.fixture(scope="module")
def head():
    """A head with one fatty gland, a bone beside it, and the gland's mask."""
    volume = make_head(SPACING_MM, glands=())
    places = [np.arange(n) - (n - 1) / 2 for n in volume.hu.shape]
    z, y, x = (2 * p for p in np.meshgrid(*places, indexing="ij"))
    hu = volume.hu.astype(np.float32)
    gland = ((x + 42) / 16) ** 2 + (y / 18) ** 2 + (z / 24) ** 2 < 1
    hu[gland] = GLAND_HU
    bone = (np.abs(x + 18) < 5) & (np.abs(y) < 20)
    hu[bone] = BONE_HU
    return hu, gland, bone


def insert(head, seed, diameter_mm=25.0):
    hu, gland, _ = head
    return insert_mass(hu, gland, SPACING_MM, seed, diameter_mm=diameter_mm)


def test_the_same_seed_gives_the_same_mass_and_another_seed_another(head):
    one, mask = insert(head, 4)
    again, same_mask = insert(head, 4)
    _, other_mask = insert(head, 5)
    assert (one == again).all()
    assert (mask == same_mask).all()
    assert (mask != other_mask).any()


@pytest.mark.parametrize("diameter_mm", [10, 25, 40])
def test_a_free_blob_has_the_volume_of_its_ball(diameter_mm):
    volumes = []
    for seed in range(10):
        blob = draw_blob(np.zeros(3), diameter_mm, np.random.default_rng(seed), lobes=seed % 7)
        points = np.moveaxis(np.indices((75, 75, 75)), 0, -1) - 37.0
        volumes.append((blob.depth_mm(points) > 0).sum())
    assert np.median(volumes) == pytest.approx(math.pi / 6 * diameter_mm**3, rel=0.15)


@pytest.mark.parametrize("seed", range(6))
def test_the_mass_lies_at_the_gland_inside_the_body_and_not_in_bone(head, seed):
    hu, gland, bone = head
    image, mask = insert(head, seed)
    assert (mask & gland).sum() > 0.2 * mask.sum()
    assert not (mask & bone).any()
    assert (image[mask] > -200).all()
    assert np.abs(image[bone] - hu[bone]).max() < 1


@pytest.mark.parametrize("seed", range(6))
def test_the_mass_is_brighter_than_its_fatty_gland(head, seed):
    image, mask = insert(head, seed)
    assert np.median(image[mask]) > GLAND_HU + 15
    assert np.median(image[mask]) < 130


def test_far_from_the_mass_nothing_changes(head):
    hu, gland, _ = head
    image, _ = insert(head, 1)
    far = np.zeros(gland.shape, dtype=bool)
    far[:, :, gland.shape[2] * 3 // 4 :] = True
    assert (image[far] == hu[far]).all()


def test_the_given_image_is_left_as_it_was(head):
    hu, gland, _ = head
    before = hu.copy()
    insert(head, 2)
    insert_distractors(hu, gland, SPACING_MM, 2)
    assert (hu == before).all()


def test_distractors_change_soft_tissue_only_and_follow_their_seed(head):
    hu, gland, bone = head
    images = [insert_distractors(hu, gland, SPACING_MM, seed) for seed in range(8)]
    assert any((image != hu).any() for image in images)
    for image in images:
        assert (image[bone] == hu[bone]).all()
        assert (image[hu < -900] == hu[hu < -900]).all()
        assert image[hu == FLESH_HU].max() < 200
    assert (images[3] == insert_distractors(hu, gland, SPACING_MM, 3)).all()
