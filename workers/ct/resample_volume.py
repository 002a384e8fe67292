"""Resample between a scan's own grid and an isotropic one that follows the patient's axes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from screener.study import Volume

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """An isotropic grid along the patient's axes: index (z, y, x) times the step from the origin."""

    origin_mm: NDArray[np.float64]
    """Center of voxel (0, 0, 0), LPS, as (z, y, x)."""
    step_mm: float
    shape: tuple[int, int, int]


def affine_zyx(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix and offset from voxel index (z, y, x) to LPS millimeters (z, y, x)."""
    return volume.affine[:3, :3][::-1, ::-1], volume.affine[:3, 3][::-1]


def cover_box(low_mm: NDArray[np.float64], high_mm: NDArray[np.float64], step_mm: float) -> Grid:
    """Return the grid that covers the box between two corners (z, y, x)."""
    counts = np.maximum(np.ceil((high_mm - low_mm) / step_mm).astype(int) + 1, 1)
    return Grid(origin_mm=low_mm, step_mm=step_mm, shape=(int(counts[0]), int(counts[1]), int(counts[2])))


def take_from_source(
    values: NDArray[np.generic], volume: Volume, grid: Grid, *, outside: float, blur_mm: float | None = None
) -> Floats:
    """Return `values`, on the volume's grid, sampled linearly on `grid`; `outside` where the scan does not reach.

    Before sampling, detail finer than `blur_mm` (a Gaussian's sigma, half the step where None) is smoothed away along
    each axis, less what the scan's own voxel size has smoothed already: thin and thick slices then look alike.
    """
    matrix, offset = affine_zyx(volume)
    to_index = np.linalg.inv(matrix)
    steps = to_index * grid.step_mm
    start = to_index @ (grid.origin_mm - offset)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij")).reshape(3, -1)
    reach = steps @ corners + start[:, None]
    low = np.clip(np.floor(reach.min(axis=1)).astype(int) - 4, 0, np.array(values.shape) - 1)
    high = np.clip(np.ceil(reach.max(axis=1)).astype(int) + 5, low + 1, values.shape)
    part = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    wanted = grid.step_mm / 2 if blur_mm is None else blur_mm
    spacing = np.linalg.norm(matrix, axis=0)
    sigma = np.sqrt(np.maximum(wanted**2 - (0.4 * spacing) ** 2, 0)) / spacing
    part = ndimage.gaussian_filter(part, sigma, mode="nearest", truncate=3)
    taken = ndimage.affine_transform(
        part, steps, offset=start - low, output_shape=grid.shape, order=1, mode="nearest", output=np.float32
    )
    taken[~reached(volume, grid)] = outside
    return np.asarray(taken)


def reached(volume: Volume, grid: Grid) -> Bools:
    """Return which voxels of `grid` lie inside the scan: with gantry tilt, the corners do not."""
    matrix, offset = affine_zyx(volume)
    to_index = np.linalg.inv(matrix)
    steps, start = to_index * grid.step_mm, to_index @ (grid.origin_mm - offset)
    places = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in grid.shape], indexing="ij", sparse=True)
    inside = np.ones(grid.shape, dtype=bool)
    for row, first, length in zip(steps, start, volume.hu.shape, strict=True):
        index = sum(step * place for step, place in zip(row, places, strict=True)) + first
        inside &= (index >= -0.5) & (index <= length - 0.5)
    return inside


def cut_grid(values: Floats, grid: Grid) -> tuple[Floats, Grid]:
    """Return the box of `values` (z, y, x) that holds all its nonzero voxels and a rim of zeros, and its grid.

    There must be at least one nonzero voxel.
    """
    box = ndimage.find_objects((values != 0).astype(np.uint8))[0]
    low = [part.start - 1 for part in box]
    cut = np.pad(values[box], 1)
    origin = grid.origin_mm + np.array(low) * grid.step_mm
    return cut, Grid(origin_mm=origin, step_mm=grid.step_mm, shape=(cut.shape[0], cut.shape[1], cut.shape[2]))


def put_on_source(values: Floats, volume: Volume, grid: Grid) -> tuple[Floats, tuple[slice, slice, slice]]:
    """Return `values`, on `grid`, interpolated on the part of the source grid that they cover, and where it is."""
    matrix, offset = affine_zyx(volume)
    far = grid.origin_mm + (np.array(grid.shape) - 1) * grid.step_mm
    ends = np.stack([grid.origin_mm, far])
    corners = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1)
    reach = np.linalg.inv(matrix) @ (corners - offset[:, None])
    low = np.clip(np.floor(reach.min(axis=1)).astype(int), 0, volume.hu.shape)
    high = np.clip(np.ceil(reach.max(axis=1)).astype(int) + 1, low, volume.hu.shape)
    steps = matrix / grid.step_mm
    start = (matrix @ low + offset - grid.origin_mm) / grid.step_mm
    shape = tuple(int(n) for n in high - low)
    if 0 in shape:
        return np.zeros(shape, dtype=np.float32), (slice(0, 0), slice(0, 0), slice(0, 0))
    put = ndimage.affine_transform(
        values.astype(np.float32), steps, offset=start, output_shape=shape, order=1, mode="constant", cval=0.0
    )
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return np.asarray(put, dtype=np.float32), (z, y, x)
