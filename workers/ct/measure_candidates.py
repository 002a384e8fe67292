"""Count and measure connected components of the mass probability on the 1 mm isotropic grid."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from screener.study import Side
from workers.ct.resample_volume import Grid

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

COUNTING_STEP_MM: Final = 1.0
MIN_CANDIDATE_VOXELS: Final = 30
"""Smaller components are noise and not kept; deciding on the rest is the threshold's work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One connected component on the 1 mm grid, measured, not yet numbered."""

    side: Side
    voxels: int
    longest_diameter_mm: float
    mean_hu: float
    max_probability: float
    mean_probability: float
    center_mm: tuple[float, float, float]
    """LPS, (x, y, z)."""
    probability: Floats
    """Probability in a box around the component, elsewhere zero."""
    grid: Grid
    """Where that box lies."""
    inside: Bools
    """The component alone, in the same box."""
    low: tuple[int, int, int]
    """First index (z, y, x) of that box in the grid on which it was counted."""


def measure_components(
    probability: Floats, hu: Floats, grid: Grid, side: Side, *, min_probability: float
) -> list[Component]:
    """Return the components of `probability` (z, y, x) at or above `min_probability`, largest first.

    Voxels that share a face, an edge or a corner are one component. `grid` must have 1 mm steps.
    """
    whole = np.ones((3, 3, 3), dtype=bool)
    labels, count = ndimage.label(probability >= min_probability, structure=whole)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    boxes = ndimage.find_objects(labels)
    components = []
    for number in np.argsort(-sizes[1:], kind="stable") + 1:
        if sizes[number] < MIN_CANDIDATE_VOXELS:
            break
        low = np.maximum([part.start - 2 for part in boxes[number - 1]], 0)
        high = np.minimum([part.stop + 2 for part in boxes[number - 1]], probability.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        inside = labels[box] == number
        # One voxel more than the component, so that interpolating back to the scan's grid finds its edge.
        around = ndimage.binary_dilation(inside, structure=whole) & ((labels[box] == 0) | inside)
        center = grid.origin_mm + (np.array(ndimage.center_of_mass(inside)) + low) * grid.step_mm
        chances = probability[box]
        components.append(
            Component(
                side=side,
                voxels=int(sizes[number]),
                longest_diameter_mm=longest_diameter_mm(inside, grid.step_mm),
                mean_hu=float(hu[box][inside].mean()),
                max_probability=float(chances[inside].max()),
                mean_probability=float(chances[inside].mean()),
                center_mm=(float(center[2]), float(center[1]), float(center[0])),
                probability=np.where(around, chances, 0).astype(np.float32),
                grid=Grid(
                    origin_mm=grid.origin_mm + low * grid.step_mm,
                    step_mm=grid.step_mm,
                    shape=(inside.shape[0], inside.shape[1], inside.shape[2]),
                ),
                inside=inside,
                low=(int(low[0]), int(low[1]), int(low[2])),
            )
        )
    return components


def longest_diameter_mm(component: Bools, step_mm: float) -> float:
    """Return the largest distance between two surface voxels' centers, in any direction."""
    surface = np.argwhere(component & ~ndimage.binary_erosion(component))
    try:
        corners = surface[spatial.ConvexHull(surface).vertices]
    except spatial.QhullError:  # flat or too few voxels: no hull, and few enough to compare all
        corners = surface
    if len(corners) < 2:
        return 0.0
    return float(spatial.distance.pdist(corners.astype(float)).max()) * step_mm
