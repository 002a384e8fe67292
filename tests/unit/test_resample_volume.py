"""Values keep their place in the patient between any scan's grid and one that follows the patient's axes."""

import dataclasses

import numpy as np
import pytest

from screener.study import Volume
from tests.unit.heads import make_head
from workers.ct.resample_volume import cover_box, find_box, put_on_source, take_from_source

SHEAR = np.array([[1.0, -0.3, 0.0], [0.0, 0.95, 0.0], [0.0, 0.0, 1.0]])
"""A tilted gantry: rows also climb, slices stay one above the other."""
TURN = np.array([[0.99, 0.1, 0.0995], [-0.1, 0.995, 0.0], [-0.099, -0.01, 0.995]])
"""Turned about two axes, as a reformatted series may be."""
DIRECTIONS = [None, SHEAR, TURN]
VOXELS_MM = [(1.0, 0.4, 0.4), (2.5, 1.0, 1.0), (5.0, 0.4, 0.4), (1.0, 5.0, 5.0), (5.0, 5.0, 5.0)]
SLOPE_PER_MM = np.array([2.0, -3.0, 5.0])
"""Along (z, y, x): a plane field survives smoothing and linear interpolation unchanged."""


def _volume(spacing_mm: tuple[float, float, float], turn: np.ndarray | None) -> Volume:
    """A small scan about the world's zero."""
    return make_head(spacing_mm, turn=turn, height_mm=60.0, radius_mm=25.0)


def _field(volume: Volume) -> np.ndarray:
    """The plane field at each of the scan's voxels."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in volume.hu.shape], indexing="ij")
    world = np.einsum("ij,j...->i...", volume.affine[:3, :3], np.stack([x, y, z])).astype(float)
    world += volume.affine[:3, 3][:, None, None, None]
    return np.einsum("i,i...->...", SLOPE_PER_MM, world[::-1]).astype(np.float32)


def _field_on_grid(grid) -> np.ndarray:
    places = np.meshgrid(*[np.arange(n) * grid.step_mm for n in grid.shape], indexing="ij")
    return sum(s * (p + o) for s, p, o in zip(SLOPE_PER_MM, places, grid.origin_mm, strict=True))


@pytest.mark.parametrize("turn", DIRECTIONS, ids=["upright", "tilted", "turned"])
@pytest.mark.parametrize("spacing_mm", VOXELS_MM)
def test_a_plane_field_is_the_same_on_either_grid(spacing_mm: tuple[float, float, float], turn: np.ndarray) -> None:
    volume = _volume(spacing_mm, turn)
    grid = cover_box(np.array([-8.0, -6.0, -7.0]), np.array([8.0, 6.0, 7.0]), 2.0)
    taken = take_from_source(_field(volume), volume, grid, outside=np.nan, blur_mm=1.5)
    assert np.allclose(taken, _field_on_grid(grid), atol=0.02)
    put, where = put_on_source(taken, volume, grid)
    covered = put != 0
    assert covered.any()
    assert np.allclose(put[covered], _field(volume)[where][covered], atol=0.02)


@pytest.mark.parametrize("turn", DIRECTIONS, ids=["upright", "tilted", "turned"])
def test_what_is_not_within_counts_as_outside(turn: np.ndarray) -> None:
    volume = _volume((2.5, 1.0, 1.0), turn)
    grid = cover_box(np.full(3, -20.0), np.full(3, 20.0), 4.0)
    masked = np.where(volume.body, volume.hu, -1000).astype(np.int16)
    plain = take_from_source(masked, volume, grid, outside=-1000.0)
    assert np.array_equal(take_from_source(volume.hu, volume, grid, outside=-1000.0, within=volume.body), plain)


@pytest.mark.parametrize("turn", DIRECTIONS, ids=["upright", "tilted", "turned"])
def test_resampling_leaves_the_scan_as_it_is(turn: np.ndarray) -> None:
    volume = _volume((2.5, 1.0, 1.0), turn)
    field = _field(volume)
    before = field.copy()
    take_from_source(field, volume, cover_box(np.full(3, -20.0), np.full(3, 20.0), 4.0), outside=0.0)
    assert np.array_equal(field, before)


@pytest.mark.parametrize("turn", DIRECTIONS, ids=["upright", "tilted", "turned"])
def test_where_the_scan_does_not_reach_is_outside(turn: np.ndarray) -> None:
    volume = _volume((2.5, 1.0, 1.0), turn)
    grid = cover_box(np.full(3, -90.0), np.full(3, 90.0), 4.0)
    taken = take_from_source(np.full_like(volume.hu, 7), volume, grid, outside=-5.0)
    assert set(np.unique(np.round(taken, 3))) == {-5.0, 7.0}


def test_smoothing_makes_thin_slices_look_like_thick_ones() -> None:
    step = 2.0
    grid = cover_box(np.full(3, -20.0), np.full(3, 20.0), step)
    taken = []
    for spacing_mm in ((0.5, 0.5, 0.5), (1.5, 1.0, 1.0)):
        volume = make_head(spacing_mm, height_mm=50.0, radius_mm=25.0, glands=((0, 0, -10), (0, 0, 10)), gland_mm=12.0)
        taken.append(take_from_source(volume.hu, volume, grid, outside=-1000.0, blur_mm=1.5))
    contrast = float(np.ptp(taken[0]))
    assert np.abs(taken[0] - taken[1]).mean() < 0.02 * contrast


def test_a_slightly_turned_scan_is_sampled_like_an_upright_one() -> None:
    """Just below and just above the angle from which the axes cannot be resampled one at a time."""
    volume = _volume((1.0, 0.5, 0.5), None)
    grid = cover_box(np.full(3, -15.0), np.full(3, 15.0), 2.0)
    turned = volume.affine.copy()
    turned[1, 2] += 2e-4
    close = dataclasses.replace(volume, affine=turned)
    upright, other = (take_from_source(v.hu, v, grid, outside=-1000.0, blur_mm=1.5) for v in (volume, close))
    assert not np.array_equal(upright, other)
    assert np.abs(upright - other).max() < 1.0


def test_the_box_around_a_mask_is_the_smallest() -> None:
    mask = np.zeros((9, 8, 7), bool)
    assert not mask[find_box(mask)].size
    mask[2, 3, 4] = mask[5, 1, 4] = True
    assert find_box(mask) == (slice(2, 6), slice(1, 4), slice(4, 5))
