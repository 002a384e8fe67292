"""Find in an ultrasound object's header where its B-mode pictures lie (PS3.3 C.8.5.5, US Region Calibration)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pydicom.dataset import Dataset

from screener.read_file import BROKEN_FILE, read_numbers
from screener.us_study import Box

MIN_SIZE_PX: Final = 64
"""Rows and columns of a picture; less is a thumbnail, or a part of one."""
MAX_OUTSIDE_PX: Final = 2
"""By so much a region may end beyond its picture; more, and it was written for a picture of another size."""
MIN_SPACING_MM, MAX_SPACING_MM = 0.005, 2.0
"""Between rows and columns: a finger's breadth and a whole abdomen in a picture of some 600 rows."""
MAX_PIXEL_SPACING_MM: Final = 0.5
"""The same where no region tells it: a file that was made from a photograph says 1.0."""
MAX_ANISOTROPY: Final = 1.1
"""How much rows and columns may differ where no region tells their distance."""
MIN_OVERLAP: Final = 0.1
"""So much of a flow region within a picture, or of the picture within it, is no mere touch."""

_CENTIMETERS = 3  # C.8.5.5.1.15
_MM_PER_CM = 10.0
_TWO_D, _M_MODE, _SPECTRAL = 1, 2, 3  # Region Spatial Format, C.8.5.5.1.1
_TISSUE, _COLOR_FLOW, _PW, _CW = 1, 2, 3, 4  # Region Data Type, C.8.5.5.1.2
_COORDINATES = ("RegionLocationMinY0", "RegionLocationMinX0", "RegionLocationMaxY1", "RegionLocationMaxX1")
_MODES = {
    0x0002: "M-mode", 0x0004: "CW Doppler", 0x0008: "PW Doppler", 0x0010: "color Doppler", 0x0020: "color M-mode",
    0x0040: "3D rendering", 0x0100: "power Doppler", 0x0200: "tissue characterization",
}  # fmt: skip
"""Bits of Image Type, value 4 (C.8.5.6.1.1), that are no B-mode."""


class Kind(Enum):
    """What a region shows; the value is the field's word."""

    TISSUE = "tissue"
    COLOR_FLOW = "color flow"
    PW = "PW spectral Doppler"
    CW = "CW spectral Doppler"
    SPECTRAL = "spectral Doppler"
    M_MODE = "M-mode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One region of a picture that shows tissue."""

    box: Box
    spacing_mm: tuple[float, float] | None
    """Distance between rows and between columns; None where it is not in centimeters, or absurd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """What the header says of an object's regions."""

    pictures: tuple[Region, ...]
    """Those with B-mode, from left to right; empty where there are none."""
    refusal: str
    """Of what else there is, and why nothing is taken where nothing is: a sentence, or empty."""


def find_regions(ds: Dataset) -> Regions | None:
    """Sort the regions of an object into B-mode and others; None where it tells none, or none that fit its picture."""
    shape = int(ds.Rows), int(ds.Columns)
    found = list(_read_regions(ds))
    if any(_is_outside(region.box, shape) for _, region in found):
        return None
    tissue = _keep_largest(region for kind, region in found if kind is Kind.TISSUE)
    if not found:
        return None
    flow = [region.box for kind, region in found if kind is Kind.COLOR_FLOW]
    others = sorted({kind.value for kind, _ in found if kind is not Kind.TISSUE})
    covered = [one for one in tissue if any(_do_overlap(one.box, box) for box in flow)]
    pictures = tuple(_clip(one, shape) for one in tissue if one not in covered)
    pictures = tuple(one for one in pictures if is_large_enough(one.box))
    return Regions(pictures=pictures, refusal=_tell_others(others, len(covered), len(pictures)))


def find_other_mode(ds: Dataset) -> str:
    """Name what Image Type calls an object that tells no regions, where it is no B-mode; empty where it may be one."""
    values = ds.get("ImageType")
    text = str(values[3]) if values is not None and not isinstance(values, str) and len(values) > 3 else ""
    try:
        code = int(text, 16)
    except ValueError:
        return ""
    return ", ".join(name for bit, name in _MODES.items() if code & bit)


