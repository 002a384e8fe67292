"""What a scanner does to painted tissue: blur, hard beams, streaks from metal, and noise with a kernel's grain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]

_DRAWN_SLICES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """One scanner's settings."""

    blur_mm: float
    """In-plane deviation of the point spread."""
    slice_blur: float
    """Deviation along the table, in slices."""
    sharpening: float
    """Share of detail added again, as a sharp kernel does."""
    noise_hu: float
    noise_grain_mm: float
    """Deviation of the noise's own blur; 0 is white noise."""
    noise_is_sharp: bool
    """True: without its coarse part, as of a sharp kernel."""
    cupping_hu: float
    """How much darker tissue is amid much bone."""


def choose_scanner(rng: np.random.Generator) -> Scanner:
    """Draw settings from a smooth, a middling, or a sharp kernel."""
    kind = rng.choice(3, p=(0.4, 0.4, 0.2))
    return Scanner(
        blur_mm=float(rng.uniform(*((0.7, 1.3), (0.5, 0.9), (0.3, 0.6))[kind])),
        slice_blur=float(rng.uniform(0.25, 0.6)),
        sharpening=float((0.0, rng.uniform(0, 0.3), rng.uniform(0.3, 1.0))[kind]),
        noise_hu=float(np.exp(rng.uniform(np.log(3), np.log((14, 20, 35)[kind])))),
        noise_grain_mm=float(rng.uniform(*((0.6, 1.2), (0.3, 0.7), (0.0, 0.4))[kind])),
        noise_is_sharp=bool(kind == 2 or rng.random() < 0.3),
        cupping_hu=float(rng.choice((0.0, rng.uniform(0, 25)))),
    )


def scan(
    hu: Floats, spacing_mm: Spacing, scanner: Scanner, metal: NDArray[np.int64], rng: np.random.Generator
) -> Floats:
    """Return `hu` (z, y, x) as `scanner` would show it; `metal` (n, 3) are voxels of dental metal."""
    sigma = [scanner.slice_blur, *(scanner.blur_mm / s for s in spacing_mm[1:])]
    image = ndimage.gaussian_filter(np.minimum(hu, 2500), sigma, truncate=3)
    if scanner.sharpening:
        detail = image - ndimage.gaussian_filter(image, [0, *(1.0 / s for s in spacing_mm[1:])], truncate=2)
        image += np.float32(scanner.sharpening) * detail
    if scanner.cupping_hu:
        step = [max(1, round(5 / s)) for s in spacing_mm]
        coarse = np.clip(image[:: step[0], :: step[1], :: step[2]] - 150, 0, 1000) / 1000
        coarse = ndimage.gaussian_filter(
            coarse, [1, *(14 / (s * t) for s, t in zip(spacing_mm[1:], step[1:], strict=True))]
        )
        shade = ndimage.zoom(
            coarse / max(float(coarse.max()), 1e-3),
            [n / c for n, c in zip(image.shape, coarse.shape, strict=True)],
            order=1,
        )
        image -= np.float32(scanner.cupping_hu) * shade
    if len(metal):
        _add_streaks(image, spacing_mm, metal, rng)
    return np.asarray(image + _make_noise(image, spacing_mm, scanner, rng), dtype=np.float32)


def _make_noise(image: Floats, spacing_mm: Spacing, scanner: Scanner, rng: np.random.Generator) -> Floats:
    """Return noise as strong as the slice is thick with tissue, stronger toward the middle of the body.

    A few slices are drawn, then shifted and turned about: nobody can tell, and it is quick.
    """
    drawn = rng.standard_normal((_DRAWN_SLICES, *image.shape[1:]), dtype=np.float32)
    grain = [0.0, *(scanner.noise_grain_mm / s for s in spacing_mm[1:])]
    drawn = ndimage.gaussian_filter(drawn, grain, mode="wrap", truncate=3)
    if scanner.noise_is_sharp:
        wide = [0.0, *(max(1.2, 2.2 * scanner.noise_grain_mm) / s for s in spacing_mm[1:])]
        drawn -= ndimage.gaussian_filter(drawn, wide, mode="wrap", truncate=3)
    drawn /= drawn.std()
    tissue = (image[:, ::4, ::4] > -300).mean(axis=(1, 2)) * (
        image.shape[1] * spacing_mm[1] * image.shape[2] * spacing_mm[2]
    )
    strength = scanner.noise_hu * np.clip(np.sqrt(tissue / 20000), 0.5, 2.5)
    result = np.empty_like(image)
    for z, amount in enumerate(strength):
        one = drawn[rng.integers(_DRAWN_SLICES)]
        one = np.roll(one, rng.integers(0, min(image.shape[1:]), 2), axis=(0, 1))
        result[z] = one[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))] * amount
    return result


def _add_streaks(image: Floats, spacing_mm: Spacing, metal: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Throw bright and dark rays from each metal tooth through its slices, in place."""
    y, x = np.indices(image.shape[1:], dtype=np.float32)
    strength = rng.uniform(30, 150)
    for place in metal:
        dy, dx = (y - place[1]) * spacing_mm[1], (x - place[2]) * spacing_mm[2]
        angle, distance = np.arctan2(dy, dx), np.hypot(dy, dx)
        rays = sum(rng.normal(0, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 4, 7, 13, 23, 31))
        fan = (rays * np.minimum(1, 7 / (distance + 3))).astype(np.float32)
        for z in range(image.shape[0]):
            near = np.exp(-((((z - place[0]) * spacing_mm[0]) / 3.5) ** 2))
            if near > 0.05:
                image[z] += np.where(image[z] > -900, np.float32(near * strength) * fan, 0)
