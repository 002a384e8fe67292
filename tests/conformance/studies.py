"""Small CT studies with known shapes, and what the stages before encoding would say of them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from screener.study import (
    AlgorithmIdentity,
    Candidate,
    GlandVerdict,
    Mass,
    Parotid,
    Presence,
    Side,
    Thresholds,
    Verdict,
    Volume,
)
from workers.results.encode_seg import encode_seg
from workers.results.encode_sr import encode_sr
from workers.results.identity import derive_uid, make_identity

Directions = tuple[tuple[float, ...], ...]
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
TILTED = ((0.9781, 0.2079, 0.0), (-0.2048, 0.9633, 0.1736), (0.0361, -0.1698, 0.9848))
"""A head turned by 12 degrees in planes tilted by 10."""
STARTED_AT = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)
THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="0123456789ab")
UNASSESSED = "The gland lies outside the scan."


@dataclass(frozen=True, kw_only=True)
class Study:
    """Sources on disk, and the values that the encoders take."""

    source_paths: list[Path]
    volume: Volume
    parotids: tuple[Parotid, ...]
    masses: tuple[Mass, ...]
    verdict: Verdict
    identity: AlgorithmIdentity
    run_key: str = "run 1"

    def seg(self) -> Dataset | None:
        return encode_seg(
            self.source_paths,
            self.volume,
            self.parotids,
            self.masses,
            identity=self.identity,
            run_key=self.run_key,
            started_at=STARTED_AT,
            algorithm_parameters=f"min_voxels={THRESHOLDS.min_voxels}",
        )

    def sr(self, seg: Dataset | None, *, thresholds: Thresholds = THRESHOLDS) -> Dataset:
        return encode_sr(
            self.source_paths,
            self.volume,
            self.parotids,
            self.masses,
            self.verdict,
            seg=seg,
            identity=self.identity,
            run_key=self.run_key,
            started_at=STARTED_AT,
            thresholds=thresholds,
            run_number=3,
        )

    def both(self) -> tuple[Dataset, Dataset]:
        seg = self.seg()
        assert seg is not None
        return seg, self.sr(seg)


def identify(weights: str = "a1b2") -> AlgorithmIdentity:
    return make_identity(
        weight_digests={"localizer": weights, "segmenter": "c3d4"},
        preprocessing_version="1",
        version="0.1.0",
        device_serial_number="1",
    )


def lay_in_plane(axes: Directions) -> list[Directions]:
    """Each of the eight ways in which a slice may lie in its file: directions of columns, rows and slices."""
    x, y, z = np.array(axes)
    ways = product(((x, y), (y, x)), (1, -1), (1, -1))
    return [(tuple(i * across), tuple(j * down), tuple(z)) for (across, down), i, j in ways]


IN_PLANE = [*lay_in_plane(AXIAL), *lay_in_plane(TILTED)]


def make_study(
    folder: Path,
    *,
    shape: tuple[int, int, int] = (16, 56, 64),
    directions: Directions = AXIAL,
    spacing_mm: tuple[float, float, float] = (1.5, 1.25, 3.0),
    descending: bool = False,
    present: tuple[Side, ...] = (Side.RIGHT,),
    unassessed: tuple[Side, ...] = (),
    **faults: Any,
) -> Study:
    """Write axial slices and lay two glands, and a mass in each gland of `present`, over them.

    `directions` are those of columns, rows and slices (x, y, z); a slice direction off the normal is a shear.
    `descending` numbers and names the files from head to feet. `faults` are set on every header; None removes.
    """
    affine = np.eye(4)
    affine[:3, :3] = (np.array(directions) * np.array(spacing_mm)[:, None]).T
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    generator = np.random.default_rng(5)
    hu = generator.integers(-100, 100, size=shape, dtype=np.int16)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for z in range(shape[0]):
        number = shape[0] - z if descending else z + 1
        ds = make_slice(hu[z], affine, z, number, **faults)
        path = folder / f"{number:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    volume = Volume(
        hu=hu,
        affine=affine,
        body=np.ones(shape, dtype=np.bool_),
        series_instance_uid=str(ds.SeriesInstanceUID),
        frame_of_reference_uid=str(ds.get("FrameOfReferenceUID") or ""),
        sop_instance_uids=tuple(_slice_uid(z) for z in range(shape[0])),
    )
    return dress(volume, paths, present=present, unassessed=unassessed)


def dress(
    volume: Volume,
    source_paths: list[Path],
    *,
    present: tuple[Side, ...] = (Side.RIGHT,),
    unassessed: tuple[Side, ...] = (),
) -> Study:
    """Lay glands and masses over a volume; the right gland lies at the patient's right, smaller LPS x."""
    parotids: list[Parotid] = []
    masses: list[Mass] = []
    glands: list[GlandVerdict] = []
    for side in Side:
        if side in unassessed:
            parotids.append(_missing(side))
            glands.append(
                GlandVerdict(side=side, presence=Presence.UNDETERMINED, reason=UNASSESSED, candidate_numbers=())
            )
            continue
        gland = place(volume, side, share=0.45)
        parotids.append(
            Parotid(
                side=side,
                is_assessed=True,
                reason="",
                center_mm=center_of(gland, volume),
                mask=gland,
                volume_mm3=float(gland.sum() * volume.voxel_volume_mm3),
                mean_hu=float(volume.hu[gland].mean()),
            )
        )
        numbers: tuple[int, ...] = ()
        if side in present:
            masses.append(_mass(volume, side, len(masses) + 1))
            numbers = (len(masses),)
        glands.append(
            GlandVerdict(
                side=side,
                presence=Presence.PRESENT if numbers else Presence.ABSENT,
                reason="A mass of at least 500 voxels." if numbers else "No mass of at least 500 voxels.",
                candidate_numbers=numbers,
            )
        )
    return Study(
        source_paths=source_paths,
        volume=volume,
        parotids=tuple(parotids),
        masses=tuple(masses),
        verdict=Verdict(is_flagged=bool(masses), glands=tuple(glands)),
        identity=identify(),
    )


