"""The square that an ultrasound network sees keeps the picture's shape, and its answer comes back to its place."""

import numpy as np
import pytest

from screener.us_study import Box
from workers.models.us_image import (
    OUTSIDE,
    Square,
    cut_square,
    find_box,
    prepare_square,
    restore_picture,
    scale_gray,
    surround_lesion,
    surround_picture,
)


def draw_disk(shape, center, radius):
    rows, columns = np.indices(shape)
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


@pytest.mark.parametrize("shape", [(90, 150), (150, 90), (128, 128), (31, 200), (700, 411)])
def test_the_square_around_a_picture_holds_all_of_it_in_the_middle_and_undistorted(shape):
    square = surround_picture(shape)
    _, inside = cut_square(np.full(shape, 9, np.uint8), square, 64)
    box = find_box(inside)
    rows, columns = box.bottom - box.top, box.right - box.left
    assert max(rows, columns) == 64
    assert min(rows, columns) == pytest.approx(64 * min(shape) / max(shape), abs=1)
    assert abs(box.top + box.bottom - 64) <= 1
    assert abs(box.left + box.right - 64) <= 1


def test_gray_is_scaled_by_what_lies_in_the_picture_and_beyond_it_is_black():
    image = prepare_square(np.tile(np.linspace(50, 90, 80, dtype=np.uint8), (40, 1)), surround_picture((40, 80)), 32)
    assert image.shape == (1, 32, 32)
    assert (image[0, :7] == OUTSIDE).all()
    assert image[0, 16, 0] == image[0, 8:24].min() == -1
    assert image[0, 16, -1] == image.max() == 1


def test_an_even_picture_is_black_and_no_division_by_zero():
    assert (prepare_square(np.full((20, 30), 77, np.uint8), surround_picture((20, 30)), 32) == OUTSIDE).all()
    assert (scale_gray(np.ones((4, 4), np.uint8), np.zeros((4, 4), bool)) == OUTSIDE).all()


def test_a_square_beside_the_picture_shows_nothing():
    beside = Square(top=100.0, left=0.0, side=20.0)
    assert (prepare_square(np.eye(50, dtype=np.uint8), beside, 32) == OUTSIDE).all()
    assert not restore_picture(np.ones((32, 32), np.float32), beside, (50, 50)).any()


@pytest.mark.parametrize("shape", [(90, 150), (301, 204), (64, 64), (600, 900)])
@pytest.mark.parametrize("side_px", [64, 128])
def test_an_answer_comes_back_to_where_it_was_seen(shape, side_px):
    center, radius = (shape[0] * 0.4, shape[1] * 0.7), min(shape) * 0.2
    disk = draw_disk(shape, center, radius)
    square = surround_picture(shape)
    seen, _ = cut_square(disk.astype(np.uint8) * 255, square, side_px)
    found = restore_picture(seen / 255, square, shape) > 0.5
    assert 2 * (found & disk).sum() / (found.sum() + disk.sum()) > 0.97
    assert np.argwhere(found).mean(0) == pytest.approx(np.argwhere(disk).mean(0), abs=0.5 * max(shape) / side_px)


def test_a_lesions_square_has_its_margin_and_keeps_it_taller_than_wide():
    square = surround_lesion(Box(top=20, left=50, bottom=60, right=70))
    assert (square.top, square.left, square.side) == (10.0, 30.0, 60.0)
    mask = np.zeros((100, 100), np.uint8)
    mask[20:60, 50:70] = 1
    seen = find_box(cut_square(mask, square, 60)[0] > 0.5)
    assert (seen.bottom - seen.top, seen.right - seen.left) == (40, 20)


def test_a_lesion_at_the_edge_is_seen_with_black_beyond_the_picture():
    square = surround_lesion(Box(top=0, left=0, bottom=40, right=40))
    gray, inside = cut_square(np.full((80, 80), 100, np.uint8), square, 60)
    assert not inside[:10].any()
    assert not inside[:, :10].any()
    assert inside[10:, 10:].all()
    assert gray[10:, 10:] == pytest.approx(100)


def test_shrinking_smooths_instead_of_skipping():
    stripes = np.tile(np.array([0, 200], np.uint8), (256, 128))
    gray, _ = cut_square(stripes, surround_picture((256, 256)), 32)
    assert gray[4:-4, 4:-4] == pytest.approx(100, abs=15)


def test_an_empty_mask_has_no_rectangle():
    with pytest.raises(ValueError, match="empty"):
        find_box(np.zeros((5, 5), bool))
