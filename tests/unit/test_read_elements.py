"""What the daemon reads of each study's file costs little, whatever the file holds."""

import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import (
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


def name_in_notice(path: Path) -> object:
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
    ds = make_ct()
    content = encode_bomb()
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        content = deflate(content)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(encode_file_meta(ds.SOPClassUID, ds.SOPInstanceUID, transfer_syntax_uid, "SCANNER") + content)
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


@pytest.mark.parametrize("transfer_syntax_uid", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
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
