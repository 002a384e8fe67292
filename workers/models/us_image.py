"""What the ultrasound networks see: a square of the gray image, its shape kept, scaled from -1 to 1.

Training and the product's stages share this. Arrays are (rows, columns), the skin at the top.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from screener.us_study import Box

US_PREPROCESSING_VERSION: Final = "2"
"""Raised whenever this module changes what a network sees, or `us_weights.py` what is made of its answers.

It is part of the result identity.
"""

LESION_MARGIN: Final = 0.25
"""What the classifier sees beside the lesion's rectangle on each side, as a share of its longer side.

Margin and posterior shadow or enhancement tell as much as the lesion itself.
"""
OUTSIDE: Final = -1.0
"""What stands beyond the picture's edge, as black as its darkest pixel."""

Gray = NDArray[np.floating] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """A square of a picture, in its pixels; it may reach beyond the picture's edges."""

    top: float
    left: float
    side: float


def surround_picture(shape: tuple[int, int]) -> Square:
    """Return the smallest square around a picture of `shape`, which lies in its middle: the segmenter's view."""
    rows, columns = shape
    side = max(rows, columns)
    return Square(top=(rows - side) / 2, left=(columns - side) / 2, side=side)


def surround_lesion(box: Box, margin: float = LESION_MARGIN) -> Square:
    """Return the square around a lesion's rectangle with its margin: the classifier's view.

    A square, because a lesion that is taller than wide must stay so: it is a sign of malignancy.
    """
    rows, columns = box.bottom - box.top, box.right - box.left
    side = max(rows, columns) * (1 + 2 * margin)
    return Square(top=(box.top + box.bottom - side) / 2, left=(box.left + box.right - side) / 2, side=side)


def find_box(mask: NDArray[np.bool_]) -> Box:
    """Return the rectangle that holds all of `mask`; raises ValueError where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("an empty mask has no rectangle")
    return Box(top=int(rows[0]), left=int(columns[0]), bottom=int(rows[-1]) + 1, right=int(columns[-1]) + 1)


def cut_square(gray: Gray, square: Square, side_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the square as (side_px, side_px), and where it lies in the picture; 0 elsewhere.

    Linear, and smoothed where it shrinks. The gray values are those of the picture.
    """
    source, target = _overlap(gray.shape, square, side_px)
    answer = np.zeros((side_px, side_px), np.float32)
    inside = np.zeros((side_px, side_px), bool)
    if target is None:
        return answer, inside
    picture = Image.fromarray(np.ascontiguousarray(gray, dtype=np.float32))
    where = slice(target.top, target.bottom), slice(target.left, target.right)
    size = (target.right - target.left, target.bottom - target.top)
    answer[where] = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=source))
    inside[where] = True
    return answer, inside


def scale_gray(gray: Gray, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return `gray` from -1, its darkest pixel `inside`, to 1, its brightest; OUTSIDE elsewhere, or if all is even."""
    answer = np.full(gray.shape, OUTSIDE, np.float32)
    if inside.any():
        values = gray[inside].astype(np.float32)
        low, high = float(values.min()), float(values.max())
        if high > low:
            answer[inside] = 2 * (values - low) / (high - low) - 1
    return answer


def prepare_square(gray: Gray, square: Square, side_px: int) -> NDArray[np.float32]:
    """Return what a network is given: (1, side_px, side_px), -1 to 1."""
    return scale_gray(*cut_square(gray, square, side_px))[None]


def restore_picture(answer: NDArray[np.floating], square: Square, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a network's answer (side_px, side_px) on the picture's own grid, `shape`; 0 outside the square."""
    source, target = _overlap(shape, square, answer.shape[0])
    picture = np.zeros(shape, np.float32)
    if target is None:
        return picture
    left, top, right, bottom = source
    part = answer[target.top : target.bottom, target.left : target.right]
    rows = slice(max(0, round(top)), min(shape[0], round(bottom)))
    columns = slice(max(0, round(left)), min(shape[1], round(right)))
    step = np.array([part.shape[0] / (bottom - top), part.shape[1] / (right - left)])
    first = (np.array([rows.start - top, columns.start - left]) + 0.5) * step - 0.5
    size = (rows.stop - rows.start, columns.stop - columns.start)
    picture[rows, columns] = ndimage.affine_transform(part, step, first, size, order=1, mode="nearest")
    return picture


def _overlap(
    shape: tuple[int, ...], square: Square, side_px: int
) -> tuple[tuple[float, float, float, float], Box | None]:
    """Return what of the picture the square shows (left, top, right, bottom), and where; None where nothing."""
    scale = side_px / square.side

    def along(start: float, length: int) -> tuple[float, float, int, int]:
        first = round((max(start, 0) - start) * scale)
        last = round((min(start + square.side, length) - start) * scale)
        # Back from whole pixels, so that the picture is shown neither stretched nor shifted.
        return max(start + first / scale, 0), min(start + last / scale, length), first, last

    top, bottom, first_row, last_row = along(square.top, shape[0])
    left, right, first_column, last_column = along(square.left, shape[1])
    if first_row >= last_row or first_column >= last_column or top >= bottom or left >= right:
        return (0.0, 0.0, 0.0, 0.0), None
    box = Box(top=first_row, left=first_column, bottom=last_row, right=last_column)
    return (left, top, right, bottom), box
