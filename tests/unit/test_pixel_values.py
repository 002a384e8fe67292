"""Pixels are read as they were written or refused: bits, sign, overlays, padding, length and stream of one slice."""

import struct
import subprocess
import sys
from copy import deepcopy
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from screener.outcomes import NeedsPerson
from tests.chaos.fuzz_seeds import _transcode
from tests.unit.ct_study import describe, small_phantom, write_study
from workers.ct.check_stream import check_stream
from workers.ct.decode_slice import SliceDecoder

BONE_HU = 1300
SYNTAXES = [RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1]


def slice_with_bone() -> tuple[Dataset, np.ndarray]:
    """A slice whose values need 12 unsigned bits, and its Hounsfield units."""
    phantom = small_phantom()
    index = int(np.argmax(phantom.hu.max(axis=(1, 2))))
    assert phantom.hu[index].max() > BONE_HU
    return deepcopy(phantom.datasets[index]), phantom.hu[index].astype(np.int32)


def store(ds: Dataset, values: np.ndarray, *, bits: int, is_signed: bool, intercept: int) -> None:
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(is_signed)
    ds.RescaleIntercept = str(intercept)
    ds.PixelData = values.astype(np.int64).astype("<u2").tobytes()


def compress(ds: Dataset, syntax: str, folder: Path) -> None:
    """Encode `ds` in place, by what its header says now."""
    if syntax == JPEGLosslessSV1:
        folder.mkdir(exist_ok=True)
        encoded = _transcode(ds, folder, gdcm.TransferSyntax.JPEGLosslessProcess14_1)
        ds.PixelData, ds.file_meta.TransferSyntaxUID = encoded.PixelData, syntax
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    else:
        ds["PixelData"].VR = "OW"
        ds.compress(syntax, generate_instance_uid=False)


def read(folder: Path, ds: Dataset) -> np.ndarray:
    (instance,) = write_study(folder / "study", [ds])
    return SliceDecoder().decode(instance, (int(ds.Rows), int(ds.Columns)))


def code_of(folder: Path, ds: Dataset) -> str:
    with pytest.raises(NeedsPerson) as refused:
        read(folder, ds)
    return refused.value.code


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize(("bits", "is_signed"), [(16, False), (12, False), (16, True), (13, True)])
def test_compressed_values_are_read_as_they_were_written(
    tmp_path: Path, syntax: str, bits: int, is_signed: bool
) -> None:
    ds, hu = slice_with_bone()
    intercept = 0 if is_signed else -1024
    store(ds, hu - intercept, bits=bits, is_signed=is_signed, intercept=intercept)
    compress(ds, syntax, tmp_path / "encoder")
    assert np.array_equal(read(tmp_path, ds), hu)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("written_bits", [12, 16])
def test_unsigned_values_in_a_signed_header_are_refused_where_bone_would_become_air(
    tmp_path: Path, syntax: str, written_bits: int
) -> None:
    ds, hu = slice_with_bone()
    store(ds, hu + 1024, bits=written_bits, is_signed=False, intercept=-1024)
    compress(ds, syntax, tmp_path / "encoder")
    ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 1, 12, 11
    if written_bits == 16 and syntax in {JPEG2000Lossless, JPEGLSLossless}:  # the stream says that they fit
        assert np.array_equal(read(tmp_path, ds), hu)
    else:
        assert code_of(tmp_path, ds) == "undecodable"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_an_unsigned_stream_of_fewer_bits_than_its_signed_header_is_never_wrapped(tmp_path: Path, syntax: str) -> None:
    ds, hu = slice_with_bone()
    store(ds, hu + 1024, bits=12, is_signed=False, intercept=-1024)
    compress(ds, syntax, tmp_path / "encoder")
    ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 1, 16, 15
    assert code_of(tmp_path, ds) == "undecodable"


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1], ids=lambda uid: uid.name)
@pytest.mark.parametrize("bits", [8, 10])
def test_compressed_values_that_do_not_fit_in_the_bits_stored_are_refused(
    tmp_path: Path, syntax: str, bits: int
) -> None:
    ds, hu = slice_with_bone()
    store(ds, hu + 1024, bits=16, is_signed=False, intercept=-1024)
    compress(ds, syntax, tmp_path / "encoder")
    ds.BitsStored, ds.HighBit = bits, bits - 1
    assert code_of(tmp_path, ds) == "undecodable"


