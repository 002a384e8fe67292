"""A modality that sends anything, in any order, over any number of associations, and keeps the answers."""

import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification

from screener.archive import encode_file_meta
from screener.associate import associate

_config.STORE_SEND_CHUNKED_DATASET = True  # a file given by its path goes out byte for byte


@dataclass(frozen=True)
class Raw:
    """Bytes sent as a data set, whatever they are, under a request that says what the other fields say."""

    data_set: bytes
    sop_class_uid: str = CTImageStorage
    sop_instance_uid: str = "2.25.1"
    transfer_syntax_uid: str = ExplicitVRLittleEndian


@dataclass(frozen=True)
class Answer:
    """What the receiver said of one instance; `status` is None where it said nothing."""

    sop_instance_uid: str
    status: int | None
    comment: str


class AssociationFailed(Exception):
    """There was no association; the message is `rejected` or `aborted`."""


def make_ct(**elements: object) -> Dataset:
    """Make a small CT slice of the patient whom no log may name; `elements` replaces any element by its keyword."""
    ds = Dataset()
    ds.file_meta = Dataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.Modality = "CT"
    ds.Manufacturer = "A maker of scanners"
    ds.PatientName = "CANARY^DONOTLOG"
    ds.PatientID = "CANARY-ID-1"
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 1, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = bytes(range(256)) * 2
    set_elements(ds, elements)
    return ds


def set_elements(ds: Dataset, elements: Mapping[str, object]) -> None:
    """Set each element by its keyword; None removes it."""
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)


class Scanner:
    """Sends to one receiver."""

    def __init__(self, port: int, host: str = "127.0.0.1", called_ae_title: str = "PAROTID") -> None:
        self._port = port
        self._host = host
        self._called_ae_title = called_ae_title

    def echo(self, ae_title: str = "SCANNER") -> int | None:
        """Verify the connection; the status, or None where there was no answer."""
        assoc = self._associate([build_context(Verification)], ae_title)
        status: int | None = assoc.send_c_echo().get("Status")
        assoc.release()
        return status

    def send(
        self,
        items: Iterable[Dataset | Path | Raw],
        *,
        ae_title: str = "SCANNER",
        associations: int = 1,
        order: Sequence[int] | None = None,
    ) -> list[Answer]:
        """Send `items`, or those that `order` names by index, dealt out over `associations` at the same time.

        The answers stand in the order of sending; with several associations, one after the other.
        """
        with tempfile.TemporaryDirectory() as folder:
            paths = [_as_file(item, Path(folder) / f"{number}.dcm") for number, item in enumerate(items)]
            if order is not None:
                paths = [paths[index] for index in order]
            answers: list[list[Answer]] = [[] for _ in range(associations)]
            failures: list[AssociationFailed] = []

            def send_share(number: int) -> None:
                try:
                    answers[number] = self._send_files(paths[number::associations], ae_title)
                except AssociationFailed as failure:
                    failures.append(failure)

            threads = [threading.Thread(target=send_share, args=(number,)) for number in range(associations)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        return [answer for share in answers for answer in share]

    def _send_files(self, paths: Sequence[Path], ae_title: str) -> list[Answer]:
        metas = [read_file_meta_info(path) for path in paths]
        pairs = dict.fromkeys((meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas)
        assoc = self._associate([build_context(*pair) for pair in pairs], ae_title)
        answers = []
        for path, meta in zip(paths, metas, strict=True):
            _rest_reactor(assoc)
            try:
                response = assoc.send_c_store(path)
            except (ValueError, RuntimeError):  # the class was refused, or the receiver hung up
                response = Dataset()
            finally:
                assoc._reactor_checkpoint.set()
            answers.append(
                Answer(
                    str(meta.MediaStorageSOPInstanceUID), response.get("Status"), str(response.get("ErrorComment", ""))
                )
            )
        assoc.release()
        return answers

    def _associate(self, contexts: list[PresentationContext], ae_title: str):  # type: ignore[no-untyped-def]
        ae = AE(ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        assoc = associate(ae, self._host, self._port, contexts=contexts, ae_title=self._called_ae_title)
        if not assoc.is_established:
            raise AssociationFailed("rejected" if assoc.is_rejected else "aborted")
        return assoc


def _rest_reactor(assoc: Association) -> None:
    """Wait until the association's own thread rests, not only says that it is about to.

    On a busy machine pynetdicom sends while that thread is still to look for messages: it takes the answer, and the
    sender waits for it until the association is aborted.
    """
    checkpoint = assoc._reactor_checkpoint
    checkpoint.clear()
    while assoc.is_alive() and not checkpoint._cond._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)


def read_data_set_bytes(path: Path) -> bytes:
    """Give what follows preamble and file meta information in a file."""
    with path.open("rb") as file:
        head = dcmread(file, specific_tags=[], stop_before_pixels=True).file_meta
    start = 128 + 4 + 12 + head.FileMetaInformationGroupLength
    return path.read_bytes()[start:]


def _as_file(item: Dataset | Path | Raw, path: Path) -> Path:
    if isinstance(item, Path):
        return item
    if isinstance(item, Raw):
        meta = encode_file_meta(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, "SCANNER")
        path.write_bytes(meta + item.data_set)
        return path
    item.save_as(path, enforce_file_format=True)
    return path
