"""Sending a folder, to the screener's own door and to a PACS that refuses."""

import gc
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from screener.send_folder import ConnectionClosedError, SendError, SendReport, _in_batches, _Instance, send_folder
from tests.peers.pacs import OUT_OF_RESOURCES, SUCCESS, Pacs
from tests.peers.scanner import make_ct, read_data_set_bytes

# A connection that its receiver closes is dropped by the library, its socket open.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def dropped_sockets_are_noticed_here() -> Iterator[None]:
    """Not in whatever test comes later."""
    yield
    gc.collect()


def write(folder: Path, count: int, **elements: object) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.dcm" for number in range(count)]
    for path in paths:
        make_ct(**elements).save_as(path, enforce_file_format=True)
    return paths


def hang_up_on_one(server: socket.socket) -> None:
    server.accept()[0].close()


def send(folder: Path, pacs: Pacs) -> SendReport:
    return send_folder(folder, host=pacs.host, port=pacs.port, called_ae_title="PACS", calling_ae_title="ME")


def test_every_instance_below_the_folder_arrives_as_it_lies(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", 3) + write(tmp_path / "b" / "deeper", 2)
    progress: list[tuple[int, int]] = []
    with Pacs() as pacs:
        report = send_folder(
            tmp_path,
            host=pacs.host,
            port=pacs.port,
            called_ae_title="PACS",
            calling_ae_title="ME",
            on_progress=lambda done, total: progress.append((done, total)),
        )
    assert report.sent == len(paths) == len(pacs.received)
    assert (report.refused, report.not_dicom) == ([], [])
    assert progress == [(done, len(paths)) for done in range(len(paths) + 1)]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_nothing_is_encoded_anew(tmp_path: Path, syntax: str) -> None:
    ds = make_ct()
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    sent = read_data_set_bytes(tmp_path / "one.dcm")
    with Pacs() as pacs:
        assert send(tmp_path, pacs).sent == 1
    assert pacs.encoded == [sent]


def test_files_that_are_not_dicom_are_named_and_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty").touch()
    with Pacs() as pacs:
        report = send(tmp_path, pacs)
    assert report.sent == 2
    assert [path for path, reason in report.not_dicom] == [tmp_path / "empty", tmp_path / "notes.txt"]


def test_a_refused_instance_is_reported_and_the_others_still_go(tmp_path: Path) -> None:
    _, refused, _ = paths = write(tmp_path, 3)
    uid = read_uid(refused)
    with Pacs() as pacs:
        pacs.answer = lambda ds: OUT_OF_RESOURCES if ds.SOPInstanceUID == uid else SUCCESS
        report = send(tmp_path, pacs)
    assert report.sent == len(paths) - 1
    assert [refusal.path for refusal in report.refused] == [refused]
    assert "0xA700" in report.refused[0].reason


def test_a_class_that_the_receiver_does_not_take_is_reported(tmp_path: Path) -> None:
    [image, other] = write(tmp_path, 1) + write(tmp_path / "other", 1, SOPClassUID="1.2.3.4.5")
    with Pacs() as pacs:
        report = send(tmp_path, pacs)
    assert report.sent == 1
    assert [refusal.path for refusal in report.refused] == [other]
    assert "1.2.3.4.5" in report.refused[0].reason
    assert image.exists()


def test_a_lost_association_is_opened_again(tmp_path: Path) -> None:
    paths = write(tmp_path, 4)
    with Pacs() as pacs:
        pacs.hangs_up_after = 2
        pacs.on_hang_up = lambda: setattr(pacs, "hangs_up_after", None)
        report = send(tmp_path, pacs)
    assert (report.sent, report.refused) == (len(paths), [])


def test_a_receiver_that_always_hangs_up_is_reported_for_each_file(tmp_path: Path) -> None:
    paths = write(tmp_path, 3)
    with Pacs() as pacs:
        pacs.hangs_up_after = 1
        report = send(tmp_path, pacs)
    assert report.sent == 1
    assert [path for path, reason in report.refused] == paths[1:]
    assert all("lost" in reason for path, reason in report.refused)


def test_what_a_receiver_that_went_away_was_never_offered_is_not_called_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, 5)
    with Pacs() as pacs:
        pacs.hangs_up_after = 2
        pacs.on_hang_up = lambda: setattr(pacs._ae, "require_calling_aet", ["SOMEONE"])
        report = send(tmp_path, pacs)
    assert (report.sent, report.refused) == (2, [])
    assert [path for path, _ in report.not_sent] == paths[2:]
    assert all("the connection was lost" in reason for _, reason in report.not_sent)


def test_a_receiver_that_closes_the_connection_is_not_said_to_be_away(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closing = threading.Thread(target=hang_up_on_one, args=(server,))
        closing.start()
        with pytest.raises(ConnectionClosedError, match="closed the connection"):
            send_folder(tmp_path, host="127.0.0.1", port=server.getsockname()[1], called_ae_title="P")
        closing.join()


def test_a_file_whose_meta_information_lies_is_sent_under_its_true_name(tmp_path: Path) -> None:
    [path] = write(tmp_path, 1)
    true = read_uid(path)
    false = generate_uid()
    content = path.read_bytes()
    assert content.count(true.encode()) == 2  # meta information and data set
    false = (false * 2)[: len(true)]
    path.write_bytes(content.replace(true.encode(), false.encode(), 1))
    with Pacs() as pacs:
        assert send(tmp_path, pacs).sent == 1
    assert [received.SOPInstanceUID for received in pacs.received] == [true]
    assert [received.file_meta.MediaStorageSOPInstanceUID for received in pacs.received] == [true]


def test_a_receiver_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SendError, match="cannot be reached"):
        send_folder(tmp_path, host="127.0.0.1", port=port, called_ae_title="PACS", calling_ae_title="ME")


def test_a_receiver_that_takes_nothing_of_the_folder_is_said_to(tmp_path: Path) -> None:
    write(tmp_path, 1, SOPClassUID="1.2.3.4.5")
    with Pacs() as pacs, pytest.raises(SendError, match="none of the kinds"):
        send(tmp_path, pacs)


def test_a_rejection_gives_the_receivers_reason(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with Pacs() as pacs:
        pacs._ae.require_calling_aet = ["SOMEONE"]
        with pytest.raises(SendError, match="calling AE title"):
            send(tmp_path, pacs)


def test_an_empty_folder_asks_nothing_of_the_receiver(tmp_path: Path) -> None:
    report = send_folder(tmp_path, host="127.0.0.1", port=1, called_ae_title="PACS", calling_ae_title="ME")
    assert report == SendReport()


def test_no_association_proposes_more_contexts_than_there_are_identifiers() -> None:
    instances = [
        _Instance(
            path=Path(str(number)),
            sop_class_uid=f"1.2.{number}",
            sop_instance_uid=f"1.3.{number}",
            transfer_syntax_uid="1.4",
            agrees=True,
        )
        for number in range(300)
    ]
    batches = list(_in_batches(instances))
    assert [instance for batch in batches for instance in batch] == instances
    assert max(len({instance.sop_class_uid for instance in batch}) for batch in batches) == 128


def read_uid(path: Path) -> str:
    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