def test_a_stream_of_more_bits_than_are_allocated_is_refused(tmp_path: Path) -> None:
    ds, hu = slice_with_bone()
    store(ds, hu + 1024, bits=12, is_signed=False, intercept=-1024)
    compress(ds, JPEG2000Lossless, tmp_path / "encoder")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    assert code_of(tmp_path, ds) == "undecodable"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_signed_values_in_a_stream_that_calls_them_unsigned_keep_their_sign(tmp_path: Path, syntax: str) -> None:
    ds, hu = slice_with_bone()
    store(ds, hu & 0xFFF, bits=12, is_signed=False, intercept=0)
    compress(ds, syntax, tmp_path / "encoder")
    ds.PixelRepresentation = 1
    assert np.array_equal(read(tmp_path, ds), hu)


def test_unsigned_values_in_a_stream_that_calls_them_signed_are_read_where_no_doubt_is_left(tmp_path: Path) -> None:
    ds, hu = slice_with_bone()
    values = hu + 1024
    store(ds, np.where(values > 2047, values - 4096, values), bits=12, is_signed=True, intercept=-1024)
    compress(ds, JPEG2000Lossless, tmp_path / "encoder")
    ds.PixelRepresentation = 0
    assert np.array_equal(read(tmp_path, ds), hu)


def test_signed_values_in_an_unsigned_header_are_refused(tmp_path: Path) -> None:
    ds, hu = slice_with_bone()
    store(ds, hu, bits=13, is_signed=True, intercept=0)
    compress(ds, JPEG2000Lossless, tmp_path / "encoder")
    ds.PixelRepresentation = 0
    assert code_of(tmp_path, ds) == "undecodable"


def add_overlay(ds: Dataset, *, bits: int, position: int, is_standalone: bool) -> None:
    ds.add_new((0x6000, 0x0010), "US", ds.Rows)
    ds.add_new((0x6000, 0x0011), "US", ds.Columns)
    ds.add_new((0x6000, 0x0100), "US", bits)
    ds.add_new((0x6000, 0x0102), "US", position)
    if is_standalone:
        ds.add_new((0x6000, 0x3000), "OW", bytes(ds.Rows * ds.Columns // 8))


@pytest.mark.parametrize(
    ("bits", "position", "is_standalone"), [(1, 0, True), (16, 12, True), (16, 0, False), (16, 15, False)]
)
def test_an_overlay_elsewhere_does_not_hide_values_that_do_not_fit(
    tmp_path: Path, bits: int, position: int, is_standalone: bool
) -> None:
    ds, hu = slice_with_bone()
    store(ds, hu + 1024, bits=10, is_signed=False, intercept=-1024)
    add_overlay(ds, bits=bits, position=position, is_standalone=is_standalone)
    assert code_of(tmp_path, ds) == "undecodable"


@pytest.mark.parametrize("syntax", [None, *SYNTAXES], ids=lambda uid: uid.name if uid else "native")
@pytest.mark.parametrize("is_signed", [False, True])
def test_an_overlay_above_the_bits_stored_is_no_part_of_the_values(
    tmp_path: Path, syntax: str | None, is_signed: bool
) -> None:
    ds, hu = slice_with_bone()
    intercept = 0 if is_signed else -1024
    values = hu - intercept
    values[:10] ^= 0x2000
    store(ds, values, bits=16, is_signed=is_signed, intercept=intercept)
    if syntax:
        compress(ds, syntax, tmp_path / "encoder")
    ds.BitsStored, ds.HighBit = 12, 11
    add_overlay(ds, bits=16, position=13, is_standalone=False)
    assert np.array_equal(read(tmp_path, ds), hu)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("is_drawn", [False, True])
def test_an_overlay_drawn_into_the_bits_stored_is_refused(tmp_path: Path, is_signed: bool, is_drawn: bool) -> None:
    ds, hu = slice_with_bone()
    intercept = 0 if is_signed else -1024
    values = hu - intercept
    if is_drawn:
        values[:10] ^= 0x1000
        values[40:] ^= 0x1000
    store(ds, values, bits=16, is_signed=is_signed, intercept=intercept)
    add_overlay(ds, bits=16, position=12, is_standalone=False)
    if is_drawn:
        assert code_of(tmp_path, ds) == "undecodable"
    else:
        assert np.array_equal(read(tmp_path, ds), hu)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLosslessSV1], ids=lambda uid: uid.name if uid else "native")
