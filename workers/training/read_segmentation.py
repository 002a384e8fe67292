"""Read glands and masses outlined as DICOM segmentations (PS3.3 A.51) on the grid of their CT."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import SegmentationStorage

from screener.outcomes import NeedsPerson
from screener.study import Instance, Side, Volume
from workers.ct.read_file import BROKEN_FILE

Bools = NDArray[np.bool_]

LABEL_MAP_SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"

_MASS_STEMS = (
    "neoplas", "tumor", "tumour", "lesion", "carcinom", "adenom", "warthin", "cyst", "metasta", "malignan",
)  # fmt: skip
_MASS_WORDS: Final = frozenset({"mass", "masses", "gtv", "gtvp"})
"""Whole words only: the masseter is outlined in many plans. GTV is radiotherapy's gross tumor volume, p the primary."""
_NODE_WORDS: Final = frozenset({"n", "node", "nodes", "nodal", "ln"})
"""Beside GTV: the tumor in a lymph node."""
_DENIALS: Final = frozenset({"no", "not", "without", "minus", "except", "excluding"})
_SIDE_WORDS: Final = {
    Side.RIGHT: frozenset({"right", "rt", "r", "dextra", "dexter"}),
    Side.LEFT: frozenset({"left", "lt", "l", "sinistra", "sinister"}),
}
_SIDE_CODES: Final = {"24028007": Side.RIGHT, "7771000": Side.LEFT}
_MASS_CODES: Final = frozenset({"4147007", "108369006"})
"""SNOMED CT: mass; neoplasm (CID 7159 and below)."""
_PAROTID_CODE: Final = "45289007"
_OFF_GRID_VOXELS = 0.3
"""A segmentation whose voxels lie further from those of the images was made on another grid."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a segment shows."""

    kind: Literal["gland", "mass", "other"]
    side: Side | None


def list_dicom(folder: Path) -> tuple[list[Instance], list[Path]]:
    """Return the images below `folder` as the archive would hand them on, and the segmentations; pass over the rest."""
    images, segmentations = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            ds = dcmread(
                path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
            )
        except (InvalidDicomError, *BROKEN_FILE):
            continue
        sop_class_uid = str(ds.get("SOPClassUID") or "")
        if sop_class_uid in {SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE}:
            segmentations.append(path)
        elif sop_class_uid:
            images.append(
                Instance(
                    sop_instance_uid=str(ds.get("SOPInstanceUID") or ""),
                    sop_class_uid=sop_class_uid,
                    series_instance_uid=str(ds.get("SeriesInstanceUID") or ""),
                    path=path,
                    sha256="",
                )
            )
    return images, segmentations


def read_segmentations(paths: Sequence[Path], volume: Volume) -> tuple[dict[Side, Bools], Bools | None, Bools | None]:
    """Return the glands by side, glands of no stated side, and the mass, all on the grid of `volume`.

    Segments of one meaning are joined; others are passed over. The mass is None where no segmentation speaks of one.
    Raises NeedsPerson (`bad_case`) where a segmentation cannot be read or lies on another grid.
    """
    glands: dict[Side, Bools] = {}
    sideless: Bools | None = None
    mass: Bools | None = None
    for path in paths:
        try:
            ds = dcmread(path)
            meanings = {int(segment.SegmentNumber): _understand(segment) for segment in ds.SegmentSequence}
            masks = _place_segments(ds, meanings, volume, path)
        except (InvalidDicomError, AttributeError, KeyError, IndexError, RuntimeError, *BROKEN_FILE) as error:
            raise _refuse(path, f"cannot be read ({type(error).__name__})") from error
        for number, mask in masks.items():
            meaning = meanings[number]
            if meaning.kind == "mass":
                mass = mask if mass is None else mass | mask
            elif meaning.side is None:
                sideless = mask if sideless is None else sideless | mask
            else:
                glands[meaning.side] = glands.get(meaning.side, np.zeros_like(mask)) | mask
    return {side: gland for side, gland in glands.items() if gland.any()}, sideless, mass


