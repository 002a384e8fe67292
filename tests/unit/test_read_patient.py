"""Who a patient is, read from files as they come: a spoiled one is "not readable", and hinders no other."""

import errno
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from screener import read_elements
from screener.channels import message
from screener.know_orders import read_order
from screener.store import Store
from screener.web import know_patients
from screener.web.know_patients import know_new_patients
from screener.web.read_patient import Patient, PatientReader
from tests.peers.values import an_instance
from tests.unit.test_notify import owed, write_image
from tests.unit.test_store import START

SPOILED = [struct.error("unpack requires 4 bytes"), zlib.error("bad data"), RecursionError(), NotImplementedError()]


@pytest.fixture(params=SPOILED, ids=lambda error: type(error).__name__)
def spoiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is one that makes the parser raise this."""

    def fail(*_: object, **__: object) -> None:
        raise request.param

    monkeypatch.setattr(read_elements, "read_raw_elements", fail)


@pytest.mark.usefixtures("spoiled")
def test_a_spoiled_file_names_nobody_and_the_list_goes_on(tmp_path: Path, store: Store) -> None:
    reader = PatientReader(tmp_path)
    assert reader.read("1.dcm") is None
    store.record_instance(an_instance(1), START)
    assert know_new_patients(store, store, reader) == 1
    assert know_new_patients(store, store, reader) == 0


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), FileNotFoundError(), PermissionError()])
def test_a_study_is_asked_for_again_while_the_storage_folder_is_away(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    store.record_instance(an_instance(1, path="received/12/1.dcm"), START)
    reader = PatientReader(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as away:
        away.setattr(read_elements, "read_raw_elements", fail)
        assert reader.read("received/12/1.dcm") is None
        assert know_new_patients(store, store, reader) == 0
    (tmp_path / "received/12").mkdir(parents=True)
    write_image(tmp_path / "received/12/1.dcm")
    assert know_new_patients(store, store, reader) == 1
    assert know_new_patients(store, store, reader) == 0


def test_files_that_cannot_be_had_keep_no_older_study_waiting(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(know_patients, "AT_ONCE", 2)
    write_image(tmp_path / "1.dcm")
    for number in (1, 2, 3, 4):
        path = "1.dcm" if number == 1 else f"away/{number}.dcm"
        store.record_instance(an_instance(number, study_instance_uid=f"1.2.{number}", path=path), START)
    assert know_new_patients(store, store, PatientReader(tmp_path)) == 1


@pytest.mark.usefixtures("spoiled")
def test_a_spoiled_file_never_keeps_a_notice_back(tmp_path: Path) -> None:
    assert message.read_patient(owed(), tmp_path) is None


def test_a_deflated_file_that_was_cut_is_not_readable(tmp_path: Path) -> None:
    meta = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99"
    length = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(meta))
    (tmp_path / "1.dcm").write_bytes(b"\0" * 128 + b"DICM" + length + meta + b"no deflated data at all")
    assert PatientReader(tmp_path).read("1.dcm") is None
    assert message.read_patient(owed(), tmp_path) is None


def test_several_identifiers_are_none(tmp_path: Path) -> None:
    ds = write_image(tmp_path / "1.dcm")
    several = ["CANARY-1", "CANARY-2"]
    ds.PatientID, ds.IssuerOfPatientID, ds.AccessionNumber, ds.PatientName = several, several, several, several
    ds.save_as(tmp_path / "1.dcm", enforce_file_format=True)
    reader = PatientReader(tmp_path)
    read = reader.read("1.dcm")
    assert read == Patient()
    assert (reader.key(read), reader.words(read)) == ("", frozenset())
    told = message.read_patient(replace(owed(), example_path="1.dcm"), tmp_path)
    assert told == dict.fromkeys(message.IDENTITY_KEYWORDS, "")
    assert read_order(tmp_path / "1.dcm") == ("", "")
