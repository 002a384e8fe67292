"""Resample between a scan's own grid and an isotropic one that follows the patient's axes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from screener.study import Volume

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

SAME_VOXELS: Final = 0.001
"""What resampling cannot tell apart, in voxels of the source."""
BLUR_REACH: Final = 3.0
"""How far a Gaussian is followed, in sigmas."""
SLAB: Final = 32
"""Rows or slices resampled at once."""


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


def find_box(mask: Bools) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds all of `mask` (z, y, x); an empty box where nothing is in it."""
    box: list[slice] = []
    for axis in range(3):
        where = np.flatnonzero(mask[tuple(box)].any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(where):
            return slice(0, 0), slice(0, 0), slice(0, 0)
        box.append(slice(int(where[0]), int(where[-1]) + 1))
    return box[0], box[1], box[2]


def take_from_source(
    values: NDArray[np.generic],
    volume: Volume,
    grid: Grid,
    *,
    outside: float,
    blur_mm: float | None = None,
    within: Bools | None = None,
) -> Floats:
    """Return `values`, on the volume's grid, sampled linearly on `grid`; `outside` where the scan does not reach.

    Before sampling, detail finer than `blur_mm` (a Gaussian's sigma, half the step where None) is smoothed away along
    each axis, less what the scan's own voxel size has smoothed already: thin and thick slices then look alike.
    Where `within`, a mask of the shape of `values`, is False, `values` count as `outside`.
    """
    matrix, offset = affine_zyx(volume)
    to_index = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    steps = to_index * grid.step_mm
    start = to_index @ (grid.origin_mm - offset)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij")).reshape(3, -1)
    reach = steps @ corners + start[:, None]
    wanted = grid.step_mm / 2 if blur_mm is None else blur_mm
    spacing = np.linalg.norm(matrix, axis=0)
    sigma = missing_blur(spacing, wanted)
    rim = np.ceil(BLUR_REACH * sigma).astype(int) + 1
    low = np.clip(np.floor(reach.min(axis=1)).astype(int) - rim, 0, np.array(values.shape) - 1)
    high = np.clip(np.ceil(reach.max(axis=1)).astype(int) + 1 + rim, low + 1, values.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    alone = _find_lone_axes(steps, grid.shape)
    mixers = {}
    for axis in alone:
        places = steps[axis, axis] * np.arange(grid.shape[axis]) + start[axis] - low[axis]
        blur = np.eye(high[axis] - low[axis])
        if sigma[axis] > 0:
            blur = ndimage.gaussian_filter1d(blur, sigma[axis], axis=0, mode="nearest", truncate=BLUR_REACH)
        mixers[axis] = _interpolate(places, len(blur)) @ blur
    taken = _mix(values[box], mixers, None if within is None else within[box], outside)
    if len(alone) < len(steps):
        left = [0.0 if axis in alone else float(width) for axis, width in enumerate(sigma)]
        ndimage.gaussian_filter(taken, left, output=taken, mode="nearest", truncate=BLUR_REACH)
        rest, rest_start = _leave_out(alone, steps, start - low)
        taken = ndimage.affine_transform(
            taken, rest, offset=rest_start, output_shape=grid.shape, order=1, mode="nearest", output=np.float32
        )
    taken[~reached(volume, grid)] = outside
    return np.asarray(taken)


def missing_blur(spacing_mm: NDArray[np.float64], wanted_mm: float) -> NDArray[np.float64]:
    """Return the Gaussian's sigma, in voxels along each axis, that takes a scan to the detail of `wanted_mm`.

    A voxel has smoothed by about 0.4 of its size already. Training smooths by
    the same rule, so that a network sees scans as it learned them.
    """
    return np.asarray(np.sqrt(np.maximum(wanted_mm**2 - (0.4 * spacing_mm) ** 2, 0)) / spacing_mm)


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
    alone = _find_lone_axes(steps, shape)
    mixers = {}
    for axis in alone:
        places = steps[axis, axis] * np.arange(shape[axis]) + start[axis]
        inside = (places >= 0) & (places <= values.shape[axis] - 1)
        mixers[axis] = _interpolate(places, values.shape[axis]) * inside[:, None]
    put = _mix(values, mixers)
    if len(alone) < len(steps):
        rest, rest_start = _leave_out(alone, steps, start)
        put = ndimage.affine_transform(put, rest, offset=rest_start, output_shape=shape, order=1, mode="constant")
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return np.asarray(put, dtype=np.float32), (z, y, x)


def _find_lone_axes(steps: NDArray[np.float64], shape: tuple[int, ...]) -> list[int]:
    """Return the axes that can be resampled one at a time: no step along another moves them, nor they another.

    `steps` are source voxels per voxel of a grid of `shape`. An upright scan has three, one with gantry tilt has one.
    """
    moved = np.abs(steps - np.diag(np.diag(steps))) * np.array(shape)
    return [axis for axis in range(len(steps)) if max(moved[axis].sum(), moved[:, axis].max()) < SAME_VOXELS]


def _leave_out(
    axes: list[int], steps: NDArray[np.float64], start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `steps` and `start` that leave `axes`, resampled already, as they are."""
    steps, start = steps.copy(), start.copy()
    for axis in axes:
        steps[axis], steps[:, axis], steps[axis, axis], start[axis] = 0.0, 0.0, 1.0, 0.0
    return steps, start


def _interpolate(places: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the matrix (places, count) that interpolates `count` values linearly; beyond the ends, the end's."""
    places = np.clip(places, 0, count - 1)
    below = np.minimum(places.astype(int), max(count - 2, 0))
    rows = np.arange(len(places))
    weights = np.zeros((len(places), count))
    weights[rows, below] = 1 - (places - below)
    weights[rows, np.minimum(below + 1, count - 1)] += places - below
    return weights


def _mix(
    values: NDArray[np.generic],
    mixers: Mapping[int, NDArray[np.float64]],
    within: Bools | None = None,
    outside: float = 0.0,
) -> Floats:
    """Return `values` multiplied along each axis by its matrix (new length, old length), `outside` off `within`.

    Slab by slab, so that a fine scan is never whole in memory as floating point; feet to head first, where thin slices
    shrink the most.
    """
    mixed = values
    for axis, mixer in sorted(mixers.items()):
        weights = sparse.csr_array(mixer.astype(np.float32))  # few neighbors count for each place
        shape = [len(mixer) if a == axis else n for a, n in enumerate(mixed.shape)]
        answer = np.empty(shape, dtype=np.float32)
        across = 1 if axis == 0 else 0
        for begin in range(0, shape[across], SLAB):
            slab = (slice(None),) * across + (slice(begin, begin + SLAB),)
            part = mixed[slab].astype(np.float32)
            if within is not None:
                part[~within[slab]] = outside
            part = np.moveaxis(part, axis, 0)
            product = weights @ part.reshape(len(part), -1)
            answer[slab] = np.moveaxis(product.reshape(len(mixer), *part.shape[1:]), 0, axis)
        mixed, within = answer, None
    if mixers:
        return np.asarray(mixed, dtype=np.float32)
    whole = values.astype(np.float32)  # a copy: the caller's values stay as they are
    if within is not None:
        whole[~within] = outside
    return whole
