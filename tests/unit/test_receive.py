"""The door, over true associations: what is answered with Success is durable, everything else has a reason."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import build_context

from screener import receive
from screener.config import Peer
from screener.store import Store
from screener.study import MANUFACTURER, MODEL_NAME_CT
from screener.us_study import MODEL_NAME_US
from tests.peers.door import Door
from tests.peers.door import open_door as opened
from tests.peers.scanner import AssociationFailed, Raw, Scanner, make_ct, read_data_set_bytes

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000


OpenDoor = Callable[..., Door]


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[OpenDoor]:
    with ExitStack() as doors:
        yield lambda **settings: doors.enter_context(
            opened(tmp_path / f"door{len(list(tmp_path.iterdir()))}", **settings)
        )


@pytest.fixture
def door(open_door: OpenDoor) -> Door:
    return open_door()


@contextmanager
def broken(target: object, name: str, error: Exception) -> Iterator[None]:
    """Let `name` of `target` raise."""

    def fail(*_: object, **__: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, fail)
        yield


def encode(ds: Dataset, folder: Path) -> bytes:
    """Encode the data set alone, as it goes over the wire."""
    path = folder / "encoded.dcm"
    ds.save_as(path, enforce_file_format=True)
    return read_data_set_bytes(path)


def test_an_admitted_peer_is_answered_its_echo(door: Door) -> None:
    assert door.scanner.echo() == SUCCESS


def test_success_means_the_file_is_whole_and_its_row_committed(door: Door, tmp_path: Path) -> None:
    ds = make_ct()
    [answer] = door.scanner.send([ds])
    assert answer.status == SUCCESS
    # Another connection: what it sees, the next process sees after this one was killed.
    database = sqlite3.connect(door.store.engine.url.database)
    [(path, kind, modality)] = database.execute("SELECT path, kind, modality FROM instances").fetchall()
    database.close()
    assert (kind, modality) == ("image", "CT")
    assert read_data_set_bytes(door.archive.path(path)) == encode(ds, tmp_path)
    assert dcmread(door.archive.path(path)) == ds


def test_a_resent_instance_is_stored_once(door: Door) -> None:
    ds = make_ct()
    answers = door.scanner.send([ds, ds]) + door.scanner.send([ds], ae_title="ANOTHER")
    assert [answer.status for answer in answers] == [SUCCESS] * 3
    assert len(door.rows()) == len(door.files()) == 1


def test_other_content_under_a_known_uid_is_kept_aside_and_reported(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_ct(), make_ct(Rows=8)
    second.SOPInstanceUID = first.SOPInstanceUID
    answers = door.scanner.send([first, second])
    assert [answer.status for answer in answers] == [SUCCESS, SUCCESS]
    row = door.rows()[first.SOPInstanceUID]
    assert dcmread(door.archive.path(row.path)).Rows == first.Rows
    [(code, path)] = door.oddities()
    assert code == "conflict"
    assert dcmread(door.archive.path(path)).Rows == second.Rows
    assert path.startswith("aside/")
    assert first.SOPInstanceUID in caplog.text


@pytest.mark.parametrize(
    "garbage",
    [b"", bytes(8), b"no DICOM at all " * 64, bytes(range(256)) * 8, b"\x08\x00\x16\x00UI\xff\xff"],
    ids=["empty", "nulls", "text", "noise", "short"],
)
def test_garbage_is_kept_aside_and_never_answered_with_success(door: Door, garbage: bytes) -> None:
    raw = Raw(garbage, sop_instance_uid=generate_uid())
    [answer] = door.scanner.send([raw])
    assert answer.status == CANNOT_UNDERSTAND
    assert answer.comment
    assert door.rows() == {}
    [(code, path)] = door.oddities()
    assert code == "unreadable"
    assert door.archive.path(path).read_bytes().endswith(garbage)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_data_set_without_its_uids_cannot_be_understood(door: Door, keyword: str) -> None:
    [answer] = door.scanner.send([make_ct(**{keyword: None})])
    assert answer.status == CANNOT_UNDERSTAND
    assert keyword[:5] in answer.comment
    assert door.rows() == {}


def test_a_data_set_cut_inside_its_header_cannot_be_understood(door: Door, tmp_path: Path) -> None:
    ds = make_ct()
    encoded = encode(ds, tmp_path)
    cut = encoded[: encoded.index(b"MONOCHROME2") + 4]
    [answer] = door.scanner.send([Raw(cut, sop_instance_uid=ds.SOPInstanceUID)])
    assert answer.status == CANNOT_UNDERSTAND
    assert door.rows() == {}


def test_cut_pixel_data_are_refused_and_the_whole_instance_is_taken_later(door: Door, tmp_path: Path) -> None:
    ds = make_ct()
    [answer] = door.scanner.send([Raw(encode(ds, tmp_path)[:-100], sop_instance_uid=ds.SOPInstanceUID)])
    assert answer.status == CANNOT_UNDERSTAND
    assert door.rows() == {}
    assert [code for code, _ in door.oddities()] == ["truncated"]
    [answer] = door.scanner.send([ds])
    assert answer.status == SUCCESS
    assert ds.SOPInstanceUID in door.rows()


@pytest.mark.parametrize("uid", ["1.2/../../../etc", "1.2.x", "../1"])
def test_an_invalid_uid_in_the_data_set_cannot_be_understood(door: Door, tmp_path: Path, uid: str) -> None:
    good = make_ct(StudyInstanceUID="1.2.3.4.5.6.7.8.9")
    encoded = encode(good, tmp_path).replace(b"1.2.3.4.5.6.7.8.9\0", uid.encode().ljust(18, b"\0"))
    [answer] = door.scanner.send([Raw(encoded, sop_instance_uid=good.SOPInstanceUID)])
    assert answer.status == CANNOT_UNDERSTAND
    assert door.rows() == {}
    assert all(path.is_relative_to(door.archive.folder) for path in door.files())


@pytest.mark.filterwarnings("ignore::UserWarning")  # the scanner's own, about what it is told to send
def test_an_invalid_uid_in_the_request_cannot_be_understood(door: Door, tmp_path: Path) -> None:
    [answer] = door.scanner.send([Raw(encode(make_ct(), tmp_path), sop_instance_uid="../../../x")])
    assert answer.status == CANNOT_UNDERSTAND
    assert door.oddities()[0][0] == "unreadable"


@pytest.mark.filterwarnings("ignore::UserWarning")  # the scanner's own, about what it is told to send
def test_an_endless_uid_in_the_request_harms_nobody(door: Door, tmp_path: Path) -> None:
    [answer] = door.scanner.send([Raw(encode(make_ct(), tmp_path), sop_instance_uid="1." * 40 + "1")])
    assert answer.status != SUCCESS
    assert door.scanner.echo() == SUCCESS
    assert door.files() == []


def test_a_data_set_that_is_not_what_the_request_says_is_refused_with_the_reason(door: Door, tmp_path: Path) -> None:
    [answer] = door.scanner.send([Raw(encode(make_ct(), tmp_path), sop_instance_uid=generate_uid())])
    assert answer.status == DOES_NOT_MATCH
    assert "UID" in answer.comment
    assert door.oddities()[0][0] == "mismatch"
    assert door.rows() == {}


def test_a_report_in_the_clothes_of_an_image_is_refused(door: Door, tmp_path: Path) -> None:
    report = make_ct(SOPClassUID=SegmentationStorage)
    [answer] = door.scanner.send([Raw(encode(report, tmp_path), CTImageStorage, report.SOPInstanceUID)])
    assert answer.status == DOES_NOT_MATCH


def test_an_unknown_calling_ae_title_is_rejected(open_door: OpenDoor, caplog: pytest.LogCaptureFixture) -> None:
    door = open_door(peers=[Peer(ae_title="CT1", hosts=["127.0.0.1"])])
    with pytest.raises(AssociationFailed, match="rejected"):
        door.scanner.send([make_ct()], ae_title="STRANGER")
    assert "calling_ae_title=STRANGER" in caplog.text
    assert door.scanner.send([make_ct()], ae_title="CT1")[0].status == SUCCESS


def test_an_unknown_host_is_rejected_even_with_a_known_ae_title(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(peers=[Peer(ae_title="CT1", hosts=["10.1.0.0/16"])])
    with pytest.raises(AssociationFailed, match="rejected"):
        door.scanner.echo(ae_title="CT1")
    assert "host=127.0.0.1" in caplog.text


def test_another_called_ae_title_is_rejected(door: Door) -> None:
    with pytest.raises(AssociationFailed, match="rejected"):
        Scanner(door.listener.port, called_ae_title="SOMEONE").echo()


def test_documents_are_refused_at_negotiation_from_a_peer_that_may_not_send_them(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    image, document = make_ct(), make_ct(SOPClassUID=SegmentationStorage, Modality="SEG")
    answers = door.scanner.send([document, image])
    assert [answer.status for answer in answers] == [None, SUCCESS]
    assert "Segmentation Storage" in caplog.text
    assert list(door.rows()) == [image.SOPInstanceUID]


def test_documents_are_kept_from_a_peer_that_may_send_them(open_door: OpenDoor) -> None:
    door = open_door(peers=[Peer(ae_title="PACS", hosts=["127.0.0.1"], sends_documents=True)])
    document = make_ct(SOPClassUID=SegmentationStorage, Modality="SEG")
    assert door.scanner.send([document], ae_title="PACS")[0].status == SUCCESS
    assert door.rows()[document.SOPInstanceUID].kind == "document"


def mark_by_model(ds: Dataset) -> None:
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, MODEL_NAME_CT


def mark_by_ultrasound_model(ds: Dataset) -> None:
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, MODEL_NAME_US


def mark_by_equipment(ds: Dataset) -> None:
    equipment, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    equipment.Manufacturer = MANUFACTURER
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    ds.ContributingEquipmentSequence = [equipment]


@pytest.mark.parametrize("mark", [mark_by_model, mark_by_ultrasound_model, mark_by_equipment])
@pytest.mark.parametrize("sop_class_uid", [SegmentationStorage, CTImageStorage])
def test_our_own_objects_come_back_as_ours(
    open_door: OpenDoor, mark: Callable[[Dataset], None], sop_class_uid: str
) -> None:
    door = open_door(peers=[Peer(ae_title="PACS", hosts=["127.0.0.1"], sends_documents=True)])
    result = make_ct(SOPClassUID=sop_class_uid)
    mark(result)
    assert door.scanner.send([result], ae_title="PACS")[0].status == SUCCESS
    assert door.rows()[result.SOPInstanceUID].kind == "own"


def test_an_object_that_a_run_made_comes_back_as_ours_whatever_it_says(open_door: OpenDoor) -> None:
    door = open_door(peers=[Peer(ae_title="PACS", hosts=["127.0.0.1"], sends_documents=True)])
    result = make_ct(SOPClassUID=SegmentationStorage)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door.store, "is_our_result", lambda uid: uid == result.SOPInstanceUID)
        door.scanner.send([result], ae_title="PACS")
    assert door.rows()[result.SOPInstanceUID].kind == "own"


def test_below_the_reserve_nothing_is_written(open_door: OpenDoor) -> None:
    door = open_door(reserve_bytes=1 << 60)
    [answer] = door.scanner.send([make_ct()])
    assert answer.status == OUT_OF_RESOURCES
    assert "disk" in answer.comment
    assert door.files() == []
    assert door.rows() == {}


def test_a_study_refused_for_the_disk_can_be_explained(open_door: OpenDoor) -> None:
    door = open_door(reserve_bytes=1 << 60)
    ds = make_ct()
    door.scanner.send([ds, make_ct(StudyInstanceUID=ds.StudyInstanceUID)])
    [told] = door.store.oddities_of(ds.StudyInstanceUID)
    assert (told.code, told.path) == ("disk_full", "")


def test_a_caller_that_was_turned_away_is_told_of_once(open_door: OpenDoor) -> None:
    door = open_door(peers=[Peer(ae_title="CT1", hosts=["127.0.0.1"])])
    for _ in range(2):
        with pytest.raises(AssociationFailed):
            door.scanner.send([make_ct()], ae_title="STRANGER")
    [told] = door.store.latest_oddities()
    assert "STRANGER" in told.reason


def test_a_class_that_is_not_ours_is_refused_at_negotiation(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    image, other = make_ct(), make_ct(SOPClassUID=DigitalXRayImageStorageForPresentation)
    answers = door.scanner.send([other, image], ae_title="XRAY")
    assert [answer.status for answer in answers] == [None, SUCCESS]
    [line] = [line for line in caplog.messages if "SOP classes refused" in line]
    assert "Digital X-Ray Image Storage - For Presentation" in line
    assert "XRAY" in line


def test_a_sender_that_proposes_everything_gets_one_short_line(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    every = [build_context(f"1.2.{number}") for number in range(100)] + [build_context(CTImageStorage)]
    door.scanner._associate(every, "EVERYTHING").release()
    [record] = [record for record in caplog.records if "SOP classes refused" in record.getMessage()]
    assert record.levelno == logging.INFO
    assert len(record.getMessage()) < 300
    assert "more" in record.getMessage()


def test_retired_ultrasound_is_let_in(door: Door) -> None:
    ds = make_ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.6", Modality="US")
    assert door.scanner.send([ds])[0].status == SUCCESS


def test_eight_associations_at_once_lose_nothing(door: Door) -> None:
    slices = [make_ct() for _ in range(64)]
    answers = door.scanner.send(slices, associations=8)
    assert {answer.status for answer in answers} == {SUCCESS}
    assert set(door.rows()) == {ds.SOPInstanceUID for ds in slices}
    assert len(door.files("received")) == len(slices)


def test_the_same_instance_over_eight_associations_is_stored_once(door: Door) -> None:
    answers = door.scanner.send([make_ct()] * 1, order=[0] * 8, associations=8)
    assert [answer.status for answer in answers] == [SUCCESS] * 8
    assert len(door.rows()) == len(door.files("received")) == 1


def test_one_association_too_many_is_rejected_for_the_moment(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(maximum_associations=1)
    scanner = door.scanner
    held = scanner._associate([build_context(CTImageStorage)], "HOLDER")
    with pytest.raises(AssociationFailed, match="rejected"):
        scanner.echo()
    held.release()
    assert "maximum_associations=1" in caplog.text


def test_a_crash_between_file_and_row_is_no_success_and_a_resend_heals_it(door: Door) -> None:
    ds = make_ct()
    with broken(Store, "record_instance", sqlite3.OperationalError("database is away")):
        [answer] = door.scanner.send([ds])
    assert answer.status == OUT_OF_RESOURCES
    assert door.rows() == {}
    assert len(door.files("received")) == 1  # whole, but nobody was told
    assert door.scanner.send([ds])[0].status == SUCCESS
    assert list(door.rows()) == [ds.SOPInstanceUID]
    assert len(door.files("received")) == 1


def test_a_row_that_is_not_durable_is_no_success_and_a_resend_heals_it(door: Door) -> None:
    ds = make_ct()
    assert door.scanner.send([make_ct()])[0].status == SUCCESS
    with broken(os, "fdatasync", OSError(5, "Input/output error")):  # of the database's log alone
        [answer] = door.scanner.send([ds])
    assert answer.status == OUT_OF_RESOURCES
    assert door.scanner.send([ds])[0].status == SUCCESS
    assert len(door.rows()) == 2


def test_a_disk_that_is_not_mounted_any_more_is_no_success(door: Door, tmp_path: Path) -> None:
    door.archive.begin(is_known=False)
    folder, ds = door.archive.folder, make_ct()
    folder.rename(tmp_path / "away")
    folder.mkdir()  # the bare mount point
    [answer] = door.scanner.send([ds])
    assert answer.status == OUT_OF_RESOURCES
    assert (list(folder.iterdir()), door.rows()) == ([], {})
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    assert door.scanner.send([ds])[0].status == SUCCESS
    assert len(door.files("received")) == 1


def test_a_disk_that_fails_is_no_success_and_the_next_instance_goes_through(door: Door) -> None:
    with broken(door.archive, "begin_received", OSError(28, "No space left on device")):
        [answer] = door.scanner.send([make_ct()])
    assert answer.status == OUT_OF_RESOURCES
    assert door.scanner.send([make_ct()])[0].status == SUCCESS


def test_the_traceback_of_a_failure_never_quotes_its_message(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with broken(Store, "record_instance", ValueError("CANARY^DONOTLOG")):
        door.scanner.send([make_ct()])
    assert "ValueError" in caplog.text
    assert "take_instance.py" in caplog.text


def test_nothing_but_a_few_lines_is_logged_of_a_study(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door.scanner.send([make_ct() for _ in range(20)])
    door.listener.stop()
    lines = [record.getMessage() for record in caplog.records if record.name == "screener.receive"]
    of_association, of_study = lines
    assert "stored=20" in of_association
    number = door.store.find_study(make_ct().StudyInstanceUID)
    assert f"study={number} " in of_study


@pytest.mark.parametrize(
    "transfer_syntax_uid",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_the_header_is_read_in_every_encoding(door: Door, tmp_path: Path, transfer_syntax_uid: str) -> None:
    ds = make_ct()
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = transfer_syntax_uid
    path = tmp_path / "sent.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert door.scanner.send([path])[0].status == SUCCESS
    row = door.rows()[ds.SOPInstanceUID]
    assert (row.modality, row.series_instance_uid) == ("CT", ds.SeriesInstanceUID)
    assert row.transfer_syntax_uid == transfer_syntax_uid


def test_every_transfer_syntax_arrives_byte_for_byte(open_door: OpenDoor, shared: Path) -> None:
    door = open_door(peers=[Peer(ae_title="*", hosts=["127.0.0.1"], sends_documents=True)])
    paths = sorted((shared / "data/dicom/awkward/transfer_syntaxes").rglob("*.dcm"))
    heads = [dcmread(path, stop_before_pixels=True) for path in paths]
    sent = [
        Raw(read_data_set_bytes(path), head.SOPClassUID, head.SOPInstanceUID, head.file_meta.TransferSyntaxUID)
        for path, head in zip(paths, heads, strict=True)
    ]
    assert len({raw.transfer_syntax_uid for raw in sent}) > 10
    answers = door.scanner.send(sent)
    assert [(path.name, answer.status) for path, answer in zip(paths, answers, strict=True)] == [
        (path.name, SUCCESS) for path in paths
    ]
    # Several files share one SOP Instance UID: the later ones lie aside, whole like the others.
    kept = {read_data_set_bytes(path) for path in door.files()}
    assert kept == {raw.data_set for raw in sent}


def test_the_library_is_told_to_format_nothing(door: Door) -> None:
    assert receive._config.LOG_HANDLER_LEVEL == "none"


def test_no_library_quotes_a_damaged_header(
    door: Door, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    ds = make_ct(SpecificCharacterSet="ISO_IR 192")
    encoded = encode(ds, tmp_path).replace(b"ISO_IR 192", b"BornIn1970")
    door.scanner.send([Raw(encoded, sop_instance_uid=ds.SOPInstanceUID)])
    assert "BornIn1970" not in caplog.text + "".join(capfd.readouterr())
    assert list(door.rows()) == [ds.SOPInstanceUID]
