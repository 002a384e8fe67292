"""SELECTED -> LOADED: read one series into Hounsfield units with the affine that places them in the patient.

Nothing is resampled, so that a result can be written on the source images. A
series whose positions leave doubt is refused: a mask one slice off is worse
than none.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from screener.outcomes import NeedsPerson, SetAside
from screener.study import Instance, Volume
from workers.ct.check_values import AIR_HU, check_values
from workers.ct.mask_body import mask_body
from workers.ct.select_series import BROKEN_FILE, MIN_SLICES, is_localizer

logger = logging.getLogger(__name__)

SAME_PLACE_MM = 0.01
"""Slices nearer than this lie at one position; positions are written to 0.001 mm or better."""
JITTER_MM = 0.05
JITTER_SHARE = 0.02
"""Distances between slices may differ by the larger of the two, as rounding and couch encoders make them."""
OFF_LINE_MM = 1.0
"""How far a slice may lie beside the line through the first and the last."""
SIZES = range(32, 2049)
"""Rows and columns of a plausible CT image."""
MAX_SLICES = 4000
MAX_BELOW_AIR_HU = 100
"""Noise, and what some scanners store for air."""
MAX_SKEW = 0.02
"""Cosine between rows and columns: zero but for rounding."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """One image's header and where it lies; pixels are read later, one at a time."""

    instance: Instance
    position_mm: Floats
    """ImagePositionPatient: center of the first voxel, LPS."""
    orientation: Floats
    """ImageOrientationPatient: direction of increasing column index, then of increasing row index."""
    spacing_mm: Floats
    """PixelSpacing: between rows, then between columns."""
    shape: tuple[int, int]
    """Rows, columns."""
    frames: int
    frame_of_reference_uid: str
    patient_id: str
    """Compared, never told."""
    acquisition: str
    """AcquisitionNumber; empty where it is absent or no number."""


def load_volume(instances: Sequence[Instance], series_instance_uid: str, *, min_slices: int = MIN_SLICES) -> Volume:
    """Return the series as one volume; the order of `instances` does not matter.

    Slices run from feet to head whatever the acquisition's direction; rows and
    columns stay as stored, the affine says which way they go. The affine's
    third column is the mean step between slices, so that gantry tilt stays as
    shear (PS3.3 C.7.6.2.1.1). Padding becomes air. Scouts that share the series
    are left out, and so is a second copy of a slice with the same pixels.

    NeedsPerson: unreadable_file, missing_position, missing_spacing,
    mixed_geometry, absurd_size, not_axial, duplicate_position, gap,
    mixed_spacing, mixed_acquisitions, missing_rescale, implausible_values,
    multi_frame, truncated_pixel_data, undecodable. SetAside: too_few_slices.
    """
    chosen = [one for one in instances if one.series_instance_uid == series_instance_uid]
    read = [_read_slice(one) for one in sorted(chosen, key=lambda one: one.sop_instance_uid)]
    slices = [one for one in read if one is not None]
    if not slices:
        raise SetAside("The series holds no slices.", code="too_few_slices")
    _check_same_geometry(slices)
    normal = _find_normal(slices[0].orientation)
    slices.sort(key=lambda one: (round(float(one.position_mm @ normal), 3), one.instance.sop_instance_uid))
    slices = _drop_copies(slices, normal)
    if len(slices) < min_slices:
        raise SetAside(f"The series has only {len(slices)} slices; {min_slices} are needed.", code="too_few_slices")
    _check_spacing(slices, normal)
    _check_acquisitions(slices)
    affine = _make_affine(slices, normal)
    hu = np.stack([_decode(one) for one in slices])  # (z, y, x)
    check_values(hu, np.array([one.position_mm[2] for one in slices]))
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(
        hu=hu,
        affine=affine,
        body=mask_body(hu, (float(x), float(y), float(z))),
        series_instance_uid=series_instance_uid,
        frame_of_reference_uid=slices[0].frame_of_reference_uid,
        sop_instance_uids=tuple(one.instance.sop_instance_uid for one in slices),
    )


