"""Small sound objects to be spoiled: one CT slice in every encoding there is an encoder for, and multi-frame CT."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom import Dataset, dcmread, uid
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.peers.scanner import make_ct
from tests.unit.enhanced_ct import enhance

SLICES, ROWS = 14, 32
SPOILED = 7
"""Which slice of the series the seeds are."""
UID_DIGITS = 24
STUDY, SERIES, INSTANCE = (f"2.25.{digit}{'0' * (UID_DIGITS - 1)}" for digit in (1, 2, 3))
"""As long as those that each object gets in their place."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How elements become bytes."""

    is_implicit: bool = False
    is_little: bool = True
    is_deflated: bool = False


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A sound object."""

    name: str
    sop_class_uid: str
    transfer_syntax_uid: str
    encoding: Encoding
    data_set: bytes
    """Never deflated."""

    def numbered(self, number: int, per_study: int = 20) -> "Seed":
        """The same object under UIDs of its own; `per_study` objects share a study and a series."""
        data_set = self.data_set
        for old, value in ((STUDY, number // per_study), (SERIES, number // per_study), (INSTANCE, number)):
            data_set = data_set.replace(old.encode(), name_uid(old, value).encode())
        return replace(self, data_set=data_set)


def name_uid(kind: str, number: int) -> str:
    """A UID of one of the three kinds, of the length that all have."""
    digits = str(number)
    return kind[: len(kind) - len(digits)] + digits


def make_slices() -> list[Dataset]:
    """A series that can be selected and loaded: a box of tissue in air, different in every slice."""
    random = np.random.default_rng(5)
    slices = []
    for index in range(SLICES):
        hu = np.full((ROWS, ROWS), -1000, np.int16)
        hu[6:26, 6:26] = 20 + random.integers(0, 60, (20, 20))
        slices.append(
            make_ct(
                StudyInstanceUID=STUDY,
                SeriesInstanceUID=SERIES,
                SOPInstanceUID=INSTANCE if index == SPOILED else f"{INSTANCE[:-2]}9{index}",
                ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
                StudyDate="20260101",
                SpecificCharacterSet="ISO_IR 192",
                SeriesDescription="Neck",
                BodyPartExamined="NECK",
                ConvolutionKernel="B30f",
                FrameOfReferenceUID="2.25.77",
                InstanceNumber=index + 1,
                AcquisitionNumber=1,
                SliceThickness=5,
                ImagePositionPatient=[-62, -62, index * 5],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                PixelSpacing=[4, 4],
                Rows=ROWS,
                Columns=ROWS,
                RescaleSlope=1,
                RescaleIntercept=-1024,
                PixelRepresentation=0,
                BitsStored=12,
                HighBit=11,
                PixelData=(hu + 1024).astype("<u2").tobytes(),
            )
        )
    return slices


def make_seeds(folder: Path) -> list[Seed]:
    """Every seed; `folder` is for files that are read back."""
    (one,) = make_slices()[SPOILED : SPOILED + 1]
    seeds = [_seed(name, one, syntax) for name, syntax in _PLAIN]
    frames = enhance(make_slices(), sop_instance_uid=INSTANCE, SeriesInstanceUID=SERIES, StudyInstanceUID=STUDY)
    seeds.append(_seed("enhanced", frames, uid.ExplicitVRLittleEndian))
    for name, syntax in (("rle", uid.RLELossless), ("jpeg-ls", uid.JPEGLSLossless), ("j2k", uid.JPEG2000Lossless)):
        for kind, source in (("", one), ("enhanced ", frames)):
            ds = dcmread(_write(source, folder / "source.dcm"))
            ds.compress(syntax, generate_instance_uid=False)
            seeds.append(_seed(f"{kind}{name}", ds, syntax))
    for name, kind, syntax in (
        ("jpeg lossless", gdcm.TransferSyntax.JPEGLosslessProcess14_1, uid.JPEGLosslessSV1),
        ("jpeg 12 bit", gdcm.TransferSyntax.JPEGExtendedProcess2_4, uid.JPEGExtended12Bit),
    ):
        seeds.append(_seed(name, _transcode(one, folder, kind), syntax))
    seeds += _shipped()
    return seeds


_PLAIN = (
    ("implicit", uid.ImplicitVRLittleEndian),
    ("explicit", uid.ExplicitVRLittleEndian),
    ("big endian", uid.ExplicitVRBigEndian),
    ("deflated", uid.DeflatedExplicitVRLittleEndian),
)


def _shipped() -> Iterator[Seed]:
    """Of the files that the library ships: a CT image of a real scanner, and lossy JPEG in color."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("CT_small.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPGExtended.dcm", "JPEG-LL.dcm", "emri_small_RLE.dcm"):
        if (folder / name).is_file():
            ds = dcmread(folder / name)
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = STUDY, SERIES, INSTANCE
            ds.PatientName = "CANARY^DONOTLOG"
            yield _seed(name, ds, ds.file_meta.TransferSyntaxUID)


def _seed(name: str, ds: Dataset, syntax: str) -> Seed:
    syntax = uid.UID(syntax)
    encoding = Encoding(
        is_implicit=syntax.is_implicit_VR, is_little=syntax.is_little_endian, is_deflated=syntax.is_deflated
    )
    if not encoding.is_little and "PixelData" in ds:
        ds = dcmread(BytesIO(_bytes_of(ds)), force=True)
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = encoding.is_implicit, encoding.is_little
    write_dataset(buffer, ds)
    return Seed(
        name=name,
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(syntax),
        encoding=encoding,
        data_set=buffer.getvalue(),
    )


def _bytes_of(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _write(ds: Dataset, path: Path) -> Path:
    path.write_bytes(_bytes_of(ds))
    return path


def _transcode(ds: Dataset, folder: Path, kind: int) -> Dataset:
    """Encode with GDCM what the DICOM library has no encoder for."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(_write(ds, folder / "source.dcm")))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(kind))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "target.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return dcmread(folder / "target.dcm")


def deflate(data_set: bytes) -> bytes:
    """PS3.5 A.5: without the header of zlib, padded to even length."""
    deflated = zlib.compress(data_set)[2:-4]
    return deflated + bytes(len(deflated) % 2)
