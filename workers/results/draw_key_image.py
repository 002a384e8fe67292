"""DECIDED -> ENCODED: draw the picture that shows a person what was found and where.

Two planes through the largest mass, else through the glands, in radiological
convention: the patient's right stands at the image's left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from screener.decide import covered_in_part
from screener.study import Mass, Parotid, Presence, Verdict, Volume
from screener.turn_axial import Turn, find_turn
from workers.results.draw_panels import (
    FAINT_COLOR,
    MASS_COLOR,
    MAX_PANEL_WIDTH_PIXELS,
    PANEL_HEIGHT_PIXELS,
    TEXT_COLOR,
    Rgb,
    compose_panels,
    outline_mask,
    write_png,
)
from workers.results.identity import RESEARCH_USE

_WINDOW_CENTER_HU = 50.0
_WINDOW_WIDTH_HU = 350.0
_CORONAL_HEIGHT_MM = 220.0
_MARGIN_MM = 8.0
_GLAND_COLOR = (0, 190, 255)
_ANSWERS = {
    Presence.PRESENT: "mass above threshold",
    Presence.ABSENT: "no mass above threshold",
    Presence.UNDETERMINED: "not assessed",
}

Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True)
class _Plane:
    """One plane of the volume, turned the way a reader expects, with the size of its pixels."""

    hu: NDArray[np.int16]
    glands: NDArray[np.bool_]
    masses: NDArray[np.bool_]
    pixel_mm: tuple[float, float]
    """Between columns, between rows."""
    title: str
    edges: tuple[str, str, str, str]
    """Which side of the patient lies at the left, right, top and bottom."""


def draw_key_image(volume: Volume, parotids: Sequence[Parotid], masses: Sequence[Mass], verdict: Verdict) -> bytes:
    """Draw an axial and a coronal plane as PNG; nothing in it names the patient."""
    if _turn_of(volume).is_transposed:
        volume, parotids, masses = _transpose(volume, parotids, masses)
    glands_mask = _union(volume, [parotid.mask for parotid in parotids if parotid.mask is not None])
    masses_mask = _union(volume, [mass.mask for mass in masses])
    z, y = _choose_planes(volume, parotids, masses)
    planes = _axial_plane(volume, glands_mask, masses_mask, z), _coronal_plane(volume, glands_mask, masses_mask, y, z)
    panels = [_draw_panel(plane) for plane in planes]
    return write_png(compose_panels(panels, _caption_lines(masses, verdict)))


def _transpose(
    volume: Volume, parotids: Sequence[Parotid], masses: Sequence[Mass]
) -> tuple[Volume, list[Parotid], list[Mass]]:
    """Let rows and columns change places, so that columns run from side to side."""
    turned = replace(
        volume,
        hu=volume.hu.swapaxes(1, 2),
        body=volume.body.swapaxes(1, 2),
        affine=volume.affine[:, [1, 0, 2, 3]],
    )
    glands = [each if each.mask is None else replace(each, mask=each.mask.swapaxes(1, 2)) for each in parotids]
    return turned, glands, [replace(mass, mask=mass.mask.swapaxes(1, 2)) for mass in masses]


def _choose_planes(volume: Volume, parotids: Sequence[Parotid], masses: Sequence[Mass]) -> tuple[int, int]:
    """Choose the slice (z) and the row (y) to show: those of the largest mass, else of the glands, else the middle."""
    shape = volume.hu.shape
    if masses:
        largest = max(masses, key=lambda mass: mass.candidate.volume_mm3)
        if largest.mask.any():
            return _fullest(largest.mask, 0), _fullest(largest.mask, 1)
    centers_mm = [parotid.center_mm for parotid in parotids if parotid.center_mm is not None]
    if not centers_mm:
        return shape[0] // 2, shape[1] // 2
    index = np.linalg.inv(volume.affine) @ np.append(np.mean(centers_mm, axis=0), 1.0)  # (x, y, z, 1)
    z, y = (int(np.clip(round(index[axis]), 0, size - 1)) for axis, size in ((2, shape[0]), (1, shape[1])))
    return z, y


def _fullest(mask: NDArray[np.bool_], axis: int) -> int:
    others = tuple(other for other in range(3) if other != axis)
    return int(mask.sum(axis=others).argmax())


def _axial_plane(volume: Volume, glands: NDArray[np.bool_], masses: NDArray[np.bool_], z: int) -> _Plane:
    turn = _turn_of(volume)
    keep = _crop_to(volume.body[z], (volume.spacing_mm[1], volume.spacing_mm[0]))
    show = (slice(z, z + 1), *keep)
    return _Plane(
        hu=_turn(volume.hu[show][0], rows=turn.is_upside_down, columns=turn.is_mirrored),
        glands=_turn(glands[show][0], rows=turn.is_upside_down, columns=turn.is_mirrored),
        masses=_turn(masses[show][0], rows=turn.is_upside_down, columns=turn.is_mirrored),
        pixel_mm=(volume.spacing_mm[0], volume.spacing_mm[1]),
        title=f"Axial, slice {z + 1} of {volume.hu.shape[0]} from the feet",
        edges=("R", "L", "A", "P"),
    )


def _coronal_plane(volume: Volume, glands: NDArray[np.bool_], masses: NDArray[np.bool_], y: int, z: int) -> _Plane:
    """Cut through row `y` around slice `z`; with a tilted gantry the cut follows the rows, not the horizontal."""
    turn = _turn_of(volume)
    step_mm = volume.spacing_mm[2]
    half = round(_CORONAL_HEIGHT_MM / 2 / step_mm)
    low, high = max(0, z - half), min(volume.hu.shape[0], z + half + 1)
    columns = _crop_to(volume.body[low:high, y], (step_mm, volume.spacing_mm[0]))[1]
    show = (slice(low, high), slice(y, y + 1), columns)
    is_head_up = volume.affine[2, 2] < 0  # rows are drawn downwards; z grows towards the head
    return _Plane(
        hu=_turn(volume.hu[show][:, 0], rows=not is_head_up, columns=turn.is_mirrored),
        glands=_turn(glands[show][:, 0], rows=not is_head_up, columns=turn.is_mirrored),
        masses=_turn(masses[show][:, 0], rows=not is_head_up, columns=turn.is_mirrored),
        pixel_mm=(volume.spacing_mm[0], step_mm),
        title="Coronal",
        edges=("R", "L", "H", "F"),
    )


def _turn_of(volume: Volume) -> Turn:
    """Tell how to turn a slice so that the patient's left lies right and the back lies down."""
    return find_turn(volume.affine[:3, 0], volume.affine[:3, 1])


