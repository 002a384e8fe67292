"""The lesion, outlined on every frame; the frame with the largest stands for the study.

Largest is said in square millimeters where all frames are calibrated, else as a
share of the picture: a pixel of one frame is not as large as one of another.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from screener.us_study import Frame, Lesion
from workers.models.us_image import prepare_square, restore_picture, surround_picture

Segmenter = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Pictures (n, 1, side, side), -1 to 1, to the probability that a pixel belongs to a lesion, (n, side, side)."""

MIN_PROBABILITY: Final = 0.5
MIN_SHARE: Final = 0.002
"""Of the picture: a smaller region is a speck, 4 mm in a picture of 90 mm by 90."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    lesion: Lesion
    area_mm2: float | None
    share: float
    """Of the picture."""


def segment_lesion(frames: Iterable[Frame], segmenter: Segmenter, side_px: int) -> Lesion | None:
    """Return the lesion of the frame that shows the largest; None where no frame shows one.

    `side_px` is the side of the square that the segmenter takes. Each frame has
    one lesion at most, its largest connected region.
    """
    found = [one for frame in frames if (one := _segment_frame(frame, segmenter, side_px)) is not None]
    if not found:
        return None
    is_calibrated = all(one.area_mm2 is not None for one in found)
    return max(found, key=lambda one: (one.area_mm2 or 0.0) if is_calibrated else one.share).lesion


def _segment_frame(frame: Frame, segmenter: Segmenter, side_px: int) -> _Found | None:
    square = surround_picture(frame.gray.shape)
    (answer,) = segmenter(prepare_square(frame.gray, square, side_px)[None])
    probability = restore_picture(answer, square, frame.gray.shape)
    mask = keep_largest(probability >= MIN_PROBABILITY)
    area_px = int(mask.sum())
    share = area_px / mask.size
    if share < MIN_SHARE:
        return None
    lesion = Lesion(
        frame=frame,
        mask=mask,
        mean_probability=float(probability[mask].mean()),
        area_px=area_px,
        longest_diameter_mm=None if frame.spacing_mm is None else measure_diameter_mm(mask, frame.spacing_mm),
    )
    area_mm2 = None if frame.spacing_mm is None else area_px * frame.spacing_mm[0] * frame.spacing_mm[1]
    return _Found(lesion=lesion, area_mm2=area_mm2, share=share)


def keep_largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected region of `mask` (rows, columns), its holes filled; empty where there is none."""
    labels, count = ndimage.label(mask)
    if not count:
        return np.zeros_like(mask)
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(largest), dtype=np.bool_)


def measure_diameter_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> float:
    """Return the longest distance between two pixels of `mask`, outer edge to outer edge, in millimeters.

    `spacing_mm` is the distance between rows and between columns. Raises ValueError where the mask is empty.
    """
    rows, columns = np.nonzero(mask ^ ndimage.binary_erosion(mask))
    if not len(rows):
        raise ValueError("an empty mask has no diameter")
    # Corners, not centers: a pixel has a size.
    corners = np.concatenate([np.stack((rows + y, columns + x), 1) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
    points = corners * spacing_mm
    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:  # all on one line
        points = np.unique(points, axis=0)
    return float(pdist(points).max())