def make_slice(hu: NDArray[np.int16], affine: NDArray[np.float64], z: int, number: int, **faults: Any) -> FileDataset:
    """Make one CT image (PS3.3 A.3), its place taken from the affine."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(_slice_uid(z))
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    row, column = (affine[:3, axis] / spacing_mm[axis] for axis in (0, 1))
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, _slice_uid(z)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derive_uid("test", "study"), derive_uid("test", "series")
    ds.FrameOfReferenceUID = derive_uid("test", "frame")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "CANARY^DONOTLOG", "CANARY-ID", "19500102", "O"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260304", "040506", "S1", "CANARY-ACC"
    ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "CT", 2, number
    ds.Manufacturer, ds.ManufacturerModelName = "Test scanners", "T-1000"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PositionReferenceIndicator = ""
    ds.ImageOrientationPatient = [f"{value:.10g}"[:16] for value in (*row, *column)]
    ds.ImagePositionPatient = [f"{value:.10g}"[:16] for value in affine[:3, 3] + z * affine[:3, 2]]
    ds.PixelSpacing = [f"{spacing_mm[1]:.10g}", f"{spacing_mm[0]:.10g}"]
    ds.SliceThickness = "3"
    ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "HU"
    ds.PixelData = hu.tobytes()
    for keyword, value in faults.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def place(volume: Volume, side: Side, *, share: float) -> NDArray[np.bool_]:
    """A ball on the patient's `side` of the volume's middle; its radius is `share` of the half's half-width."""
    linear = volume.affine[:3, :3]
    corners = np.array(list(product(*((0, size - 1) for size in volume.hu.shape[::-1])))) @ linear.T
    low, high = corners.min(axis=0) + volume.affine[:3, 3], corners.max(axis=0) + volume.affine[:3, 3]
    center = (low + high) / 2
    quarter = (high[0] - low[0]) / 4
    center[0] += -quarter if side is Side.RIGHT else quarter
    radius = share * min(2 * quarter, (high[1] - low[1]) / 2, (high[2] - low[2]) / 2)
    inverse = np.linalg.inv(linear)
    middle = inverse @ (center - volume.affine[:3, 3])  # (x, y, z), voxels
    reach = radius * np.linalg.norm(inverse, axis=1)
    ranges = [
        np.arange(max(0, int(at - far)), min(size, int(at + far) + 2))
        for at, far, size in zip(middle, reach, volume.hu.shape[::-1], strict=True)
    ]
    index = np.stack(np.meshgrid(*ranges[::-1], indexing="ij"), axis=-1)[..., ::-1]  # (z, y, x, 3)
    ball = np.zeros(volume.hu.shape, dtype=np.bool_)
    ball[np.ix_(*ranges[::-1])] = np.linalg.norm((index - middle) @ linear.T, axis=-1) <= radius
    return ball


def world_of(volume: Volume) -> NDArray[np.float64]:
    """LPS millimeters of every voxel, axes (z, y, x, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.hu.shape), indexing="ij"), axis=-1)[..., ::-1]
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def center_of(mask: NDArray[np.bool_], volume: Volume) -> tuple[float, float, float]:
    x, y, z = volume.affine[:3, :3] @ np.argwhere(mask)[:, ::-1].mean(axis=0) + volume.affine[:3, 3]
    return float(x), float(y), float(z)


def without_findings(study: Study) -> Study:
    """The same study where neither gland was found."""
    glands = tuple(
        GlandVerdict(side=side, presence=Presence.UNDETERMINED, reason=UNASSESSED, candidate_numbers=())
        for side in Side
    )
    return replace(
        study,
        parotids=tuple(_missing(side) for side in Side),
        masses=(),
        verdict=Verdict(is_flagged=False, glands=glands),
    )


def _missing(side: Side) -> Parotid:
    return Parotid(
        side=side, is_assessed=False, reason=UNASSESSED, center_mm=None, mask=None, volume_mm3=0.0, mean_hu=None
    )


def _mass(volume: Volume, side: Side, number: int) -> Mass:
    mask = place(volume, side, share=0.3)
    volume_mm3 = float(mask.sum() * volume.voxel_volume_mm3)
    return Mass(
        candidate=Candidate(
            side=side,
            number=number,
            voxels=round(volume_mm3),
            volume_mm3=volume_mm3,
            longest_diameter_mm=2 * (volume_mm3 * 0.75 / np.pi) ** (1 / 3),
            mean_hu=float(volume.hu[mask].mean()),
            max_probability=0.93,
            mean_probability=0.8,
            center_mm=center_of(mask, volume),
        ),
        mask=mask,
    )


def _slice_uid(z: int) -> str:
    return derive_uid("test", f"slice {z}")