def _turn(plane: NDArray[Pixel], *, rows: bool, columns: bool) -> NDArray[Pixel]:
    return plane[:: -1 if rows else 1, :: -1 if columns else 1]


def _crop_to(body: NDArray[np.bool_], step_mm: tuple[float, float]) -> tuple[slice, slice]:
    """Bounds of the patient in a plane, with a margin; the whole plane where there is none."""
    if not body.any():
        return slice(0, body.shape[0]), slice(0, body.shape[1])
    bounds = []
    for axis in (0, 1):
        where = np.flatnonzero(body.any(axis=1 - axis))
        margin = round(_MARGIN_MM / step_mm[axis])
        bounds.append(slice(max(0, int(where[0]) - margin), min(body.shape[axis], int(where[-1]) + margin + 1)))
    return bounds[0], bounds[1]


def _draw_panel(plane: _Plane) -> Image.Image:
    """Draw one plane in its true proportions, gray, with outlines and markers."""
    rows, columns = plane.hu.shape
    width_mm, height_mm = columns * plane.pixel_mm[0], rows * plane.pixel_mm[1]
    scale = min(PANEL_HEIGHT_PIXELS / height_mm, MAX_PANEL_WIDTH_PIXELS / width_mm)  # pixels per mm
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    gray = (plane.hu.astype(np.float32) - _WINDOW_CENTER_HU) / _WINDOW_WIDTH_HU + 0.5
    levels = (np.clip(gray, 0.0, 1.0) * 255).astype(np.uint8)
    enlarged = Image.fromarray(np.ascontiguousarray(levels)).resize(size, Image.Resampling.BICUBIC)
    picture = np.stack([np.asarray(enlarged)] * 3, axis=-1)  # (row, column, rgb)
    for mask, color in ((plane.glands, _GLAND_COLOR), (plane.masses, MASS_COLOR)):
        picture[outline_mask(mask, size)] = color
    panel = Image.fromarray(picture)
    _draw_markers(panel, plane)
    return panel


def _draw_markers(panel: Image.Image, plane: _Plane) -> None:
    draw = ImageDraw.Draw(panel)
    letters = ImageFont.load_default(size=22)
    width, height = panel.size
    left, right, top, bottom = plane.edges
    places = (
        (left, (8.0, height / 2), "lm"),
        (right, (width - 8.0, height / 2), "rm"),
        (top, (width / 2, 6.0), "ma"),
        (bottom, (width / 2, height - 6.0), "md"),
    )
    for letter, place, anchor in places:
        draw.text(place, letter, fill=TEXT_COLOR, font=letters, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    small = ImageFont.load_default(size=14)
    draw.text((8, 6), plane.title, fill=FAINT_COLOR, font=small, stroke_width=2, stroke_fill=(0, 0, 0))


def _caption_lines(masses: Sequence[Mass], verdict: Verdict) -> list[tuple[str, Rgb]]:
    """Say each gland's answer and each mass's size in words; no identity of the patient."""
    lines: list[tuple[str, Rgb]] = []
    for gland in verdict.glands:
        found = [mass.candidate for mass in masses if mass.candidate.number in gland.candidate_numbers]
        sizes = "; ".join(f"{one.volume_mm3:.0f} mm3, longest {one.longest_diameter_mm:.0f} mm" for one in found)
        text = f"{gland.side.value.capitalize()} parotid: {_ANSWERS[gland.presence]}"
        if gland.is_partial and gland.presence is not Presence.UNDETERMINED:
            text += f", {covered_in_part(gland.covered_share)}"
        if sizes:
            text += f" ({sizes})"
        elif gland.presence is Presence.UNDETERMINED and gland.reason:
            text += f" ({gland.reason.rstrip('.')})"
        lines.append((text, MASS_COLOR if gland.presence is Presence.PRESENT else TEXT_COLOR))
    lines.append(("Blue: parotid gland. Amber: mass. R, L: the patient's right and left.", FAINT_COLOR))
    lines.append((f"{RESEARCH_USE}.", TEXT_COLOR))
    return lines


def _union(volume: Volume, masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    union = np.zeros(volume.hu.shape, dtype=np.bool_)  # (z, y, x)
    for mask in masks:
        union |= mask
    return union
