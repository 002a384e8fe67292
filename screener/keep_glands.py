"""Takes the masses out of a segmentation of ours, so that its glands can stand for the truth by themselves."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from screener.know_segments import segment_of_frame, understand_segment
from screener.read_header import NOT_READABLE


def write_glands(source: Path, target: Path) -> bool:
    """Write the glands of a BINARY segmentation to `target`; False, and no file, where it has none or is not readable.

    The copy has a UID of its own. Segment numbers stay, though they then have gaps (PS3.3 C.8.20.4.4 counts them
    from 1): the file is for training and evaluation, never for a PACS.
    """
    try:
        ds = pydicom.dcmread(source)
        kept = {
            int(segment.SegmentNumber) for segment in ds.SegmentSequence if understand_segment(segment).kind == "gland"
        }
        _keep(ds, kept)
    except (*NOT_READABLE, RuntimeError):
        return False
    if not ds.NumberOfFrames:
        return False
    ds.save_as(target, enforce_file_format=True)
    return True


def _keep(ds: Dataset, kept: set[int]) -> None:
    """Leave out the frames and descriptions of all other segments."""
    frames = np.asarray(ds.pixel_array)
    frames = frames.reshape(-1, *frames.shape[-2:])  # (frame, row, column)
    groups = ds.PerFrameFunctionalGroupsSequence
    chosen = [number for number, own in enumerate(groups) if segment_of_frame(ds, own) in kept]
    ds.PerFrameFunctionalGroupsSequence = [groups[number] for number in chosen]
    ds.SegmentSequence = [segment for segment in ds.SegmentSequence if int(segment.SegmentNumber) in kept]
    ds.NumberOfFrames = len(chosen)
    packed = bytes(pack_bits(frames[chosen].astype(np.uint8)))
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[str(ds.SOPInstanceUID), "glands"])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
