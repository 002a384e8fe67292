"""Shapes in millimeters, and how a scanner of some voxel size and sharpness would show them.

A shape is made on a fine isotropic grid of its own, whatever the scan's
spacing; only then is it blurred by voxel and scanner and sampled where the
scan's voxels lie. Partial volume therefore comes out right at any resolution.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Window = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Blob:
    """A lobulated ovoid: a star-shaped surface around a center, in millimeters along (z, y, x)."""

    center_mm: NDArray[np.float64]
    turn: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    bump_directions: NDArray[np.float64]
    bump_heights: NDArray[np.float64]

    def depth_mm(self, points_mm: NDArray[np.floating]) -> Floats:
        """Return how deep each point (..., 3) lies below the surface, in millimeters; negative outside."""
        local = ((points_mm - self.center_mm) @ self.turn / self.radii_mm).astype(np.float32)
        distance = np.linalg.norm(local, axis=-1)
        direction = local / np.maximum(distance, 1e-6)[..., None]
        surface = np.ones_like(distance)
        for bump, height in zip(self.bump_directions, self.bump_heights, strict=True):
            surface += np.float32(height) * np.exp(6 * (direction @ bump.astype(np.float32) - 1))
        return np.asarray((surface - distance) * self.radii_mm.mean(), dtype=np.float32)


def draw_blob(
    center_mm: NDArray[np.float64], diameter_mm: float, rng: np.random.Generator, *, lobes: int, oval: float = 0.25
) -> Blob:
    """Return a random blob whose volume is about that of a sphere of `diameter_mm`; `oval` 0 is a ball."""
    radii = np.exp(rng.uniform(-oval, oval, 3))
    radii *= diameter_mm / 2 / np.prod(radii) ** (1 / 3)
    directions = rng.normal(size=(lobes, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    heights = rng.uniform(-0.15, 0.4, lobes)
    # Each bump raises the mean radius by its height times the mean of exp(6 (cos - 1)) over the sphere, 1/12.
    radii /= 1 + heights.sum() / 12
    turn = Rotation.random(rng=rng).as_matrix()
    return Blob(np.asarray(center_mm, dtype=float), turn, radii, directions, heights)


@dataclass(frozen=True, slots=True)
class Bench:
    """The fine grid on which one shape is made."""

    origin_mm: NDArray[np.float64]
    """Position (z, y, x) of its first voxel, from the scan's first voxel."""
    step_mm: float
    shape: tuple[int, int, int]

    def points(self) -> NDArray[np.float64]:
        """Return the positions (z, y, x, 3) of its voxels."""
        axes = [o + self.step_mm * np.arange(n) for o, n in zip(self.origin_mm, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1)

    def noise(self, grain_mm: float, rng: np.random.Generator) -> Floats:
        """Return smooth noise of unit deviation whose grains measure about `grain_mm`."""
        step = max(grain_mm / 1.5, self.step_mm)
        counts = [int(np.ceil(n * self.step_mm / step)) + 3 for n in self.shape]
        coarse = rng.standard_normal(counts).astype(np.float32)
        ratio = self.step_mm / step
        fine = ndimage.affine_transform(
            coarse, np.full(3, ratio), offset=rng.uniform(0.5, 1.5, 3), output_shape=self.shape, order=3, mode="nearest"
        )
        return np.asarray(fine / max(float(fine.std()), 1e-6), dtype=np.float32)

    def show(self, field: Floats, spacing_mm: Spacing, window: Window, blur_mm: NDArray[np.float64]) -> Floats:
        """Return `field` as the scan's voxels of `window` show it, blurred by `blur_mm` along (z, y, x)."""
        smooth = ndimage.gaussian_filter(field, blur_mm / self.step_mm, mode="constant", truncate=3)
        steps = np.array(spacing_mm) / self.step_mm
        start = (np.array([part.start for part in window]) * spacing_mm - self.origin_mm) / self.step_mm
        shape = tuple(part.stop - part.start for part in window)
        shown = ndimage.affine_transform(smooth, steps, offset=start, output_shape=shape, order=1, mode="constant")
        return np.asarray(shown, dtype=np.float32)

    def show_tissue(
        self, tissue: Floats, values: Floats, spacing_mm: Spacing, window: Window, blur_mm: NDArray[np.float64]
    ) -> tuple[Floats, Floats]:
        """Return each voxel's share of `tissue`, and the HU of that share where `values` are the tissue's own."""
        share = self.show(tissue, spacing_mm, window, blur_mm)
        painted = self.show(tissue * values, spacing_mm, window, blur_mm)
        return share, np.asarray(painted / np.maximum(share, np.float32(1e-3)), dtype=np.float32)


def bench_around(center_mm: NDArray[np.float64], reach_mm: float) -> Bench:
    """Return a grid that reaches `reach_mm` from the center: 0.8 mm for small shapes, up to 1.5 mm for large ones."""
    step = float(np.clip(reach_mm / 35, 0.8, 1.5))
    count = int(np.ceil(2 * reach_mm / step)) + 1
    return Bench(np.asarray(center_mm, dtype=float) - (count - 1) / 2 * step, step, (count, count, count))


def window_of(bench: Bench, shape: tuple[int, ...], spacing_mm: Spacing) -> Window:
    """Return the slices of the scan's array of `shape` that `bench` covers; at least one voxel."""
    far = bench.origin_mm + (np.array(bench.shape) - 1) * bench.step_mm
    low = np.clip(np.floor(bench.origin_mm / spacing_mm).astype(int), 0, np.array(shape) - 1)
    high = np.clip(np.ceil(far / spacing_mm).astype(int) + 1, low + 1, shape)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def scanner_blur_mm(spacing_mm: Spacing, psf_mm: float) -> NDArray[np.float64]:
    """Return the Gaussian's sigma along (z, y, x) of a scanner of `psf_mm` whose voxels average over themselves."""
    return np.asarray(np.sqrt(psf_mm**2 + np.array(spacing_mm) ** 2 / 12))


def soft_step(depth_mm: Floats, width_mm: float) -> Floats:
    """Return the share of tissue at `depth_mm` below a surface whose edge is a Gaussian's sigma of `width_mm`."""
    return np.asarray(1 / (1 + np.exp(np.clip(-1.7 * depth_mm / width_mm, -30, 30))), dtype=np.float32)


def positions(window: Window, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Return where the voxels of `window` lie, (z, y, x, 3) in millimeters."""
    axes = [np.arange(part.start, part.stop) * s for part, s in zip(window, spacing_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def add_grain(values: Floats, around: Floats, rng: np.random.Generator) -> Floats:
    """Return `values` with noise as strong and about as fine as that of the soft tissue in `around`."""
    soft = (around > -150) & (around < 200)
    if soft.sum() < 50:
        return values
    smooth = ndimage.gaussian_filter(around, 1)
    edges = ndimage.gaussian_gradient_magnitude(around, 1)
    flat = soft & (edges <= np.percentile(edges[soft], 40))
    strength = 1.48 * float(np.median(np.abs(around - smooth)[flat]))
    grain = ndimage.gaussian_filter(rng.standard_normal(values.shape, dtype=np.float32), rng.uniform(0.3, 0.7))
    # Measured as the scan's own noise was: what a smoothing by one voxel takes away.
    own = 1.48 * float(np.median(np.abs(grain - ndimage.gaussian_filter(grain, 1))))
    gain = np.float32(min(strength, 60.0) / max(own, 1e-6) * rng.uniform(0.7, 1.1))
    return np.asarray(values + grain * gain, dtype=np.float32)
