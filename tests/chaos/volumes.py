"""Write CT volumes of every kind in random order, read them back, and compare each voxel and each position.

`python tests/chaos/volumes.py --count 200 --seed 1`. Spacing, matrix, tilt,
direction of rows, columns and files, signedness, bits, slope, padding, transfer
syntax and single or multi-frame images are drawn anew for each. Voxels must be
exact, as all these syntaxes are lossless, and positions within 0.01 mm.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from screener.study import Instance, Volume
from tests.unit.ct_study import describe
from tests.unit.enhanced_ct import enhance
from workers.ct.load_volume import load_volume
from workers.ct.select_series import MIN_COVERAGE_MM

AIR_HU = -1024
TOLERANCE_MM = 0.01
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
ENCODED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
DCMTK = {JPEGLossless: "+el", JPEGLosslessSV1: "+e1"}
"""Encoded by DCMTK's dcmcjpeg, where it is installed, and the option for it."""
STORED = {
    # name: bits stored, signed, intercept, lowest and highest Hounsfield unit that fit
    "unsigned 12 bits": (12, False, -1024, -1024, 3071),
    "unsigned 16 bits": (16, False, -8192, -2000, 4000),
    "signed 12 bits": (12, True, 0, -2000, 2047),
    "signed 12 bits with intercept": (12, True, 1000, -1048, 3047),
    "signed 16 bits": (16, True, 0, -2000, 4000),
}


@dataclass(frozen=True, kw_only=True)
class Written:
    """A volume on disk, and what must be read from it."""

    instances: list[Instance]
    hu: NDArray[np.int16]
    """(z, y, x), feet to head."""
    affine: NDArray[np.float64]
    kinds: tuple[str, ...]
    """What was drawn, in words."""


