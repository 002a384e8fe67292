"""What the door reads of a data set: whether it is whole, at a cost that no sender can drive up."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from screener.read_header import UnreadableDataSetError, read_header
from screener.study import MANUFACTURER
from tests.peers.scanner import make_ct

ITEM, ITEM_END, SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
UNDEFINED = 0xFFFFFFFF
MIB = 1 << 20
PIXEL_BYTES = 512
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
Change = Callable[[Dataset], None]


def encode(ds: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    buffer.is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
    if "PixelData" in ds:
        ds["PixelData"].VR = "OB" if ds["PixelData"].is_undefined_length else "OW"
    write_dataset(buffer, ds)
    return buffer.getvalue()


def delimiter(element: int, length: int = 0) -> bytes:
    return struct.pack("<HHL", 0xFFFE, element, length)


def sequence(tag: int, value: bytes, length: int = UNDEFINED) -> bytes:
    return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, b"SQ", length) + value


def with_element(encoded: bytes, before: bytes, element: bytes) -> bytes:
    """Put an encoded element before another one."""
    at = encoded.index(before)
    return encoded[:at] + element + encoded[at:]


STUDY = b"\x20\x00\x0d\x00UI"
PIXELS = b"\xe0\x7f\x10\x00OW"


def peak_bytes(encoded: bytes) -> int:
    """The memory that it takes to read the header, or to refuse it."""
    file = BytesIO(encoded)
    tracemalloc.start()
    try:
        read_header(file, ExplicitVRLittleEndian)
    except UnreadableDataSetError:
        pass
    finally:
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most_bytes


def empty_items(count: int) -> bytes:
    return delimiter(ITEM) * count + delimiter(SEQUENCE_END)


def deep(depth: int) -> bytes:
    begin = delimiter(ITEM, UNDEFINED) + sequence(0x0040A730, b"")
    return begin * depth + (delimiter(SEQUENCE_END) + delimiter(ITEM_END)) * depth + delimiter(SEQUENCE_END)


@pytest.mark.parametrize("tag", [0x00081140, 0x0018A001, 0x00091010])
@pytest.mark.parametrize("value", [empty_items(20_000), deep(2_000)], ids=["wide", "deep"])
def test_a_sequence_of_undefined_length_costs_no_memory(tag: int, value: bytes) -> None:
    encoded = with_element(encode(make_ct()), STUDY, sequence(tag, value))
    assert read_header(BytesIO(encoded), ExplicitVRLittleEndian).study_instance_uid == make_ct().StudyInstanceUID
    assert peak_bytes(encoded) < MIB


@pytest.mark.parametrize("tag", [0x00081140, 0x0018A001, 0x00091010])
def test_a_sequence_of_a_length_costs_no_memory(tag: int) -> None:
    items = delimiter(ITEM) * 20_000
    encoded = with_element(encode(make_ct()), STUDY, sequence(tag, items, len(items)))
    assert read_header(BytesIO(encoded), ExplicitVRLittleEndian).study_instance_uid == make_ct().StudyInstanceUID
    assert peak_bytes(encoded) < MIB


def test_countless_items_are_refused() -> None:
    encoded = with_element(encode(make_ct()), STUDY, sequence(0x00081140, empty_items(2_000_000)))
    with pytest.raises(UnreadableDataSetError, match="damaged"):
        read_header(BytesIO(encoded), ExplicitVRLittleEndian)


def test_a_long_character_set_is_not_read() -> None:
    charset = struct.pack("<HH2s2xL", 0x0008, 0x0005, b"UT", 8 * MIB) + b"ISO_IR 100\\" * (8 * MIB // 11) + b"    "
    assert peak_bytes(charset[: 12 + 8 * MIB].ljust(12 + 8 * MIB) + encode(make_ct())) < MIB


def test_an_unknown_sequence_with_implicit_items_is_stepped_over() -> None:
    item = struct.pack("<HHL", 0x0040, 0xA124, 2) + b"1\0" + struct.pack("<HHL", 0x0040, 0xA730, UNDEFINED)
    items = delimiter(ITEM, UNDEFINED) + item + empty_items(3) + delimiter(ITEM_END) + delimiter(SEQUENCE_END)
    unknown = struct.pack("<HH2s2xL", 0x0009, 0x1010, b"UN", UNDEFINED) + items
    assert not read_header(
        BytesIO(with_element(encode(make_ct()), STUDY, unknown)), ExplicitVRLittleEndian
    ).is_truncated


@pytest.mark.parametrize("transfer_syntax_uid", SYNTAXES)
@pytest.mark.parametrize("is_undefined", [False, True])
def test_our_equipment_is_found_however_it_is_encoded(transfer_syntax_uid: str, is_undefined: bool) -> None:
    equipment, purpose, ds = Dataset(), Dataset(), make_ct()
    purpose.CodeValue, equipment.Manufacturer = "109102", MANUFACTURER
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    ds.ContributingEquipmentSequence = [equipment]
    ds["ContributingEquipmentSequence"].is_undefined_length = is_undefined
    equipment.is_undefined_length_sequence_item = is_undefined
    assert read_header(BytesIO(encode(ds, transfer_syntax_uid)), transfer_syntax_uid).is_ours


def add_overlay(ds: Dataset) -> None:
    ds.add_new(0x60000010, "US", 64)
    ds.add_new(0x60003000, "OW", bytes(512))


def add_groups(ds: Dataset) -> None:
    ds.SharedFunctionalGroupsSequence = [Dataset()]
    ds.PerFrameFunctionalGroupsSequence = [make_ct() for _ in range(3)]


def add_endless_groups(ds: Dataset) -> None:
    add_groups(ds)
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        ds[keyword].is_undefined_length = True
        for item in ds[keyword].value:
            item.is_undefined_length_sequence_item = True


def add_waveform(ds: Dataset) -> None:
    waveform = Dataset()
    waveform.add_new(0x54001010, "OW", bytes(64))
    ds.WaveformSequence = [waveform]


@pytest.mark.parametrize("transfer_syntax_uid", SYNTAXES)
@pytest.mark.parametrize("add", [add_overlay, add_groups, add_endless_groups, add_waveform])
def test_pixel_data_that_are_cut_behind_something_else_are_cut(add: Change, transfer_syntax_uid: str) -> None:
    ds = make_ct()
    add(ds)
    whole = encode(ds, transfer_syntax_uid)
    assert not read_header(BytesIO(whole), transfer_syntax_uid).is_truncated
    for missing in (2, 100, PIXEL_BYTES + 2, PIXEL_BYTES + 10, PIXEL_BYTES + 30):
        assert read_header(BytesIO(whole[:-missing]), transfer_syntax_uid).is_truncated, missing


def compressed() -> bytes:
    ds = make_ct()
    ds.PixelData = encapsulate([b"\xff\x4f" * 100, b"\xff\x51" * 200])
    ds["PixelData"].is_undefined_length = True
    return encode(ds)


def test_compressed_pixel_data_are_whole_with_their_last_delimiter() -> None:
    whole = compressed()
    assert not read_header(BytesIO(whole), JPEG2000Lossless).is_truncated
    pixels = len(whole) - whole.index(b"\xe0\x7f\x10\x00")
    for missing in (1, 8, 9, 100, 408, 416, 500, pixels - 12):
        assert read_header(BytesIO(whole[:-missing]), JPEG2000Lossless).is_truncated, missing


def test_a_fragment_that_is_none_is_damage() -> None:
    whole = compressed()
    at = whole.rindex(b"\xfe\xff\x00\xe0")
    with pytest.raises(UnreadableDataSetError, match="damaged"):
        read_header(BytesIO(whole[: at + 4] + struct.pack("<L", 6) + whole[at + 8 :]), JPEG2000Lossless)


PADDING = struct.pack("<HH2s2xL", 0xFFFC, 0xFFFC, b"OB", 300) + bytes(300)
SIGNATURES = sequence(0xFFFAFFFA, delimiter(ITEM, UNDEFINED) + delimiter(ITEM_END) + delimiter(SEQUENCE_END))
PRIVATE = struct.pack("<HH2s2xL", 0x7FE1, 0x1010, b"OB", 300) + bytes(300)


@pytest.mark.parametrize(
    "behind", [bytes(3), bytes(8192), PADDING, SIGNATURES, PRIVATE, b"\r\n", b"\xff" * 40, b"EOF" * 9, PADDING[:-8]]
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_what_fills_a_file_up_behind_its_pixels_does_no_harm(behind: bytes, is_compressed: bool) -> None:
    whole, syntax = (compressed(), JPEG2000Lossless) if is_compressed else (encode(make_ct()), ExplicitVRLittleEndian)
    assert not read_header(BytesIO(whole + behind), syntax).is_truncated


@pytest.mark.parametrize("behind", [SIGNATURES, PRIVATE])
def test_what_belongs_to_the_data_set_behind_the_pixels_may_be_cut_too(behind: bytes) -> None:
    assert read_header(BytesIO((encode(make_ct()) + behind)[:-4]), ExplicitVRLittleEndian).is_truncated


@pytest.mark.parametrize("behind", [b"", bytes(3), bytes(512), PADDING])
def test_an_object_without_pixels_is_whole(behind: bytes) -> None:
    encoded = encode(make_ct(PixelData=None)) + behind
    assert not read_header(BytesIO(encoded), ExplicitVRLittleEndian).is_truncated


def test_a_data_set_cut_in_the_head_of_an_element_is_cut() -> None:
    with pytest.raises(UnreadableDataSetError, match="header"):
        read_header(BytesIO(encode(make_ct())[: -PIXEL_BYTES - 6]), ExplicitVRLittleEndian)


def test_a_deflated_data_set_is_whole_with_the_end_of_its_stream() -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = squeeze.compress(encode(make_ct())) + squeeze.flush()
    assert not read_header(BytesIO(deflated + b"\0"), DeflatedExplicitVRLittleEndian).is_truncated
    assert read_header(BytesIO(deflated[:-2]), DeflatedExplicitVRLittleEndian).is_truncated


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_what_the_machine_does_not_give_is_no_fault_of_the_data_set(error: Exception) -> None:
    class Broken(BytesIO):
        def read(self, *_: object) -> bytes:
            raise error

    for syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        with pytest.raises(type(error)):
            read_header(Broken(encode(make_ct())), syntax)
