"""SELECTED -> LOADED: read one series into Hounsfield units with the affine that places them in the patient.

Nothing is resampled, so that a result can be written on the source images. A
series whose positions leave doubt is refused: a mask one slice off is worse
than none.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from screener.outcomes import NeedsPerson, SetAside
from screener.read_file import read_numbers
from screener.study import Instance, Volume
from workers.compare_patients import Patient, read_patient, refuse_mixed
from workers.ct.check_values import check_values
from workers.ct.decode_slice import SliceDecoder, reading
from workers.ct.list_frames import PHASE_KEYWORDS, SAME_PLACE_MM, tell
from workers.ct.mask_body import mask_body
from workers.ct.select_series import MIN_SLICES, choose_stack, is_localizer

logger = logging.getLogger(__name__)

JITTER_MM = 0.05
JITTER_SHARE = 0.02
"""Distances between slices may differ by the larger of the two, as rounding and couch encoders make them."""
OFF_LINE_MM = 1.0
"""How far a slice may lie beside the line through the first and the last."""
MIN_TILT_COSINE = 0.82
"""Between the way from slice to slice and their normal: 35 degrees, a gantry tilts by 30 at most."""
SIZES = range(32, 2049)
"""Rows and columns of a plausible CT image."""
MAX_VOXELS = 2**29
"""512 slices of 1024 x 1024, or 2,048 of 512 x 512: up to the decision a worker holds some four bytes for each."""
MAX_WIDTH_MM = 1200.0
"""Of an image: no gantry is as wide, so the spacing is wrong."""
MAX_LENGTH_MM = 3000.0
"""From the first slice to the last."""
MAX_DISTANCE_MM = 10.0
"""Between slices: a mass of 10 mm would lie between two."""
MAX_SKEW = 0.02
"""Cosine between rows and columns: zero but for rounding."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """One image's or frame's header and where it lies; pixels are read later, one at a time."""

    instance: Instance
    number: int
    """Of the frame, from 1; 0 for a single image."""
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
    patient: Patient
    phases: tuple[str, ...]
    """Of each of PHASE_KEYWORDS the value; empty where it is absent or broken."""


def load_volume(instances: Sequence[Instance], series_instance_uid: str, *, min_slices: int = MIN_SLICES) -> Volume:
    """Return the series as one volume; the order of `instances` does not matter.

    Slices run from feet to head whatever the acquisition's direction; rows and
    columns stay as stored, the affine says which way they go. The affine's
    third column is the mean step between slices, so that gantry tilt stays as
    shear (PS3.3 C.7.6.2.1.1). Padding becomes air. Scouts that share the series
    are left out, and so are images of another kind and a second copy of a slice
    with the same pixels. Of several phases, and of enhanced multi-frame images,
    the best stack is read.

    NeedsPerson: unreadable_file, missing_position, missing_spacing,
    mixed_geometry, absurd_size, not_axial, duplicate_position, gap,
    mixed_spacing, mixed_acquisitions, missing_rescale, implausible_values,
    multi_frame, truncated_pixel_data, undecodable, mixed_patients. SetAside: too_few_slices.
    """
    chosen = [one for one in instances if one.series_instance_uid == series_instance_uid]
    slices = _read_slices(sorted(chosen, key=lambda one: one.sop_instance_uid))
    if not slices:
        raise SetAside("The series holds no slices.", code="too_few_slices")
    refuse_mixed(one.patient for one in slices)
    _check_same_geometry(slices)
    normal = _find_normal(slices[0].orientation)
    slices.sort(key=lambda one: (round(float(one.position_mm @ normal), 3), one.instance.sop_instance_uid, one.number))
    decoder = SliceDecoder()
    slices = _drop_copies(slices, normal, decoder)
    if len(slices) < min_slices:
        raise SetAside(f"The series has only {len(slices)} slices; {min_slices} are needed.", code="too_few_slices")
    _check_spacing(slices, normal)
    _check_acquisitions(slices)
    affine = _make_affine(slices, normal)
    hu = np.empty((len(slices), *slices[0].shape), np.int16)  # (z, y, x)
    for index, one in enumerate(slices):
        hu[index] = decoder.decode(one.instance, one.shape, one.number)
    x, y, z = (float(size_mm) for size_mm in np.linalg.norm(affine[:3, :3], axis=0))
    check_values(hu, np.array([one.position_mm[2] for one in slices]), (x, y, z))
    body = mask_body(hu, (x, y, z))
    if not body.any():
        raise NeedsPerson("No body is found in the series.", code="implausible_values")
    return Volume(
        hu=hu,
        affine=affine,
        body=body,
        series_instance_uid=series_instance_uid,
        frame_of_reference_uid=slices[0].frame_of_reference_uid,
        sop_instance_uids=tuple(one.instance.sop_instance_uid for one in slices),
        frame_numbers=tuple(one.number for one in slices) if any(one.number for one in slices) else (),
    )


def _read_slices(instances: Sequence[Instance]) -> list[_Slice]:
    """Read the headers of the best stack of images or frames; scouts are left out."""
    stack = choose_stack(instances) if instances else ()
    read = [_read_slice(frame.instance, frame.header, frame.number) for frame in stack]
    return [one for one in read if one is not None]


def _read_slice(instance: Instance, ds: Dataset, number: int) -> _Slice | None:
    """Take from a header what places its image, and check it; None for a scout."""
    uid = instance.sop_instance_uid
    with reading(instance):
        if is_localizer(ds):
            return None
        orientation = read_numbers(ds, "ImageOrientationPatient")
        position = read_numbers(ds, "ImagePositionPatient")
        spacing = read_numbers(ds, "PixelSpacing")
        shape = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
        frames = int(ds.get("NumberOfFrames") or 1)
        frame_of_reference_uid = str(ds.get("FrameOfReferenceUID") or "")
    if "Rows" not in ds:
        raise NeedsPerson(f"The file of SOP Instance UID {uid} is cut short.", code="unreadable_file")
    for name, values, count in (("ImagePositionPatient", position, 3), ("ImageOrientationPatient", orientation, 6)):
        if len(values) != count or not np.isfinite(values).all():
            raise NeedsPerson(
                f"SOP Instance UID {uid} does not say where it lies: {name} is missing.", code="missing_position"
            )
    if len(spacing) != 2 or not (spacing >= 0.05).all() or not (spacing <= 10.0).all():  # NaN is neither
        raise NeedsPerson(f"SOP Instance UID {uid} has no usable PixelSpacing.", code="missing_spacing")
    return _Slice(
        instance=instance,
        number=number,
        position_mm=position,
        orientation=orientation,
        spacing_mm=spacing,
        shape=shape,
        frames=frames,
        frame_of_reference_uid=frame_of_reference_uid,
        patient=read_patient(ds),
        phases=tuple(tell(ds, keyword) for keyword in PHASE_KEYWORDS),
    )


def _check_same_geometry(slices: list[_Slice]) -> None:
    """Refuse a series whose slices do not share size, pixel spacing, orientation and frame of reference."""
    first = slices[0]
    rows, columns = first.shape
    if any(size not in SIZES for size in first.shape) or len(slices) * rows * columns > MAX_VOXELS:
        raise NeedsPerson(
            f"{len(slices)} images of {rows} x {columns} are no plausible CT series, or more than can be read.",
            code="absurd_size",
        )
    height_mm, width_mm = first.spacing_mm * first.shape
    if max(height_mm, width_mm) > MAX_WIDTH_MM:
        raise NeedsPerson(
            f"Images of {width_mm:.0f} x {height_mm:.0f} mm are no plausible CT: PixelSpacing must be wrong.",
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


def _drop_copies(slices: list[_Slice], normal: Floats, decoder: SliceDecoder) -> list[_Slice]:
    """Keep one of two slices at one position if their pixels agree; refuse otherwise. `slices` are in order."""
    kept = slices[:1]
    for one in slices[1:]:
        distance_mm = float((one.position_mm - kept[-1].position_mm) @ normal)
        if distance_mm > SAME_PLACE_MM:
            kept.append(one)
        elif np.linalg.norm(one.position_mm - kept[-1].position_mm) > OFF_LINE_MM or not np.array_equal(
            decoder.decode(one.instance, one.shape, one.number),
            decoder.decode(kept[-1].instance, one.shape, kept[-1].number),
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
    if usual_mm > MAX_DISTANCE_MM or places_mm[-1] - places_mm[0] > MAX_LENGTH_MM:
        raise NeedsPerson(
            f"{len(slices)} slices that lie {usual_mm:.1f} mm apart, over {places_mm[-1] - places_mm[0]:.0f} mm, "
            "cannot be searched for a mass.",
            code="absurd_size",
        )
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
    step = positions[-1] - positions[0]
    if step @ normal < MIN_TILT_COSINE * np.linalg.norm(step):
        raise NeedsPerson(
            f"The slices lie {np.linalg.norm(step) / (len(slices) - 1):.1f} mm apart, far more beside than above each "
            "other: no gantry tilts so far.",
            code="mixed_spacing",
        )
    line = np.linspace(positions[0], positions[-1], len(positions))
    off_mm = float(np.linalg.norm(positions - line, axis=1).max())
    if off_mm > OFF_LINE_MM:
        raise NeedsPerson(
            f"A slice lies {off_mm:.1f} mm beside the line through the first and the last.", code="mixed_spacing"
        )


def _check_acquisitions(slices: list[_Slice]) -> None:
    """Refuse acquisitions, phases, voltages or kernels that lie between each other's slices; `slices` are in order.

    Evenly spaced, they would pass as one volume, though the patient may have moved or taken up contrast medium
    between them. Acquisitions one after another, as of a scanner that stops at each slice, are one volume.
    """
    for values in zip(*(one.phases for one in slices), strict=True):
        told = [value for value in values if value]
        changes = sum(one != before for one, before in zip(told[1:], told, strict=False))
        if changes + 1 > max(1, len(set(told))):
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
