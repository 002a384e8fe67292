"""The slices of a series in their order, their gray values, and what the stored segmentation outlines on each.

Pictures for a person who looks on, in the browser: the measurements stand in
the database, made by the workers from the same files. Rows and columns are the
file's own, but change places where its rows run from front to back; a picture
is turned so that the patient's right is at its left and the face at its top.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import AllTransferSyntaxes

from screener.outcomes import TryAgain
from screener.read_elements import is_away
from screener.read_file import BROKEN_FILE, read_file
from screener.read_header import NOT_READABLE
from screener.store.web_case import Picture
from screener.study import Side
from screener.turn_axial import find_turn

_KEYWORDS: Final = (
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SharedFunctionalGroupsSequence",
    "SOPInstanceUID",
)
_KEPT_IN_MEMORY: Final = 8


class CannotShowError(Exception):
    """The images cannot be shown; the message says why, to a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One picture of a stack."""

    path: Path
    frame: int
    """From 1 within a multi-frame image; 0: the file holds a single one."""
    sop_instance_uid: str
    position_mm: tuple[float, float, float]
    """Of the first pixel's center, LPS."""
    height_mm: float
    """Along the normal of the slices, growing towards the head."""
    slope: float
    intercept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What a segment covers on one slice."""

    label: str
    is_mass: bool
    side: Side | None
    """As the label says; None where it says none."""
    top: int
    left: int
    mask: NDArray[np.bool_]
    """Axes (row, column), from (top, left) on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A series as a person scrolls through it, from the feet to the head."""

    slices: tuple[Slice, ...]
    shape: tuple[int, int]
    """Rows, columns of every slice."""
    row_cosine: NDArray[np.float64]
    """Direction in which columns run, LPS."""
    column_cosine: NDArray[np.float64]
    """Direction in which rows run, LPS."""
    spacing_mm: tuple[float, float]
    """Between columns, between rows."""
    regions: dict[tuple[str, int], tuple[Region, ...]]
    """By SOP Instance UID and frame, those of the stored segmentation."""
    is_transposed: bool = False
    """True: rows and columns are the file's columns and rows."""

    @property
    def step_mm(self) -> float:
        """Distance of neighboring slices, the median of all."""
        heights = [each.height_mm for each in self.slices]
        return float(np.median(np.diff(heights))) if len(heights) > 1 else 1.0

    @property
    def flips(self) -> tuple[bool, bool]:
        """Whether rows, columns must be reversed for the face to be up and the patient's right to be left."""
        turn = find_turn(self.row_cosine, self.column_cosine)
        return turn.is_upside_down, turn.is_mirrored

    def index_of(self, point_mm: Sequence[float]) -> tuple[int, int, int]:
        """The slice, row and column nearest to a point in LPS millimeters."""
        point = np.asarray(point_mm, dtype=np.float64)
        normal = np.cross(self.row_cosine, self.column_cosine)
        normal = normal if normal[2] >= 0 else -normal
        heights = np.array([each.height_mm for each in self.slices])
        z = int(np.abs(heights - point @ normal).argmin())
        inside = point - np.asarray(self.slices[z].position_mm)
        x = round(float(inside @ self.row_cosine) / self.spacing_mm[0])
        y = round(float(inside @ self.column_cosine) / self.spacing_mm[1])
        return z, int(np.clip(y, 0, self.shape[0] - 1)), int(np.clip(x, 0, self.shape[1] - 1))

    def regions_of(self, z: int) -> tuple[Region, ...]:
        """What is outlined on a slice."""
        return self.regions.get((self.slices[z].sop_instance_uid, self.slices[z].frame), ())

    def hu(self, z: int) -> NDArray[np.float32]:
        """The gray values of a slice, axes (row, column); CannotShowError says why not."""
        each = self.slices[z]
        stored = read_pixels(each.path, each.frame)
        pixels = stored.T if self.is_transposed else stored
        return pixels.astype(np.float32) * each.slope + each.intercept