def main() -> int:
    """Print what was drawn and every difference; 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    drawn: Counter[str] = Counter()
    wrong, worst_mm = 0, 0.0
    for number in range(options.count):
        with tempfile.TemporaryDirectory() as folder:
            written = write_volume(Path(folder), options.seed * 100_000 + number)
            volume = load_volume(written.instances, written.instances[0].series_instance_uid)
        drawn.update(written.kinds)
        off_mm = find_offset_mm(written, volume)
        worst_mm = max(worst_mm, off_mm)
        if not np.array_equal(volume.hu, written.hu) or off_mm > TOLERANCE_MM:
            wrong += 1
            differing = int(np.sum(volume.hu != written.hu)) if volume.hu.shape == written.hu.shape else -1
            print(f"WRONG volume {number}: {', '.join(written.kinds)}: {differing} voxels, {off_mm:.4f} mm")
    for kind, count in sorted(drawn.items()):
        print(f"{count:>6}  {kind}")
    print(f"{options.count} volumes, {wrong} wrong; positions off by {worst_mm:.4f} mm at most")
    return 1 if wrong else 0


def find_offset_mm(written: Written, volume: Volume) -> float:
    """How far the corners of any slice lie from where they were written."""
    slices, rows, columns = written.hu.shape
    grid = np.meshgrid([0, columns - 1], [0, rows - 1], np.arange(slices), [1], indexing="ij")
    corners = np.array(grid, float).reshape(4, -1)  # (x y z 1, corner)
    return float(np.abs((volume.affine - written.affine)[:3] @ corners).max())


def write_volume(folder: Path, seed: int) -> Written:
    """Draw a volume and write it into `folder`; the same seed gives the same volume."""
    rng = np.random.default_rng(seed)
    affine, shape, kinds = _draw_geometry(rng)
    stored_as = str(rng.choice(list(STORED)))
    hu = _draw_patient(rng, shape, *STORED[stored_as][3:])
    slices, hu = _store(rng, hu, affine, stored_as, series_instance_uid=f"2.25.{seed + 1}")
    syntaxes = [*PLAIN, *ENCODED, *(DCMTK if shutil.which("dcmcjpeg") else ())]
    syntax = syntaxes[rng.integers(len(syntaxes))]
    order = rng.permutation(len(slices))
    images = [slices[index] for index in order]
    is_multi_frame = bool(rng.random() < 0.25) and syntax not in DCMTK
    if is_multi_frame:
        cuts = np.sort(rng.choice(np.arange(1, len(images)), size=int(rng.integers(0, 3)), replace=False))
        parts = [[images[index] for index in part] for part in np.split(np.arange(len(images)), cuts)]
        images = [
            enhance(part, sop_instance_uid=f"2.25.{seed + 1}.{900 + number}", is_shared=bool(rng.random() < 0.5))
            for number, part in enumerate(parts)
        ]
        for image in images:
            image.PixelPaddingValue = slices[0].PixelPaddingValue
    instances = [_write(folder, image, syntax, number) for number, image in enumerate(images)]
    kinds += (stored_as, f"syntax {syntax.name}", "multi-frame" if is_multi_frame else "single images")
    return Written(instances=instances, hu=hu, affine=affine, kinds=kinds)


def _draw_geometry(
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], tuple[int, int, int], tuple[str, ...]]:
    """Affine from voxel (x, y, z, 1) to LPS, shape (z, y, x), and what was drawn."""
    pixel_mm = (
        rng.uniform(0.5, 4.0, size=2).round(4) if rng.random() < 0.3 else np.full(2, round(rng.uniform(0.4, 4.0), 6))
    )
    step_mm = float(rng.choice([0.625, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0, round(rng.uniform(0.6, 5.0), 3)]))
    # Of enhanced images a stack is chosen, which must cover a gland.
    slices = max(int(rng.integers(13, 28)), int(np.ceil(1.2 * MIN_COVERAGE_MM / step_mm)))
    shape = slices, int(rng.integers(33, 80)), int(rng.integers(33, 80))
    tilt = np.radians(rng.uniform(-28, 28)) if rng.random() < 0.4 else 0.0
    turn = np.radians(rng.uniform(-10, 10)) if rng.random() < 0.3 else 0.0
    flips = rng.choice([-1.0, 1.0], size=2)
    across = np.array([np.cos(turn), np.sin(turn), 0.0]) * flips[0]
    down = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), -np.sin(tilt)]) * flips[1]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * pixel_mm[1], down * pixel_mm[0]
    affine[:3, 2] = [0.0, 0.0, step_mm]
    affine[:3, 3] = rng.uniform(-300, 300, size=3)
    kinds = (
        "tilted gantry" if tilt else "upright gantry",
        "turned in its plane" if turn else "not turned",
        f"rows {'reversed' if flips[1] < 0 else 'forward'}, columns {'reversed' if flips[0] < 0 else 'forward'}",
        "square pixels" if pixel_mm[0] == pixel_mm[1] else "oblong pixels",
    )
    return affine, shape, kinds


def _draw_patient(
    rng: np.random.Generator, shape: tuple[int, int, int], low_hu: int, high_hu: int
) -> NDArray[np.int16]:
    """Air around a body of noise, with bone and metal, as far as the stored values reach."""
    _, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    hu = np.where(x**2 + y**2 < 0.6, 40.0, -1000.0) + rng.normal(0, 25, size=shape)  # (z, y, x)
    bright = rng.random(shape) < 0.02
    hu[bright] = rng.uniform(300, high_hu, size=int(bright.sum()))
    return np.clip(np.rint(hu), max(low_hu, -1100), high_hu).astype(np.int16)


def _store(
    rng: np.random.Generator,
    hu: NDArray[np.int16],
    affine: NDArray[np.float64],
    stored_as: str,
    *,
    series_instance_uid: str,
) -> tuple[list[Dataset], NDArray[np.int16]]:
    """Make single images, from feet to head, and what must be read of them: padding and all below air become air."""
    bits, is_signed, intercept, _, _ = STORED[stored_as]
    slope = 2.0 if stored_as == "signed 16 bits" and rng.random() < 0.5 else 1.0
    if slope != 1.0:
        hu = (hu // 2 * 2).astype(np.int16)
    values = ((hu.astype(np.int32) - intercept) / slope).astype(np.int32)
    padding = -(1 << (bits - 1)) if is_signed else (1 << bits) - 1
    is_padded = np.zeros(hu.shape, bool)
    if rng.random() < 0.5:
        is_padded[:, :2] = True
        values[is_padded] = padding
    expected = np.where(is_padded | (values == padding), AIR_HU, np.maximum(hu, AIR_HU)).astype(np.int16)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    numbers = rng.permutation(len(hu))
    slices = []
    for z in range(len(hu)):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{series_instance_uid}.{numbers[z] + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.7", series_instance_uid
        ds.FrameOfReferenceUID, ds.Modality, ds.InstanceNumber = "2.25.8", "CT", int(numbers[z]) + 1
        ds.PatientName, ds.PatientID = "CANARY^DONOTLOG", "CANARY-ID"
        ds.ImageType, ds.BodyPartExamined = ["ORIGINAL", "PRIMARY", "AXIAL"], "NECK"
        ds.ImagePositionPatient = [f"{value:.4f}" for value in affine[:3, 3] + z * affine[:3, 2]]
        directions = (*(affine[:3, 0] / spacing_mm[0]), *(affine[:3, 1] / spacing_mm[1]))
        ds.ImageOrientationPatient = [f"{value:.8f}" for value in directions]
        ds.PixelSpacing = [f"{spacing_mm[1]:.8f}", f"{spacing_mm[0]:.8f}"]
        ds.SliceThickness = "2"
        ds.Rows, ds.Columns = hu.shape[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, bits, bits - 1, int(is_signed)
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = intercept, slope, "HU"
        ds.add_new("PixelPaddingValue", "SS" if is_signed else "US", padding)
        ds.PixelData = values[z].astype("<i2" if is_signed else "<u2").tobytes()
        slices.append(ds)
    return slices, expected


def _write(folder: Path, ds: Dataset, syntax: str, number: int) -> Instance:
    """Write one image in a transfer syntax; `ds` holds plain little-endian pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax in ENCODED or syntax in DCMTK else syntax
    ds.file_meta = meta
    path = folder / f"{number:04d}.dcm"
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    if syntax in ENCODED:
        ds["PixelData"].VR = "OW"
        ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    if syntax in DCMTK:
        encoded = path.with_suffix(".jpg.dcm")
        command = ["dcmcjpeg", DCMTK[syntax], "+un", str(path), str(encoded)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        path = encoded
    return describe(path)


if __name__ == "__main__":
    sys.exit(main())
