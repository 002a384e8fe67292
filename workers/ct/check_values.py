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
MAX_JUMP_HU: Final = 300.0
"""Half of all voxels never change by as much from one slice to the next: soft tissue stays tissue, air stays air."""
STRIDE: Final = 4
"""Every fourth row and column tell enough."""


def check_values(hu: NDArray[np.int16], places_mm: NDArray[np.float64]) -> None:
    """Raise NeedsPerson (`implausible_values`) where `hu` (z, y, x) holds no air, or one slice is scaled otherwise.

    `places_mm` is each slice's z, for the sentence.
    """
    sample = hu[:, ::STRIDE, ::STRIDE].astype(np.int32)
    light = np.mean((sample > AIR_HU) & (sample < LIGHT_HU))
    if light < MIN_LIGHT_SHARE:
        raise NeedsPerson(
            "Nothing in the series has the values of air, so they are no Hounsfield units.", code="implausible_values"
        )
    jumps_hu = np.median(np.abs(np.diff(sample, axis=0)), axis=(1, 2))
    if len(jumps_hu) and jumps_hu.max() > MAX_JUMP_HU:
        where = int(np.argmax(jumps_hu))
        raise NeedsPerson(
            f"The slices at z = {places_mm[where]:.2f} and {places_mm[where + 1]:.2f} mm differ by "
            f"{jumps_hu[where]:.0f} HU almost everywhere: one of them is scaled wrongly.",
            code="implausible_values",
        )
