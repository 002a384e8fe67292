"""Mark the patient in a CT: no table, no headrest, no air around; the airways inside belong to the patient."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bools = NDArray[np.bool_]

TISSUE_HU = -350
"""Between air or foam and fat, which the skin's partial volume crosses at the surface."""
GRID_MM = 4.0
"""The work is done on blocks of about this size."""
CORE_MM = 5.0
"""What is thinner than twice this (table top, headrest shell, cables) is no patient by itself."""
PART_SHARE = 0.1
PART_MM = 50.0
"""A second part this large and thick is no table, but the patient's: tables and headrests are thinner."""
REACH_MM = 22.0
"""Thin parts up to this far from the patient's core belong to it: ears, nose, folds of skin."""
CLOSE_MM = 8.0
"""Openings up to this width (nostrils, ear canals) are closed before the inside is filled."""


def mask_body(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> Bools:
    """Return True inside the patient; `hu` and the answer are (z, y, x), `spacing_mm` is (x, y, z).

    The patient is the largest thing that is thick, and what else is thicker
    than any table, as where a wide airway or a wound parts the neck; everything
    thin stays only near it. All False where nothing is thick, as in a scan of air.
    """
    steps = [max(1, round(GRID_MM / spacing)) for spacing in spacing_mm[::-1]]
    grid_mm = [step * spacing for step, spacing in zip(steps, spacing_mm[::-1], strict=True)]
    tissue = _shrink(hu, steps) > TISSUE_HU
    core = ndimage.binary_erosion(tissue, _make_ball(CORE_MM, grid_mm), border_value=1)
    labels, count = ndimage.label(core)
    if count == 0:
        return np.zeros(hu.shape, bool)
    sizes = np.bincount(labels.ravel())[1:]
    body = ndimage.binary_dilation(_patient_of(labels, sizes, grid_mm), _make_ball(CORE_MM, grid_mm))
    body &= tissue
    turns = math.ceil(REACH_MM / max(grid_mm[1:]))
    body = ndimage.binary_dilation(body, ndimage.generate_binary_structure(3, 1), iterations=turns, mask=tissue)
    filled = _fill_slices(body, grid_mm)
    deep = ndimage.binary_erosion(filled, border_value=1)
    near = ndimage.binary_dilation(filled)
    answer = np.empty(hu.shape, bool)
    for index in range(len(filled)):
        slab = slice(index * steps[0], (index + 1) * steps[0])
        answer[slab] = hu[slab] > TISSUE_HU
        answer[slab] &= _grow(near[index], steps, hu.shape)
        answer[slab] |= _grow(deep[index], steps, hu.shape)
    return answer


def _patient_of(labels: NDArray[np.int32], sizes: NDArray[np.int64], grid_mm: list[float]) -> Bools:
    """The largest core, and every core of at least PART_SHARE of it that is thicker than PART_MM somewhere."""
    numbers = 1 + np.flatnonzero(sizes >= PART_SHARE * sizes.max())
    patient = np.asarray(labels == 1 + int(np.argmax(sizes)), bool)
    if len(numbers) > 1:
        depth = ndimage.distance_transform_edt(np.pad(labels > 0, 1, mode="edge"), sampling=grid_mm)[1:-1, 1:-1, 1:-1]
        for number in numbers:
            own = labels == number
            if 2 * (depth[own].max() + CORE_MM) > PART_MM:
                patient |= own
    return patient


def _shrink(hu: NDArray[np.int16], steps: list[int]) -> NDArray[np.float32]:
    """Means over blocks of `steps` voxels; the last, incomplete blocks repeat the border."""
    means = np.stack([_mean_slice(hu[start : start + steps[0]], steps[0]) for start in range(0, len(hu), steps[0])])
    for axis, step in ((1, steps[1]), (2, steps[2])):
        missing = -means.shape[axis] % step
        if missing:
            means = np.pad(means, [(0, missing if a == axis else 0) for a in range(3)], mode="edge")
        starts = np.arange(0, means.shape[axis], step)
        means = np.asarray(np.add.reduceat(means, starts, axis=axis) / np.float32(step), np.float32)
    return means


def _mean_slice(slab: NDArray[np.int16], count: int) -> NDArray[np.float32]:
    """The mean (y, x) of `count` slices; those missing are like the last one there."""
    total = slab.sum(axis=0, dtype=np.int32)
    if len(slab) < count:
        total += (count - len(slab)) * slab[-1].astype(np.int32)
    return np.asarray(total.astype(np.float32) / np.float32(count), np.float32)


def _grow(plane: Bools, steps: list[int], shape: tuple[int, ...]) -> Bools:
    """Undo `_shrink` in one plane of a mask: repeat every block and cut to the rows and columns of `shape`."""
    rows = np.repeat(plane, steps[1], axis=0)[: shape[1]]
    return np.repeat(rows, steps[2], axis=1)[:, : shape[2]]


def _make_ball(radius_mm: float, grid_mm: list[float]) -> Bools:
    """A ball of the given radius on the grid, at least one voxel to either side in plane."""
    reach = [max(1, round(radius_mm / step)) for step in grid_mm]
    offsets = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    return np.asarray(sum((o / r) ** 2 for o, r in zip(offsets, reach, strict=True)) <= 1.0, bool)


def _fill_slices(body: Bools, grid_mm: list[float]) -> Bools:
    """Fill what each axial slice encloses: the scan's ends leave windpipe and lungs open along z, never across."""
    disk = _make_ball(CLOSE_MM / 2, grid_mm).any(axis=0)
    filled = np.empty_like(body)
    for index, plane in enumerate(body):
        closed = ndimage.binary_closing(np.pad(plane, 3), disk)[3:-3, 3:-3]
        filled[index] = ndimage.binary_fill_holes(closed | plane)
    return filled