@contextmanager
def _reading(instance: Instance) -> Iterator[None]:
    """Turn what pydicom raises over a broken file into a sentence that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # flaws of elements that are not used here are many and harmless
            yield
    except BROKEN_FILE as error:
        raise NeedsPerson(
            f"The file of SOP Instance UID {instance.sop_instance_uid} cannot be read ({type(error).__name__}).",
            code="unreadable_file",
        ) from error


def _read_slice(instance: Instance) -> _Slice | None:
    """Read a header and check that it can place its image; None for a scout."""
    uid = instance.sop_instance_uid
    with _reading(instance):
        ds = dcmread(instance.path, stop_before_pixels=True)
        if is_localizer(ds):
            return None
        orientation = np.array(ds.get("ImageOrientationPatient") or (), np.float64)
        position = np.array(ds.get("ImagePositionPatient") or (), np.float64)
        spacing = np.array(ds.get("PixelSpacing") or (), np.float64)
        shape = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
        frames = int(ds.get("NumberOfFrames") or 1)
        frame_of_reference_uid = str(ds.get("FrameOfReferenceUID") or "")
        patient_id = str(ds.get("PatientID") or "").strip()
    if "Rows" not in ds:
        raise NeedsPerson(f"The file of SOP Instance UID {uid} is cut short.", code="unreadable_file")
    for name, values, count in (("ImagePositionPatient", position, 3), ("ImageOrientationPatient", orientation, 6)):
        if len(values) != count or not np.isfinite(values).all():
            raise NeedsPerson(
                f"SOP Instance UID {uid} does not say where it lies: {name} is missing.", code="missing_position"
            )
    if len(spacing) != 2 or spacing.min() < 0.05 or spacing.max() > 10.0:
        raise NeedsPerson(f"SOP Instance UID {uid} has no usable PixelSpacing.", code="missing_spacing")
    return _Slice(
        instance=instance,
        position_mm=position,
        orientation=orientation,
        spacing_mm=spacing,
        shape=shape,
        frames=frames,
        frame_of_reference_uid=frame_of_reference_uid,
        patient_id=patient_id,
        acquisition=_read_acquisition(ds),
    )


def _read_acquisition(ds: Dataset) -> str:
    """AcquisitionNumber as text; a broken one is none, for nothing else is read from it."""
    try:
        return str(ds.get("AcquisitionNumber") or "")
    except BROKEN_FILE:
        return ""


def _check_same_geometry(slices: list[_Slice]) -> None:
    """Refuse a series whose slices do not share size, pixel spacing, orientation, frame of reference and patient."""
    first = slices[0]
    if any(size not in SIZES for size in first.shape) or len(slices) > MAX_SLICES:
        raise NeedsPerson(
            f"{len(slices)} images of {first.shape[0]} x {first.shape[1]} are no plausible CT series.",
            code="absurd_size",
        )
    for one in slices:
        if one.frames != 1:
            raise NeedsPerson("An image of the series holds several frames.", code="multi_frame")
        for keyword, is_same in (
            ("size", one.shape == first.shape),
            ("PixelSpacing", np.allclose(one.spacing_mm, first.spacing_mm, atol=1e-3)),
            ("ImageOrientationPatient", np.allclose(one.orientation, first.orientation, atol=2e-3)),
            ("FrameOfReferenceUID", one.frame_of_reference_uid == first.frame_of_reference_uid),
            ("PatientID", one.patient_id == first.patient_id),
        ):
            if not is_same:
                raise NeedsPerson(
                    f"The images of the series do not fit together: {keyword} differs.", code="mixed_geometry"
                )


def _find_normal(orientation: Floats) -> Floats:
    """The slices' unit normal, turned so that it points to the head."""
    across, down = orientation[:3], orientation[3:]
    normal = np.cross(across, down)
    size = float(np.linalg.norm(normal))
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if abs(across @ down) > MAX_SKEW or not np.allclose(lengths, 1.0, atol=0.02):
        raise NeedsPerson("ImageOrientationPatient holds no two perpendicular directions.", code="missing_position")
    if abs(normal[2]) < 0.8:
        raise NeedsPerson("The images are not axial.", code="not_axial")
    return np.asarray(normal / size * np.sign(normal[2]), np.float64)


