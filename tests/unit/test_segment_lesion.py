"""The lesion is one region of the frame that shows the largest, measured in millimeters where that is possible."""

import numpy as np
import pytest
from numpy.typing import NDArray

from screener.us_study import Box, Frame
from workers.us.segment_lesion import keep_largest, measure_diameter_mm, segment_lesion

SIDE_PX = 64


def a_frame(number: int, radius_px: float, spacing_mm: float | None = 0.1, side: int = 200) -> Frame:
    """A bright disk on a dark picture, wider than high."""
    gray = np.full((side * 3 // 4, side), 20, np.uint8)
    rows, columns = np.indices(gray.shape)
    gray[(rows - gray.shape[0] / 2) ** 2 + (columns - side / 2) ** 2 < radius_px**2] = 220
    return Frame(
        sop_instance_uid=f"1.2.{number}",
        frame_number=number,
        box=Box(top=0, left=0, bottom=gray.shape[0], right=side),
        picture_shape=gray.shape,
        gray=gray,
        spacing_mm=None if spacing_mm is None else (spacing_mm, spacing_mm),
    )


def bright(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Segments what is bright."""
    assert image.shape == (1, 1, SIDE_PX, SIDE_PX)
    return (image[:, 0] + 1) / 2


def blind(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.zeros_like(image[:, 0])


def test_the_lesion_lies_where_it_is_on_the_frames_own_grid() -> None:
    frame = a_frame(1, 30)
    lesion = segment_lesion([frame], bright, SIDE_PX)
    assert lesion is not None
    truth = frame.gray > 100
    assert 2 * (lesion.mask & truth).sum() / (lesion.mask.sum() + truth.sum()) > 0.95
    assert lesion.area_px == lesion.mask.sum()
    assert lesion.longest_diameter_mm == pytest.approx(6.0, abs=0.3)
    assert lesion.mean_probability > 0.9


def test_the_frame_with_the_largest_lesion_stands_for_the_study() -> None:
    lesion = segment_lesion([a_frame(1, 20), a_frame(2, 40), a_frame(3, 30)], bright, SIDE_PX)
    assert lesion is not None
    assert lesion.frame.frame_number == 2


def test_largest_is_meant_in_millimeters_where_all_frames_are_calibrated() -> None:
    far, near = a_frame(1, 20, spacing_mm=0.3), a_frame(2, 40, spacing_mm=0.1)
    lesion = segment_lesion([far, near], bright, SIDE_PX)
    assert lesion is not None
    assert lesion.frame is far
    lesion = segment_lesion([far, a_frame(2, 40, spacing_mm=None)], bright, SIDE_PX)
    assert lesion is not None
    assert lesion.frame.frame_number == 2
    assert lesion.longest_diameter_mm is None


def test_nothing_found_is_an_answer() -> None:
    assert segment_lesion([a_frame(1, 30), a_frame(2, 40)], blind, SIDE_PX) is None
    assert segment_lesion([], bright, SIDE_PX) is None


def test_a_speck_is_no_lesion() -> None:
    assert segment_lesion([a_frame(1, 3, side=400)], bright, SIDE_PX) is None


def test_of_two_regions_the_larger_is_kept_without_its_holes() -> None:
    mask = np.zeros((40, 40), bool)
    mask[2:8, 2:8] = True
    mask[15:35, 10:30] = True
    mask[20:25, 15:20] = False
    kept = keep_largest(mask)
    assert kept[15:35, 10:30].all()
    assert kept.sum() == 400
    assert not keep_largest(np.zeros((5, 5), bool)).any()


@pytest.mark.parametrize(
    ("rows", "columns", "spacing_mm", "expected"),
    [
        (slice(3, 4), slice(2, 12), (1.0, 0.5), np.hypot(1, 5)),
        (slice(3, 13), slice(2, 3), (0.2, 1.0), np.hypot(2, 1)),
        (slice(0, 6), slice(0, 8), (0.5, 0.5), 5.0),
        (slice(5, 6), slice(5, 6), (3.0, 4.0), 5.0),
    ],
)
def test_the_diameter_of_a_rectangle_is_its_diagonal(
    rows: slice, columns: slice, spacing_mm: tuple[float, float], expected: float
) -> None:
    mask = np.zeros((20, 20), bool)
    mask[rows, columns] = True
    assert measure_diameter_mm(mask, spacing_mm) == pytest.approx(expected)


def test_an_empty_mask_has_no_diameter() -> None:
    with pytest.raises(ValueError, match="empty mask"):
        measure_diameter_mm(np.zeros((4, 4), bool), (1.0, 1.0))
