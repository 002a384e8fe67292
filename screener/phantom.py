"""The synthetic patient: a head and neck CT as conformant DICOM, for the demo, the tests and the canary.

It resembles a patient enough to be screened and never is one: its name is
`CANARY^DONOTLOG`, so that a log which holds it shows a leak.
"""

import math
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from screener.phantom_anatomy import paint_patient
from screener.phantom_canvas import BONE, LEFT_PAROTID, RIGHT_PAROTID, Canvas, Floats
from screener.study import Side

if TYPE_CHECKING:
    from screener.phantom_us import UltrasoundPhantom

_Scalar = TypeVar("_Scalar", bound=np.generic)

Z_RANGE_MM = (-130.0, 75.0)
"""What is scanned unless asked otherwise, about the height of the glands: root of the neck to forehead."""
GLAND_CENTER_MM = (60.0, 1.0, -5.0)
"""Center of the left parotid's main lobe, anatomical millimeters."""
IMPLEMENTATION_CLASS_UID = UID("2.25.209516934412838373812340651127380524189")
UID_NAMESPACE = uuid.UUID("6f4f8c0c-5a2e-4a0b-9a53-2b0c7a3f7d11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """A synthetic study and the truth about it."""

    datasets: list[Dataset]
    """Axial CT images from feet to head, then the localizer if there is one."""
    hu: NDArray[np.int16]
    """Hounsfield units, axes (z, y, x), feet to head."""
    affine: NDArray[np.float64]
    """4 x 4, voxel index (x, y, z, 1) to LPS millimeters."""
    right_parotid: NDArray[np.bool_]
    """(z, y, x), the patient's right; a mass is part of its gland."""
    left_parotid: NDArray[np.bool_]
    """(z, y, x), the patient's left."""
    mass: NDArray[np.bool_] | None
    """(z, y, x); None when the patient has none."""
    study_instance_uid: str


def make_phantom(
    *,
    mass_mm: float | None = None,
    mass_side: Side = Side.RIGHT,
    seed: int = 0,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 2.5),
    rows: int = 256,
    with_localizer: bool = False,
    mirrored: bool = False,
    z_range_mm: tuple[float, float] | None = None,
    patient_name: str = "CANARY^DONOTLOG",
    patient_id: str = "CANARY-ID-1",
    accession_number: str = "CANARY-ACC-1",
    uid_salt: str | None = None,
) -> Phantom:
    """Make a patient; the same arguments make the same voxels, byte for byte.

    `mass_mm` is the diameter of the sphere that has the mass's volume; the mass
    itself is lobulated. `z_range_mm` is measured from the height of the glands'
    centers, feet negative: (-260, 148) is the whole patient. `mirrored` swaps the
    patient's sides, the mass's included, and nothing else. UIDs are new at each
    call unless `uid_salt` is given; then they follow from it.
    """
    random = np.random.default_rng(seed)
    canvas, affine = _make_canvas(random, spacing_mm, rows, z_range_mm or Z_RANGE_MM)
    paint_patient(canvas, random)
    mass = None
    if mass_mm is not None:
        # A stream of its own: the same seed is the same patient with and without a mass.
        mass = _paint_mass(canvas, np.random.default_rng((seed, 1)), mass_mm, mass_side, float(np.prod(spacing_mm)))
    right, left = canvas.owner == RIGHT_PAROTID, canvas.owner == LEFT_PAROTID
    if mass is not None:
        right, left = (right | mass, left) if mass_side is Side.RIGHT else (right, left | mass)
    hu = _scan(canvas, random)
    if mirrored:
        hu, right, left = _flip(hu), _flip(left), _flip(right)
        mass = None if mass is None else _flip(mass)
    salt = uid_salt if uid_salt is not None else uuid.uuid4().hex
    maker = _DatasetMaker(
        salt=salt, patient_name=patient_name, patient_id=patient_id, accession_number=accession_number, affine=affine
    )
    datasets = [maker.make_slice(hu, index) for index in range(len(hu))]
    if with_localizer:
        datasets.append(maker.make_localizer(hu))
    return Phantom(
        datasets=datasets,
        hu=hu,
        affine=affine,
        right_parotid=right,
        left_parotid=left,
        mass=mass,
        study_instance_uid=maker.derive_uid("study"),
    )