def _understand(segment: Dataset) -> _Meaning:
    """Read a segment's own words and codes; where it lies says only on which side, and only a gland is a gland."""
    own = [str(segment.get("SegmentLabel") or ""), str(segment.get("SegmentDescription") or "")]
    codes = set()
    types = list(segment.get("SegmentedPropertyTypeCodeSequence") or [])
    modifiers = [m for code in types for m in code.get("SegmentedPropertyTypeModifierCodeSequence") or []]
    regions = list(segment.get("AnatomicRegionSequence") or [])
    modifiers += [m for code in regions for m in code.get("AnatomicRegionModifierSequence") or []]
    for code in types:
        own.append(str(code.get("CodeMeaning") or ""))
        codes.add(str(code.get("CodeValue") or ""))
    sides = {_SIDE_CODES[str(m.get("CodeValue"))] for m in modifiers if str(m.get("CodeValue")) in _SIDE_CODES}
    texts = [_split_words(text) for text in own]
    if not sides:
        words = {word for text in texts for word in text}
        sides = {side for side, names in _SIDE_WORDS.items() if words & names}
    side = sides.pop() if len(sides) == 1 else None
    shown = {word for text in texts for word in takewhile(lambda word: word not in _DENIALS, text)}
    is_node = "gtvn" in shown or ("gtv" in shown and bool(shown & _NODE_WORDS))
    named = shown - {"gtv"} if is_node else shown
    if codes & _MASS_CODES or named & _MASS_WORDS or any(word.startswith(_MASS_STEMS) for word in named):
        return _Meaning("mass", side)
    is_gland = _PAROTID_CODE in codes or any("parotid" in word or "parotis" in word for word in shown)
    return _Meaning("gland" if is_gland and not is_node else "other", side)


def _split_words(text: str) -> list[str]:
    """Return the words of `text` in small letters and in order, without digits; "ParotidL" is two."""
    parted = re.sub(r"(parotid|mass|gtvp?)(?=[rl](?![^\W\d_]))", r"\1 ", text.lower())
    return re.findall(r"[^\W\d_]+", parted)


def _place_segments(ds: Dataset, meanings: dict[int, _Meaning], volume: Volume, path: Path) -> dict[int, Bools]:
    """Return each gland's or mass's mask on the grid of `volume`, by segment number."""
    frame_of_reference_uid = str(ds.get("FrameOfReferenceUID") or "")
    if frame_of_reference_uid and frame_of_reference_uid != volume.frame_of_reference_uid:
        raise _refuse(path, "belongs to another frame of reference than its images")
    masks = {number: np.zeros(volume.hu.shape, bool) for number, meaning in meanings.items() if meaning.kind != "other"}
    to_voxel = np.linalg.inv(volume.affine)
    for number, plane, affine in _read_frames(ds):
        if number not in masks or not plane.any():
            continue
        rows, columns = np.nonzero(plane)
        points = affine @ np.stack((columns, rows, np.ones_like(rows)))  # (4, n), LPS millimeters
        exact = (to_voxel @ points)[:3]  # (x, y, z)
        x, y, z = np.rint(exact).astype(int)
        depth, height, width = volume.hu.shape
        is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z >= 0) & (z < depth)
        if not is_inside.all() or np.abs(exact - np.rint(exact)).max() > _OFF_GRID_VOXELS:
            raise _refuse(path, "does not lie on the voxels of its images")
        masks[number][z, y, x] = True
    return masks


def _read_frames(ds: Dataset) -> Iterator[tuple[int, Bools, NDArray[np.float64]]]:
    """Yield each frame's segment, its mask (rows, columns), and its 4 x 3 from (column, row, 1) to LPS millimeters."""
    frames = np.asarray(ds.pixel_array)
    if frames.ndim == 2:
        frames = frames[None]
    shared = ds.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in ds else Dataset()
    kind = str(ds.get("SegmentationType") or "BINARY")
    for frame, own in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        affine = _place_frame(own, shared)
        if kind == "LABELMAP":
            for number in np.unique(frame[frame > 0]):
                yield int(number), frame == number, affine
            continue
        number = int(_group(own, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        half = float(ds.MaximumFractionalValue) / 2 if kind == "FRACTIONAL" else 0.5
        yield number, np.asarray(frame > half, bool), affine


def _place_frame(own: Dataset, shared: Dataset) -> NDArray[np.float64]:
    """Return the 4 x 3 of equation C.7.6.2.1-1 (PS3.3) without its column of zeros."""
    position = _group(own, shared, "PlanePositionSequence").ImagePositionPatient
    orientation = np.array(_group(own, shared, "PlaneOrientationSequence").ImageOrientationPatient, np.float64)
    row_step_mm, column_step_mm = map(float, _group(own, shared, "PixelMeasuresSequence").PixelSpacing)
    affine = np.zeros((4, 3))
    affine[:3, 0] = orientation[:3] * column_step_mm
    affine[:3, 1] = orientation[3:] * row_step_mm
    affine[:3, 2] = np.array(position, np.float64)
    affine[3, 2] = 1
    return affine


def _group(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Return a functional group's one item, the frame's own before the shared one (PS3.3 C.7.6.16)."""
    item: Dataset = (own if keyword in own else shared)[keyword].value[0]
    return item


def _refuse(path: Path, why: str) -> NeedsPerson:
    return NeedsPerson(f"{path} {why}.", code="bad_case")
