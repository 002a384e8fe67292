"""The outline that a report draws holds exactly the pixels of the region, holes filled."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from workers.results.trace_outline import trace_outline

EVERY_NEIGHBOR = np.ones((3, 3), dtype=int)


def fill(outline: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels' centers lie within the polygon: a ray to the right crosses it an odd number of times."""
    rows, columns = np.indices(shape) + 0.5
    inside = np.zeros(shape, dtype=np.bool_)
    for (column, top), (_, bottom) in pairwise(outline):
        inside ^= (rows > min(top, bottom)) & (rows < max(top, bottom)) & (columns < column)
    return inside


def area(outline: NDArray[np.float64]) -> float:
    """Twice signed, halved: positive where the points run clockwise on the screen."""
    column, row = outline[:-1].T
    following = outline[1:].T
    return float((column * following[1] - following[0] * row).sum() / 2)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))).filter(np.any))
def test_the_outline_holds_the_region_and_nothing_else(anything: NDArray[np.bool_]):
    labels, _ = ndimage.label(anything, structure=EVERY_NEIGHBOR)
    mask = labels == 1
    outline = trace_outline(mask)
    filled = ndimage.binary_fill_holes(mask)
    assert np.array_equal(fill(outline, mask.shape), filled)
    assert area(outline) == filled.sum()
    assert np.array_equal(outline[0], outline[-1])


def test_the_corners_are_columns_and_rows_from_the_upper_left_corner():
    mask = np.zeros((5, 9), dtype=np.bool_)
    mask[1:3, 4:8] = True
    assert trace_outline(mask).tolist() == [[4, 1], [8, 1], [8, 3], [4, 3], [4, 1]]


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert area(trace_outline(np.eye(4, dtype=np.bool_))) == 4


def test_a_border_with_too_many_corners_is_thinned_and_stays_closed():
    rows, columns = np.indices((90, 90))
    mask = np.hypot(rows - 45, columns - 45) < 40
    whole, thinned = trace_outline(mask), trace_outline(mask, max_points=60)
    assert len(thinned) <= 61 < len(whole)
    assert np.array_equal(thinned[0], thinned[-1])
    assert area(thinned) == pytest.approx(area(whole), rel=0.02)


def test_nothing_to_trace_is_refused():
    with pytest.raises(ValueError, match="no pixel"):
        trace_outline(np.zeros((4, 4), dtype=np.bool_))
