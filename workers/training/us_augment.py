"""Change how an ultrasound picture looks, as another examiner, scanner or patient would; the skin stays at the top.

Arrays are (rows, columns); gray is 0 to 255, as displayed: log-compressed echo.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.us_image import Square

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

MAX_TILT_DEGREES = 8.0
"""A probe is held at a slant, but never upside down."""


def move_square(square: Square, rng: np.random.Generator, *, scales: tuple[float, float], shift: float) -> Square:
    """Return the view with another depth (a factor of its side) and place (of its side, in both directions)."""
    side = square.side * rng.uniform(*scales)
    down, right = rng.uniform(-shift, shift, 2) * square.side
    return Square(
        top=square.top + (square.side - side) / 2 + down,
        left=square.left + (square.side - side) / 2 + right,
        side=side,
    )


def turn_view(gray: Floats, inside: Bools, lesion: Bools, rng: np.random.Generator) -> tuple[Floats, Bools, Bools]:
    """Return a view tilted by up to MAX_TILT_DEGREES in half of the draws, and seen in a mirror in half."""
    if rng.random() < 0.5:
        degrees = rng.uniform(-MAX_TILT_DEGREES, MAX_TILT_DEGREES)
        gray, inside, lesion = _tilt(gray, degrees), _tilt(inside, degrees) > 0.99, _tilt(lesion, degrees) > 0.5
    if rng.random() < 0.5:
        gray, inside, lesion = gray[:, ::-1], inside[:, ::-1], lesion[:, ::-1]
    return gray, inside, lesion


def _tilt(values: Floats | Bools, degrees: float) -> Floats:
    turned = ndimage.rotate(values.astype(np.float32), degrees, reshape=False, order=1, mode="constant")
    return np.asarray(turned, dtype=np.float32)


def change_look(gray: Floats, inside: Bools, rng: np.random.Generator, *, with_shadow: bool) -> Floats:
    """Return `gray` in another look; outside the picture nothing changes.

    `with_shadow` darkens wedges below a strong echo or a lost contact. The
    classifier goes without: a shadow behind the lesion is a sign of malignancy.
    """
    answer = gray
    if rng.random() < 0.5:
        answer = change_gain(answer, rng)
    if rng.random() < 0.5:
        answer = answer + draw_depth_gain(answer.shape, rng)
    if rng.random() < 0.5:
        answer = add_speckle(answer, rng)
    if rng.random() < 0.25:
        answer = ndimage.gaussian_filter(answer, (rng.uniform(0, 0.8), rng.uniform(0, 1.4)))  # laterally the coarser
    if with_shadow and rng.random() < 0.25:
        answer = answer * draw_shadow(answer.shape, rng)
    return np.where(inside, np.clip(answer, 0, 255), gray).astype(np.float32)


def change_gain(gray: Floats, rng: np.random.Generator) -> Floats:
    """Return `gray` with another gain, dynamic range and gray map: an offset, a slope and a curve of the log echo."""
    share = np.clip(gray / 255, 0, 1) ** np.float32(rng.uniform(0.7, 1.4))
    middle = float(share.mean())
    return np.asarray(255 * ((share - middle) * rng.uniform(0.75, 1.3) + middle + rng.uniform(-0.1, 0.1)), np.float32)


def draw_depth_gain(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return a time-gain curve (rows, 1) to add: six sliders of up to 25 gray values, joined smoothly."""
    sliders = rng.normal(0, 10, 6).clip(-25, 25)
    rows = np.linspace(0, len(sliders) - 1, shape[0])
    curve = ndimage.gaussian_filter1d(np.interp(rows, np.arange(len(sliders)), sliders), shape[0] / 16)
    return np.asarray(curve[:, None], dtype=np.float32)


def add_speckle(gray: Floats, rng: np.random.Generator) -> Floats:
    """Return `gray` with more speckle: what multiplies the echo is added to its logarithm; black stays black.

    Its grain is wider than deep, and the wider the deeper, as the beam is.
    """
    noise = rng.standard_normal(gray.shape, dtype=np.float32)
    fine, coarse = ndimage.gaussian_filter(noise, (0.5, 0.8)), ndimage.gaussian_filter(noise, (0.5, 1.8))
    depth = np.linspace(0, 1, gray.shape[0], dtype=np.float32)[:, None]
    grain = (1 - depth) * fine / fine.std() + depth * coarse / coarse.std()
    return np.asarray(gray + grain * rng.uniform(3, 14) * np.clip(gray / 64, 0, 1), dtype=np.float32)


def draw_shadow(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return what an acoustic shadow leaves, 0 to 1: a soft band that begins at some depth and reaches the bottom."""
    rows, columns = np.indices(shape, dtype=np.float32)
    middle = rng.uniform(0, shape[1]) + rng.uniform(-0.2, 0.2) * rows
    width = rng.uniform(0.03, 0.12) * shape[1]
    band = np.exp(-(((columns - middle) / width) ** 2))
    begin = rng.uniform(0, 0.6) * shape[0]
    below = 1 / (1 + np.exp(-(rows - begin) / (0.02 * shape[0])))
    return np.asarray(1 - rng.uniform(0.3, 0.85) * band * below, dtype=np.float32)
