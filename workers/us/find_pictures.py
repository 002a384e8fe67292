"""Find by content where an ultrasound picture lies within a stored one, without text, rulers and bars beside it.

Tissue is an area whose pixels differ a little from each other and from the
background almost everywhere; strokes of text are thin, banners are even.
Lengths are given as a share of the longer side, for one picture has 300 rows
and another 1080.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from screener.us_study import Box

LARGEST_PX: Final = 800
"""The longer side, in pixels, at which pictures are looked for."""
MAX_COLOR: Final = 40
"""Largest difference between red, green and blue of what counts as gray: lossy compression adds some 20."""
MIN_LIT: Final = 6
"""Gray values above the background from which a pixel is lit."""
MIN_BACKGROUND: Final = 0.05
"""So much of a picture must be of one dark gray for it to be the background; else black is."""
MAX_BACKGROUND: Final = 80
MAX_FLAT: Final = 2
"""Gray values by which a banner's pixels differ."""
MIN_DENSITY: Final = 0.25
"""So much of the surroundings of a pixel within a picture is lit; of text, with its strokes thinned, less is."""
MAX_EVEN: Final = 0.2
"""So much of the surroundings of a pixel is even, and brighter than the background, in a banner with text."""
WINDOW: Final = 0.025
"""Of the longer side: the surroundings of a pixel."""
STROKE: Final = 0.004
"""Of the longer side: strokes of text are thinner."""
NARROWEST: Final = 0.05
"""Of the longer side: what is narrower is a bar, a ruler or a line of text."""
MIN_AREA: Final = 0.04
"""Of the stored picture: less is no picture."""
MIN_PART: Final = 0.08
"""Of the largest area: less is a logo or a body mark, and does not belong to the picture."""
MIN_SIDE: Final = 0.1
"""Of the longer side: what is narrower beside the largest area is a status line or a bar."""
MIN_TWIN: Final = 0.35
"""The smaller of two pictures beside each other has so much of the larger's area at least."""
MIN_GAP: Final = 0.004
"""Of the longer side: the black gap between two pictures."""
MAX_GAP_LIT: Final = 0.01
"""So much of a gap may be lit, by text or a mark in it."""
MIN_BAND: Final = 0.015
"""Of the longer side: the black band above a trace."""
MIN_BELOW: Final = 0.2
"""The smaller of two areas above each other has so much of the larger at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The pictures of a stored one."""

    boxes: tuple[Box, ...]
    """From left to right; empty where there is none."""
    has_below: bool
    """True: something lies below a black band, where spectra and M-mode traces are shown, and was left out."""


