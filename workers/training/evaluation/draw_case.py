"""One axial slice of a case with the true and the found outlines, kept while the volume is at hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from screener.study import Thresholds
from screener.turn_axial import Turn, find_turn
from workers.ct.mask_body import TISSUE_HU
from workers.training.evaluation.case_result import CaseResult
from workers.training.evaluation.judge_case import called_numbers, judge_case
from workers.training.evaluation.screen_case import Answer, Truth

WINDOW_HU: Final = (-125.0, 225.0)
"""Soft tissue."""
SIDE_PIXELS: Final = 640
COLORS: Final = {"gland": (110, 118, 129), "truth": (126, 231, 135), "called": (255, 123, 114), "left": (255, 190, 90)}
Bools = NDArray[np.bool_]
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What a picture needs: one slice, cut to the patient."""

    gray: NDArray[np.uint8]
    """(y, x), front of the patient above, the patient's right on the left."""
    outlines: dict[str, Bools]
    """(y, x) for each key of COLORS: true gland, true mass, called candidates, candidates left alone."""
    spacing_mm: tuple[float, float]
    """Along (y, x)."""
    number: int
    """Of the slice, from the feet, 1 first."""


def cut_slice(truth: Truth, result: CaseResult, answer: Answer, thresholds: Thresholds) -> Slice:
    """Return the slice in which the answer and the truth differ most; where they agree, through the mass or a gland."""
    called = set(called_numbers(judge_case(result, thresholds).verdict))
    layers = {name: np.zeros(truth.volume.hu.shape, dtype=bool) for name in COLORS}
    for gland in truth.glands.values():
        layers["gland"] |= gland
    if truth.mass is not None:
        layers["truth"] |= truth.mass
    for mass in answer.masses:
        layers["called" if mass.candidate.number in called else "left"] |= mass.mask
    for wanted in (layers["truth"] ^ layers["called"], layers["truth"], layers["left"], layers["gland"]):
        if wanted.any():
            where = int(np.argmax(wanted.sum(axis=(1, 2))))
            break
    else:
        where = len(truth.volume.hu) // 2
    # Columns and rows may run any way: a picture shows the patient from the feet, front above.
    turn = find_turn(truth.volume.affine[:3, 0], truth.volume.affine[:3, 1])
    x_mm, y_mm, _ = truth.volume.spacing_mm
    low, high = WINDOW_HU
    gray = np.clip((truth.volume.hu[where].astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    glands_and_mass = np.asarray((layers["gland"] | layers["truth"]).any(axis=0))
    box = _box((truth.volume.hu[where] > TISSUE_HU) | glands_and_mass)
    return Slice(
        gray=_turn(gray[box], turn),
        outlines={name: _turn(layer[where][box], turn) for name, layer in layers.items()},
        spacing_mm=(x_mm, y_mm) if turn.is_transposed else (y_mm, x_mm),
        number=where + 1,
    )


def _turn(plane: NDArray[Pixel], turn: Turn) -> NDArray[Pixel]:
    turned = plane.T if turn.is_transposed else plane
    return turned[:: -1 if turn.is_upside_down else 1, :: -1 if turn.is_mirrored else 1]


def _box(patient: Bools) -> tuple[slice, slice]:
    """Return the rows and columns (y, x) that show the patient; all where nothing does."""
    found = ndimage.find_objects(patient.astype(np.uint8))
    return found[0] if found else (slice(None), slice(None))


def keep_slice(cut: Slice, path: Path) -> None:
    """Store the slice beside its result; arrays only."""
    layers: dict[str, Any] = {name: np.packbits(layer) for name, layer in cut.outlines.items()}
    np.savez_compressed(path, gray=cut.gray, spacing_mm=cut.spacing_mm, number=cut.number, **layers)


def load_slice(path: Path) -> Slice | None:
    """Return the stored slice, None where there is none."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        gray = stored["gray"]
        layers = {
            name: np.unpackbits(stored[name], count=gray.size).reshape(gray.shape).astype(bool) for name in COLORS
        }
        y, x = (float(value) for value in stored["spacing_mm"])
        return Slice(gray=gray, outlines=layers, spacing_mm=(y, x), number=int(stored["number"]))


def draw_slice(cut: Slice, path: Path) -> None:
    """Write the slice as PNG: gland gray, true mass green, called red, candidates left alone orange."""
    picture = paint_outlines(cut.gray, cut.outlines, cut.spacing_mm)
    ImageDraw.Draw(picture).text((6, 4), f"slice {cut.number}", fill=(230, 237, 243))
    picture.save(path)


def paint_outlines(
    gray: NDArray[np.uint8], outlines: Mapping[str, Bools], spacing_mm: tuple[float, float] = (1.0, 1.0)
) -> Image.Image:
    """Return the picture (rows, columns) in its shape, its longer side SIDE_PIXELS, with `outlines` in their COLORS."""
    height, width = (max(1, length * step) for length, step in zip(gray.shape, spacing_mm, strict=True))
    scale = SIDE_PIXELS / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(gray).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(picture).copy()
    for name in (name for name in ("gland", "left", "truth", "called") if name in outlines):
        layer = Image.fromarray(outlines[name].astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
        inside = np.asarray(layer) > 127
        pixels[inside & ~ndimage.binary_erosion(inside, iterations=1 if name == "gland" else 2)] = COLORS[name]
    return Image.fromarray(pixels)