def write_phantom(phantom: "Phantom | UltrasoundPhantom", folder: Path) -> list[Path]:
    """Write one file per image (PS3.10) into `folder`, made if absent; the paths follow `datasets`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(phantom.datasets, start=1):
        path = folder / f"{dataset.Modality}_{number:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _flip(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    return np.ascontiguousarray(array[:, :, ::-1])


def _make_canvas(
    random: np.random.Generator, spacing_mm: tuple[float, float, float], rows: int, z_range_mm: tuple[float, float]
) -> tuple[Canvas, NDArray[np.float64]]:
    """Place the voxel grid about a patient of random size, tilt and table position.

    The grid is symmetrical about x = 0, so that flipping it mirrors the patient exactly.
    """
    count = max(1, math.floor((z_range_mm[1] - z_range_mm[0]) / spacing_mm[2] + 1e-6) + 1)
    grow_x, grow_y, grow_z = random.uniform(0.94, 1.06) * random.uniform(0.97, 1.03, size=3)
    yaw, roll, pitch = np.radians(random.uniform((-4.0, -3.0, -5.0), (4.0, 3.0, 5.0)))
    x = (np.arange(rows) - (rows - 1) / 2) * spacing_mm[0]
    y = (np.arange(rows) - (rows - 1) / 2) * spacing_mm[1] + 15.0  # the head and neck lie about y = 15
    z = z_range_mm[0] + np.arange(count) * spacing_mm[2]
    columns, lines = x[None, :], y[:, None]
    table_y, table_z = np.round(random.uniform(-60.0, 60.0)), np.round(random.uniform(-600.0, 200.0))
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = x[0], y[0] - 15.0 + table_y, z[0] + table_z
    canvas = Canvas(
        x_mm=((np.cos(yaw) * columns + np.sin(yaw) * lines) / grow_x).astype(np.float32),
        y_mm=((np.cos(yaw) * lines - np.sin(yaw) * columns) / grow_y).astype(np.float32),
        z_mm=(z / grow_z).astype(np.float32),
        shift_mm=np.stack([np.tan(roll) * z, np.tan(pitch) * z * (z < 30.0)], axis=1).astype(np.float32),
        texture=_make_texture(random, (count, rows, rows), spacing_mm, 6.0),
        edge_mm=float(max(1.2, 1.4 * spacing_mm[0])),
    )
    return canvas, affine


def _make_texture(
    random: np.random.Generator, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], grain_mm: float
) -> Floats:
    """Smooth noise of unit deviation: coarse random values, interpolated linearly. Axes (z, y, x)."""
    spacing = spacing_mm[::-1]
    coarse = [max(2, math.ceil(n * s / grain_mm) + 2) for n, s in zip(shape, spacing, strict=True)]
    field = random.standard_normal(coarse, dtype=np.float32)
    for axis, (n, s) in enumerate(zip(shape, spacing, strict=True)):
        place = np.arange(n) * s / grain_mm
        low = np.minimum(place.astype(int), coarse[axis] - 2)
        share = np.minimum(place - low, 1.0).astype(np.float32)
        share = share.reshape([-1 if k == axis else 1 for k in range(3)])
        field = np.take(field, low, axis) * (1.0 - share) + np.take(field, low + 1, axis) * share
    return np.asarray(field * np.float32(1.0 / max(float(field.std()), 1e-6)), np.float32)


def _choose_center(random: np.random.Generator, mass_mm: float, side: Side) -> NDArray[np.float64]:
    """Where the mass lies: near the gland's center, the larger the nearer, larger ones bulging outward."""
    offset = random.uniform((-3.0, -5.0, -10.0), (3.0, 5.0, 8.0)) * np.clip(1.6 - mass_mm / 25.0, 0.2, 1.0)
    center = np.array(GLAND_CENTER_MM) + offset + (max(0.0, mass_mm / 2 - 12.0) * 0.6, 0.0, 0.0)
    return np.asarray(center * (-1.0 if side is Side.RIGHT else 1.0, 1.0, 1.0), np.float64)


