"""Read glands and masses outlined as DICOM segmentations (PS3.3 A.51) on the grid of their CT."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from screener.know_segments import Meaning, understand_segment
from screener.outcomes import NeedsPerson
from screener.read_file import BROKEN_FILE
from screener.study import Instance, Side, Volume

Bools = NDArray[np.bool_]

LABEL_MAP_SEGMENTATION_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"

_OFF_GRID_VOXELS = 0.3
"""A segmentation whose voxels lie further from those of the images was made on another grid."""
_BROKEN = (*BROKEN_FILE, RuntimeError)
"""The latter where pixels cannot be decoded."""


def list_dicom(folder: Path) -> tuple[list[Instance], list[Path]]:
    """Return the images below `folder` as the archive would hand them on, and the segmentations; pass over the rest."""
    images, segmentations = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            ds = dcmread(
                path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
            )
        except BROKEN_FILE:
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
    Raises NeedsPerson (`bad_case`) where a segmentation cannot be read, lies on another grid or names another series.
    """
    glands: dict[Side, Bools] = {}
    sideless: Bools | None = None
    mass: Bools | None = None
    for path in paths:
        try:
            ds = dcmread(path)
            meanings = {int(segment.SegmentNumber): understand_segment(segment) for segment in ds.SegmentSequence}
            masks = _place_segments(ds, meanings, volume, path)
        except _BROKEN as error:
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


def list_drawn_on(paths: Sequence[Path]) -> set[str]:
    """Return the series that segmentations of a gland or a mass say they were drawn on; some say nothing."""
    drawn_on: set[str] = set()
    for path in paths:
        try:
            ds = dcmread(path, stop_before_pixels=True)
            if any(understand_segment(segment).kind != "other" for segment in ds.SegmentSequence):
                drawn_on |= _name_series(ds)
        except _BROKEN:
            continue
    return drawn_on


def outlines_mass(path: Path) -> bool:
    """Return whether a segmentation covers a voxel of a mass, on whatever grid.

    Where its voxels cannot be read, whether it names a mass; False where its words cannot be read either.
    """
    try:
        ds = dcmread(path)
        masses = {int(one.SegmentNumber) for one in ds.SegmentSequence if understand_segment(one).kind == "mass"}
    except _BROKEN:
        return False
    try:
        return any(number in masses and plane.any() for number, plane, _ in _read_frames(ds))
    except _BROKEN:
        return bool(masses)


def _place_segments(ds: Dataset, meanings: dict[int, Meaning], volume: Volume, path: Path) -> dict[int, Bools]:
    """Return each gland's or mass's mask on the grid of `volume`, by segment number."""
    frame_of_reference_uid = str(ds.get("FrameOfReferenceUID") or "")
    if frame_of_reference_uid and frame_of_reference_uid != volume.frame_of_reference_uid:
        raise _refuse(path, "belongs to another frame of reference than its images")
    masks = {number: np.zeros(volume.hu.shape, bool) for number, meaning in meanings.items() if meaning.kind != "other"}
    if masks and (drawn_on := _name_series(ds)) and volume.series_instance_uid not in drawn_on:
        raise _refuse(path, "was drawn on another series than its images")  # of thicker slices it would leave holes
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


def _name_series(ds: Dataset) -> set[str]:
    """Return the series that a segmentation refers to (PS3.3 C.12.2)."""
    named = {str(item.get("SeriesInstanceUID") or "") for item in ds.get("ReferencedSeriesSequence") or []}
    return named - {""}


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
