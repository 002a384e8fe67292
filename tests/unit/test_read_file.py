"""Files that claim more than they hold: at the door, and in the stages that read."""

import resource
import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    generate_uid,
)

from screener import read_file as reader
from screener import read_header as door
from screener.outcomes import NeedsPerson, TryAgain
from screener.read_file import BROKEN_FILE, read_file
from screener.read_header import UnreadableDataSetError, read_header
from screener.study import Instance
from tests.peers.scanner import make_ct, read_data_set_bytes
from workers.ct.check_stream import MAX_TILES, check_stream
from workers.ct.decode_slice import SliceDecoder

ROWS = 64


def write(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def describe(path: Path) -> Instance:
    return Instance(
        sop_instance_uid="2.25.1", sop_class_uid=CTImageStorage, series_instance_uid="2.25.2", path=path, sha256=""
    )


def a_slice(**elements: object) -> Dataset:
    values = np.arange(ROWS * ROWS, dtype="<u2") % 4096
    usual = {"Rows": ROWS, "Columns": ROWS, "PixelRepresentation": 0, "PixelData": values.tobytes()}
    return make_ct(**(usual | {"RescaleSlope": 1, "RescaleIntercept": -1024} | elements))


def compressed(syntax: str) -> Dataset:
    ds = a_slice(BitsStored=12, HighBit=11)
    ds.compress(syntax, generate_instance_uid=False)
    return ds


def code_of(path: Path, shape: tuple[int, int] = (ROWS, ROWS)) -> str:
    with pytest.raises(NeedsPerson) as refused:
        SliceDecoder().decode(describe(path), shape)
    return refused.value.code


def with_length(path: Path, tag: bytes, length: int) -> Path:
    """Let the element claim another length of four bytes."""
    content = path.read_bytes()
    at = content.index(tag) + 8
    path.write_bytes(content[:at] + struct.pack("<L", length) + content[at + 4 :])
    return path


def test_a_file_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    path = write(a_slice(), tmp_path / "one.dcm")
    assert read_file(path) == dcmread(path)
    assert "PixelData" not in read_file(path, with_pixels=False)
    assert set(read_file(path, keywords=["Rows"]).keys()) == {0x00280010}


def test_a_length_that_the_file_does_not_have_takes_no_memory(tmp_path: Path) -> None:
    path = with_length(write(a_slice(), tmp_path / "one.dcm"), b"\xe0\x7f\x10\x00OW", 0xFFFFFFF0)
    tracemalloc.start()
    try:
        held_bytes = len(read_file(path).PixelData)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes == ROWS * ROWS * 2
    assert most_bytes < 100 * path.stat().st_size


def test_what_was_deflated_is_read_as_if_it_had_not_been(tmp_path: Path) -> None:
    ds = a_slice()
    plain = write(ds, tmp_path / "plain.dcm")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = write(ds, tmp_path / "deflated.dcm")
    assert deflated.stat().st_size < plain.stat().st_size
    assert read_file(deflated) == read_file(plain)
    assert read_file(deflated).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    shape = (ROWS, ROWS)
    hu = SliceDecoder().decode(describe(deflated), shape)
    assert np.array_equal(hu, SliceDecoder().decode(describe(plain), shape))


def test_what_inflates_without_end_is_refused_at_the_door_and_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = a_slice(PixelData=bytes(64 << 20), SOPInstanceUID=generate_uid())
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = write(ds, tmp_path / "bomb.dcm")
    data_set = read_data_set_bytes(path)
    assert len(data_set) * reader.MAX_INFLATION < reader.SINGLE_IMAGE_BYTES
    with pytest.raises(UnreadableDataSetError, match="inflates to more"):
        read_header(BytesIO(data_set), DeflatedExplicitVRLittleEndian)
    with pytest.raises(ValueError, match="inflates to more"):
        read_file(path)
    assert code_of(path) == "unreadable_file"
    for limits in (door, reader):  # the same at the door as behind it
        monkeypatch.setattr(limits, "_SINGLE_IMAGE_BYTES" if limits is door else "SINGLE_IMAGE_BYTES", 65 << 20)
    assert not read_header(BytesIO(data_set), DeflatedExplicitVRLittleEndian).is_truncated
    assert len(read_file(path).PixelData) == 64 << 20


def test_the_limits_of_the_door_are_those_behind_it() -> None:
    names = ("MAX_INFLATED_BYTES", "MAX_INFLATION", "SINGLE_IMAGE_BYTES")
    assert [getattr(door, f"_{name}") for name in names] == [getattr(reader, name) for name in names]


def test_what_stands_behind_the_pixels_is_left_out(tmp_path: Path) -> None:
    path = write(a_slice(), tmp_path / "one.dcm")
    path.write_bytes(path.read_bytes() + bytes(8 << 20))
    assert max(read_file(path).keys()) == 0x7FE00010
    assert SliceDecoder().decode(describe(path), (ROWS, ROWS)).shape == (ROWS, ROWS)


def test_countless_elements_are_refused(tmp_path: Path) -> None:
    path = write(a_slice(), tmp_path / "one.dcm")
    content = path.read_bytes()
    at = content.index(b"\x10\x00\x20\x00LO")
    path.write_bytes(content[:at] + b"\x09\x00\x10\x00LO\0\0" * (reader.MAX_ELEMENTS + 1) + content[at:])
    with pytest.raises(ValueError, match="more elements"):
        read_file(path)


@pytest.mark.parametrize("size_bytes", [1, 65_535, 65_536, 65_537, 5_000_001])
def test_the_door_counts_what_is_inflated_to_the_byte(size_bytes: int) -> None:
    rng = np.random.default_rng(size_bytes)
    content = rng.integers(0, 4, size_bytes, dtype=np.uint8).tobytes()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    encoded = squeeze.compress(content) + squeeze.flush() + b"\0"
    head, counted, is_cut = door._inflate(BytesIO(encoded), size_bytes)
    assert (head.read(), counted, is_cut) == (content[: door.HEAD_BYTES], size_bytes, False)


def test_a_value_of_absurd_length_is_refused_at_the_door(tmp_path: Path) -> None:
    data_set = read_data_set_bytes(write(a_slice(), tmp_path / "one.dcm"))
    at = data_set.index(b"\x08\x00\x70\x00LO")
    absurd = data_set[:at] + b"\x08\x00\x70\x00UT\0\0\xf0\xff\xff\xff" + data_set[at + 8 :]
    with pytest.raises(UnreadableDataSetError, match="ends in the middle"):
        read_header(BytesIO(absurd), ExplicitVRLittleEndian)
    long = data_set[:at] + b"\x08\x00\x70\x00UT\0\0\0\0\x10\0" + bytes(1 << 20) + data_set[at:]
    with pytest.raises(UnreadableDataSetError, match="damaged"):
        read_header(BytesIO(long), ExplicitVRLittleEndian)


def test_a_sequence_in_place_of_a_value_is_a_broken_file(tmp_path: Path) -> None:
    ds = a_slice()
    path = write(ds, tmp_path / "one.dcm")
    content = path.read_bytes()
    at = content.index(b"\x10\x00\x20\x00LO")  # Patient ID
    (length,) = struct.unpack_from("<H", content, at + 6)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    odd = b"\x10\x00\x20\x00SQ\0\0" + struct.pack("<L", len(item)) + item
    path.write_bytes(content[:at] + odd + content[at + 8 + length :])
    with pytest.raises(BROKEN_FILE):
        read_file(path)


def test_an_error_of_the_disk_is_no_broken_file(tmp_path: Path) -> None:
    with pytest.raises(TryAgain, match="No such file"):
        read_file(tmp_path / "gone.dcm")


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path, syntax: str) -> None:
    ds = compressed(syntax)
    path = write(ds, tmp_path / "one.dcm")
    check_stream(read_file(path), 0)
    assert SliceDecoder().decode(describe(path), (ROWS, ROWS)).shape == (ROWS, ROWS)
    content = path.read_bytes()
    if syntax == JPEGLSLossless:
        at = content.index(b"\xff\xf7") + 5
        size = struct.pack(">HH", 65535, 65535)
    else:
        at = content.index(b"\xff\x4f\xff\x51") + 8
        size = struct.pack(">LL", 65535, 65535)
    path.write_bytes(content[:at] + size + content[at + len(size) :])
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"another size|more tiles"):
        check_stream(read_file(path), 0)
    assert code_of(path) == "undecodable"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 100 << 10