@pytest.mark.parametrize(("is_signed", "padding", "vr"), [(False, 63536, "US"), (True, -32768, "SS")])
def test_padding_outside_the_bits_stored_is_padding(
    tmp_path: Path, syntax: str | None, is_signed: bool, padding: int, vr: str
) -> None:
    ds, hu = slice_with_bone()
    intercept = 0 if is_signed else -1024
    values = hu - intercept
    values[:, :4] = padding
    store(ds, values, bits=16, is_signed=is_signed, intercept=intercept)
    if syntax:
        compress(ds, syntax, tmp_path / "encoder")
    ds.BitsStored, ds.HighBit = 12, 11
    ds.add_new("PixelPaddingValue", vr, padding)
    read_hu = read(tmp_path, ds)
    assert np.all(read_hu[:, :4] == -1024)
    assert np.array_equal(read_hu[:, 4:], hu[:, 4:])


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name if uid else "native")
@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_more_pixels_than_the_header_tells_are_refused(tmp_path: Path, syntax: str | None, keyword: str) -> None:
    ds, _ = slice_with_bone()
    if syntax:
        compress(ds, syntax, tmp_path / "encoder")
    setattr(ds, keyword, ds[keyword].value - 1)
    assert code_of(tmp_path, ds) == "undecodable"


def test_uncompressed_pixels_in_items_are_refused(tmp_path: Path) -> None:
    ds, _ = slice_with_bone()
    (instance,) = write_study(tmp_path / "study", [ds])
    content = instance.path.read_bytes()
    at = content.rindex(b"\xe0\x7f\x10\x00OW")
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + item + item[:4] + struct.pack("<L", len(ds.PixelData))
    instance.path.write_bytes(content[:at] + pixels + ds.PixelData + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    with pytest.raises(NeedsPerson) as refused:
        SliceDecoder().decode(instance, (ds.Rows, ds.Columns))
    assert refused.value.code == "undecodable"


def test_the_byte_that_makes_the_length_even_is_no_pixel(tmp_path: Path) -> None:
    ds, hu = slice_with_bone()
    odd = np.clip(hu[:63, :63] + 1024, 0, 255)
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 63, 63, 8, 8, 7
    ds.PixelData = odd.astype("u1").tobytes() + b"\0"
    assert np.array_equal(read(tmp_path, ds), odd - 1024)


def test_the_stream_that_is_checked_is_the_one_that_is_decoded(tmp_path: Path) -> None:
    """An extended offset table may point beside the first stream (PS3.3 C.7.6.3.1.8)."""
    ds, _ = slice_with_bone()
    large = deepcopy(ds)
    large.Rows = large.Columns = 2000
    large.PixelData = bytes(2000 * 2000 * 2)
    for one in (ds, large):
        compress(one, JPEG2000Lossless, tmp_path)
    small_stream, large_stream = (get_frame(one.PixelData, 0, number_of_frames=1) for one in (ds, large))
    ds.PixelData = encapsulate([small_stream + large_stream], has_bot=False)
    ds.ExtendedOffsetTable = struct.pack("<Q", len(small_stream))
    ds.ExtendedOffsetTableLengths = struct.pack("<Q", len(large_stream))
    with pytest.raises(ValueError, match="another size"):
        check_stream(ds, 0)


def test_frames_behind_an_extended_offset_table_are_read(tmp_path: Path) -> None:
    ds, hu = slice_with_bone()
    compress(ds, JPEG2000Lossless, tmp_path)
    stream = get_frame(ds.PixelData, 0, number_of_frames=1)
    ds.PixelData = encapsulate([stream], has_bot=False)
    ds.ExtendedOffsetTable = struct.pack("<Q", 0)
    ds.ExtendedOffsetTableLengths = struct.pack("<Q", len(stream))
    (instance,) = write_study(tmp_path / "study", [ds])
    assert np.array_equal(SliceDecoder().decode(describe(instance.path), hu.shape), hu)
    assert "ExtendedOffsetTable" in dcmread(instance.path)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K], ids=lambda uid: uid.name)
def test_high_throughput_jpeg_2000_is_decoded(tmp_path: Path, syntax: str) -> None:
    """Of an even gray, in whose stream (T.814) no block is coded: of the blocks there is no encoder and no image."""
    ds, hu = slice_with_bone()
    store(ds, np.full(hu.shape, 2048), bits=12, is_signed=False, intercept=-1024)
    compress(ds, JPEG2000Lossless, tmp_path)
    stream = bytearray(get_frame(ds.PixelData, 0, number_of_frames=1))
    stream[stream.index(b"\xff\x52") + 12] |= 0x40  # COD: blocks of high throughput
    stream[6:8] = b"\x40\x00"  # Rsiz: with capabilities, which follow the SIZ marker segment
    end = 4 + int.from_bytes(stream[4:6], "big")
    stream[end:end] = struct.pack(">HHLH", 0xFF50, 8, 1 << 17, 0)
    ds.PixelData = encapsulate([bytes(stream)], has_bot=False)
    ds.file_meta.TransferSyntaxUID = syntax
    assert np.all(read(tmp_path, ds) == 1024)