def _drop_copies(slices: list[_Slice], normal: Floats) -> list[_Slice]:
    """Keep one of two slices at one position if their pixels agree; refuse otherwise. `slices` are in order."""
    kept = slices[:1]
    for one in slices[1:]:
        distance_mm = float((one.position_mm - kept[-1].position_mm) @ normal)
        if distance_mm > SAME_PLACE_MM:
            kept.append(one)
        elif np.linalg.norm(one.position_mm - kept[-1].position_mm) > OFF_LINE_MM or not np.array_equal(
            _decode(one), _decode(kept[-1])
        ):
            raise NeedsPerson(
                f"Two different slices lie at one position, z = {one.position_mm[2]:.2f} mm: "
                "the series may hold several phases or reconstructions.",
                code="duplicate_position",
            )
    if len(kept) < len(slices):
        logger.info("stage=loaded copies_dropped=%d", len(slices) - len(kept))
    return kept


def _check_spacing(slices: list[_Slice], normal: Floats) -> None:
    """Refuse gaps, mixed distances and slices beside the line; `slices` are in order, none at one position."""
    if len(slices) < 2:
        raise SetAside("A single slice is no volume.", code="too_few_slices")
    positions = np.array([one.position_mm for one in slices])
    places_mm = positions @ normal
    distances_mm = np.diff(places_mm)
    usual_mm = float(np.median(distances_mm))
    tolerance_mm = max(JITTER_MM, JITTER_SHARE * usual_mm)
    odd = np.flatnonzero(np.abs(distances_mm - usual_mm) > tolerance_mm)
    if len(odd):
        steps = distances_mm[odd] / usual_mm
        if np.all(steps > 1.5) and np.all(np.abs(steps - np.rint(steps)) < 0.1):
            where = int(odd[0])
            missing = int(np.rint(steps).sum()) - len(odd)
            raise NeedsPerson(
                f"{missing} slice{'s are' if missing > 1 else ' is'} missing: nothing lies between "
                f"z = {positions[where, 2]:.2f} and {positions[where + 1, 2]:.2f} mm, "
                f"where slices are {usual_mm:.2f} mm apart.",
                code="gap",
            )
        raise NeedsPerson(
            f"The slices lie {distances_mm.min():.2f} to {distances_mm.max():.2f} mm apart, not evenly.",
            code="mixed_spacing",
        )
    line = np.linspace(positions[0], positions[-1], len(positions))
    off_mm = float(np.linalg.norm(positions - line, axis=1).max())
    if off_mm > OFF_LINE_MM:
        raise NeedsPerson(
            f"A slice lies {off_mm:.1f} mm beside the line through the first and the last.", code="mixed_spacing"
        )


def _check_acquisitions(slices: list[_Slice]) -> None:
    """Refuse acquisitions that lie between each other's slices; `slices` are in order.

    Evenly spaced, they would pass as one volume, though the patient may have moved or taken up contrast medium
    between them. Acquisitions one after another, as of a scanner that stops at each slice, are one volume.
    """
    runs = [
        one.acquisition
        for one, before in zip(slices[1:], slices, strict=False)
        if one.acquisition != before.acquisition
    ]
    if len(runs) + 1 > len({one.acquisition for one in slices}):
        raise NeedsPerson(
            "Slices of several acquisitions lie between each other: the series may hold several phases.",
            code="mixed_acquisitions",
        )


def _make_affine(slices: list[_Slice], normal: Floats) -> Floats:
    """4 x 4, voxel (x, y, z, 1) to LPS millimeters (PS3.3 equation C.7.6.2.1-1, extended over slices)."""
    first = slices[0]
    row_step_mm, column_step_mm = first.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[:3] * column_step_mm
    affine[:3, 1] = first.orientation[3:] * row_step_mm
    if len(slices) > 1:
        affine[:3, 2] = (slices[-1].position_mm - first.position_mm) / (len(slices) - 1)
    else:
        affine[:3, 2] = normal
    affine[:3, 3] = first.position_mm
    return affine