def test_a_stream_of_countless_tiles_is_refused(tmp_path: Path) -> None:
    ds = compressed(JPEG2000Lossless)
    ds.Rows = ds.Columns = 2048
    content = write(ds, tmp_path / "one.dcm").read_bytes()
    at = content.index(b"\xff\x4f\xff\x51") + 8
    sizes = struct.pack(">8L", 2048, 2048, 0, 0, 1, 1, 0, 0)
    assert MAX_TILES < 2048 * 2048
    (tmp_path / "one.dcm").write_bytes(content[:at] + sizes + content[at + len(sizes) :])
    assert code_of(tmp_path / "one.dcm", (2048, 2048)) == "undecodable"


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xc3\0", b"\xff\x4f\xff\x51"])
def test_a_stream_that_ends_early_is_undecodable(tmp_path: Path, stream: bytes) -> None:
    ds = a_slice()
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.PixelData = encapsulate([stream or b"\0\0"])
    ds["PixelData"].VR = "OB"
    assert code_of(write(ds, tmp_path / "one.dcm")) == "undecodable"


@pytest.mark.parametrize(("elements", "shape"), [({"NumberOfFrames": 2**31 - 1}, (ROWS, ROWS)), ({}, (65535, 65535))])
def test_countless_frames_and_absurd_sizes_are_refused(
    tmp_path: Path, elements: dict[str, object], shape: tuple[int, int]
) -> None:
    assert code_of(write(a_slice(**elements), tmp_path / "one.dcm"), shape) == "undecodable"
