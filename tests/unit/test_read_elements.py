"""What the daemon reads of each study's file costs little, whatever the file holds."""

import struct
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from screener.archive import encode_file_meta
from screener.channels.hl7 import Hl7Channel
from screener.channels.message import compose_message, read_patient
from screener.know_orders import read_order
from screener.know_scanners import read_scanner
from screener.notice_settings import Hl7Receiver
from screener.outcomes import NeedsPerson
from screener.read_origin import read_origin
from screener.store.quality import Scanner
from screener.web.read_patient import PatientReader
from tests.chaos.fuzz_seeds import deflate
from tests.peers.scanner import make_ct
from tests.unit.test_notify import owed

ITEMS = 200_000
MOST_BYTES = 100 << 20


def encode_bomb() -> bytes:
    """A sequence of countless empty items, of undefined length: some hundred megabytes as objects."""
    item, end = (struct.pack("<HHL", 0xFFFE, number, 0) for number in (0xE000, 0xE0DD))
    return struct.pack("<HH2s2xL", 0x0008, 0x0006, b"SQ", 0xFFFFFFFF) + item * ITEMS + end


def name_in_notice(path: Path) -> Mapping[str, str] | None:
    return read_patient(replace(owed(), example_path=path.name), path.parent)


def name_in_message(path: Path) -> None:
    """Such a file names nobody, so that nothing is sent and the receiver need not be there."""
    receiver = Hl7Receiver.model_validate(
        {"name": "ehr", "host": "127.0.0.1", "port": 1, "include_patient_identity": True}
    )
    message = compose_message(replace(owed(channel="hl7"), example_path=path.name), link="")
    with suppress(NeedsPerson):
        Hl7Channel([receiver], path.parent).send(message, "ehr")


def name_on_page(path: Path) -> object:
    return PatientReader(path.parent).ask(path.name)


@pytest.mark.parametrize("read", [read_scanner, read_order, read_origin, name_in_notice, name_in_message, name_on_page])
@pytest.mark.parametrize("transfer_syntax_uid", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_countless_items_cost_no_memory(
    tmp_path: Path, read: Callable[[Path], object], transfer_syntax_uid: str
) -> None:
    content = encode_bomb()
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        content = deflate(content)
    path = write_content(tmp_path, content, transfer_syntax_uid)
    tracemalloc.start()
    try:
        read(path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < MOST_BYTES


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192"])
@pytest.mark.parametrize(
    "transfer_syntax_uid",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_what_stands_at_the_begin_is_read_in_its_character_set(
    tmp_path: Path, transfer_syntax_uid: str, character_set: str
) -> None:
    ds = make_ct(
        SpecificCharacterSet=character_set, StationName="RÖNTGEN 2", Manufacturer="Müller", ProtocolName="Hals"
    )
    ds.AccessionNumber = " A1 "
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = transfer_syntax_uid
    path = tmp_path / "one.dcm"
    ds.save_as(path, enforce_file_format=True)
    scanner = read_scanner(path)
    assert (scanner.station, scanner.manufacturer, scanner.protocol) == ("RÖNTGEN 2", "Müller", "Hals")
    assert read_order(path) == ("A1", str(ds.PatientID))


def test_a_file_that_is_gone_is_no_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_scanner(tmp_path / "gone.dcm")


@pytest.mark.parametrize(
    "transfer_syntax_uid", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_large_private_elements_hide_nothing_behind_them(tmp_path: Path, transfer_syntax_uid: str) -> None:
    ds = make_ct(CurrentPatientLocation="Ward 7")
    ds.private_block(0x0029, "SCANNER", create=True).add_new(0x10, "OB", bytes(1 << 20))
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = transfer_syntax_uid
    path = tmp_path / "one.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert read_origin(path)["wards"] == ("Ward 7",)


def test_a_value_that_is_cut_short_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    make_ct(PatientName="CANARY^DONOTLOG").save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"DONOTLOG") + 3])
    assert name_in_notice(path) is None
    assert name_on_page(path) is None
    path.write_bytes(b"no DICOM file")
    assert name_in_notice(path) is None


def test_a_long_sequence_hides_nothing_behind_it(tmp_path: Path) -> None:
    ds = make_ct(PatientName="CANARY^DONOTLOG")
    ds.ReferencedImageSequence = [make_reference(number) for number in range(5000)]
    ds["ReferencedImageSequence"].is_undefined_length = True
    path = tmp_path / "one.dcm"
    ds.save_as(path, enforce_file_format=True)
    identity = name_in_notice(path)
    assert identity is not None
    assert identity["PatientName"] == "CANARY^DONOTLOG"


def make_reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, f"1.2.3.{number}"
    item.is_undefined_length_sequence_item = True
    return item


def test_no_value_is_taken_from_within_another(tmp_path: Path) -> None:
    """The private value holds what looks like the end of its sequence and the name of somebody else."""
    order = "<HH2sH"
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    forged = end + struct.pack(order, 0x0010, 0x0010, b"PN", 10) + b"FAKE^NAME "
    forged += struct.pack(order, 0x7F01, 0x0010, b"SH", 2) + b"X "
    value = forged + bytes((300 << 10) - len(forged))
    inner = struct.pack("<HH2s2xL", 0x0009, 0x0010, b"OB", len(value)) + value
    open_item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    item = open_item + inner + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    content = struct.pack("<HH2s2xL", 0x0008, 0x1140, b"SQ", 0xFFFFFFFF) + item + end
    content += struct.pack(order, 0x0010, 0x0010, b"PN", 10) + b"REAL^NAME "
    path = write_content(tmp_path, content)
    identity = name_in_notice(path)
    assert identity is not None
    assert identity["PatientName"] == "REAL^NAME"


def test_a_header_that_ends_too_early_is_not_readable(tmp_path: Path) -> None:
    content = struct.pack("<HH2s2xL", 0x0009, 0x0010, b"OB", 1 << 30) + b"nothing of the kind "
    assert name_in_notice(write_content(tmp_path, content)) is None


def test_a_sequence_where_a_text_belongs_is_damage_and_no_fault_of_the_disk(tmp_path: Path) -> None:
    content = b"".join(
        struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, b"SQ", 4) + b"1234" for tag in (0x00080050, 0x00081010)
    )
    path = write_content(tmp_path, content)
    assert read_order(path) == ("", "")
    assert read_scanner(path) == Scanner()


def write_content(folder: Path, content: bytes, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Path:
    ds = make_ct()
    path = folder / "one.dcm"
    meta = encode_file_meta(ds.SOPClassUID, ds.SOPInstanceUID, transfer_syntax_uid, "SCANNER")
    path.write_bytes(meta + content)
    return path
