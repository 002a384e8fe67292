"""Refuse a compressed frame that claims another size than its header, before a decoder sets memory aside for it."""

import struct
from typing import Final

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID

MAX_TILES: Final = 4096
"""Of a JPEG 2000 stream: each costs the decoder memory of its own."""
_SOI, _SOC_SIZ = b"\xff\xd8", b"\xff\x4f\xff\x51"
_FRAME_MARKERS = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}  # SOFn (T.81 table B.1), SOF55 (T.87)
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_MAX_BOXES_BYTES = 4096


def check_stream(ds: Dataset, number: int) -> None:
    """Raise ValueError where frame `number` (from 1; 0: the only one) of an encapsulated image is not as `ds` says.

    Streams that are neither JPEG nor JPEG 2000, such as RLE, hold no sizes.
    """
    if not UID(ds.file_meta.TransferSyntaxUID).is_encapsulated:
        return
    frames = int(ds.get("NumberOfFrames") or 1)
    frame = get_frame(ds.PixelData, max(0, number - 1), number_of_frames=frames)
    size = _read_jpeg(frame) if frame.startswith(_SOI) else _read_jpeg_2000(frame)
    if size is not None and size != (int(ds.Rows), int(ds.Columns), int(ds.get("SamplesPerPixel") or 1)):
        raise ValueError("the stream is of another size than the header says")


def _read_jpeg(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components of a JPEG or JPEG-LS stream (ITU-T T.81 B.2.2); None without a frame header."""
    at = len(_SOI)
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAME_MARKERS:
            if at + 10 > len(frame):
                return None
            rows, columns, components = struct.unpack_from(">HHB", frame, at + 5)
            return rows, columns, components
        else:
            at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    return None


def _read_jpeg_2000(frame: bytes) -> tuple[int, int, int] | None:
    """The same of a JPEG 2000 or HTJ2K stream (ITU-T T.800 A.5.1), in a JP2 file or by itself."""
    begin = 0
    if frame.startswith(_JP2_SIGNATURE):
        begin = frame.find(_SOC_SIZ, 0, _MAX_BOXES_BYTES)
    if begin < 0 or not frame.startswith(_SOC_SIZ, begin) or len(frame) < begin + 44:
        return None
    right, bottom, left, top, width, height, tile_left, tile_top, components = struct.unpack_from(
        ">8LH", frame, begin + 8
    )
    if not width or not height:
        raise ValueError("the stream has tiles without a size")
    tiles = -(-(right - tile_left) // width) * -(-(bottom - tile_top) // height)
    if tiles > MAX_TILES:
        raise ValueError("the stream has more tiles than an image needs")
    return bottom - top, right - left, components