def _measure_mass(canvas: Canvas, random: np.random.Generator, center: NDArray[np.float64]) -> Floats:
    """Distance from the mass's center divided by how far it reaches that way, in mm; axes (z, y, x)."""
    dx = canvas.x_mm[None] - center[0] - canvas.shift_mm[:, 0, None, None]
    dy = canvas.y_mm[None] - center[1] - canvas.shift_mm[:, 1, None, None]
    dz = np.broadcast_to((canvas.z_mm - center[2])[:, None, None], dx.shape)
    distance = np.sqrt(dx * dx + dy * dy + dz * dz)
    near = distance < 60.0  # no mass reaches farther
    offsets = np.stack([dx[near], dy[near], dz[near]], axis=1) / np.maximum(distance[near], 1e-3)[:, None]
    reach = np.ones(len(offsets), np.float32)
    for direction in random.standard_normal((5, 3)):
        toward = offsets @ (direction / np.linalg.norm(direction))
        reach += random.uniform(0.0, 0.22) * np.maximum(toward, 0.0) ** 3
    distance[near] /= reach
    return np.asarray(distance, np.float32)


def _paint_mass(
    canvas: Canvas, random: np.random.Generator, mass_mm: float, side: Side, voxel_mm3: float
) -> NDArray[np.bool_]:
    """Paint the mass into soft tissue so that its voxels sum to the volume of a sphere of `mass_mm`; (z, y, x).

    Where it reaches the skin, the skin bulges.
    """
    distance = _measure_mass(canvas, random, _choose_center(random, mass_mm, side))
    _raise_skin(canvas, distance, mass_mm / 2)
    wanted = max(1, round(math.pi / 6 * mass_mm**3 / voxel_mm3))
    allowed = (canvas.owner != BONE) & (canvas.hu > -400.0)
    reached = np.where(allowed, distance, np.inf)
    edge = np.partition(reached, wanted - 1, axis=None)[wanted - 1]
    mass: NDArray[np.bool_] = reached <= edge
    share = np.where(allowed, np.clip((edge - distance) / canvas.edge_mm + 0.5, 0.0, 1.0), 0.0).astype(np.float32)
    canvas.hu += share * (random.uniform(30.0, 70.0) + 6.0 * canvas.texture - canvas.hu)
    return mass


def _raise_skin(canvas: Canvas, distance: Floats, radius_mm: float) -> None:
    """Cover the mass with fat and skin where it would reach into the air outside."""
    outside = (canvas.owner != BONE) & (canvas.hu < -150.0)
    for hu, cover_mm in ((20.0, 3.5), (-90.0, 1.5)):
        share = np.clip((radius_mm + cover_mm - distance) / canvas.edge_mm + 0.5, 0.0, 1.0)
        canvas.hu += np.where(outside, share, 0.0).astype(np.float32) * (hu - canvas.hu)


def _scan(canvas: Canvas, random: np.random.Generator) -> NDArray[np.int16]:
    """Blur a little in plane and add the scanner's noise, correlated between neighbors; axes (z, y, x)."""
    noise = random.standard_normal(canvas.hu.shape, dtype=np.float32)
    noise = _blur(noise, 0.25)
    noise *= random.uniform(8.0, 14.0) / max(float(noise.std()), 1e-6)
    return np.asarray(np.clip(np.rint(_blur(canvas.hu, 0.15) + noise), -1024, 3071), np.int16)


def _blur(field: Floats, weight: float) -> Floats:
    """Mix each voxel with its in-plane neighbors, `weight` from either side; borders stay."""
    for axis in (1, 2):
        inner: list[slice] = [slice(None)] * 3
        before, after = inner.copy(), inner.copy()
        inner[axis], before[axis], after[axis] = slice(1, -1), slice(None, -2), slice(2, None)
        mixed = field.copy()
        mixed[tuple(inner)] *= 1.0 - 2.0 * weight
        mixed[tuple(inner)] += weight * (field[tuple(before)] + field[tuple(after)])
        field = mixed
    return field


