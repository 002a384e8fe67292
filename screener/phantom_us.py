"""The synthetic patient on ultrasound: a parotid gland in B-mode as conformant DICOM, for the demo, tests and figures.

Speckle is what an ultrasound pulse makes of scatterers too small to be told apart: random echoes, blurred by the
pulse, of which only the envelope is shown, in decibels (Burckhardt 1978, doi 10.1109/T-SU.1978.30978). It resembles
a patient enough to be screened and never is one.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, UltrasoundImageStorage

from screener.phantom import IMPLEMENTATION_CLASS_UID, UID_NAMESPACE
from screener.us_study import Box

Floats = NDArray[np.float64]

SPACING_MM = 0.08
"""Between rows and between columns."""
PICTURE_SHAPE = (600, 800)
"""Rows and columns of the stored picture."""
BOX = Box(top=60, left=100, bottom=560, right=700)
"""Where the B-mode lies in it: 40 mm deep, 48 mm wide."""
SLICES_MM = (-3.0, 0.0, 2.0, 4.0, -5.0, 1.0, -1.0, 3.0, -2.0, -4.0)
"""How far beside the lesion's center each picture was taken, in the order of the pictures."""
DYNAMIC_RANGE_DB = 60.0
SKIN_DB, FAT_DB, GLAND_DB, MUSCLE_DB, FASCIA_DB, BONE_DB, LESION_DB = -14.0, -34.0, -22.0, -32.0, -10.0, -4.0, -42.0
"""Mean echo of each tissue; 0 is shown white."""
ENHANCEMENT_DB = 9.0
"""Brighter behind the lesion, which weakens the pulse less than the gland does."""
SHADOW_DB = -40.0
"""Darker behind the bone."""
DEPTH_DB_PER_MM = -0.15
"""What the scanner's gain over time leaves of the weakening with depth."""
PULSE_MM = (0.11, 0.22)
"""Deviation of the pulse, along the beam and across it."""
MARGIN_PX = 12
"""Farther than the pulse reaches, for blurring takes in at one edge what leaves at the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundPhantom:
    """A synthetic ultrasound study and the truth about it."""

    datasets: list[Dataset]
    """Ultrasound images, one picture each."""
    lesions: list[NDArray[np.bool_]]
    """For each picture (rows, columns): where the lesion lies; nowhere when the patient has none."""
    study_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tissue:
    """What lies in one picture's B-mode, (rows, columns)."""

    echo_db: Floats
    lesion: NDArray[np.bool_]


def make_us_phantom(
    *,
    lesion_mm: float | None = None,
    pictures: int = 3,
    seed: int = 0,
    patient_name: str = "CANARY^DONOTLOG",
    patient_id: str = "CANARY-ID-1",
    accession_number: str = "CANARY-ACC-1",
    uid_salt: str | None = None,
) -> UltrasoundPhantom:
    """Make a patient; the same arguments make the same pixels, byte for byte.

    `lesion_mm` is the lesion's mean width where it is widest, in the second picture; it is dark, lobulated and
    wider than tall. There are up to 10 `pictures`. UIDs are new at each call unless `uid_salt` is given.
    """
    if not 1 <= pictures <= len(SLICES_MM):
        raise ValueError(f"{pictures} pictures: 1 to {len(SLICES_MM)} can be made")
    salt = uid_salt if uid_salt is not None else uuid.uuid4().hex
    datasets, lesions = [], []
    for number, slice_mm in enumerate(SLICES_MM[:pictures], start=1):
        tissue = _lay_tissue(np.random.default_rng(seed), lesion_mm, slice_mm)  # the same patient in each picture
        shown = _show_echoes(np.random.default_rng((seed, number)), tissue.echo_db)
        ds = _make_image(_frame_picture(shown), salt, number)
        ds.PatientName, ds.PatientID, ds.AccessionNumber = patient_name, patient_id, accession_number
        datasets.append(ds)
        lesion = np.zeros(PICTURE_SHAPE, np.bool_)
        lesion[BOX.top : BOX.bottom, BOX.left : BOX.right] = tissue.lesion
        lesions.append(lesion)
    return UltrasoundPhantom(datasets=datasets, lesions=lesions, study_instance_uid=str(datasets[0].StudyInstanceUID))


def _lay_tissue(random: np.random.Generator, lesion_mm: float | None, slice_mm: float) -> _Tissue:
    """Lay skin, fat, gland, muscle and bone below each other, and the lesion into the gland."""
    rows, columns = BOX.bottom - BOX.top, BOX.right - BOX.left
    depth_mm: Floats = (np.arange(rows, dtype=np.float64)[:, None] + 0.5) * SPACING_MM  # (rows, 1)
    across_mm: Floats = (np.arange(columns, dtype=np.float64)[None] + 0.5 - columns / 2) * SPACING_MM  # (1, columns)
    phase = random.uniform(0, 2 * np.pi, 6) + 0.08 * slice_mm
    gland_mm = 6.0 + 0.8 * np.sin(across_mm / 9 + phase[0])
    muscle_mm = 24.0 + 2.0 * np.sin(across_mm / 14 + phase[1])
    bone_mm = 31.0 + ((across_mm - 14) / 8) ** 2
    echo_db = np.where(depth_mm < 1.4, SKIN_DB, FAT_DB) + np.zeros((1, columns))
    echo_db += 8 * np.exp(-(((depth_mm - 3.6 - np.sin(across_mm / 5 + phase[2])) / 0.18) ** 2))  # a septum in the fat
    echo_db[depth_mm > gland_mm] = GLAND_DB
    streaks_db = 7 * np.sin((depth_mm - 0.12 * across_mm) * 4.2 + phase[3]) ** 8
    echo_db = np.where(depth_mm > muscle_mm, MUSCLE_DB + streaks_db, echo_db)
    for fascia_mm in (gland_mm, muscle_mm):
        echo_db = np.where(np.abs(depth_mm - fascia_mm) < 0.25, FASCIA_DB, echo_db)
    lesion = np.zeros(echo_db.shape, np.bool_)
    if lesion_mm is not None:
        lesion = _find_lesion(depth_mm, across_mm, lesion_mm, slice_mm, phase)
        echo_db = np.where(lesion, LESION_DB, echo_db)
        echo_db += ENHANCEMENT_DB * _blur(_lie_behind(lesion).astype(np.float64), (4.0, 8.0)) * ~lesion
    is_surface = (np.abs(depth_mm - bone_mm) < 0.35) & (across_mm > 4)
    is_behind = (depth_mm > bone_mm + 0.35) & (across_mm > 4)
    echo_db = np.where(is_surface, BONE_DB, echo_db + SHADOW_DB * is_behind)
    return _Tissue(echo_db=echo_db + DEPTH_DB_PER_MM * depth_mm, lesion=lesion)


