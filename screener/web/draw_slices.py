"""Draws what the case page shows of a stack: slices in a window, outlines above them, and the other two planes."""

import io
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from screener.outline_mask import outline_mask
from screener.study import Side
from screener.web.read_stack import Stack

WINDOWS: Final = {"soft": (40.0, 350.0), "bone": (500.0, 2000.0), "wide": (0.0, 1200.0)}
"""Center and width in HU; soft is the neck's usual soft-tissue window."""
MASS_COLOR: Final = (255, 176, 0)
GLAND_COLOR: Final = (0, 190, 255)
_OUTLINE_SCALE: Final = 2
_PLANE_HEIGHT_PIXELS: Final = 480

Pixel = TypeVar("Pixel", bound=np.generic)


def draw_slice(stack: Stack, z: int, window: str) -> bytes:
    """One axial slice as PNG, gray, at its own size; CannotShowError where it cannot be decoded."""
    levels = to_gray(stack.hu(z), window)
    return write_png(Image.fromarray(turn_plane(levels, stack)))


def draw_outline(stack: Stack, z: int) -> bytes:
    """The outlines of a slice as PNG on nothing, at twice its size: the glands blue, masses amber."""
    rows, columns = stack.shape
    size = columns * _OUTLINE_SCALE, rows * _OUTLINE_SCALE
    picture = np.zeros((size[1], size[0], 4), dtype=np.uint8)  # (row, column, rgba)
    for is_mass, color in ((False, GLAND_COLOR), (True, MASS_COLOR)):
        mask = mask_of(stack, z, is_mass=is_mass)
        if mask.any():
            picture[outline_mask(turn_plane(mask, stack), size)] = (*color, 255)
    return write_png(Image.fromarray(picture))


def draw_planes(stack: Stack, center: tuple[int, int, int], window: str) -> tuple[bytes, bytes]:
    """The coronal and the sagittal plane through (slice, row, column) as PNG, the head up, with outlines.

    Each reads every slice once. Sagittal: the face at the left.
    """
    _, row, column = center
    depth, (rows, columns) = len(stack.slices), stack.shape
    coronal = np.zeros((depth, columns), dtype=np.float32)
    sagittal = np.zeros((depth, rows), dtype=np.float32)
    marks = {
        is_mass: (np.zeros((depth, columns), dtype=np.bool_), np.zeros((depth, rows), dtype=np.bool_))
        for is_mass in (False, True)
    }
    for z in range(depth):
        hu = stack.hu(z)
        coronal[z], sagittal[z] = hu[row], hu[:, column]
        for is_mass, (across, along) in marks.items():
            mask = mask_of(stack, z, is_mass=is_mass)
            across[z], along[z] = mask[row], mask[:, column]
    is_upside_down, is_mirrored = stack.flips
    drawn = (
        (coronal, {kind: pair[0] for kind, pair in marks.items()}, is_mirrored, stack.spacing_mm[0]),
        (sagittal, {kind: pair[1] for kind, pair in marks.items()}, is_upside_down, stack.spacing_mm[1]),
    )
    first, second = (_draw_plane(*each, stack.step_mm, window) for each in drawn)
    return first, second


def _draw_plane(
    hu: NDArray[np.float32],
    marks: dict[bool, NDArray[np.bool_]],
    is_reversed: bool,
    pixel_mm: float,
    step_mm: float,
    window: str,
) -> bytes:
    """Turn a plane whose rows run from the feet up, in its true proportions."""
    order = slice(None, None, -1 if is_reversed else 1)
    scale = _PLANE_HEIGHT_PIXELS / max(hu.shape[0] * step_mm, 1.0)  # pixels per mm
    size = max(round(hu.shape[1] * pixel_mm * scale), 1), _PLANE_HEIGHT_PIXELS
    levels = np.ascontiguousarray(to_gray(hu, window)[::-1, order])
    gray = Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR)
    picture = np.stack([np.asarray(gray)] * 3, axis=-1)  # (row, column, rgb)
    for is_mass, color in ((False, GLAND_COLOR), (True, MASS_COLOR)):
        mask = marks[is_mass][::-1, order]
        if mask.any():
            picture[outline_mask(mask, size)] = color
    return write_png(Image.fromarray(picture))


def mask_of(stack: Stack, z: int, *, is_mass: bool, side: Side | None = None) -> NDArray[np.bool_]:
    """All masses, or all glands, of a slice in one mask, axes (row, column); of one side where `side` says which."""
    mask = np.zeros(stack.shape, dtype=np.bool_)
    for region in stack.regions_of(z):
        if region.is_mass is is_mass and side in (None, region.side):
            height, width = region.mask.shape
            view = mask[region.top : region.top + height, region.left : region.left + width]
            view |= region.mask[: view.shape[0], : view.shape[1]]
    return mask


def to_gray(hu: NDArray[np.float32], window: str) -> NDArray[np.uint8]:
    """Gray values of HU in one of WINDOWS, axes as given."""
    center, width = WINDOWS[window]
    gray: NDArray[np.uint8] = (np.clip((hu - center) / width + 0.5, 0.0, 1.0) * 255).astype(np.uint8)
    return gray


def turn_plane(plane: NDArray[Pixel], stack: Stack) -> NDArray[Pixel]:
    """Bring the face up and the patient's right to the left."""
    rows, columns = stack.flips
    return np.ascontiguousarray(plane[:: -1 if rows else 1, :: -1 if columns else 1])


def write_png(picture: Image.Image) -> bytes:
    """Encode quickly: it is looked at once, over a short way."""
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return file.getvalue()