def jpeg(folder: Path) -> tuple[Dataset, bytes]:
    ds, hu = slice_with_bone()
    store(ds, hu + 1024, bits=12, is_signed=False, intercept=-1024)
    compress(ds, JPEGLosslessSV1, folder / "encoder")
    return ds, get_frame(ds.PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("marker", [b"\xff\xc3", b"\xff\xda"])
def test_a_lossless_jpeg_with_bytes_that_belong_to_nothing_is_refused(tmp_path: Path, marker: bytes) -> None:
    """A decoder ends the whole process over some of them, and finds a frame header of any size behind others."""
    ds, stream = jpeg(tmp_path)
    check_stream(ds, 0)
    at = stream.index(marker)
    ds.PixelData = encapsulate([stream[:at] + b"\x0a\x0f" + stream[at:]], has_bot=False)
    with pytest.raises(ValueError, match="belong to nothing"):
        check_stream(ds, 0)


def gray_jpeg(folder: Path, *, bits: int) -> tuple[Dataset, bytes]:
    """A CT slice of 8 bits in a lossy JPEG, its elements fit for `bits` allocated."""
    ds, _ = slice_with_bone()
    shades = np.tile(np.arange(int(ds.Columns), dtype=np.uint8), (int(ds.Rows), 1))
    buffer = BytesIO()
    Image.fromarray(shades).save(buffer, "JPEG")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, 8, 7, 0
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return ds, buffer.getvalue()


def test_a_jpeg_of_8_bits_with_bytes_that_belong_to_nothing_ends_no_process(tmp_path: Path) -> None:
    ds, stream = gray_jpeg(tmp_path, bits=8)
    broken = bytearray(stream)
    broken[3] = 0  # in place of the marker of the first segment
    path = tmp_path / "ct.dcm"
    for content in (stream, bytes(broken)):
        ds.PixelData = encapsulate([content], has_bot=False)
        ds["PixelData"].is_undefined_length = True
        ds.save_as(path, enforce_file_format=True)
        program = f"""
from pathlib import Path
from screener.study import Instance
from workers.ct.decode_slice import SliceDecoder
path = Path({str(path)!r})
instance = Instance(sop_instance_uid="1", sop_class_uid="1", series_instance_uid="1", path=path, sha256="")
print(SliceDecoder().decode(instance, ({int(ds.Rows)}, {int(ds.Columns)})).max())
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == pytest.approx(int(ds.Columns) - 1 + int(ds.RescaleIntercept), abs=3)


def test_a_jpeg_with_stray_bytes_for_a_decoder_that_dies_of_them_is_refused(tmp_path: Path) -> None:
    ds, stream = gray_jpeg(tmp_path, bits=16)
    ds.PixelData = encapsulate([stream], has_bot=False)
    check_stream(ds, 0)
    ds.PixelData = encapsulate([stream[:2] + b"\x0a\x0f" + stream[2:]], has_bot=False)
    with pytest.raises(ValueError, match="belong to nothing"):
        check_stream(ds, 0)


def test_a_jpeg_without_a_frame_header_is_refused(tmp_path: Path) -> None:
    ds, stream = jpeg(tmp_path)
    ds.PixelData = encapsulate([stream.replace(b"\xff\xc3", b"\xff\xe5")], has_bot=False)
    with pytest.raises(ValueError, match="header"):
        check_stream(ds, 0)


def test_a_jpeg_of_bits_that_its_process_does_not_have_is_refused(tmp_path: Path) -> None:
    """A decoder ends the whole process over it (T.81 table B.2: 8 or 12 bits of a DCT)."""
    ds, stream = jpeg(tmp_path)
    at = stream.index(b"\xff\xc3")
    ds.PixelData = encapsulate([stream[:at] + b"\xff\xc1" + stream[at + 2 : at + 4] + b"\x10" + stream[at + 5 :]])
    with pytest.raises(ValueError, match="bits"):
        check_stream(ds, 0)
