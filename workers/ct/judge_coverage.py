"""Say how much of a gland a scan covers, and whether metal spoils what it covers."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from screener.study import Volume
from workers.ct.check_values import AIR_HU
from workers.ct.resample_volume import find_box

Bools = NDArray[np.bool_]

ORDINARY_VOLUME_MM3: Final = 20_000.0
ORDINARY_HEIGHT_MM: Final = 56.0
"""As the localizer sees it, lower by the thin ends of the gland; contoured glands are 45 to 70 mm high."""
UNLIKE_ORDINARY: Final = 1.4
"""The opposite gland, where the scan covers it whole, stands for this one, but by no more than this factor larger or
smaller than an ordinary one: it may itself hold a mass or be shrunken."""
HEIGHT_WEIGHT: Final = 0.7
"""A mass or a fatty gland changes the volume more than the height."""
MOST_OF_A_CUT_GLAND: Final = 0.9
"""What the scan's end cuts is never called whole."""

MIN_ROUND_SHARE: Final = 0.95
"""Of a circle: what is shown of an image fills it where the scanner reconstructed a round field."""

METAL_HU: Final = 2500.0
MIN_METAL_MM3: Final = 20.0
"""Enamel and dense bone stay below METAL_HU but for specks."""
LEAST_END_HU: Final = 1900.0
"""Where a scan's values end below METAL_HU, but not below this, what reaches their end may be metal."""
METAL_REACH_MM: Final = 60.0
"""Streaks lie in the slices of the metal and fade with the distance from it."""
STREAK_HU: Final = (-250.0, 350.0)
"""Neither fat nor gland nor enhanced vessel: beside metal, a streak."""
MAX_STREAK_SHARE: Final = 0.2


def estimate_covered_share(
    height_mm: float,
    volume_mm3: float,
    *,
    whole_height_mm: float | None = None,
    whole_volume_mm3: float | None = None,
    is_cut_beside: bool = False,
) -> float:
    """Return the share, above 0 and at most 0.9, of a gland that the scan's end or the image's side cuts.

    `whole_height_mm` and `whole_volume_mm3` are those of the opposite gland
    where the scan covers it whole, and None elsewhere. The estimate grows with
    height and volume; of a gland that is cut beside, its height tells nothing.
    """
    height = _held(whole_height_mm, ORDINARY_HEIGHT_MM)
    volume = _held(whole_volume_mm3, ORDINARY_VOLUME_MM3)
    by_height, by_volume = min(height_mm / height, 1.0), min(volume_mm3 / volume, 1.0)
    share = HEIGHT_WEIGHT * by_height + (1 - HEIGHT_WEIGHT) * by_volume
    return min(by_volume if is_cut_beside else share, MOST_OF_A_CUT_GLAND)


def find_round_field_mm(volume: Volume) -> float | None:
    """Return the radius of the round field, around the middle of the images, that is all they show; None elsewhere.

    Outside of it a scanner writes padding, which reads as AIR_HU in every slice. Where an image shows something to its
    corners, or what it shows is not round (surroundings taken away), it is no such field.
    """
    ends = (0, -1)
    if any((volume.hu[:, row, column] > AIR_HU).any() for row in ends for column in ends):
        return None
    shown = volume.hu.max(axis=0) > AIR_HU
    step_x, step_y, _ = volume.spacing_mm
    y, x = (
        (np.arange(length) - (length - 1) / 2) * step
        for length, step in zip(shown.shape, (step_y, step_x), strict=True)
    )
    distance_mm = np.hypot(y[:, None], x)
    if not shown.any():
        return None
    radius_mm = float(np.quantile(distance_mm[shown], 0.995))  # a few voxels outside are burned in
    return radius_mm if shown[distance_mm <= radius_mm].mean() >= MIN_ROUND_SHARE else None


def is_spoiled_by_metal(volume: Volume, mask: Bools) -> bool:
    """Tell whether metal lies near the gland `mask` (z, y, x) and a fifth of the gland shows streaks.

    Air in the ear canal and bone beside the gland do not count: without metal nothing is spoiled.
    """
    box = find_box(mask)
    if not mask[box].size:
        return False
    spacing_mm = volume.spacing_mm[::-1]
    reach = [0, *(round(METAL_REACH_MM / step) for step in spacing_mm[1:])]
    around = tuple(
        slice(max(part.start - margin, 0), part.stop + margin) for part, margin in zip(box, reach, strict=True)
    )
    metal_hu = min(max(float(volume.hu.max()), LEAST_END_HU), METAL_HU)
    if float((volume.hu[around] >= metal_hu).sum()) * volume.voxel_volume_mm3 < MIN_METAL_MM3:
        return False
    hu = volume.hu[box][mask[box]]
    return bool(((hu < STREAK_HU[0]) | (hu > STREAK_HU[1])).mean() > MAX_STREAK_SHARE)


def _held(whole: float | None, ordinary: float) -> float:
    if whole is None:
        return ordinary
    return min(max(whole, ordinary / UNLIKE_ORDINARY), ordinary * UNLIKE_ORDINARY)
