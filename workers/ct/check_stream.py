"""Refuse a compressed frame that claims another size than its header, before a decoder sets memory aside for it."""

import struct
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

MAX_TILES: Final = 4096
"""Of a JPEG 2000 stream: each costs the decoder memory of its own."""
_WITH_STREAM = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes}
_SOI, _SOC_SIZ = b"\xff\xd8", b"\xff\x4f\xff\x51"
_FRAME_MARKERS = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}  # SOFn (T.81 table B.1), SOF55 (T.87)
_SCAN_MARKER = 0xDA
_DCT_MARKERS = {0xC0, 0xC1, 0xC2, 0xC5, 0xC6, 0xC9, 0xCA, 0xCD, 0xCE}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_MAX_BOXES_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """How the values of a decoded frame are to be read."""

    bits: int
    """So many of each hold the value."""
    written_bits: int
    """So many of each are in the stream: more than hold the value where unused bits were encoded too."""
    is_signed: bool = False
    """Whether the stream itself says that its values are signed; only JPEG 2000 can."""


def check_stream(ds: Dataset, number: int) -> Values:
    """Raise ValueError where frame `number` (from 1; 0: the only one) of an encapsulated image is not as `ds` says.

    The bits of JPEG 2000 and JPEG-LS are told by the stream, those of all others by the header: RLE tells nothing of
    its values, and a lossless JPEG stream may hold more than the value.
    """
    syntax = UID(ds.file_meta.TransferSyntaxUID)
    bits = int(ds.BitsStored)
    as_told = Values(bits=bits, written_bits=bits)
    if not syntax.is_encapsulated:
        return as_told
    frame = _get_frame(ds, number)
    rows, columns = int(ds.Rows), int(ds.Columns)
    if syntax == RLELossless:
        _check_rle(frame, rows * columns)
        return as_told
    if syntax not in _WITH_STREAM:
        return as_told
    stream = _read_jpeg(frame) if frame.startswith(_SOI) else _read_jpeg_2000(frame)
    if (stream.rows, stream.columns, stream.components) != (rows, columns, int(ds.get("SamplesPerPixel") or 1)):
        raise ValueError("the stream is of another size than the header says")
    if stream.bits > int(ds.BitsAllocated):
        raise ValueError("the stream has more bits than the header sets aside")
    if stream.has_stray and syntax in JPEGTransferSyntaxes and not choose_decoder(ds):
        raise ValueError("the stream holds bytes that belong to nothing")  # over which GDCM 3.2 ends the process
    if syntax not in {*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes}:
        return Values(bits=bits, written_bits=stream.bits)
    return Values(bits=stream.bits, written_bits=stream.bits, is_signed=stream.is_signed)


def choose_decoder(ds: Dataset) -> str:
    """Pillow for JPEG of 8 bits: GDCM 3.2 ends the process over a broken one; else the library's own choice."""
    is_jpeg = ds.file_meta.TransferSyntaxUID in {JPEGBaseline8Bit, JPEGExtended12Bit}
    return "pillow" if is_jpeg and int(ds.BitsAllocated) == 8 else ""


def _get_frame(ds: Dataset, number: int) -> bytes:
    """The bytes that the decoder is going to be given, by whichever table tells where they are (PS3.5 A.4)."""
    offsets = as_pixel_options(ds).get("extended_offsets")
    if offsets and len(offsets[0]) != len(offsets[1]):  # which the decoder does not go by
        offsets = None
    frames = int(ds.get("NumberOfFrames") or 1)
    return get_frame(ds.PixelData, max(0, number - 1), number_of_frames=frames, extended_offsets=offsets)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """What a codestream says of itself."""

    rows: int
    columns: int
    components: int
    bits: int
    is_signed: bool = False
    has_stray: bool = False
    """Whether there are bytes before its scan that belong to nothing."""


def _check_rle(frame: bytes, pixels: int) -> None:
    """Raise ValueError where a segment (PS3.5 G.5) holds more than a byte for each pixel and one for padding.

    A header that tells fewer columns than there are would shear the image; one that tells more is found when decoding.
    """
    count, *offsets = struct.unpack_from("<16L", frame)
    ends = [*offsets[1:count], len(frame)]
    for begin, end in zip(offsets[:count], ends, strict=False):
        if _count_rle(frame[begin:end]) > pixels + 1:
            raise ValueError("the stream is of another size than the header says")


def _count_rle(segment: bytes) -> int:
    """How many bytes a segment decodes to (PS3.5 G.3.2)."""
    at = count = 0
    while at + 1 < len(segment):
        head = segment[at]
        if head < 128:  # that many bytes and one, as they are
            count += min(head + 1, len(segment) - at - 1)
            at += head + 2
        elif head > 128:  # one byte so many times
            count += 257 - head
            at += 2
        else:
            at += 1
    return count


def _read_jpeg(frame: bytes) -> _Stream:
    """The frame header of a JPEG or JPEG-LS stream (ITU-T T.81 B.2.2); ValueError without one and a scan behind it.

    Bytes that belong to nothing are skipped, as decoders do, and told.
    """
    at = len(_SOI)
    has_stray = False
    header: tuple[int, int, int, int] | None = None
    while 0 <= at <= len(frame) - 10:
        marker = frame[at + 1]
        if frame[at] != 0xFF or marker in {0x00, 0xFF}:  # stray, stuffed or fill bytes
            has_stray = has_stray or frame[at] != 0xFF or not marker
            at = frame.find(b"\xff", at + 1)
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker == _SCAN_MARKER and header is not None:
            bits, rows, columns, components = header
            return _Stream(rows=rows, columns=columns, components=components, bits=bits, has_stray=has_stray)
        else:
            if marker in _FRAME_MARKERS and header is None:
                header = struct.unpack_from(">BHHB", frame, at + 4)
                if marker in _DCT_MARKERS and header[0] not in {8, 12}:  # T.81 table B.2
                    raise ValueError("the stream has bits that its process does not have")
            at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    raise ValueError("the stream has no frame header" if header is None else "the stream has no scan")


def _read_jpeg_2000(frame: bytes) -> _Stream:
    """The same of a JPEG 2000 or HTJ2K stream (ITU-T T.800 A.5.1), in a JP2 file or by itself."""
    begin = 0
    if frame.startswith(_JP2_SIGNATURE):
        begin = frame.find(_SOC_SIZ, 0, _MAX_BOXES_BYTES)
    if begin < 0 or not frame.startswith(_SOC_SIZ, begin) or len(frame) < begin + 44:
        raise ValueError("the stream is neither JPEG nor JPEG 2000")
    right, bottom, left, top, width, height, tile_left, tile_top, components = struct.unpack_from(
        ">8LH", frame, begin + 8
    )
    if not width or not height:
        raise ValueError("the stream has tiles without a size")
    tiles = -(-(right - tile_left) // width) * -(-(bottom - tile_top) // height)
    if tiles > MAX_TILES:
        raise ValueError("the stream has more tiles than an image needs")
    depth = frame[begin + 42]  # Ssiz: the sign, and the bits less one (table A.11)
    return _Stream(
        rows=bottom - top,
        columns=right - left,
        components=components,
        bits=(depth & 0x7F) + 1,
        is_signed=depth >= 128,
    )
