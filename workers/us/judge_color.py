"""Tell a picture with an overlay of color (flow, stiffness) from a gray one with colored marks, or a tinted one."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from screener.us_study import Box
from workers.us.find_pictures import find_colored, to_gray

MIN_SHARE: Final = 0.012
"""Of a picture: less color is a mark, a logo in its corner, or a glimpse of flow that hides nothing."""
STROKE: Final = 0.006
"""Of the longer side: calipers, outlines and letters are thinner."""
MIN_TINTED: Final = 0.8
"""Of what is lit: so much is of one hue where gray is shown in shades of a color."""
MIN_LIT: Final = 40
MIN_SATURATION: Final = 0.15
"""Difference between red, green and blue from which a lit pixel has a hue, as a share of the largest of them."""
MAX_HUE_SPREAD: Final = 0.05
"""1 less the length of the mean of all hues on the unit circle: some 18 degrees."""


def has_overlay(picture: NDArray[np.uint8], box: Box) -> bool:
    """Whether a substantial part of a picture is colored, and not all of it in one hue."""
    part = picture[box.top : box.bottom, box.left : box.right]
    if part.ndim == 2:
        return False
    is_colored = find_colored(part)
    stroke = 2 * round(STROKE * max(picture.shape[:2]) / 2) + 3
    is_area = ndimage.grey_opening(is_colored.astype(np.uint8), (stroke, stroke)).astype(np.bool_)
    return bool(is_area.mean() >= MIN_SHARE) and not _is_tinted(part)


def _is_tinted(part: NDArray[np.uint8]) -> bool:
    """Whether nearly all that is lit has one hue: a map of gray to sepia or blue."""
    lit = part[to_gray(part) > MIN_LIT].astype(np.float32)  # (pixels, 3)
    saturated = lit[np.ptp(lit, axis=1) > MIN_SATURATION * lit.max(axis=1)]
    if not len(saturated) or len(saturated) < MIN_TINTED * len(lit):
        return False
    red, green, blue = saturated.T
    hues = np.exp(1j * np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    return bool(1 - np.abs(hues.mean()) <= MAX_HUE_SPREAD)