def _decode(one: _Slice) -> NDArray[np.int16]:
    """Read one image's pixels as Hounsfield units, (y, x); padding and everything below -1024 become -1024."""
    uid = one.instance.sop_instance_uid
    with _reading(one.instance):
        ds = dcmread(one.instance.path)
        if "PixelData" not in ds:
            raise NeedsPerson(f"SOP Instance UID {uid} has no pixels.", code="truncated_pixel_data")
        slope, intercept = ds.get("RescaleSlope"), ds.get("RescaleIntercept")
        if slope is None or intercept is None or not 0.0 < slope < np.inf or not np.isfinite(float(intercept)):
            raise NeedsPerson(
                f"SOP Instance UID {uid} does not say how its values become Hounsfield units.", code="missing_rescale"
            )
        _check_length(ds, uid)
        stored = _decode_pixels(ds, uid)
        if stored.shape != one.shape:
            raise NeedsPerson(f"SOP Instance UID {uid} is no grayscale image.", code="undecodable")
        hu = np.rint(stored.astype(np.float32) * np.float32(slope) + np.float32(intercept))
        hu[_find_padding(ds, stored)] = AIR_HU
        _check_bits(ds, stored, hu, uid)
    return np.asarray(np.clip(hu, AIR_HU, np.iinfo(np.int16).max), np.int16)


def _decode_pixels(ds: Dataset, uid: str) -> NDArray[np.integer]:
    """Decode with whichever decoder is installed; the sentence names the transfer syntax where none can."""
    try:
        return ds.pixel_array
    except (*BROKEN_FILE, RuntimeError, AttributeError, IndexError, KeyError) as error:
        name = _transfer_syntax(ds).name
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {uid} cannot be decoded: {name}.", code="undecodable"
        ) from error


def _check_length(ds: Dataset, uid: str) -> None:
    """Refuse uncompressed pixel data shorter than rows x columns: the transfer or the disk lost the rest."""
    if _transfer_syntax(ds).is_compressed:
        return
    bits = int(ds.get("SamplesPerPixel") or 1) * int(ds.get("BitsAllocated") or 16)
    expected = int(ds.Rows) * int(ds.Columns) * bits // 8
    if len(ds.PixelData) < expected:
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {uid} are cut short: {len(ds.PixelData)} of {expected} bytes.",
            code="truncated_pixel_data",
        )


def _check_bits(ds: Dataset, stored: NDArray[np.integer], hu: NDArray[np.float32], uid: str) -> None:
    """Refuse values that BitsStored and HighBit misdescribe (PS3.5 8.1.1): decoded, bone would wrap round to air.

    The decoder drops the unused bits. They may hold an old overlay, or lack the sign of a negative value; then the
    value is true, unless it lies below all Hounsfield units.
    """
    bits_stored = int(ds.get("BitsStored") or 16)
    if int(ds.get("HighBit", bits_stored - 1)) != bits_stored - 1:
        raise NeedsPerson(f"The values of SOP Instance UID {uid} do not end at the lowest bit.", code="undecodable")
    if _transfer_syntax(ds).is_compressed or int(ds.get("BitsAllocated") or 16) != 16:
        return
    order = "<" if _transfer_syntax(ds).is_little_endian else ">"
    written = np.frombuffer(ds.PixelData, f"{order}u2", count=stored.size).reshape(stored.shape)
    wrapped = written != stored.astype(np.uint16)
    if stored.dtype.kind == "i":
        wrapped &= (written >= 1 << bits_stored) | (hu < AIR_HU - MAX_BELOW_AIR_HU)
    has_overlay = any((group, 0x0102) in ds for group in range(0x6000, 0x6020, 2))
    if wrapped.any() and not has_overlay:
        raise NeedsPerson(
            f"The values of SOP Instance UID {uid} do not fit in its {bits_stored} bits.", code="undecodable"
        )


def _transfer_syntax(ds: Dataset) -> UID:
    return UID(ds.file_meta.TransferSyntaxUID)


def _find_padding(ds: Dataset, stored: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where PixelPaddingValue, or the range up to PixelPaddingRangeLimit, stands (PS3.3 C.7.5.1.1.2)."""
    value = ds.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(stored.shape, bool)
    limit = ds.get("PixelPaddingRangeLimit")
    ends = [value, limit if isinstance(limit, int) else value]
    if int(ds.get("PixelRepresentation") or 0) == 1:  # some senders write the signed value as an unsigned one
        ends = [end - 65536 if end > 32767 else end for end in ends]
    else:  # or the other way round
        ends = [end + 65536 if end < 0 else end for end in ends]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)), np.bool_)
