"""Candidates are counted in cubic millimeters, whatever the scan's voxels were."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.config import Decision
from screener.study import Side
from workers.ct.measure_candidates import MIN_CANDIDATE_VOXELS, longest_diameter_mm, measure_components
from workers.ct.resample_volume import Grid

GRID = Grid(origin_mm=np.array([-30.0, 5.0, 100.0]), step_mm=1.0, shape=(60, 60, 60))


def ball(center, diameter_mm, shape=GRID.shape):
    distance = np.linalg.norm(np.indices(shape).transpose(1, 2, 3, 0) - center, axis=-1)
    return np.clip(diameter_mm / 2 - distance + 0.5, 0, 1).astype(np.float32)


def measure(probability, hu=None):
    hu = np.zeros(probability.shape, dtype=np.float32) if hu is None else hu
    return measure_components(probability, hu, GRID, Side.LEFT, min_probability=0.5)


@settings(max_examples=15, deadline=None)
@given(diameter_mm=st.floats(10, 40), shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_a_ball_has_its_volume_and_its_diameter(diameter_mm, shift):
    (component,) = measure(ball(np.array([29.5, 29.5, 29.5]) + shift, diameter_mm))
    assert component.voxels == pytest.approx(math.pi / 6 * diameter_mm**3, rel=0.08)  # the grid itself errs by so much
    assert component.longest_diameter_mm == pytest.approx(diameter_mm, abs=1.5)


def test_the_center_is_in_the_patient_and_in_x_y_z():
    (component,) = measure(ball((20, 30, 40), 12))
    z, y, x = np.add(GRID.origin_mm, (20, 30, 40))
    assert component.center_mm == pytest.approx((x, y, z), abs=1e-6)


def test_two_masses_are_two_components_largest_first():
    small, large = ball((15, 15, 15), 12), ball((40, 40, 40), 20)
    first, second = measure(np.maximum(small, large))
    assert first.voxels > second.voxels
    assert first.voxels == (large >= 0.5).sum()
    assert second.voxels == (small >= 0.5).sum()


def test_specks_are_not_kept():
    probability = np.zeros(GRID.shape, dtype=np.float32)
    probability.reshape(-1)[: MIN_CANDIDATE_VOXELS - 1] = 1
    assert measure(probability) == []


def test_probability_and_hu_are_those_of_the_component_alone():
    one, other = ball((15, 15, 15), 12) * 0.7, ball((40, 40, 40), 20) * 0.9
    hu = np.where(one > 0, 45, np.where(other > 0, 80, -100)).astype(np.float32)
    larger, smaller = measure(np.maximum(one, other), hu)
    assert (larger.mean_hu, smaller.mean_hu) == (80, 45)
    assert larger.max_probability == pytest.approx(0.9)
    assert smaller.max_probability == pytest.approx(0.7)


def test_a_components_box_holds_no_other_component():
    near = np.maximum(ball((20, 20, 20), 14), ball((20, 20, 36), 12))
    for component in measure(near):
        assert (component.probability >= 0.5).sum() == component.voxels


@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 6, 6), (1, 1, 1)])
def test_a_flat_component_has_a_diameter_too(shape):
    component = np.zeros((12, 12, 12), dtype=bool)
    component[tuple(slice(2, 2 + length) for length in shape)] = True
    assert longest_diameter_mm(component, 1.0) == pytest.approx(np.linalg.norm(np.array(shape) - 1))


def test_no_threshold_can_be_set_below_the_smallest_candidate_that_is_kept():
    """A report would name a threshold that was never in force."""
    assert Decision(min_voxels=MIN_CANDIDATE_VOXELS).min_voxels == MIN_CANDIDATE_VOXELS
    with pytest.raises(ValueError, match="min_voxels"):
        Decision(min_voxels=MIN_CANDIDATE_VOXELS - 1)
