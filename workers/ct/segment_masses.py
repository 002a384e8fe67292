"""LOCALIZED -> SEGMENTED: find candidate masses in and at each parotid gland, and say how much each resembles one.

What is far from the gland or tiny is dropped; every other judgment is left to
the scores and the thresholds, so that new settings are a query on what is stored.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from screener.study import Candidate, Mass, Parotid, Side, Volume
from workers.ct.describe_candidate import NEAR_GLAND_MM, Surroundings, describe_candidate
from workers.ct.measure_candidates import COUNTING_STEP_MM, Component, measure_components
from workers.ct.resample_volume import Grid, affine_zyx, find_box, put_on_source, take_from_source
from workers.models.networks import AIR_HU, SEGMENTER_SPACING_MM, scale_hu, smooth_gland

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Segmenter = Callable[[Floats], Floats]
"""(n, 3, z, y, x) at 2 mm, scaled image and softened gland, turned to look right; to (n, 2, z, y, x), mass second."""

Judge = Callable[[Mapping[str, float]], tuple[float, ...]]
"""A candidate's features to its scores, one for each of screener.study.GAMMAS."""

logger = logging.getLogger(__name__)

CROP_MM: Final = 112.0
BLUR_MM: Final = 1.5
"""The training images were coarse: finer scans are smoothed to the same detail."""
LEAST_HU: Final = -80.0
MOST_HU: Final = 300.0
"""Fat, air and bone are no part of a mass, whatever the network says."""
SKIN_HU: Final = -500.0
MIN_NEAR_SHARE: Final = 0.05
"""A component with less of itself within NEAR_GLAND_MM of the gland is none of the gland's."""
MAX_CANDIDATES: Final = 20
"""Kept per gland, largest first: more are noise."""

SHIFTS: Final = ((0, 0, 0), (3, 3, 0), (0, 3, 3), (3, 0, 3))
"""In voxels along (z, y, x); none is a multiple of the network's total stride of 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What a search of both glands left."""

    masses: tuple[Mass, ...]
    """Every candidate, largest first, numbered from 1."""
    peak_probabilities: Mapping[Side, float]
    """Per gland that was searched, the highest mass probability in it or near it, whether or not a candidate has it."""


def segment_masses(
    volume: Volume,
    parotids: Sequence[Parotid],
    segmenter: Segmenter,
    *,
    min_probability: float,
    judge: Judge | None = None,
) -> tuple[Mass, ...]:
    """Return every candidate of both glands, largest first, numbered from 1; glands not assessed are passed over.

    Without `judge` the candidates have features and no scores.
    """
    return search_glands(volume, parotids, segmenter, min_probability=min_probability, judge=judge).masses


def search_glands(
    volume: Volume,
    parotids: Sequence[Parotid],
    segmenter: Segmenter,
    *,
    min_probability: float,
    judge: Judge | None = None,
) -> Searched:
    """Return what `segment_masses` does, and how near to a candidate each gland came."""
    found: list[tuple[Component, dict[str, float]]] = []
    peaks: dict[Side, float] = {}
    for parotid in parotids:
        if (mask := parotid.searched_mask) is not None:
            other_hu = next((other.mean_hu for other in parotids if other.side is not parotid.side), None)
            candidates, peaks[parotid.side] = search_gland(
                volume, mask, parotid.side, segmenter, min_probability, other_gland_hu=other_hu
            )
            found += candidates
    found.sort(key=lambda pair: -pair[0].voxels)
    masses = tuple(
        place_mass(volume, component, number, min_probability, features, judge(features) if judge else ())
        for number, (component, features) in enumerate(found, start=1)
    )
    return Searched(masses=masses, peak_probabilities=peaks)


def search_gland(
    volume: Volume,
    mask: Bools,
    side: Side,
    segmenter: Segmenter,
    min_probability: float,
    *,
    other_gland_hu: float | None = None,
) -> tuple[list[tuple[Component, dict[str, float]]], float]:
    """Return the components in the crop around `mask` that belong to the gland, largest first, with their features.

    The second value is the highest mass probability within NEAR_GLAND_MM of the gland.
    """
    grid = crop_grid(volume, mask)
    hu = take_from_source(volume.hu, volume, grid, outside=AIR_HU, blur_mm=BLUR_MM, within=volume.body)
    gland = take_from_source(mask, volume, grid, outside=0, blur_mm=0)
    image = np.concatenate([scale_hu(hu), smooth_gland(gland, grid.step_mm)[None]])
    if side is Side.LEFT:
        probability = average_over_shifts(np.ascontiguousarray(image[..., ::-1]), segmenter)[..., ::-1]
    else:
        probability = average_over_shifts(image, segmenter)
    probability = np.where((hu > LEAST_HU) & (hu < MOST_HU), probability, 0).astype(np.float32)
    distance_mm = np.asarray(ndimage.distance_transform_edt(gland < 0.5) * grid.step_mm, dtype=np.float32)
    peak = float(probability[distance_mm <= NEAR_GLAND_MM].max(initial=0.0))
    probability = np.where(near_enough(probability, distance_mm, min_probability), probability, 0)
    fine, fine_grid = refine(probability.astype(np.float32), grid)
    fine_hu = take_from_source(volume.hu, volume, fine_grid, outside=AIR_HU, blur_mm=0)
    components = measure_components(fine, fine_hu, fine_grid, side, min_probability=min_probability)
    if len(components) > MAX_CANDIDATES:
        logger.warning("%d candidates at the %s parotid, the largest %d kept", len(components), side, MAX_CANDIDATES)
    if not components:
        return [], peak
    depth_mm = np.asarray(ndimage.distance_transform_edt(hu > SKIN_HU) * grid.step_mm, dtype=np.float32)
    around = Surroundings(
        hu=refine(hu, grid)[0],
        gland=refine(gland, grid)[0] >= 0.5,
        gland_distance_mm=refine(distance_mm, grid)[0],
        skin_depth_mm=refine(depth_mm, grid)[0],
        other_gland_hu=other_gland_hu,
    )
    return [(component, describe_candidate(component, around)) for component in components[:MAX_CANDIDATES]], peak


