"""Say in named numbers what one candidate is like: what the support vector machines judge by.

The features are the ones by which a reader tells a mass from a node, a vessel
or a lobe of the gland: how large, how round, how bright against its gland,
where it lies. All are numbers in plain units; nothing is scaled here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.ct.measure_candidates import Component

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

FEATURES: Final = (
    "log_volume",
    "longest_diameter_mm",
    "compactness",
    "sphericity",
    "max_probability",
    "mean_probability",
    "mean_hu",
    "deviation_hu",
    "contrast_to_gland_hu",
    "contrast_to_rim_hu",
    "gland_difference_hu",
    "near_share",
    "inside_share",
    "distance_from_center_mm",
    "height_in_gland",
    "depth_below_skin_mm",
)
"""In the order in which the machines take them.

`gland_difference_hu` is the rest of the candidate's own gland less the other
gland: with the contrast to the own gland it gives that to the other, and zero,
where there is no other gland, is what two ordinary glands differ by.
"""
NEAR_GLAND_MM: Final = 6.0
RIM_MM: Final = 4
"""Width of the shell around a candidate against which its edge stands out or does not."""
MIN_REST_VOXELS: Final = 300
"""A mass can fill its gland; a rest smaller than this says nothing of the gland's density."""
TISSUE_HU: Final = (-200.0, 300.0)
"""Air and bone beside the gland are no measure of the tissue a mass lies in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """One gland's crop on the 1 mm grid on which candidates are counted; arrays (z, y, x)."""

    hu: Floats
    """Smoothed to the detail that the network saw, so that noise is alike on all scanners."""
    gland: Bools
    gland_distance_mm: Floats
    """From the gland, 0 inside."""
    skin_depth_mm: Floats
    """Below the skin, 0 outside the patient."""
    other_gland_hu: float | None
    """Mean of the other gland; None where it was not found."""


def describe_candidate(component: Component, around: Surroundings) -> dict[str, float]:
    """Return the features of `component`, each of FEATURES; all are finite."""
    low, high = component.low, tuple(a + n for a, n in zip(component.low, component.inside.shape, strict=True))
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    where = tuple(np.argwhere(component.inside).T + np.array(low)[:, None])
    hu = around.hu[where]
    rest_hu = _rest_of_gland_hu(component, around, box)
    reference = next((value for value in (rest_hu, around.other_gland_hu) if value is not None), None)
    mean = float(hu.mean())
    both = rest_hu is not None and around.other_gland_hu is not None
    equivalent_mm = (6 / np.pi * component.voxels) ** (1 / 3)
    values = {
        "log_volume": float(np.log(component.voxels)),
        "longest_diameter_mm": component.longest_diameter_mm,
        "compactness": float(equivalent_mm / max(component.longest_diameter_mm + 1, 1.0)),
        "sphericity": _sphericity(component.inside),
        "max_probability": component.max_probability,
        "mean_probability": component.mean_probability,
        "mean_hu": mean,
        "deviation_hu": float(hu.std()),
        "contrast_to_gland_hu": 0.0 if reference is None else mean - reference,
        "contrast_to_rim_hu": _contrast_to_rim(component, around, mean),
        "gland_difference_hu": (rest_hu or 0.0) - (around.other_gland_hu or 0.0) if both else 0.0,
        "near_share": float((around.gland_distance_mm[where] <= NEAR_GLAND_MM).mean()),
        "inside_share": float(around.gland[where].mean()),
        **_place(component, around),
    }
    return {name: round(values[name], 4) for name in FEATURES}


def _rest_of_gland_hu(component: Component, around: Surroundings, box: tuple[slice, ...]) -> float | None:
    """Return the mean of the gland without the candidate and the voxels at its edge; None where too little is left."""
    rest = around.gland & (around.hu > TISSUE_HU[0]) & (around.hu < TISSUE_HU[1])
    rest[box] &= ~ndimage.binary_dilation(component.inside, iterations=2)
    return float(around.hu[rest].mean()) if int(rest.sum()) >= MIN_REST_VOXELS else None


def _contrast_to_rim(component: Component, around: Surroundings, mean_hu: float) -> float:
    """Return the candidate's mean less that of the tissue around it; 0 where there is only air and bone."""
    low = np.maximum(np.array(component.low) - RIM_MM, 0)
    high = np.minimum(np.array(component.low) + component.inside.shape + RIM_MM, around.hu.shape)
    inside = np.zeros(tuple(high - low), dtype=bool)
    start = np.array(component.low) - low
    inside[tuple(slice(a, a + n) for a, n in zip(start, component.inside.shape, strict=True))] = component.inside
    hu = around.hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    rim = ndimage.binary_dilation(inside, iterations=RIM_MM) & ~ndimage.binary_dilation(inside)
    rim &= (hu > TISSUE_HU[0]) & (hu < TISSUE_HU[1])
    return mean_hu - float(hu[rim].mean()) if rim.any() else 0.0


def _sphericity(inside: Bools) -> float:
    """Return the surface of a ball of the same volume over the candidate's own: 1 for a ball, less for all others.

    The surface is the count of voxel faces; on a ball, whose faces look every
    way, that count is 3/2 of the surface.
    """
    padded = np.pad(inside, 1)
    faces = sum(int((padded ^ np.roll(padded, 1, axis)).sum()) for axis in range(3))
    ball = np.pi ** (1 / 3) * (6 * float(inside.sum())) ** (2 / 3)
    return float(ball / (faces / 1.5))


def _place(component: Component, around: Surroundings) -> Mapping[str, float]:
    """Say where the candidate lies: from the gland's center, along its height (0 its lower end, 1 its upper)."""
    center = np.array(ndimage.center_of_mass(component.inside)) + component.low
    nearest = tuple(np.clip(np.rint(center).astype(int), 0, np.array(around.hu.shape) - 1))
    heights = np.flatnonzero(around.gland.any(axis=(1, 2)))
    if not len(heights):
        return {
            "distance_from_center_mm": 0.0,
            "height_in_gland": 0.5,
            "depth_below_skin_mm": float(around.skin_depth_mm[nearest]),
        }
    middle = np.array(ndimage.center_of_mass(around.gland))
    height = (center[0] - heights[0]) / max(int(heights[-1] - heights[0]), 1)
    return {
        "distance_from_center_mm": float(np.linalg.norm(center - middle)),
        "height_in_gland": float(np.clip(height, -0.5, 1.5)),
        "depth_below_skin_mm": float(around.skin_depth_mm[nearest]),
    }
