"""Draws both glands for a person who compares them: one axial slice of each, at one scale, the left one mirrored.

Both pictures show the cheek at their left and the throat at their right, so
that the glands can be held against each other as they stand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from screener.outline_mask import outline_mask
from screener.study import Side
from screener.web.draw_slices import GLAND_COLOR, MASS_COLOR, Pixel, mask_of, to_gray, turn_plane, write_png
from screener.web.read_stack import Region, Stack

MARGIN_MM: Final = 15.0
"""Shown around the larger of the two glands."""
LEAST_MM: Final = 60.0
"""A smaller picture would show too little of what lies around."""
PICTURE_PIXELS: Final = 420
_AIR_HU: Final = -1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Where one gland is looked at."""

    z: int
    """The slice."""
    row: int
    column: int
    """The middle of everything that is outlined on this side."""
    size_mm: float
    """Width and height of the picture; the same for both sides."""


def find_views(stack: Stack, mass: tuple[Side, int] | None) -> Mapping[Side, View]:
    """The view of each side that has an outline; empty without a segmentation.

    `mass` is the side and the slice of the mass that is to be seen: the other
    gland is then shown as far up between its own ends. Without one both are
    shown in their middle. A head that is held at a slant thus does not matter.
    """
    boxes = {side: box for side in Side if (box := _enclose(stack, side)) is not None}
    if not boxes:
        return {}
    share = 0.5
    if mass is not None and mass[0] in boxes:
        low, high = boxes[mass[0]].ends
        share = float(np.clip((mass[1] - low) / max(high - low, 1), 0.0, 1.0))
    size_mm = max(LEAST_MM, *(box.size_mm(stack.spacing_mm) + 2 * MARGIN_MM for box in boxes.values()))
    return {side: box.view(share, size_mm) for side, box in boxes.items()}


def draw_gland(stack: Stack, side: Side, view: View, window: str) -> bytes:
    """One gland with its outline and those of its masses as PNG, the cheek at the left; CannotShowError as `hu`."""
    hu = _prepare(stack.hu(view.z), stack, side, view, _AIR_HU)
    size = PICTURE_PIXELS, PICTURE_PIXELS
    gray = Image.fromarray(to_gray(hu, window)).resize(size, Image.Resampling.BILINEAR)
    picture = np.stack([np.asarray(gray)] * 3, axis=-1)  # (row, column, rgb)
    for is_mass, color in ((False, GLAND_COLOR), (True, MASS_COLOR)):
        mask = _prepare(mask_of(stack, view.z, is_mass=is_mass, side=side), stack, side, view, False)
        if mask.any():
            picture[outline_mask(mask, size)] = color
    return write_png(Image.fromarray(picture))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """What encloses all outlines of a side: first and last slice, row and column."""

    ends: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    def size_mm(self, spacing_mm: tuple[float, float]) -> float:
        """The longer side of the box in its slice."""
        width, height = (end - begin + 1 for begin, end in (self.columns, self.rows))
        return max(width * spacing_mm[0], height * spacing_mm[1])

    def view(self, share: float, size_mm: float) -> View:
        """`share` is 0 at the lowest slice of the gland and 1 at its highest."""
        low, high = self.ends
        return View(
            z=round(low + share * (high - low)),
            row=sum(self.rows) // 2,
            column=sum(self.columns) // 2,
            size_mm=size_mm,
        )


def _enclose(stack: Stack, side: Side) -> _Box | None:
    """The box around a side's outlines; None where nothing is outlined."""
    found = [(z, region) for z in range(len(stack.slices)) for region in stack.regions_of(z) if region.side is side]
    if not found:
        return None
    regions: Sequence[Region] = [region for _, region in found]
    return _Box(
        ends=(found[0][0], found[-1][0]),
        rows=(min(r.top for r in regions), max(r.top + r.mask.shape[0] for r in regions) - 1),
        columns=(min(r.left for r in regions), max(r.left + r.mask.shape[1] for r in regions) - 1),
    )


def _prepare(plane: NDArray[Pixel], stack: Stack, side: Side, view: View, beyond: float) -> NDArray[Pixel]:
    """Cut the view out of a slice, `beyond` where it leaves the image, the face up and the cheek at the left."""
    columns, rows = (max(round(view.size_mm / 2 / mm), 1) for mm in stack.spacing_mm)
    padded = np.pad(plane, ((rows, rows), (columns, columns)), constant_values=beyond)
    cut = turn_plane(padded[view.row : view.row + 2 * rows, view.column : view.column + 2 * columns], stack)
    return np.ascontiguousarray(cut[:, ::-1]) if side is Side.LEFT else cut
