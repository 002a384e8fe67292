"""Refuse a volume whose values cannot be Hounsfield units: a header may lie about slope, intercept or sign."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from screener.outcomes import NeedsPerson

AIR_HU: Final = -1024
"""What padding was set to, and what some scanners saturate at."""
LIGHT_HU: Final = -300
"""Lighter than any tissue but lung."""
MIN_LIGHT_SHARE: Final = 0.0005
"""Airways, sinuses and the skin's edge take far more of any head or neck; 0.2 and more was measured where air is
not saturated."""
TISSUE_HU: Final = 200
"""Soft tissue lies between this and its negative."""
MIN_TISSUE_SHARE: Final = 0.4
"""Of all that is denser than lung; 0.79 to 0.93 was measured in 193 scans of the head and neck."""
MIN_TISSUE: Final = 0.01
"""Of all voxels: a slender neck takes twice as much of the widest image."""
MAX_JUMP_HU: Final = 450.0
"""Half of the tissue never changes by as much from a slice to those on both of its sides: 290 was measured, at the top
of a skull. Half or twice the slope makes it 500 and more."""
MIN_AREA_MM2: Final = 1000.0
"""Less tissue may come and go within a slice."""
MIN_COMMON: Final = 0.2
"""Share of the soft tissue that is soft tissue in the next slice, too, unless the body ends."""
MIN_END_MM2: Final = 6000.0
"""The body may end with less soft tissue within a slice."""
MIN_END_MM2_PER_MM: Final = 1600.0
"""The same for each millimeter between slices: the flat top of a skull."""
STRIDE: Final = 4
"""Every fourth row and column tell enough."""


def check_values(hu: NDArray[np.int16], places_mm: NDArray[np.float64], spacing_mm: tuple[float, float, float]) -> None:
    """Raise NeedsPerson (`implausible_values`) where `hu` (z, y, x) holds no air or tissue, or slices scaled otherwise.

    `places_mm` is each slice's z, for the sentence; `spacing_mm` the voxels' size in x, y and z.
    """
    sample = hu[:, ::STRIDE, ::STRIDE].astype(np.int32)
    if not has_air(sample):
        raise NeedsPerson(
            "Nothing in the series has the values of air, so they are no Hounsfield units.", code="implausible_values"
        )
    if not has_tissue(sample):
        raise NeedsPerson(
            "Too little in the series has the values of soft tissue for them to be Hounsfield units.",
            code="implausible_values",
        )
    is_dense, is_soft = sample > LIGHT_HU, np.abs(sample) <= TISSUE_HU
    x_mm, y_mm, z_mm = spacing_mm
    area_mm2 = x_mm * y_mm * STRIDE**2
    _check_slices(sample, is_dense, places_mm, MIN_AREA_MM2 / area_mm2)
    _check_neighbors(sample, is_soft, places_mm, max(MIN_END_MM2, MIN_END_MM2_PER_MM * z_mm) / area_mm2)


def has_air(hu: NDArray[np.integer]) -> bool:
    """Tell whether there is air in Hounsfield units: values of any shape, of which AIR_HU may be padding."""
    return int(np.count_nonzero((hu > AIR_HU) & (hu < LIGHT_HU))) > MIN_LIGHT_SHARE * hu.size


def has_tissue(hu: NDArray[np.integer]) -> bool:
    """Tell whether enough is soft tissue in Hounsfield units, of all values and of those that are denser than lung."""
    soft, dense = (int(np.count_nonzero(is_one)) for is_one in (np.abs(hu) <= TISSUE_HU, hu > LIGHT_HU))
    return soft >= max(MIN_TISSUE * hu.size, MIN_TISSUE_SHARE * dense)


def _check_slices(
    sample: NDArray[np.int32], is_dense: NDArray[np.bool_], places_mm: NDArray[np.float64], least: float
) -> None:
    """Refuse a slice that differs from both of its neighbors where they agree; `least` voxels are needed to tell."""
    for z in range(1, len(sample) - 1):
        both = is_dense[z - 1] & is_dense[z + 1]  # tissue on both sides of a slice is tissue in it
        if np.count_nonzero(both) < least:
            continue
        before_hu, after_hu = (np.abs(sample[z][both] - sample[other][both]) for other in (z - 1, z + 1))
        jump_hu = np.median(np.minimum(before_hu, after_hu))
        if jump_hu > MAX_JUMP_HU:
            raise NeedsPerson(
                f"The slice at z = {places_mm[z]:.2f} mm differs from those beside it by {jump_hu:.0f} HU almost "
                "everywhere: it is scaled wrongly.",
                code="implausible_values",
            )


def _check_neighbors(
    sample: NDArray[np.int32], is_soft: NDArray[np.bool_], places_mm: NDArray[np.float64], least: float
) -> None:
    """Refuse two slices where even the air changes, or all soft tissue, if it is at least `least` voxels.

    So the first and the last are checked, and where one scaling ends and another begins.
    """
    for z in range(1, len(sample)):
        larger = max(np.count_nonzero(is_soft[z - 1]), np.count_nonzero(is_soft[z]))
        is_lost = larger > least and np.count_nonzero(is_soft[z - 1] & is_soft[z]) < MIN_COMMON * larger
        if is_lost or np.median(np.abs(sample[z] - sample[z - 1])) > MAX_JUMP_HU:
            raise NeedsPerson(
                f"The slices at z = {places_mm[z - 1]:.2f} and {places_mm[z]:.2f} mm differ almost everywhere: one of "
                "them is scaled wrongly.",
                code="implausible_values",
            )