def _find_lesion(
    depth_mm: Floats, across_mm: Floats, lesion_mm: float, slice_mm: float, phase: Floats
) -> NDArray[np.bool_]:
    """Where a lobulated ellipsoid is cut by a picture `slice_mm` beside its center."""
    down, beside = (depth_mm - 14.5) / 0.72, across_mm + 3.0
    angle = np.arctan2(down, beside)
    reach_mm = lesion_mm / 2 * (1 + 0.07 * np.cos(3 * angle + phase[4]) + 0.05 * np.cos(5 * angle + phase[5]))
    return np.asarray(down**2 + beside**2 + slice_mm**2 < reach_mm**2, np.bool_)


def _lie_behind(lesion: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the pulse has passed the lesion."""
    return np.asarray(np.logical_or.accumulate(lesion, axis=0) & ~lesion, np.bool_)


def _show_echoes(random: np.random.Generator, echo_db: Floats) -> NDArray[np.uint8]:
    """Turn mean echoes into gray values: scatterers, the pulse, the envelope, decibels."""
    echo_db = np.pad(echo_db, MARGIN_PX, mode="edge")
    scatterers = random.standard_normal(echo_db.shape) + 1j * random.standard_normal(echo_db.shape)
    pulse_px = (PULSE_MM[0] / SPACING_MM, PULSE_MM[1] / SPACING_MM)
    speckle = np.abs(_blur(scatterers, pulse_px))
    speckle /= np.sqrt(np.mean(speckle**2))
    strength = np.abs(_blur(10 ** (echo_db / 20), pulse_px))
    shown_db = 20 * np.log10(np.maximum(speckle * strength, 1e-6))
    gray = np.clip((shown_db + DYNAMIC_RANGE_DB) / DYNAMIC_RANGE_DB, 0, 1)
    shown = np.rint(255 * np.abs(_blur(gray, (0.6, 0.6)))).clip(0, 255).astype(np.uint8)
    return np.asarray(shown[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX], np.uint8)


def _blur(values: NDArray[Any], deviation_px: tuple[float, float]) -> NDArray[Any]:
    """Blur by a Gaussian along rows and columns; what leaves at one edge comes in at the other."""
    spectrum = np.fft.fft2(values)
    for axis, deviation in enumerate(deviation_px):
        shape = [-1 if axis == k else 1 for k in range(2)]
        spectrum = spectrum * np.exp(-2 * (np.pi * deviation * np.fft.fftfreq(values.shape[axis])) ** 2).reshape(shape)
    blurred = np.fft.ifft2(spectrum)
    return blurred if np.iscomplexobj(values) else blurred.real


def _frame_picture(shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the B-mode into the picture that a scanner stores, (rows, columns, 3), beside a gray bar and a ruler."""
    picture = np.zeros((*PICTURE_SHAPE, 3), np.uint8)
    picture[BOX.top : BOX.bottom, BOX.left : BOX.right] = shown[..., None]
    picture[100:356, 40:56] = np.arange(255, -1, -1, dtype=np.uint8)[:, None, None]
    ticks = np.arange(BOX.top, BOX.bottom, round(5 / SPACING_MM))
    picture[ticks, BOX.right + 8 : BOX.right + 18] = 255
    return picture


def _make_image(picture: NDArray[np.uint8], salt: str, number: int) -> Dataset:
    """Build one Ultrasound Image Storage data set (PS3.3 A.6)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _derive_uid(salt, f"picture/{number}")
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _derive_uid(salt, "us study"), _derive_uid(salt, "us series")
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20260102"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "030405"
    ds.StudyID, ds.ReferringPhysicianName = "1", ""
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "US", "Parotid Screener", "Phantom"
    ds.StudyDescription = "US parotid, synthetic patient"
    ds.PatientBirthDate, ds.PatientSex = "19500101", "O"
    ds.SeriesNumber, ds.InstanceNumber, ds.PatientOrientation, ds.Laterality = 1, number, "", "R"
    ds.SequenceOfUltrasoundRegions = [_make_region()]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = PICTURE_SHAPE
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.LossyImageCompression = "00"
    ds.PixelData = picture.tobytes()
    return ds


def _make_region() -> Dataset:
    """Say where the tissue lies and how large its pixels are (PS3.3 C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0  # 2D, tissue
    region.RegionLocationMinX0, region.RegionLocationMinY0 = BOX.left, BOX.top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = BOX.right - 1, BOX.bottom - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # centimeters
    region.PhysicalDeltaX = region.PhysicalDeltaY = SPACING_MM / 10
    return region


def _derive_uid(salt: str, role: str) -> UID:
    """A UID that follows from the salt and the role (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(UID_NAMESPACE, f'{salt}/{role}').int}")