@dataclass(frozen=True, slots=True, kw_only=True)
class _DatasetMaker:
    """Builds CT Image Storage data sets (PS3.3 A.3) that agree with each other."""

    salt: str
    patient_name: str
    patient_id: str
    accession_number: str
    affine: NDArray[np.float64]

    def derive_uid(self, role: str) -> UID:
        """A UID that follows from the salt and the role (PS3.5 B.2)."""
        return UID(f"2.25.{uuid.uuid5(UID_NAMESPACE, f'{self.salt}/{role}').int}")

    def make_slice(self, hu: NDArray[np.int16], index: int) -> Dataset:
        """The axial image at one z index."""
        position = self.affine[:3, 3] + index * self.affine[:3, 2]
        ds = self._make_image(hu[index], role=f"slice/{index}", series="axial", number=index + 1)
        ds.SeriesNumber = 2
        ds.SeriesDescription = "Neck 2.5 soft"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [_text(value) for value in position]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = [_text(self.affine[1, 1]), _text(self.affine[0, 0])]
        ds.SliceThickness = _text(self.affine[2, 2])
        ds.SliceLocation = _text(position[2])
        ds.ConvolutionKernel = "STANDARD"
        return ds

    def make_localizer(self, hu: NDArray[np.int16]) -> Dataset:
        """A frontal scout: the patient summed from front to back, head up."""
        scout = np.clip(hu.astype(np.float32).mean(axis=1)[::-1] + 200.0, -1024, 3071).astype(np.int16)  # (z, x)
        ds = self._make_image(scout, role="localizer", series="scout", number=1)
        top = self.affine[:3, 3] + (len(hu) - 1) * self.affine[:3, 2]
        ds.SeriesNumber = 1
        ds.SeriesDescription = "Scout"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        ds.ImagePositionPatient = [_text(top[0]), _text(top[1] + 0.5 * hu.shape[1] * self.affine[1, 1]), _text(top[2])]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        ds.PixelSpacing = [_text(self.affine[2, 2]), _text(self.affine[0, 0])]
        ds.SliceThickness = _text(hu.shape[1] * self.affine[1, 1])
        del ds.RescaleType  # a scout is no measurement in Hounsfield units (PS3.3 C.8.2.1.1.2)
        return ds

    def _make_image(self, hu: NDArray[np.int16], *, role: str, series: str, number: int) -> Dataset:
        """Everything that an axial image and a scout share; `hu` is (rows, columns)."""
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = self.derive_uid(role)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = self.derive_uid(role)
        ds.StudyInstanceUID = self.derive_uid("study")
        ds.SeriesInstanceUID = self.derive_uid(f"series/{series}")
        ds.FrameOfReferenceUID = self.derive_uid("frame")
        ds.PositionReferenceIndicator = ""
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260102"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "030405"
        ds.AccessionNumber = self.accession_number
        ds.Modality = "CT"
        ds.Manufacturer = "Parotid Screener"
        ds.ManufacturerModelName = "Phantom"
        ds.ReferringPhysicianName = ""
        ds.StudyID = "1"
        ds.StudyDescription = "CT neck, synthetic patient"
        ds.PatientName = self.patient_name
        ds.PatientID = self.patient_id
        ds.PatientBirthDate = "19500101"
        ds.PatientSex = "O"
        ds.PatientPosition = "HFS"
        ds.BodyPartExamined = "HEADNECK"
        ds.KVP = "120"
        ds.AcquisitionNumber = 1
        ds.InstanceNumber = number
        ds.PatientOrientation = ""
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows, ds.Columns = hu.shape
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit = 15
        ds.PixelRepresentation = 0
        ds.RescaleIntercept = "-1024"
        ds.RescaleSlope = "1"
        ds.RescaleType = "HU"
        ds.WindowCenter, ds.WindowWidth = "50", "400"
        ds.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
        return ds


def _text(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    return f"{float(value):.4f}".rstrip("0").rstrip(".")
