"""What is measured of a lesion on its frame: radiomics as the Image Biomarker Standardisation Initiative defines them.

mirp measures them, which is verified against the initiative's reference values
(Zwanenburg et al. 2020, Radiology 295:328). The square around the lesion with
its margin is brought to a fixed grid, because most pictures hold no
millimeters, and its gray to a fixed mean and deviation, which takes gain and
dynamic range off. Gray is discretized to a fixed number of bins.

Two regions are measured, each slice by itself, also behind a Laplacian of
Gaussian: the ellipse with the outline's center, axes and orientation, and the
tissue around it. Not the outline itself: whoever drew the outlines of the
public breast images knew the diagnosis, and their solidity alone tells
malignant from benign with an AUC of 0.97. A network's outline has nothing of
that, so that a machine that learned it would be worth nothing.

mirp's shape family is left out for the same reason, and because its Moran's I
and Geary's C take 8 to 16 s a lesion and cannot be chosen away; ngtdm and ngldm
are, for they take a third of the time and are hardly ever selected.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from screener.us_study import Lesion
from workers.models.us_image import cut_square, find_box, surround_lesion

RADIOMICS_VERSION: Final = "2"
"""Raised when a setting or a feature changes: a bundle that was fitted on others is refused, and no cache holds."""

GRID_PX: Final = 80
"""Side of the square; a lesion that is as wide as high covers 53 of them."""
BINS: Final = 32
"""Gray levels, from the region's darkest pixel to its brightest."""
GRAY_MEAN: Final = 100.0
GRAY_DEVIATION: Final = 25.0
"""Of the square's pixels within the picture."""
LOG_SIGMAS_PX: Final = (1.5, 3.0)
"""Of the Laplacian of Gaussian, in pixels of the grid."""
RING_PX: Final = 6
"""Width of the tissue around the lesion, in pixels of the grid."""
MIN_LESION_PX: Final = 64
"""On the frame: of a smaller lesion texture cannot be told."""
MIN_REGION_PX: Final = 64
"""On the grid."""

_LESION_FAMILIES: Final = (
    "statistics",
    "intensity_volume_histogram",
    "intensity_histogram",
    "cm",
    "rlm",
    "szm",
    "dzm",
)
_DESCRIPTIVE: Final = ("image_", "sample_")
"""How those columns of mirp's table begin that hold no feature."""
_RATIOS: Final = ("_cov", "_qcod")
"""How those features end that divide by a mean, which behind a Laplacian is nearly 0."""

Gray = NDArray[np.float32]
Bools = NDArray[np.bool_]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _View:
    """The lesion's square on the grid, (GRID_PX, GRID_PX)."""

    gray: Gray
    """Of mean GRAY_MEAN and deviation GRAY_DEVIATION; GRAY_MEAN beyond the picture."""
    inside: Bools
    """Where it lies in the picture."""
    lesion: Bools
    """The ellipse, as far as it lies in the picture."""
    axis_ratio: float
    """Of the ellipse, 0 to 1."""


def measure_radiomics(lesion: Lesion) -> dict[str, float] | None:
    """Return the lesion's features by name, all finite; None where it is too small or too even to be measured."""
    return measure_region(lesion.frame.gray, lesion.mask)


def measure_region(gray: NDArray[np.uint8], mask: Bools) -> dict[str, float] | None:
    """As `measure_radiomics`, of a picture's `gray` and the lesion's `mask` on it, both (rows, columns)."""
    view = _prepare(gray, mask)
    if view is None:
        return None
    ring = ndimage.binary_dilation(view.lesion, iterations=RING_PX) & view.inside & ~view.lesion
    if min(view.lesion.sum(), ring.sum()) < MIN_REGION_PX or np.ptp(view.gray[view.lesion]) == 0:
        return None
    try:
        features = _measure(view.gray, view.lesion, _LESION_FAMILIES, "lesion")
        features |= _measure(view.gray, ring, ("statistics",), "ring")
    except (ArithmeticError, LookupError, TypeError, ValueError) as problem:
        logger.warning("radiomics cannot be measured: %s", type(problem).__name__)
        return None
    features |= _measure_shape(view) | _measure_behind(view)
    return features if np.isfinite(list(features.values())).all() else None


