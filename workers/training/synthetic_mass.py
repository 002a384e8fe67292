"""Put a synthetic mass, or something that only resembles one, into a real image's gland.

No public CT of a parotid tumor could be had. The size, density and shape
ranges follow what is reported of parotid masses on CT: well defined, ovoid or
lobulated, near muscle before contrast agent, brighter after it, some with a
cystic or necrotic center.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Spacing = tuple[float, float, float]

_BONE_HU = 220.0
_AIR_HU = -400.0


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
        local = (points_mm - self.center_mm) @ self.turn / self.radii_mm
        distance = np.linalg.norm(local, axis=-1)
        direction = local / np.maximum(distance, 1e-6)[..., None]
        surface = np.ones_like(distance)
        for bump, height in zip(self.bump_directions, self.bump_heights, strict=True):
            surface += height * np.exp(6 * (direction @ bump - 1))
        return np.asarray((surface - distance) * self.radii_mm.mean(), dtype=np.float32)


def draw_blob(center_mm: NDArray[np.float64], diameter_mm: float, rng: np.random.Generator, *, lobes: int) -> Blob:
    """Return a random blob whose volume is about that of a sphere of `diameter_mm`."""
    radii = rng.uniform(0.8, 1.25, 3)
    radii *= diameter_mm / 2 / np.prod(radii) ** (1 / 3)
    directions = rng.normal(size=(lobes, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    heights = rng.uniform(-0.15, 0.35, lobes)
    # Each bump raises the mean radius by its height times the mean of exp(6 (cos - 1)) over the sphere, 1/12.
    radii /= 1 + heights.sum() / 12
    turn = Rotation.random(rng=rng).as_matrix()
    return Blob(np.asarray(center_mm, dtype=float), turn, radii, directions, heights)


def insert_mass(
    hu: NDArray[np.floating] | NDArray[np.integer],
    gland: Bools,
    spacing_mm: Spacing,
    seed: int | tuple[int, ...],
    *,
    diameter_mm: float | None = None,
    edge_mm: float | None = None,
) -> tuple[Floats, Bools]:
    """Return `hu` (z, y, x) with one mass in `gland`, and the mass's mask; the same seed gives the same mass.

    `diameter_mm` is that of a sphere of the same volume, 8 to 45 where None.
    `edge_mm` is the blur of the edge (a Gaussian's sigma), from the spacing where None.
    The gland must not be empty.
    """
    rng = np.random.default_rng(seed)
    if diameter_mm is None:
        diameter_mm = float(np.exp(rng.uniform(np.log(8), np.log(45))))
    if edge_mm is None:
        edge_mm = float(np.clip(0.42 * max(spacing_mm), 0.5, 2.0))
    image = np.array(hu, dtype=np.float32)
    density = _local_density(image, gland)
    center_voxel = _choose_center(gland, image, spacing_mm, diameter_mm, rng)
    blob = draw_blob(center_voxel * spacing_mm, diameter_mm, rng, lobes=int(rng.integers(0, 7)))
    window, points = _window(image.shape, spacing_mm, blob.center_mm, reach_mm=diameter_mm * 1.25 + 6)
    part = image[window]
    noise = part - ndimage.gaussian_filter(part, 1)
    moved = _displace(part, points, blob, rng.uniform(0, 0.7), spacing_mm) if rng.random() < 0.7 else part
    depth = blob.depth_mm(points)
    free = ndimage.binary_dilation(moved > _AIR_HU, iterations=1) & (part < _BONE_HU)
    skin = ndimage.distance_transform_edt(moved > _AIR_HU, sampling=spacing_mm) > rng.uniform(1.5, 3.5)
    share = _edge(depth, edge_mm) * ndimage.gaussian_filter((free & skin).astype(np.float32), 0.4)
    values = _paint(depth, blob, density, rng, spacing_mm) + np.clip(noise, -40, 40) * rng.uniform(0.3, 0.9)
    image[window] = moved * (1 - share) + share * values
    mask = np.zeros(image.shape, dtype=bool)
    mask[window] = (share >= 0.5) & free
    return image, mask


def insert_distractors(
    hu: NDArray[np.floating], gland: Bools, spacing_mm: Spacing, seed: int | tuple[int, ...]
) -> Floats:
    """Return `hu` with what a radiologist would not call a parotid mass: nodes beside the gland, vessels through it."""
    rng = np.random.default_rng(seed)
    image = np.array(hu, dtype=np.float32)
    distance = ndimage.distance_transform_edt(~gland, sampling=spacing_mm)
    near = np.argwhere((distance > 5) & (distance < 18) & (image > -150) & (image < 150))
    for _ in range(int(rng.integers(0, 4))):
        if not len(near):
            break
        size_mm = rng.uniform(5, 13)
        blob = draw_blob(near[rng.integers(len(near))] * spacing_mm, size_mm, rng, lobes=1)
        window, points = _window(image.shape, spacing_mm, blob.center_mm, reach_mm=size_mm)
        share = _edge(blob.depth_mm(points), 1.4)
        share[(distance[window] < 1) | (image[window] > _BONE_HU) | (image[window] < _AIR_HU)] = 0
        image[window] += share * (rng.uniform(30, 100) - image[window])
    inside = np.argwhere(gland)
    for _ in range(int(rng.integers(0, 3))):
        place = inside[rng.integers(len(inside))] * spacing_mm
        image = _insert_vessel(image, spacing_mm, place, rng)
    return image


def _insert_vessel(
    image: Floats, spacing_mm: Spacing, place_mm: NDArray[np.float64], rng: np.random.Generator
) -> Floats:
    """Return `image` with one mostly upright tube of 3 to 6 mm through `place_mm`."""
    window, points = _window(image.shape, spacing_mm, place_mm, reach_mm=40)
    direction = np.array([1.0, *rng.normal(0, 0.35, 2)])
    direction /= np.linalg.norm(direction)
    offset = points - place_mm
    along = offset @ direction
    bend = np.stack([np.zeros_like(along), *(rng.normal(0, 3, 2)[:, None, None, None] * np.sin(along / 14))], -1)
    radial = np.linalg.norm(offset - along[..., None] * direction - bend, axis=-1)
    share = _edge((rng.uniform(1.5, 3.0) - radial).astype(np.float32), 1.2)
    share *= np.abs(along) < rng.uniform(15, 40)
    part = image[window]
    share[(part > _BONE_HU) | (part < _AIR_HU)] = 0
    result = image.copy()
    result[window] = part * (1 - share) + share * rng.uniform(40, 170)
    return result


def _local_density(image: Floats, gland: Bools) -> float:
    """Return the gland's typical HU, away from air and bone at its edge."""
    values = image[gland & (image > -150) & (image < 150)]
    return float(np.median(values)) if len(values) else -20.0


def _choose_center(
    gland: Bools, image: Floats, spacing_mm: Spacing, diameter_mm: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a voxel position (z, y, x) deep in the gland, shifted so that some masses bulge out of it."""
    depth = ndimage.distance_transform_edt(gland, sampling=spacing_mm)
    wanted = min(diameter_mm / 2 * rng.uniform(0.2, 0.9), float(depth.max()) * 0.8)
    places = np.argwhere((depth >= wanted) & (image > -200) & (image < 200))
    if not len(places):
        places = np.argwhere(gland)
    shift = rng.normal(0, 0.12 * diameter_mm, 3) / spacing_mm
    return np.asarray(places[rng.integers(len(places))] + np.clip(shift, -2, 2))


def _window(
    shape: tuple[int, ...], spacing_mm: Spacing, center_mm: NDArray[np.float64], *, reach_mm: float
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """Return the slices within `reach_mm` of the center, and the positions (z, y, x, 3) of their voxels in mm."""
    low = np.maximum(np.floor((center_mm - reach_mm) / spacing_mm).astype(int), 0)
    high = np.minimum(np.ceil((center_mm + reach_mm) / spacing_mm).astype(int) + 1, shape)
    low = np.minimum(low, high - 1)
    axes = [np.arange(a, b) * s for a, b, s in zip(low, high, spacing_mm, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), points


def _edge(depth_mm: Floats, sigma_mm: float) -> Floats:
    """Return the share of each voxel that is inside, as a scanner of that blur would see it."""
    return np.asarray(1 / (1 + np.exp(np.clip(-1.7 * depth_mm / sigma_mm, -30, 30))), dtype=np.float32)


def _displace(part: Floats, points: NDArray[np.float64], blob: Blob, strength: float, spacing_mm: Spacing) -> Floats:
    """Return `part` pushed away from the mass so that a share `strength` of its volume is made room for; bone stays."""
    radius = float(blob.radii_mm.mean())
    offset = points - blob.center_mm
    distance = np.maximum(np.linalg.norm(offset, axis=-1), 1e-3)
    fade = np.clip((2.5 - distance / radius) / 1.5, 0, 1)
    pulled = np.cbrt(np.maximum(distance**3 - strength * fade * np.minimum(radius, distance) ** 3, 0))
    sources = blob.center_mm + offset * (pulled / distance)[..., None]
    grid = (sources - points[0, 0, 0]) / spacing_mm
    moved = ndimage.map_coordinates(part, np.moveaxis(grid, -1, 0), order=1, mode="nearest")
    fixed = ndimage.binary_dilation(part > _BONE_HU) | (moved > _BONE_HU - 60)
    return np.where(fixed, part, moved).astype(np.float32)


def _paint(depth: Floats, blob: Blob, density_hu: float, rng: np.random.Generator, spacing_mm: Spacing) -> Floats:
    """Return the mass's own HU: brighter than its gland or, in a dense gland, sometimes darker; texture and core."""
    level = float(np.clip(density_hu + rng.uniform(30, 95), 22, 120))
    if density_hu > 45:
        level = density_hu + rng.uniform(35, 70) if rng.random() < 0.6 else density_hu - rng.uniform(30, 50)
    grain = rng.standard_normal(depth.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(grain, [rng.uniform(1.5, 3) / s for s in spacing_mm])
    grain /= max(float(grain.std()), 1e-6)
    values = level + grain * np.float32(rng.uniform(2, 9))
    if rng.random() < 0.25:
        core = _edge(depth - float(blob.radii_mm.mean()) * np.float32(rng.uniform(0.3, 0.6)), 2.0)
        values = values * (1 - core) + core * rng.uniform(5, 25)
    return np.asarray(values, dtype=np.float32)