def to_gray(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the luminance (ITU-R BT.601) of (rows, columns, 3); gray comes back as it is."""
    if picture.ndim == 2:
        return picture
    return np.asarray(Image.fromarray(picture).convert("L"))


def find_colored(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a stored picture is of a color, (rows, columns)."""
    if picture.ndim == 2:
        return np.zeros(picture.shape, np.bool_)
    red, green, blue = np.moveaxis(picture, 2, 0)
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return np.asarray(high - low > MAX_COLOR, np.bool_)


def find_pictures(picture: NDArray[np.uint8]) -> Found:
    """Find the pictures of a stored one: one, or two beside each other with a black gap between them."""
    gray = _shrink(to_gray(picture))
    is_lit = _find_lit(gray)
    area = _find_tissue(gray, is_lit)
    if np.count_nonzero(area) < MIN_AREA * area.size:
        return Found(boxes=(), has_below=False)
    upper, has_below = _cut_below(area, is_lit, _bound(area))
    boxes = tuple(_enlarge(box, area.shape, picture.shape) for box in _split(area, is_lit, upper))
    return Found(boxes=boxes, has_below=has_below)


def trim_region(picture: NDArray[np.uint8], box: Box) -> Box | None:
    """Cut what is empty off the sides of a region; None where it is empty but for text, as of a probe in the air."""
    part = to_gray(picture[box.top : box.bottom, box.left : box.right])
    gray = _shrink(part)
    area = _find_tissue(gray, _find_lit(gray))
    if np.count_nonzero(area) < MIN_AREA * area.size:
        return None
    inner = _enlarge(_bound(area), area.shape, part.shape)
    return Box(
        top=box.top + inner.top,
        left=box.left + inner.left,
        bottom=box.top + inner.bottom,
        right=box.left + inner.right,
    )


def _shrink(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average squares of pixels where a picture has more of them than finding takes."""
    factor = -(-max(gray.shape) // LARGEST_PX)
    if factor == 1:
        return gray
    rows, columns = (size // factor for size in gray.shape)
    squares = gray[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(np.rint(squares.mean(axis=(1, 3), dtype=np.float32)), np.uint8)


def _enlarge(box: Box, small: tuple[int, ...], large: tuple[int, ...]) -> Box:
    """Where a box of a shrunk picture of shape `small` lies in the picture; what ends at the edge does there too."""
    factor = -(-max(large[:2]) // LARGEST_PX)
    return Box(
        top=box.top * factor,
        left=box.left * factor,
        bottom=large[0] if box.bottom == small[0] else box.bottom * factor,
        right=large[1] if box.right == small[1] else box.right * factor,
    )


def _find_lit(gray: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where something is brighter than the background."""
    counts = np.bincount(gray[gray <= MAX_BACKGROUND], minlength=MAX_BACKGROUND + 1)
    background = int(counts.argmax())
    if counts[background] < MIN_BACKGROUND * gray.size:
        background = 0
    return np.asarray(gray > background + MIN_LIT, np.bool_)


def _find_tissue(gray: NDArray[np.uint8], is_lit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where pictures lie: large areas that are lit throughout and nowhere even."""
    length = max(gray.shape)
    window = max(5, round(WINDOW * length))
    is_even = ndimage.maximum_filter(gray, 5) - ndimage.minimum_filter(gray, 5) <= MAX_FLAT
    stroke = 2 * max(1, round(STROKE * length / 2)) + 1
    is_solid = ndimage.minimum_filter(is_lit & ~is_even, stroke, mode="nearest")
    is_dense = _find_dense(is_solid, window, MIN_DENSITY)
    narrowest = max(5, round(NARROWEST * length))
    wide = _keep_large(_open(is_dense, narrowest), round(MIN_SIDE * length))
    # Back to the points of a sector, which are narrow too, but not into a banner, where text stands.
    is_near = ndimage.maximum_filter(wide, 2 * narrowest + 1) & ~_find_dense(is_lit & is_even, window, MAX_EVEN)
    return np.asarray(ndimage.binary_propagation(wide, mask=wide | (is_dense & is_near)), np.bool_)


def _find_dense(mask: NDArray[np.bool_], window: int, share: float) -> NDArray[np.bool_]:
    """Where more than a share of the surroundings is in the mask."""
    density = ndimage.uniform_filter(mask.astype(np.float32), window, mode="nearest")
    return np.asarray(density > share, np.bool_)


def _open(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Morphological opening with a square; the picture goes on beyond its edge."""
    padded = np.pad(mask, size, mode="edge").astype(np.uint8)
    opened = ndimage.grey_opening(padded, (size, size))
    return np.asarray(opened[size:-size, size:-size], np.bool_)


def _keep_large(mask: NDArray[np.bool_], least_side: int) -> NDArray[np.bool_]:
    """Keep the largest area, and others that are no bar, logo or body mark."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    sides = np.array([min(part.stop - part.start for part in place) for place in ndimage.find_objects(labels)])
    is_kept = ((sizes >= MIN_PART * sizes.max()) & (sides >= least_side)) | (sizes == sizes.max())
    return np.asarray(np.append(False, is_kept)[labels], np.bool_)


def _bound(area: NDArray[np.bool_], within: Box | None = None) -> Box:
    """The smallest box around an area, or around what of it lies within a box."""
    top, left = (within.top, within.left) if within else (0, 0)
    part = area[within.top : within.bottom, within.left : within.right] if within else area
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return Box(
        top=top + int(rows[0]),
        left=left + int(columns[0]),
        bottom=top + int(rows[-1]) + 1,
        right=left + int(columns[-1]) + 1,
    )


def _cut_below(area: NDArray[np.bool_], is_lit: NDArray[np.bool_], whole: Box) -> tuple[Box, bool]:
    """Leave out what lies below the first empty band that crosses the whole width; True where there was one."""
    lit = is_lit[whole.top : whole.bottom, whole.left : whole.right].mean(axis=1)
    heights = area[whole.top : whole.bottom, whole.left : whole.right].sum(axis=1)
    for begin, end in _find_gaps(lit, round(MIN_BAND * max(area.shape))):
        if _are_twins(heights[:begin].sum(), heights[end:].sum(), MIN_BELOW):
            upper = Box(top=whole.top, left=whole.left, bottom=whole.top + begin, right=whole.right)
            return _bound(area, upper), True
    return whole, False


def _split(area: NDArray[np.bool_], is_lit: NDArray[np.bool_], whole: Box) -> list[Box]:
    """Part two pictures beside each other at the empty gap between them."""
    lit = is_lit[whole.top : whole.bottom, whole.left : whole.right].mean(axis=0)
    widths = area[whole.top : whole.bottom, whole.left : whole.right].sum(axis=0)
    for begin, end in _find_gaps(lit, max(2, round(MIN_GAP * max(area.shape)))):
        if _are_twins(widths[:begin].sum(), widths[end:].sum(), MIN_TWIN):
            first = Box(top=whole.top, left=whole.left, bottom=whole.bottom, right=whole.left + begin)
            second = Box(top=whole.top, left=whole.left + end, bottom=whole.bottom, right=whole.right)
            return [_bound(area, first), _bound(area, second)]
    return [whole]


def _find_gaps(lit: NDArray[np.float64], least: int) -> list[tuple[int, int]]:
    """Begin and end of the stretches, of `least` pixels or more, in which next to nothing is lit."""
    steps = np.diff(np.concatenate(([0], (lit <= MAX_GAP_LIT).astype(np.int8), [0])))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return [(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True) if end - begin >= least]


def _are_twins(one: int, other: int, least: float) -> bool:
    """Whether the smaller of two areas is no mere part of the larger."""
    return min(one, other) >= least * max(one, other) > 0