def _prepare(gray: NDArray[np.uint8], mask: Bools) -> _View | None:
    """Bring the lesion's square to the grid; None where the lesion is too small or all of the square is even."""
    if int(mask.sum()) < MIN_LESION_PX:
        return None
    ellipse, axis_ratio = _fit_ellipse(mask)
    square = surround_lesion(find_box(ellipse))
    values, inside = cut_square(gray, square, GRID_PX)
    deviation = float(values[inside].std())
    if deviation == 0:
        return None
    lesion = cut_square(ellipse.astype(np.float32), square, GRID_PX)[0] > 0.5
    standard = GRAY_MEAN + GRAY_DEVIATION * (values - values[inside].mean()) / deviation
    gray_of_grid = np.where(inside, standard, GRAY_MEAN).astype(np.float32)
    return _View(gray_of_grid, inside, lesion & inside, axis_ratio)


def _fit_ellipse(mask: Bools) -> tuple[Bools, float]:
    """Return the ellipse with the center, axes and orientation of `mask`, and the ratio of its axes."""
    from skimage.draw import ellipse
    from skimage.measure import regionprops

    region = regionprops(mask.astype(np.uint8))[0]
    long, short = max(region.axis_major_length, 1.0) / 2, max(region.axis_minor_length, 1.0) / 2
    drawn = np.zeros(mask.shape, bool)
    # skimage turns counterclockwise from the columns' axis, and tells a region's orientation from the rows'.
    drawn[ellipse(*region.centroid, long, short, shape=mask.shape, rotation=region.orientation)] = True
    return drawn, float(short / long)


def _measure(gray: Gray, region: Bools, families: tuple[str, ...], prefix: str) -> dict[str, float]:
    """Return mirp's features of `region`, each name after `prefix`."""
    from mirp import extract_features  # imported here: it is an extra of its own, and takes a second

    with _quiet():
        (table,) = extract_features(
            image=gray[None],
            mask=region[None].astype(np.uint8),
            by_slice=True,
            base_discretisation_method="fixed_bin_number",
            base_discretisation_n_bins=BINS,
            base_feature_families=list(families),
            filter_kernels=["laplacian_of_gaussian"],
            laplacian_of_gaussian_sigma=list(LOG_SIGMAS_PX),
            response_map_feature_families=["statistics"],
        )
    row: Mapping[str, Any] = table.iloc[0].to_dict()
    return {f"{prefix}_{name}": float(row[name]) for name in row if _is_feature(name)}


def _is_feature(name: str) -> bool:
    return not (name.startswith(_DESCRIPTIVE) or (name.startswith("log_") and name.endswith(_RATIOS)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what mirp tells of every step out of the log: it writes to the root logger, and gives it a handler."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())
    root.addFilter(_is_ours)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    """Return whether a record that was written to the root logger itself comes from another package than mirp."""
    return "mirp" not in Path(record.pathname).parts


def _measure_shape(view: _View) -> dict[str, float]:
    """Return how round the ellipse is, and whether it is taller than wide."""
    box = find_box(view.lesion)
    height_to_width = (box.bottom - box.top) / (box.right - box.left)
    return {"shape_axis_ratio": view.axis_ratio, "shape_height_to_width": height_to_width}


def _measure_behind(view: _View) -> dict[str, float]:
    """Return how much brighter the tissue below the lesion is than that beside it, and than the lesion.

    Enhancement behind a lesion speaks for a cyst or a benign tumor, a shadow for a malignant one. 0 where the picture
    ends at the lesion.
    """
    box = find_box(view.lesion)
    middle = slice(box.left + (box.right - box.left) // 4, box.right - (box.right - box.left) // 4)
    below = view.gray[box.bottom :, middle][view.inside[box.bottom :, middle]]
    if not len(below):
        return {"behind_to_all": 0.0, "behind_to_lesion": 0.0}
    brightness = float(below.mean())
    return {
        "behind_to_all": brightness - GRAY_MEAN,
        "behind_to_lesion": brightness - float(view.gray[view.lesion].mean()),
    }
