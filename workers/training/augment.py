"""Change how a training crop looks: scanner, contrast agent, slice thickness, and a coverage that ends early."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_LEAST_CONTRAST_HU = 22.0


def change_look(hu: Floats, gland: Bools, rng: np.random.Generator, mass: Bools | None = None) -> Floats:
    """Return `hu` (z, y, x) as another scanner might show it; `gland` says where tissue may turn fatty or dense.

    A `mass`, not part of `gland`, keeps at least `_LEAST_CONTRAST_HU` between itself and its gland.
    """
    return change_looks([(hu, gland, mass)], rng)[0]


def change_looks(crops: Sequence[tuple[Floats, Bools, Bools | None]], rng: np.random.Generator) -> list[Floats]:
    """Return several crops of one scan (HU, gland, mass; see `change_look`) changed alike, each with its own grain.

    Streaks go through all at one height. What is done to the first does not depend on the others but for how far their
    masses let the glands turn fatty or dense.
    """
    hus = [hu for hu, _, _ in crops]
    glands, masses = [gland for _, gland, _ in crops], [mass for _, _, mass in crops]

    def change_each(change: Callable[..., Floats], *more: Sequence[Any]) -> list[Floats]:
        seed = int(rng.integers(2**62))
        return [change(hu, np.random.default_rng(seed), *rest) for hu, *rest in zip(hus, *more, strict=True)]

    if rng.random() < 0.5:
        wanted = rng.normal(15, 35)
        shifts = [_keep_contrast(wanted, *crop) for crop in zip(hus, glands, masses, strict=True)]
        shift = min(shifts, key=abs)
        softened = [ndimage.gaussian_filter(gland.astype(np.float32), 0.6) for gland in glands]
        hus = [hu + soft * np.float32(shift) for hu, soft in zip(hus, softened, strict=True)]
    if rng.random() < 0.25:
        hus = change_each(simplify_tissue, glands, masses)
    if rng.random() < 0.4:
        # Enhanced or native: soft tissue alone gains or loses, fat and bone stay.
        gain = np.float32(rng.normal(0, 25))
        hus = [hu + np.exp(-(((hu - 60) / 90) ** 2)).astype(np.float32) * gain for hu in hus]
    if rng.random() < 0.5:
        hus = change_each(blur)
    if rng.random() < 0.2:
        sharper = rng.uniform(0.2, 1.0)
        hus = [hu + sharper * (hu - ndimage.gaussian_filter(hu, 0.8)) for hu in hus]
    if rng.random() < 0.5:
        slope, offset = rng.normal(1, 0.02), rng.normal(0, 12)
        hus = [(hu + 1000) * slope - 1000 + offset for hu in hus]
    if rng.random() < 0.6:
        is_coarse, strength, seed = rng.random() < 0.5, rng.uniform(2, 40), int(rng.integers(2**62))
        hus = [
            _add_noise(hu, strength, np.random.default_rng((seed, number)), is_coarse=is_coarse)
            for number, hu in enumerate(hus)
        ]
    if rng.random() < 0.15:
        hus = change_each(add_streaks)
    return [np.asarray(hu, dtype=np.float32) for hu in hus]


def _add_noise(hu: Floats, strength_hu: float, rng: np.random.Generator, *, is_coarse: bool) -> Floats:
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    if is_coarse:
        noise = ndimage.gaussian_filter(noise, 0.6) * 2.2
    return np.asarray(hu + np.where(hu > -900, noise, 0) * strength_hu, dtype=np.float32)


def _keep_contrast(shift_hu: float, hu: Floats, gland: Bools, mass: Bools | None) -> float:
    """Return as much of `shift_hu` as leaves the mass and its gland apart."""
    if mass is None or not mass.any() or not gland.any():
        return shift_hu
    contrast = float(np.median(hu[mass]) - np.median(hu[gland]))
    if contrast > 0:
        return min(shift_hu, max(contrast - _LEAST_CONTRAST_HU, 0))
    return max(shift_hu, min(contrast + _LEAST_CONTRAST_HU, 0))


def simplify_tissue(hu: Floats, rng: np.random.Generator, gland: Bools, mass: Bools | None = None) -> Floats:
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
    contrast, keep = rng.uniform(_LEAST_CONTRAST_HU + 5, 90), np.float32(rng.uniform(0, 0.35))
    if mass is not None and mass.any() and gland.any():
        flat[mass] = float(np.median(flat[gland])) + contrast
    flat[hu < -950] = hu[hu < -950]
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
