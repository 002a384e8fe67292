"""Change how a training crop looks: scanner, contrast agent, slice thickness, and a coverage that ends early."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from workers.training.sample_crop import sample_at

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_LEAST_CONTRAST_HU = 22.0
_SHIFTED_MASS_HU: Final = (-60.0, 140.0)
_BEND_NODES: Final = 5
"""A side: a patch of 96 mm is bent by pieces of an inch."""
_MOST_BEND_VOXELS: Final = 2.5


def change_look(hu: Floats, gland: Bools, rng: np.random.Generator, mass: Bools | None = None) -> Floats:
    """Return `hu` (z, y, x) as another scanner might show it; `gland` says where tissue may turn fatty or dense.

    A `mass`, not part of `gland`, keeps at least `_LEAST_CONTRAST_HU` between itself and its gland.
    """
    hu = hu.copy()
    if gland.any() and rng.random() < 0.5:
        soft = ndimage.gaussian_filter(gland.astype(np.float32), 0.6)
        hu += soft * np.float32(_keep_contrast(rng.normal(15, 35), hu, gland, mass))
    if rng.random() < 0.25:
        hu = simplify_tissue(hu, gland, rng, mass)
    if rng.random() < 0.4:
        # Enhanced or native: soft tissue alone gains or loses, fat and bone stay.
        weight = np.exp(-(((hu - 60) / 90) ** 2)).astype(np.float32)
        hu += weight * np.float32(rng.normal(0, 25))
    if rng.random() < 0.5:
        hu = blur(hu, rng)
    if rng.random() < 0.2:
        hu = np.asarray(hu + rng.uniform(0.2, 1.0) * (hu - ndimage.gaussian_filter(hu, 0.8)), dtype=np.float32)
    if rng.random() < 0.5:
        hu = np.asarray((hu + 1000) * rng.normal(1, 0.02) - 1000 + rng.normal(0, 12), dtype=np.float32)
    if rng.random() < 0.6:
        noise = rng.standard_normal(hu.shape, dtype=np.float32)
        if rng.random() < 0.5:
            noise = ndimage.gaussian_filter(noise, 0.6) * 2.2
        hu = np.asarray(hu + np.where(hu > -900, noise, 0) * rng.uniform(2, 40), dtype=np.float32)
    if rng.random() < 0.15:
        hu = add_streaks(hu, rng)
    return hu.astype(np.float32)


def _keep_contrast(shift_hu: float, hu: Floats, gland: Bools, mass: Bools | None) -> float:
    """Return as much of `shift_hu` as leaves the mass and its gland apart."""
    if mass is None or not mass.any():
        return shift_hu
    contrast = float(np.median(hu[mass]) - np.median(hu[gland]))
    if contrast > 0:
        return min(shift_hu, max(contrast - _LEAST_CONTRAST_HU, 0))
    return max(shift_hu, min(contrast + _LEAST_CONTRAST_HU, 0))


def change_contrast(hu: Floats, gland: Bools, mass: Bools, rng: np.random.Generator) -> Floats:
    """Return `hu` (z, y, x) with a mass that is told by its contrast to its gland alone.

    Either both are shifted alike, the mass to -60 to 140 HU, or the mass is made 28 to 85 HU brighter or 28 to 60 HU
    darker than its gland. Neither mask is empty, and no voxel is in both.
    """
    mass_hu, gland_hu = float(np.median(hu[mass])), float(np.median(hu[gland]))
    if rng.random() < 0.5:
        low, high = _SHIFTED_MASS_HU
        shift = np.clip(rng.normal(-15, 40), low - mass_hu, high - mass_hu) if low < mass_hu < high else 0.0
        share = ndimage.gaussian_filter((gland | mass).astype(np.float32), 0.6)
    else:
        is_brighter = rng.random() < (0.85 if gland_hu < 20 else 0.5)
        level_hu = gland_hu + (rng.uniform(28, 85) if is_brighter else -rng.uniform(28, 60))
        shift = level_hu - mass_hu
        share = ndimage.gaussian_filter(mass.astype(np.float32), 0.5)
    return np.asarray(hu + share * np.float32(shift), dtype=np.float32)


def add_little_noise(hu: Floats, rng: np.random.Generator) -> Floats:
    """Return `hu` as another dose and calibration of the same scanner might show it."""
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    changed = hu + np.where(hu > -900, noise, 0) * rng.uniform(2, 15) + rng.normal(0, 6)
    return np.asarray(changed, dtype=np.float32)


def simplify_tissue(hu: Floats, gland: Bools, rng: np.random.Generator, mass: Bools | None = None) -> Floats:
    """Return `hu` with its texture flattened into a handful of tissues, glands included.

    It keeps the networks from leaning on texture, which differs between kernels, doses and reconstructions.
    """
    smooth = ndimage.median_filter(hu, 3) if rng.random() < 0.5 else hu
    edges = np.array([-700, -250, rng.normal(-65, 10), rng.normal(0, 12), rng.normal(110, 25), rng.normal(350, 60)])
    values = np.array(
        [
            -1000,
            rng.normal(-800, 60),
            rng.normal(-100, 8),
            rng.normal(-40, 15),
            rng.normal(50, 15),
            rng.normal(180, 40),
            rng.normal(800, 200),
        ],
    )
    flat = values[np.digitize(smooth, np.sort(edges))].astype(np.float32)
    if rng.random() < 0.7:
        flat[gland] = rng.normal(-15, 25)
    if mass is not None and mass.any() and gland.any():
        flat[mass] = float(np.median(flat[gland])) + rng.uniform(_LEAST_CONTRAST_HU + 5, 90)
    flat[hu < -950] = hu[hu < -950]
    keep = np.float32(rng.uniform(0, 0.35))
    return (keep * hu + (1 - keep) * flat).astype(np.float32)


def blur(hu: Floats, rng: np.random.Generator) -> Floats:
    """Return `hu` blurred unequally along its axes, as thick slices and soft kernels do."""
    return np.asarray(ndimage.gaussian_filter(hu, (rng.uniform(0, 0.9), *[rng.uniform(0, 0.6)] * 2)))


def add_streaks(hu: Floats, rng: np.random.Generator) -> Floats:
    """Return `hu` with dark and bright rays from a point in a few slices, as dental metal throws them."""
    depth, rows, columns = hu.shape
    z_center, y_center, x_center = rng.uniform(0.2, 0.8, 3) * (depth, rows, columns)
    y, x = np.mgrid[:rows, :columns]
    angle = np.arctan2(y - y_center, x - x_center)
    distance = np.hypot(y - y_center, x - x_center)
    rays = sum(rng.normal(0, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (3, 5, 8, 13, 19))
    reach = np.exp(-(((np.arange(depth) - z_center) / rng.uniform(1, 4)) ** 2))
    fall = np.minimum(1, 4 / (distance + 1))
    streaks = reach[:, None, None] * (rays * fall)[None] * rng.uniform(30, 200)
    return np.where(hu > -900, hu + streaks, hu).astype(np.float32)


def cut_coverage(shape: tuple[int, int, int], anchor: int, rng: np.random.Generator) -> slice:
    """Return the slices that a shorter scan would hold: it ends at a random place above or below `anchor`."""
    low, high = 0, shape[0]
    if rng.random() < 0.5:
        low = int(np.clip(anchor + rng.integers(-20, 6), 0, shape[0] - 4))
    else:
        high = int(np.clip(anchor + rng.integers(-6, 20), 4, shape[0]))
    return slice(low, high)


def bend(hu: Floats, masks: Bools, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """Return `hu` (z, y, x) and `masks` (n, z, y, x) bent alike: no anatomy is learned by heart.

    Each node of a coarse grid moves by a random vector, what lies between them in proportion.
    """
    nodes = rng.normal(0, rng.uniform(0.5, _MOST_BEND_VOXELS), (1, 3, *[_BEND_NODES] * 3))
    moved = torch.nn.functional.interpolate(
        torch.from_numpy(nodes.astype(np.float32)), size=hu.shape, mode="trilinear", align_corners=True
    )[0].movedim(0, -1)
    places = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in hu.shape], indexing="ij"), -1)
    channels = torch.from_numpy(np.concatenate([hu[None], masks.astype(np.float32)]))
    taken = sample_at(channels, places + moved, beyond="border").numpy()
    return taken[0], taken[1:] > 0.5
