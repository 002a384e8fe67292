"""Ultrasound objects for the tests of frame selection: speckle on black, with text and bars as scanners draw them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, UltrasoundMultiFrameImageStorage, generate_uid
from scipy import ndimage

from screener.study import Instance
from screener.us_study import Box

SHAPE = (480, 640)
TISSUE = Box(top=80, left=150, bottom=400, right=550)
LEFT, RIGHT = Box(top=80, left=60, bottom=380, right=300), Box(top=80, left=310, bottom=380, right=560)

Pixels = NDArray[Any]


def draw_speckle(shape: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Gray tissue without structure, darker with depth."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).gamma(2.0, 1.0, shape), 1.0)
    return np.clip(noise * 40 * np.linspace(1.2, 0.5, shape[0])[:, None], 12, 250).astype(np.uint8)


def draw_picture(*boxes: Box, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    """A stored picture in color, (rows, columns, 3), that shows tissue in each box, and black elsewhere."""
    picture = np.zeros((*shape, 3), np.uint8)
    for seed, box in enumerate(boxes):
        part = (slice(box.top, box.bottom), slice(box.left, box.right))
        picture[part] = draw_speckle((box.bottom - box.top, box.right - box.left), seed)[..., None]
    return picture


def add_clutter(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What scanners draw around the tissue: a banner, lines of text, a gray bar, a ruler and a status line."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 639, 40), fill=(40, 60, 95))
    draw.text((200, 5), "HOSPITAL   L12-3   MI 0.8   TIS 0.3", fill="white", font_size=20)
    for line in range(12):
        draw.text((4, 90 + 22 * line), f"Gn {line} dB", fill="white", font_size=16)
    for row in range(120):
        draw.line((600, 100 + row, 614, 100 + row), fill=(255 - 2 * row,) * 3)
    for tick in range(9):
        draw.line((560, 90 + 35 * tick, 570, 90 + 35 * tick), fill="white", width=2)
    draw.text((170, 440), "PAROTID LEFT LONG", fill="white", font_size=20)
    return np.array(image)


def make_object(pixels: Pixels, **header: Any) -> FileDataset:
    """An ultrasound object: (rows, columns) gray, (rows, columns, 3) color, (frames, rows, columns, 3) a clip.

    `header` replaces or adds elements, after the pixels were described.
    """
    is_clip = pixels.ndim == 4
    samples = 3 if pixels.ndim > 2 else 1
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.SOPClassUID = UltrasoundMultiFrameImageStorage if is_clip else UltrasoundImageStorage
    ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = generate_uid(), generate_uid(), generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality = "CANARY^DONOTLOG", "CANARY^DONOTLOG", "US"
    ds.Rows, ds.Columns = pixels.shape[1:3] if is_clip else pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = samples, "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        ds.PlanarConfiguration = 0
    if is_clip:
        ds.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OW" if bits == 16 else "OB"
    for keyword, value in header.items():
        setattr(ds, keyword, value)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return ds


def make_region(box: Box, data_type: int = 1, spatial_format: int = 1, delta_cm: float = 0.01, **more: Any) -> Dataset:
    """An item of the Sequence of Ultrasound Regions; tissue unless told otherwise."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial_format, data_type, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box.left, box.top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box.right - 1, box.bottom - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = delta_cm
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def write_object(folder: Path, ds: FileDataset) -> Instance:
    """Write an object into `folder` and describe it as the archive would hand it on."""
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    is_little_endian = ds.file_meta.TransferSyntaxUID.is_little_endian
    dcmwrite(path, ds, enforce_file_format=True, implicit_vr=False, little_endian=is_little_endian)
    return Instance(
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
