"""Sending results, over true associations with a PACS that behaves and one that does not."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import Comprehensive3DSRStorage, SegmentationStorage

from screener.config import Destination
from screener.outcomes import NeedsPerson, TryAgain
from workers.results.send_results import send_results


class PACS:
    """What a PACS saw, and what it answers."""

    def __init__(self) -> None:
        self.answers: Callable[[evt.Event], int] = lambda _: 0x0000
        self.data_sets: list[bytes] = []
        self.sop_instance_uids: list[str] = []
        self.transfer_syntaxes: list[str] = []
        self.associations = 0

    def opened(self, _: evt.Event) -> None:
        self.associations += 1

    def store(self, event: evt.Event) -> int:
        status = self.answers(event)
        if status & 0xF000 in {0x0000, 0xB000}:
            self.data_sets.append(event.request.DataSet.getvalue())
            self.sop_instance_uids.append(str(event.request.AffectedSOPInstanceUID))
            self.transfer_syntaxes.append(str(event.context.transfer_syntax))
        return status


@contextmanager
def listening(
    pacs: PACS, classes: dict[str, list[str]] | None = None, *, required_called_ae_title: str = ""
) -> Iterator[Destination]:
    """Let `pacs` listen; `classes` maps the accepted SOP classes to transfer syntaxes."""
    ae = AE(ae_title="ARCHIVE")
    if required_called_ae_title:
        ae.require_called_aet = True
        ae.ae_title = required_called_ae_title
    for sop_class, syntaxes in (classes or both([ExplicitVRLittleEndian])).items():
        ae.add_supported_context(sop_class, syntaxes)
    handlers = [(evt.EVT_C_STORE, pacs.store), (evt.EVT_ACCEPTED, pacs.opened)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Destination(name="main", ae_title="ARCHIVE", host="127.0.0.1", port=server.socket.getsockname()[1])
    finally:
        server.shutdown()


def both(syntaxes: list[str]) -> dict[str, list[str]]:
    return {SegmentationStorage: syntaxes, Comprehensive3DSRStorage: syntaxes}


def write_result(path: Path, sop_class_uid: str, syntax: str = ExplicitVRLittleEndian) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = UID(syntax)
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.PatientName = "CANARY^DONOTLOG"
    ds.StudyInstanceUID = ds.SeriesInstanceUID = generate_uid()
    # An undefined-length sequence and an odd private element: an encoder of our own would write both differently.
    item = pydicom.Dataset()
    item.CodeValue = "1"
    ds.ConceptNameCodeSequence = [item]
    ds["ConceptNameCodeSequence"].is_undefined_length = True
    ds.private_block(0x0011, "OF NOBODY", create=True).add_new(1, "UN", b"odd.")
    ds.save_as(path, enforce_file_format=True)
    return path


def data_set_of(path: Path) -> bytes:
    """The bytes after the file meta information, found by the group length (PS3.10 7.1)."""
    whole = path.read_bytes()
    group_length = int.from_bytes(whole[140:144], "little")
    return whole[144 + group_length :]


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    return [
        write_result(tmp_path / "seg.dcm", SegmentationStorage),
        write_result(tmp_path / "sr.dcm", Comprehensive3DSRStorage),
    ]


@pytest.fixture
def pacs() -> PACS:
    return PACS()


def send(files: list[Path], destination: Destination, timeout_seconds: float = 10) -> None:
    send_results(files, destination, calling_ae_title="PAROTID", timeout_seconds=timeout_seconds)


def test_the_pacs_receives_the_bytes_that_were_encoded(pacs: PACS, results: list[Path]) -> None:
    with listening(pacs) as destination:
        send(results, destination)
    assert pacs.data_sets == [data_set_of(path) for path in results]


def test_all_results_go_over_one_association(pacs: PACS, results: list[Path]) -> None:
    with listening(pacs) as destination:
        send(results, destination)
    assert pacs.associations == 1


def test_sending_twice_sends_the_same_instances(pacs: PACS, results: list[Path]) -> None:
    with listening(pacs) as destination:
        send(results, destination)
        send(results, destination)
    assert pacs.data_sets[:2] == pacs.data_sets[2:]
    assert pacs.sop_instance_uids[:2] == pacs.sop_instance_uids[2:]


def test_a_warning_counts_as_stored(pacs: PACS, results: list[Path]) -> None:
    pacs.answers = lambda _: 0xB000
    with listening(pacs) as destination:
        send(results, destination)
    assert len(pacs.data_sets) == len(results)


def test_an_archive_that_takes_only_the_default_transfer_syntax_is_served(pacs: PACS, results: list[Path]) -> None:
    with listening(pacs, both([ImplicitVRLittleEndian])) as destination:
        send(results, destination)
    assert pacs.transfer_syntaxes == [ImplicitVRLittleEndian] * len(results)
    assert pacs.sop_instance_uids == [str(pydicom.dcmread(path).SOPInstanceUID) for path in results]


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0122])
def test_a_failure_status_is_tried_again_and_named(pacs: PACS, results: list[Path], status: int) -> None:
    pacs.answers = lambda _: status
    with listening(pacs) as destination, pytest.raises(TryAgain) as caught:
        send(results, destination)
    assert f"0x{status:04X}" in caught.value.reason
    assert destination.name in caught.value.reason


def test_a_refused_file_does_not_hold_back_the_others(pacs: PACS, results: list[Path]) -> None:
    pacs.answers = lambda event: 0xA700 if event.request.AffectedSOPClassUID == SegmentationStorage else 0
    with listening(pacs) as destination, pytest.raises(TryAgain, match="Segmentation Storage"):
        send(results, destination)
    assert pacs.data_sets == [data_set_of(results[1])]


def test_a_sop_class_that_the_pacs_does_not_accept_is_named_and_the_other_result_arrives(
    pacs: PACS, results: list[Path]
) -> None:
    with (
        listening(pacs, {SegmentationStorage: [ExplicitVRLittleEndian]}) as destination,
        pytest.raises(TryAgain, match="does not accept Comprehensive 3D SR Storage"),
    ):
        send(results, destination)
    assert pacs.data_sets == [data_set_of(results[0])]


def test_a_pacs_that_accepts_none_of_the_sop_classes_is_tried_again(pacs: PACS, results: list[Path]) -> None:
    ct_only = {"1.2.840.10008.5.1.4.1.1.2": [ExplicitVRLittleEndian]}
    with listening(pacs, ct_only) as destination, pytest.raises(TryAgain) as caught:
        send(results, destination)
    assert caught.value.code == "no_context_accepted"
    assert "Segmentation Storage" in caught.value.reason


def test_a_pacs_that_does_not_know_us_is_tried_again(pacs: PACS, results: list[Path]) -> None:
    with listening(pacs, required_called_ae_title="OTHER") as destination, pytest.raises(TryAgain) as caught:
        send(results, destination)
    assert caught.value.code == "association_refused"
    assert "alled AE title not recogni" in caught.value.reason


# pynetdicom 3.0.4 drops the socket of a refused connection without closing it (AssociationSocket.connect).
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_pacs_that_is_away_is_tried_again_and_takes_the_results_when_back(pacs: PACS, results: list[Path]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        away = Destination(name="main", ae_title="ARCHIVE", host="127.0.0.1", port=held.getsockname()[1])
        with pytest.raises(TryAgain) as caught:
            send(results, away)
    assert caught.value.code == "no_connection"
    with listening(pacs) as destination:
        send(results, destination)
    assert len(pacs.data_sets) == len(results)


def test_a_pacs_that_hangs_up_between_two_results_is_tried_again(pacs: PACS, results: list[Path]) -> None:
    def hang_up(event: evt.Event) -> int:
        if event.request.AffectedSOPClassUID == Comprehensive3DSRStorage:
            event.assoc.abort()
        return 0x0000

    pacs.answers = hang_up
    with listening(pacs) as destination, pytest.raises(TryAgain) as caught:
        send(results, destination)
    assert caught.value.code in {"no_answer", "association_lost"}


def test_a_pacs_that_never_answers_is_left_after_the_timeout(pacs: PACS, results: list[Path]) -> None:
    let_go = threading.Event()

    def stall(_: evt.Event) -> int:
        let_go.wait(30)
        return 0x0000

    pacs.answers = stall
    with listening(pacs) as destination:
        with pytest.raises(TryAgain) as caught:
            send(results, destination, timeout_seconds=3)
        let_go.set()
    assert caught.value.code == "no_answer"


def test_a_port_that_speaks_no_dicom_is_left_after_the_timeout(results: list[Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        destination = Destination(name="main", ae_title="ARCHIVE", host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(TryAgain) as caught:
            send(results, destination, timeout_seconds=0.5)
    assert caught.value.code == "no_association"


def test_a_lost_result_file_needs_a_person(results: list[Path]) -> None:
    results[0].unlink()
    destination = Destination(name="main", ae_title="ARCHIVE", host="127.0.0.1", port=1)
    with pytest.raises(NeedsPerson, match=results[0].name):
        send(results, destination)


def test_no_sentence_names_the_patient(pacs: PACS, results: list[Path]) -> None:
    pacs.answers = lambda _: 0xC000
    with listening(pacs) as destination, pytest.raises(TryAgain) as caught:
        send(results, destination)
    assert "CANARY" not in caught.value.reason
