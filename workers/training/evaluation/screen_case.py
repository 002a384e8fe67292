"""Screen one case through the real stages and measure the answer on the scan's own grid."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from screener.outcomes import NeedsPerson, SetAside
from screener.study import Mass, Parotid, Side, Thresholds, Volume
from workers.ct.localize_parotids import accept_parotids, find_parotids
from workers.ct.resample_volume import affine_zyx
from workers.ct.segment_masses import crop_grid, search_glands
from workers.models.candidate_machines import CandidateMachines
from workers.models.weights import Bundle
from workers.training.evaluation.case_result import FAILED, SCREENED, SET_ASIDE, CaseResult, Region

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What the stages ask."""

    localizer: Bundle
    segmenter: Bundle
    machines: CandidateMachines | None
    """None: candidates are judged by their size alone."""

    @property
    def digests(self) -> dict[str, str]:
        """What identifies each bundle."""
        digests = {bundle.name: bundle.digest for bundle in (self.localizer, self.segmenter)}
        return digests if self.machines is None else digests | {self.machines.name: self.machines.digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A volume to be screened and what a perfect reader would find."""

    name: str
    volume: Volume
    glands: dict[Side, Bools]
    """(z, y, x) on the volume's grid; a gland that the labels do not hold is absent."""
    mass: Bools | None
    """(z, y, x); None where there is none."""
    mass_sides: tuple[Side, ...]
    about: dict[str, Any] = field(default_factory=dict)
    """What the case's own case.json tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the stages found."""

    parotids: tuple[Parotid, ...]
    """Also those that were found and not assessed."""
    masses: tuple[Mass, ...]
    peak_probabilities: Mapping[Side, float]
    outcome: str
    reason: str
    seconds: float


def screen_case(truth: Truth, models: Models, thresholds: Thresholds) -> tuple[CaseResult, Answer]:
    """Screen one volume and return the numbers that all figures rest on, and the answer with its masks."""
    answer = ask(truth.volume, models, thresholds)
    volume, parotids = truth.volume, {parotid.side: parotid for parotid in answer.parotids}
    glands = {side: gland for side, gland in truth.glands.items() if gland.any()}
    mass = truth.mass if truth.mass is not None and truth.mass.any() else None
    mass_voxels = 0 if mass is None else int(mass.sum())
    largest = None if mass is None else largest_piece(mass)
    result = CaseResult(
        name=truth.name,
        outcome=answer.outcome,
        reason=answer.reason,
        spacing_mm=volume.spacing_mm,
        slices=len(volume.hu),
        mass_sides=() if mass is None else truth.mass_sides,
        is_positive=mass is not None,
        mass_voxels=mass_voxels,
        mass_mm3=0.0 if largest is None else int(largest.sum()) * volume.voxel_volume_mm3,
        mass_diameter_mm=0.0 if largest is None else diameter_mm(largest, volume),
        labelled_sides=tuple(sorted(glands)),
        assessments=tuple(parotid.assessment for parotid in answer.parotids),
        candidates=tuple(found.candidate for found in answer.masses),
        peak_probabilities=dict(answer.peak_probabilities),
        regions=count_regions(answer.masses, mass),
        center_errors_mm={side: center_error_mm(gland, volume, parotids.get(side)) for side, gland in glands.items()},
        crop_shares={side: crop_share(gland, volume, parotids.get(side)) for side, gland in glands.items()},
        gland_dice={side: gland_dice(gland, parotids.get(side)) for side, gland in glands.items()},
        seconds=answer.seconds,
        about=truth.about,
    )
    return result, answer


def ask(volume: Volume, models: Models, thresholds: Thresholds) -> Answer:
    """Run the stages; an outcome is an answer too."""
    started = time.monotonic()
    parotids: tuple[Parotid, ...] = ()
    masses: tuple[Mass, ...] = ()
    peaks: Mapping[Side, float] = {}
    outcome, reason = SCREENED, ""
    try:
        parotids = find_parotids(volume, models.localizer)
        parotids = accept_parotids(parotids, volume)
        searched = search_glands(
            volume, parotids, models.segmenter, min_probability=thresholds.min_probability, judge=models.machines
        )
        masses, peaks = searched.masses, searched.peak_probabilities
    except SetAside as raised:
        outcome, reason = SET_ASIDE, raised.reason
    except NeedsPerson as raised:
        outcome, reason = FAILED, raised.reason
    seconds = time.monotonic() - started
    return Answer(
        parotids=parotids, masses=masses, peak_probabilities=peaks, outcome=outcome, reason=reason, seconds=seconds
    )


def count_regions(masses: Sequence[Mass], truth: Bools | None) -> tuple[Region, ...]:
    """Count, for each set of candidates that share voxels, those voxels and how many are true mass.

    From these counts the overlap of the truth with any union of candidates follows exactly.
    """
    if not masses:
        return ()
    held = np.any([found.mask for found in masses], axis=0)
    columns = np.stack([found.mask[held] for found in masses])  # (candidates, voxels)
    of_mass = np.zeros(columns.shape[1], dtype=bool) if truth is None else truth[held]
    patterns, which = np.unique(columns, axis=1, return_inverse=True)
    which = which.ravel()
    voxels = np.bincount(which, minlength=patterns.shape[1])
    mass_voxels = np.bincount(which, weights=of_mass, minlength=patterns.shape[1])
    return tuple(
        Region(
            numbers=tuple(found.candidate.number for found, is_in in zip(masses, pattern, strict=True) if is_in),
            voxels=int(count),
            mass_voxels=int(true),
        )
        for pattern, count, true in zip(patterns.T, voxels, mass_voxels, strict=True)
    )


def center_error_mm(gland: Bools, volume: Volume, parotid: Parotid | None) -> float:
    """Return how far the found gland's center is from that of the true `gland`; infinite where none was found."""
    if parotid is None or parotid.center_mm is None:
        return math.inf
    matrix, offset = affine_zyx(volume)
    true_mm = matrix @ np.array(ndimage.center_of_mass(gland)) + offset
    return float(np.linalg.norm(true_mm - np.array(parotid.center_mm[::-1])))


def crop_share(gland: Bools, volume: Volume, parotid: Parotid | None) -> float:
    """Return the share of the true `gland` inside the crop that `segment_masses` cuts; 0 where it cuts none."""
    searched = None if parotid is None else parotid.searched_mask
    if searched is None:
        return 0.0
    grid = crop_grid(volume, searched)
    matrix, offset = affine_zyx(volume)
    places = np.argwhere(gland) @ matrix.T + offset
    index = (places - grid.origin_mm) / grid.step_mm
    inside = ((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all(axis=1)
    return float(inside.mean())


def gland_dice(gland: Bools, parotid: Parotid | None) -> float:
    """Return the overlap of the found gland with the true one."""
    if parotid is None or parotid.mask is None:
        return 0.0
    return float(2 * (gland & parotid.mask).sum() / (gland.sum() + parotid.mask.sum()))


def largest_piece(mass: Bools) -> Bools:
    """Return the largest of the connected pieces of `mass`: two masses are not one as long as the head is wide."""
    pieces, _ = ndimage.label(mass, np.ones((3, 3, 3)))
    return np.asarray(pieces == np.bincount(pieces[mass]).argmax())


def diameter_mm(mass: Bools, volume: Volume) -> float:
    """Return the diameter of the ball of the mass's volume, or the distance of its farthest voxels if that is more."""
    ball_mm = float(np.cbrt(6 / np.pi * mass.sum() * volume.voxel_volume_mm3))
    matrix, _ = affine_zyx(volume)
    places = np.argwhere(mass & ~ndimage.binary_erosion(mass)) @ matrix.T
    try:
        places = places[spatial.ConvexHull(places).vertices]
    except (spatial.QhullError, ValueError):  # flat, or too few voxels for a hull
        places = places[:: max(1, len(places) // 500)]
    return max(ball_mm, float(spatial.distance.pdist(places).max()) if len(places) > 1 else 0.0)