def average_over_shifts(image: Floats, segmenter: Segmenter) -> Floats:
    """Return the mass probability (z, y, x) averaged over places of the crop on the network's own coarse grid.

    A network that pools answers differently when its input moves by a voxel or
    two; a mass is there wherever the crop begins.
    """
    shifted = np.stack([np.roll(image, shift, (1, 2, 3)) for shift in SHIFTS])
    answers = segmenter(shifted)[:, 1]
    turned_back = [
        np.roll(answer, [-step for step in shift], (0, 1, 2)) for answer, shift in zip(answers, SHIFTS, strict=True)
    ]
    return np.asarray(np.mean(turned_back, axis=0), dtype=np.float32)


def crop_grid(volume: Volume, mask: Bools) -> Grid:
    """Return the 2 mm grid of at most 112 mm a side around the middle of the gland's extent."""
    matrix, offset = affine_zyx(volume)
    box = find_box(mask)
    middle = matrix @ np.array([(part.start + part.stop - 1) / 2 for part in box]) + offset
    count = int(CROP_MM / SEGMENTER_SPACING_MM)
    return Grid(
        origin_mm=middle - (count - 1) / 2 * SEGMENTER_SPACING_MM,
        step_mm=SEGMENTER_SPACING_MM,
        shape=(count, count, count),
    )


def near_enough(probability: Floats, distance_mm: Floats, min_probability: float) -> NDArray[np.bool_]:
    """Return the voxels to keep: those of components that reach the gland, and a rim around them.

    `distance_mm` is that from the gland, 0 inside.
    """
    whole = np.ones((3, 3, 3), dtype=bool)
    labels, count = ndimage.label(probability >= min_probability, structure=whole)
    if not count:
        return np.zeros(probability.shape, dtype=bool)
    numbers = np.arange(1, count + 1)
    shares = ndimage.mean(distance_mm <= NEAR_GLAND_MM, labels, numbers)
    kept = np.isin(labels, numbers[shares > MIN_NEAR_SHARE])
    return np.asarray(ndimage.binary_dilation(kept, structure=whole, iterations=2) & (kept | (labels == 0)))


def refine(probability: Floats, grid: Grid) -> tuple[Floats, Grid]:
    """Return `probability` interpolated on the 1 mm grid on which candidates are counted."""
    ratio = COUNTING_STEP_MM / grid.step_mm
    n = [int((length - 1) / ratio) + 1 for length in grid.shape]
    shape = (n[0], n[1], n[2])
    fine = ndimage.affine_transform(probability, np.full(3, ratio), output_shape=shape, order=1, mode="nearest")
    return np.asarray(fine, dtype=np.float32), Grid(origin_mm=grid.origin_mm, step_mm=COUNTING_STEP_MM, shape=shape)


def place_mass(
    volume: Volume,
    component: Component,
    number: int,
    min_probability: float,
    features: Mapping[str, float],
    scores: tuple[float, ...],
) -> Mass:
    """Return the component as a mass with its mask on the source grid; no mask is empty, however thick the slices."""
    put, where = put_on_source(component.probability, volume, component.grid)
    mask = np.zeros(volume.hu.shape, dtype=bool)
    mask[where] = put >= min_probability
    if not mask.any():
        matrix, offset = affine_zyx(volume)
        index = np.rint(np.linalg.inv(matrix) @ (np.array(component.center_mm[::-1]) - offset)).astype(int)
        mask[tuple(np.clip(index, 0, np.array(mask.shape) - 1))] = True
    return Mass(
        candidate=Candidate(
            side=component.side,
            number=number,
            voxels=component.voxels,
            volume_mm3=component.voxels * COUNTING_STEP_MM**3,
            longest_diameter_mm=component.longest_diameter_mm,
            mean_hu=component.mean_hu,
            max_probability=component.max_probability,
            mean_probability=component.mean_probability,
            center_mm=component.center_mm,
            features=features,
            scores=scores,
        ),
        mask=mask,
    )
