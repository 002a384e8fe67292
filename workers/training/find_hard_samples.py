"""Find the training samples that a segmenter judges wrong, so that training draws them more often.

Most samples are learned early and teach no more; what is left are small masses, masses that lie half outside their
gland, and glands that look like one. A mass that hardly differs from its surroundings is no lesson either.
"""

import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.ct.segment_masses import Segmenter
from workers.models.networks import SEGMENTER_SPACING_MM, scale_hu, smooth_gland
from workers.training.cache_samples import MASS_BIT
from workers.training.synthetic_mass import AIR_HU, BONE_HU

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

AT_ONCE: Final = 4
PROBABILITY: Final = 0.5
FOUND: Final = 0.55
"""Mean probability within a mass that is learned."""
LEAST_VOXELS: Final = 40
LEAST_CONTRAST_HU: Final = 25.0
"""To what surrounds it. Smaller or fainter masses stay hard for everybody."""
MOST_FALSE_VOXELS: Final = 4
"""In a sample without a mass."""
HARD_SHARE: Final = 0.25
"""About as much of what is drawn is hard."""
_RIM_VOXELS: Final = 4


def find_hard_samples(hu: NDArray[np.int16], marks: NDArray[np.uint8], segmenter: Segmenter) -> NDArray[np.intp]:
    """Return the indices of the samples, (n, z, y, x), on which the segmenter misses a visible mass or makes one up."""
    hard: list[int] = []
    for first in range(0, len(hu), AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, len(hu)))
        answers = segmenter(np.stack([_show(hu[number], marks[number]) for number in numbers]))
        hard += [
            number
            for number, answer in zip(numbers, answers, strict=True)
            if is_hard(answer[1], hu[number], (marks[number] & MASS_BIT) > 0)
        ]
        if first % 400 == 0:
            logger.info("samples judged: %d of %d, %d of them hard", numbers[-1] + 1, len(hu), len(hard))
    return np.array(hard, dtype=np.intp)


def repeat_hard_samples(count: int, hard: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the indices to draw from: each of `count` samples once, and the hard ones as often as HARD_SHARE asks."""
    if not len(hard):
        return np.arange(count)
    times = max(1, round(HARD_SHARE / (1 - HARD_SHARE) * count / len(hard)))
    return np.concatenate([np.arange(count), *[hard] * times])


def is_hard(probability: Floats, hu: NDArray[np.int16], mass: Bools) -> bool:
    """Tell whether an answer (z, y, x) leaves something to learn."""
    false_voxels = int((probability[~mass] > PROBABILITY).sum())
    voxels = int(mass.sum())
    if not voxels:
        return false_voxels > MOST_FALSE_VOXELS
    if probability[mass].mean() >= FOUND:
        return false_voxels > 0.6 * voxels + 30
    return voxels >= LEAST_VOXELS and _contrast_hu(hu, mass) >= LEAST_CONTRAST_HU


def _show(hu: NDArray[np.int16], marks: NDArray[np.uint8]) -> Floats:
    return np.concatenate([scale_hu(hu), smooth_gland(marks > 0, SEGMENTER_SPACING_MM)[None]])


def _contrast_hu(hu: NDArray[np.int16], mass: Bools) -> float:
    """Return how much the mass differs from the soft tissue around it; 0 where there is none."""
    around = ndimage.binary_dilation(mass, iterations=_RIM_VOXELS) & ~ndimage.binary_dilation(mass)
    around &= (hu > AIR_HU) & (hu < BONE_HU)
    return abs(float(np.median(hu[mass]) - np.median(hu[around]))) if around.any() else 0.0
