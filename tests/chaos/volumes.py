"""Write CT volumes of every kind in random order, read them back, and compare each voxel and each position.

`python tests/chaos/volumes.py --count 200 --seed 1`. Spacing, matrix, tilt,
direction of rows, columns and files, signedness, bits, slope and intercept of each
slice, padding, overlays, transfer syntax and single or multi-frame images are
drawn anew for each. Voxels must be exact, as all these syntaxes are lossless,
and positions within 0.01 mm. Of some volumes the header then tells other bits
or another sign than were written: their voxels must be exact, or refused.
Fails, too, where a syntax or kind was never drawn.
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
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
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

from screener.outcomes import NeedsPerson
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
REFUSALS = {"undecodable", "implausible_values"}
"""Codes that a header earns which misdescribes its values."""
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
    is_misdescribed: bool
    """Whether headers tell other bits or another sign than were written: to be read exactly, or refused."""


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
            volume, refusal = load_written(written)
        drawn.update(written.kinds)
        if volume is None:
            drawn["misdescribed, refused" if written.is_misdescribed else "refused"] += 1
            if written.is_misdescribed and refusal in REFUSALS:
                continue
            wrong += 1
            print(f"REFUSED volume {number}: {', '.join(written.kinds)}: {refusal}")
            continue
        drawn["misdescribed, read"] += written.is_misdescribed
        off_mm = find_offset_mm(written, volume)
        worst_mm = max(worst_mm, off_mm)
        if not np.array_equal(volume.hu, written.hu) or off_mm > TOLERANCE_MM:
            wrong += 1
            differing = int(np.sum(volume.hu != written.hu)) if volume.hu.shape == written.hu.shape else -1
            print(f"WRONG volume {number}: {', '.join(written.kinds)}: {differing} voxels, {off_mm:.4f} mm")
    for kind, count in sorted(drawn.items()):
        print(f"{count:>6}  {kind}")
    missed = [kind for kind in list_kinds() if not drawn[kind]]
    print(f"{options.count} volumes, {wrong} wrong; positions off by {worst_mm:.4f} mm at most")
    if missed:
        print(f"never drawn: {', '.join(missed)}")
    return 1 if wrong or missed else 0


def list_kinds() -> list[str]:
    """What must have been drawn at least once."""
    return [
        *(f"syntax {syntax.name}" for syntax in _list_syntaxes()),
        *STORED,
        "multi-frame",
        "single images",
        "slices scaled each by itself",
        "overlay",
        "misdescribed",
    ]


def _list_syntaxes() -> list[UID]:
    return [*PLAIN, *ENCODED, *(DCMTK if shutil.which("dcmcjpeg") else ())]


def load_written(written: Written) -> tuple[Volume | None, str]:
    """The volume, or the code of its refusal."""
    try:
        return load_volume(written.instances, written.instances[0].series_instance_uid), ""
    except NeedsPerson as refusal:
        return None, refusal.code


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
    slices, hu, more_kinds = _store(rng, hu, affine, stored_as, series_instance_uid=f"2.25.{seed + 1}")
    syntaxes = _list_syntaxes()
    syntax = syntaxes[rng.integers(len(syntaxes))]
    lie = _draw_lie(rng, stored_as) if rng.random() < 0.25 else {}
    order = rng.permutation(len(slices))
    images = [slices[index] for index in order]
    is_multi_frame = bool(rng.random() < 0.25) and syntax not in DCMTK and "overlay" not in more_kinds
    if is_multi_frame:
        cuts = np.sort(rng.choice(np.arange(1, len(images)), size=int(rng.integers(0, 3)), replace=False))
        parts = [[images[index] for index in part] for part in np.split(np.arange(len(images)), cuts)]
        is_alike = "slices scaled each by itself" not in more_kinds  # else no scaling stands for all
        images = [
            enhance(
                part,
                sop_instance_uid=f"2.25.{seed + 1}.{900 + number}",
                is_shared=is_alike and bool(rng.random() < 0.5),
            )
            for number, part in enumerate(parts)
        ]
        for image in images:
            image.PixelPaddingValue = slices[0].PixelPaddingValue
    instances = [_write(folder, image, syntax, number, lie) for number, image in enumerate(images)]
    kinds += (stored_as, f"syntax {syntax.name}", "multi-frame" if is_multi_frame else "single images", *more_kinds)
    kinds += ("misdescribed",) if lie else ()
    return Written(instances=instances, hu=hu, affine=affine, kinds=kinds, is_misdescribed=bool(lie))


def _draw_lie(rng: np.random.Generator, stored_as: str) -> dict[str, int]:
    """Other bits or another sign than the values have, to be told by the header."""
    bits, is_signed, *_ = STORED[stored_as]
    other_bits = int(rng.choice([one for one in (8, 10, 12, 13, 16) if one != bits]))
    told = {"BitsStored": other_bits, "HighBit": other_bits - 1} if rng.random() < 0.6 else {}
    return told | ({"PixelRepresentation": int(not is_signed)} if not told or rng.random() < 0.5 else {})


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
) -> tuple[list[Dataset], NDArray[np.int16], tuple[str, ...]]:
    """Make single images, from feet to head, and what must be read of them: padding and all below air become air.

    Also what was drawn.
    """
    bits, is_signed, intercept, _, _ = STORED[stored_as]
    is_each = stored_as == "signed 16 bits" and bool(rng.random() < 0.5)
    slopes = rng.choice([1.0, 2.0, 4.0], size=len(hu)) if is_each else np.ones(len(hu))
    intercepts = intercept + (rng.integers(-50, 51, size=len(hu)) * 4 if is_each else np.zeros(len(hu), np.int64))
    if is_each:
        hu = (hu // 4 * 4).astype(np.int16)
    values = ((hu - intercepts[:, None, None]) / slopes[:, None, None]).astype(np.int32)
    padding = -(1 << (bits - 1)) if is_signed else (1 << bits) - 1
    is_padded = np.zeros(hu.shape, bool)
    if rng.random() < 0.5:
        is_padded[:, :2] = True
        values[is_padded] = padding
    is_overlaid = bits == 12 and not is_signed and bool(rng.random() < 0.5)
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
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = int(intercepts[z]), float(slopes[z]), "HU"
        ds.add_new("PixelPaddingValue", "SS" if is_signed else "US", padding)
        ds.PixelData = values[z].astype("<i2" if is_signed else "<u2").tobytes()
        if is_overlaid:
            _draw_overlay(ds, values[z])
        slices.append(ds)
    return slices, expected, ("slices scaled each by itself",) * is_each + ("overlay",) * is_overlaid


def _draw_overlay(ds: Dataset, values: NDArray[np.int32]) -> None:
    """Draw lines into the first unused bit (PS3.3 C.9.2 as of 2004)."""
    values = values.copy()
    values[::5] |= 1 << ds.BitsStored
    ds.PixelData = values.astype("<u2").tobytes()
    ds.add_new((0x6000, 0x0010), "US", ds.Rows)
    ds.add_new((0x6000, 0x0011), "US", ds.Columns)
    ds.add_new((0x6000, 0x0100), "US", 16)
    ds.add_new((0x6000, 0x0102), "US", ds.BitsStored)


def _write(folder: Path, ds: Dataset, syntax: str, number: int, lie: dict[str, int]) -> Instance:
    """Write one image in a transfer syntax, and then `lie` in its header; `ds` holds plain little-endian pixels."""
    is_overlaid = (0x6000, 0x0102) in ds
    if is_overlaid:  # an encoder that knew the bits would leave the overlay out
        ds.BitsStored, ds.HighBit = 16, 15
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
    told = {"BitsStored": 12, "HighBit": 11} | lie if is_overlaid else lie
    if syntax not in DCMTK:
        _tell(ds, told)
    ds.save_as(path, enforce_file_format=True)
    if syntax in DCMTK:
        encoded = path.with_suffix(".jpg.dcm")
        command = ["dcmcjpeg", DCMTK[syntax], "+un", str(path), str(encoded)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        path = encoded
        ds = dcmread(path)
        _tell(ds, told)
        ds.save_as(path)
    return describe(path)


def _tell(ds: Dataset, elements: dict[str, int]) -> None:
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    padding = np.array([int(ds.PixelPaddingValue)]).astype("i2" if ds.PixelRepresentation else "u2")  # the same bits
    ds.add_new("PixelPaddingValue", "SS" if ds.PixelRepresentation else "US", int(padding[0]))


if __name__ == "__main__":
    sys.exit(main())
