"""Small CT studies whose voxels say what a report must say of them: a box of a head with two glands and a mass."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.peers.scanner import read_data_set_bytes

SLICES, ROWS, PIXEL_MM, STEP_MM = 14, 32, 4.0, 5.0
VOXEL_MM3 = int(PIXEL_MM * PIXEL_MM * STEP_MM)
BODY_HU, GLAND_HU, MASS_HU, POISON_HU = 20, 100, 200, 250
"""What the stand-in of the networks knows the organs by; a mass of POISON_HU kills the worker that looks at it."""
GLAND = np.s_[5:10, 12:18]
"""Slices and rows of both glands."""
RIGHT_COLUMNS, LEFT_COLUMNS = np.s_[5:10], np.s_[22:27]  # columns run toward the patient's left
MOST_MASS_VOXELS = 5 * 6 * 4
MIN_FLAGGED_VOXELS = 500


@dataclass(frozen=True, kw_only=True)
class SmallStudy:
    """One study on disk, as its sender holds it."""

    study_instance_uid: str
    paths: list[Path]
    mass_voxels: int
    """On the 1 mm grid; 0 where there is none."""

    @property
    def is_flagged(self) -> bool:
        return self.mass_voxels >= MIN_FLAGGED_VOXELS

    @property
    def sop_instance_uids(self) -> set[str]:
        return {name_instance(self.study_instance_uid, number) for number in range(len(self.paths))}


def write_studies(
    folder: Path, count: int, seed: int, *, flag_every: int = 4, padding_bytes: int = 0
) -> Iterator[SmallStudy]:
    """Write `count` studies; the same seed gives the same ones. Every `flag_every`th holds a mass, each of its size.

    `padding_bytes` make each image so much larger.
    """
    for number in range(count):
        source_voxels = 7 + number // flag_every % (MOST_MASS_VOXELS - 7) if number % flag_every == 0 else 0
        yield write_study(
            folder / f"{number:04d}", seed * 1_000_000 + number, source_voxels, padding_bytes=padding_bytes
        )


def write_study(
    folder: Path, number: int, source_voxels: int, *, mass_hu: int = MASS_HU, padding_bytes: int = 0
) -> SmallStudy:
    """Write one study with a mass of so many voxels of the source grid in the left gland."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = draw_head(source_voxels, mass_hu, np.random.default_rng(number))
    study_instance_uid = f"2.25.{number + 10**12}"
    paths = []
    for z, plane in enumerate(hu):
        path = folder / f"{z:02d}.dcm"
        ds = make_slice(study_instance_uid, z, plane)
        if padding_bytes:
            ds.DataSetTrailingPadding = bytes(padding_bytes)
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return SmallStudy(study_instance_uid=study_instance_uid, paths=paths, mass_voxels=source_voxels * VOXEL_MM3)


def draw_head(source_voxels: int, mass_hu: int, random: np.random.Generator) -> NDArray[np.int16]:
    """Hounsfield units (z, y, x), feet to head; noise below the skin makes every slice different."""
    hu = np.full((SLICES, ROWS, ROWS), -1000, np.int16)
    hu[:, 4:28, 4:28] = BODY_HU + random.integers(0, 30, size=(SLICES, 24, 24))
    for columns in (RIGHT_COLUMNS, LEFT_COLUMNS):
        hu[(*GLAND, columns)] = GLAND_HU
    left = hu[(*GLAND, LEFT_COLUMNS)]
    flat = left.reshape(-1).copy()
    flat[:source_voxels] = mass_hu
    hu[(*GLAND, LEFT_COLUMNS)] = flat.reshape(left.shape)
    return hu


def name_instance(study_instance_uid: str, number: int) -> str:
    """Every name is as long as the others: none begins another, so that a trace can be searched for it."""
    return f"{study_instance_uid}.1.{number + 10_001}"


def make_slice(study_instance_uid: str, z: int, plane: NDArray[np.int16]) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, name_instance(study_instance_uid, z)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_instance_uid, f"{study_instance_uid}.1"
    ds.FrameOfReferenceUID, ds.Modality = f"{study_instance_uid}.2", "CT"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "CANARY^DONOTLOG", "CANARY-ID-1", "", ""
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260101", "120000", "", "1"
    ds.ReferringPhysicianName, ds.PositionReferenceIndicator, ds.SeriesNumber = "", "", 1
    ds.Manufacturer, ds.BodyPartExamined, ds.InstanceNumber = "A maker of scanners", "NECK", z + 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient = [-ROWS / 2 * PIXEL_MM, -ROWS / 2 * PIXEL_MM, z * STEP_MM]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [PIXEL_MM, PIXEL_MM], STEP_MM
    ds.Rows, ds.Columns = plane.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "HU"
    ds.PixelData = plane.astype("<i2").tobytes()
    return ds


def digest(path: Path) -> str:
    """SHA-256 of a file's data set, without preamble and file meta information."""
    return hashlib.sha256(read_data_set_bytes(path)).hexdigest()