class StackReader:
    """Lists the slices of a series; the last few lists are kept in memory, as files never change."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], Stack] = OrderedDict()
        self._lock = Lock()

    def read(self, pictures: Sequence[Picture], segmentation: Path | None) -> Stack:
        """Read the headers of a series, and the segmentation that was made of it; CannotShowError says why not."""
        key = (str(segmentation), *(str(picture.path) for picture in pictures))
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        stack, is_whole = _read_stack(pictures, segmentation)
        if not is_whole:
            return stack
        with self._lock:
            self._known[key] = stack
            while len(self._known) > _KEPT_IN_MEMORY:
                self._known.popitem(last=False)
        return stack


def read_pixels(path: Path, frame: int) -> NDArray[Any]:
    """Decode one picture as stored; CannotShowError where no installed decoder can."""
    try:
        return pixel_array(path, index=max(frame - 1, 0))
    except (RuntimeError, NotImplementedError):  # pydicom: no decoder, or none that could
        name = _name_syntax(path)
        raise CannotShowError(
            f"The images are compressed ({name}), and the pages have no decoder for that: see them in the PACS."
        ) from None
    except NOT_READABLE:
        raise CannotShowError("The image cannot be read: see it in the PACS.") from None


def leave_out_gdcm() -> None:
    """Decode with what ends no process: GDCM does where the bytes of a picture are spoiled."""
    for syntax in AllTransferSyntaxes:
        with suppress(NotImplementedError, KeyError, ValueError):  # a syntax or a decoder that is not there
            get_decoder(syntax).remove_plugin("gdcm")


def _name_syntax(path: Path) -> str:
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        return str(pydicom.uid.UID(meta.TransferSyntaxUID).name)
    except NOT_READABLE:
        return "in an unknown way"


def _read_stack(pictures: Sequence[Picture], segmentation: Path | None) -> tuple[Stack, bool]:
    """Read what there is; False: the disk does not give the segmentation now, and another time it may."""
    found: list[tuple[Slice, Any]] = []
    for picture in pictures:
        try:
            ds = read_file(picture.path, with_pixels=False, keywords=_KEYWORDS)
            found += _list_slices(ds, picture.path)
        except TryAgain as error:
            if is_away(picture.path, error.__cause__):
                raise CannotShowError("The images cannot be read now: load the page again in a while.") from None
        except BROKEN_FILE:
            continue
    if not found:
        raise CannotShowError("The images of this study are not here any more, or say not where they lie.")
    shapes = [geometry for _, geometry in found]
    geometry = max(set(shapes), key=shapes.count)  # a scout view in the same series has another
    slices = sorted((each for each, its in found if its == geometry), key=lambda each: each.height_mm)
    rows, columns, orientation, spacing = geometry
    regions = _read_regions(segmentation) if segmentation is not None else {}
    stack = Stack(
        slices=tuple(slices),
        shape=(rows, columns),
        row_cosine=np.array(orientation[:3]),
        column_cosine=np.array(orientation[3:]),
        spacing_mm=(spacing[1], spacing[0]),
        regions=regions or {},
    )
    if find_turn(stack.row_cosine, stack.column_cosine).is_transposed:
        stack = _transpose(stack)
    return stack, regions is not None


def _transpose(stack: Stack) -> Stack:
    """Let rows and columns change places."""
    return replace(
        stack,
        shape=stack.shape[::-1],
        row_cosine=stack.column_cosine,
        column_cosine=stack.row_cosine,
        spacing_mm=stack.spacing_mm[::-1],
        regions={
            key: tuple(replace(each, top=each.left, left=each.top, mask=each.mask.T) for each in regions)
            for key, regions in stack.regions.items()
        },
        is_transposed=True,
    )


def _list_slices(ds: pydicom.Dataset, path: Path) -> list[tuple[Slice, Any]]:
    """Every slice of a file with its geometry: (rows, columns, orientation, spacing)."""
    if "PerFrameFunctionalGroupsSequence" not in ds:
        return [_slice(ds, path, 0, ds, ds, ds, ds)]
    shared = ds.SharedFunctionalGroupsSequence[0]
    slices = []
    for number, own in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        parts = [
            (own if keyword in own else shared)[keyword].value[0]
            for keyword in (
                "PlanePositionSequence",
                "PlaneOrientationSequence",
                "PixelMeasuresSequence",
                "PixelValueTransformationSequence",
            )
        ]
        slices.append(_slice(ds, path, number, *parts))
    return slices


def _slice(ds: Any, path: Path, frame: int, place: Any, orientation: Any, measures: Any, values: Any) -> Any:
    position = tuple(float(number) for number in place.ImagePositionPatient)
    cosines = tuple(round(float(number), 4) for number in orientation.ImageOrientationPatient)
    normal = np.cross(cosines[:3], cosines[3:])
    normal = normal if normal[2] >= 0 else -normal
    each = Slice(
        path=path,
        frame=frame,
        sop_instance_uid=str(ds.SOPInstanceUID),
        position_mm=(position[0], position[1], position[2]),
        height_mm=float(np.dot(position, normal)),
        slope=float(values.get("RescaleSlope", 1) or 1),
        intercept=float(values.get("RescaleIntercept", 0) or 0),
    )
    spacing = tuple(round(float(number), 5) for number in measures.PixelSpacing)
    return each, (int(ds.Rows), int(ds.Columns), cosines, spacing)


def _read_regions(path: Path) -> dict[tuple[str, int], tuple[Region, ...]] | None:
    """What the stored segmentation (DICOM SEG) covers, by source image and frame; empty where it cannot be read.

    None where the disk does not give it now.
    """
    try:
        seg = pydicom.dcmread(path)
        masks = pixel_array(seg)
        labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
        groups = seg.PerFrameFunctionalGroupsSequence
    except (*NOT_READABLE, RuntimeError) as error:
        return None if is_away(path, error) else {}
    masks = masks.reshape(-1, *masks.shape[-2:])  # (frame, row, column)
    regions: dict[tuple[str, int], tuple[Region, ...]] = {}
    for mask, group in zip(masks, groups, strict=False):
        label = labels.get(int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber), "")
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        key = (str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber", 0) or 0))
        region = _crop(mask.astype(np.bool_), label)
        if region is not None:
            regions[key] = (*regions.get(key, ()), region)
    return regions


def _crop(mask: NDArray[np.bool_], label: str) -> Region | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    is_mass = label.startswith("Mass")
    return Region(label=label, is_mass=is_mass, side=_read_side(label), top=top, left=left, mask=part)


def _read_side(label: str) -> Side | None:
    """Our own labels name the side, such as "Mass 1, left parotid gland"."""
    words = label.casefold().replace(",", " ").split()
    return next((side for side in Side if side.value in words), None)