def read_pixel_spacing(ds: Dataset) -> tuple[float, float] | None:
    """Give Pixel Spacing of an object without regions, where it is plausible; else None."""
    try:
        values = read_numbers(ds, "PixelSpacing")
    except BROKEN_FILE:
        return None
    if len(values) != 2 or not all(MIN_SPACING_MM <= value <= MAX_PIXEL_SPACING_MM for value in values):
        return None
    return (float(values[0]), float(values[1])) if max(values) <= MAX_ANISOTROPY * min(values) else None


def is_large_enough(box: Box) -> bool:
    """Whether a picture has enough rows and columns to be searched."""
    return min(box.bottom - box.top, box.right - box.left) >= MIN_SIZE_PX


def _read_regions(ds: Dataset) -> Iterator[tuple[Kind, Region]]:
    """Yield the regions that show something of the patient; a broken one is as none."""
    for item in ds.get("SequenceOfUltrasoundRegions") or ():
        try:
            kind = _find_kind(int(item.RegionSpatialFormat), int(item.RegionDataType))
            top, left, bottom, right = (int(item[keyword].value) for keyword in _COORDINATES)
            spacing_mm = _read_spacing(item)
        except BROKEN_FILE:
            continue
        box = Box(top=top, left=left, bottom=bottom + 1, right=right + 1)
        if kind is not None and box.bottom > box.top and box.right > box.left:
            yield kind, Region(box=box, spacing_mm=spacing_mm)


def _find_kind(spatial_format: int, data_type: int) -> Kind | None:
    """What a region shows; None for graphics, waveforms, bars and what is not known."""
    if spatial_format == _M_MODE:
        return Kind.M_MODE
    if spatial_format == _SPECTRAL:
        return {_PW: Kind.PW, _CW: Kind.CW}.get(data_type, Kind.SPECTRAL)
    if spatial_format != _TWO_D:
        return None
    return {_TISSUE: Kind.TISSUE, _COLOR_FLOW: Kind.COLOR_FLOW}.get(data_type)


def _read_spacing(item: Dataset) -> tuple[float, float] | None:
    units = (item.get("PhysicalUnitsYDirection"), item.get("PhysicalUnitsXDirection"))
    deltas = (item.get("PhysicalDeltaY"), item.get("PhysicalDeltaX"))
    if units != (_CENTIMETERS, _CENTIMETERS) or None in deltas:
        return None
    rows_mm, columns_mm = (abs(float(delta)) * _MM_PER_CM for delta in deltas)
    is_sound = all(MIN_SPACING_MM <= value <= MAX_SPACING_MM for value in (rows_mm, columns_mm))
    return (rows_mm, columns_mm) if is_sound else None


def _is_outside(box: Box, shape: tuple[int, int]) -> bool:
    rows, columns = shape
    return box.top < 0 or box.left < 0 or box.bottom > rows + MAX_OUTSIDE_PX or box.right > columns + MAX_OUTSIDE_PX


def _clip(region: Region, shape: tuple[int, int]) -> Region:
    box = region.box
    clipped = Box(top=box.top, left=box.left, bottom=min(box.bottom, shape[0]), right=min(box.right, shape[1]))
    return Region(box=clipped, spacing_mm=region.spacing_mm)


def _keep_largest(regions: Iterable[Region]) -> list[Region]:
    """Leave out what is told twice, or lies within another, as an overview does; from left to right."""
    kept: list[Region] = []
    for region in sorted(regions, key=lambda one: -_area(one.box)):
        if not any(_intersect(region.box, other.box) > 0.5 * _area(region.box) for other in kept):
            kept.append(region)
    return sorted(kept, key=lambda one: (one.box.left, one.box.top))


def _area(box: Box) -> int:
    return (box.bottom - box.top) * (box.right - box.left)


def _intersect(one: Box, other: Box) -> int:
    rows = min(one.bottom, other.bottom) - max(one.top, other.top)
    columns = min(one.right, other.right) - max(one.left, other.left)
    return max(0, rows) * max(0, columns)


def _do_overlap(one: Box, other: Box) -> bool:
    return _intersect(one, other) >= MIN_OVERLAP * min(_area(one), _area(other))


def _tell_others(others: list[str], covered: int, pictures: int) -> str:
    """Say what was refused."""
    if covered:
        return "color flow lies over the tissue"
    if others:
        return f"{', '.join(others)} left out" if pictures else f"its regions hold {', '.join(others)}, no B-mode"
    return "" if pictures else f"its regions are smaller than {MIN_SIZE_PX} x {MIN_SIZE_PX} pixels"
