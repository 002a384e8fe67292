"""Send a folder of DICOM files as they are to a receiver: what `screener send FOLDER` does."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom import _config, build_context, evt
from pynetdicom.dsutils import split_dataset
from pynetdicom.status import code_to_category

from screener.archive import encode_file_meta
from screener.associate import associate, make_ae
from screener.read_header import is_uid

_ABORT_SECONDS = 5.0
MAXIMUM_CONTEXTS = 128  # PS3.8 7.1.1.13: the identifiers are the odd numbers up to 255
_NO_PREFIX = "not a DICOM file"
_MEDIA_DIRECTORY = "a directory of media, not an instance"
_NOT_DICOM = {_NO_PREFIX, _MEDIA_DIRECTORY}
_REJECTIONS = {  # PS3.8 table 9-21: by source and diagnostic
    (1, 3): "it does not know the calling AE title",
    (1, 7): "it does not know the called AE title",
    (3, 1): "it is busy",
    (3, 2): "it has too many associations open",
}


class SendError(ConnectionError):
    """The receiver cannot be reached or wants no association; the message says which."""


class ConnectionClosedError(SendError):
    """The receiver was connected to, and gave no answer to the association request."""


class NotTaken(NamedTuple):
    """A file that did not go, and why."""

    path: Path
    reason: str


@dataclass(slots=True, kw_only=True)
class SendReport:
    """What became of every file of the folder."""

    sent: int = 0
    """Answered with Success or a warning."""
    refused: list[NotTaken] = field(default_factory=list)
    """Instances that are faulty or that the receiver did not take."""
    not_sent: list[NotTaken] = field(default_factory=list)
    """Instances left when the connection was lost for good; of the first perhaps only the answer is missing."""
    not_dicom: list[NotTaken] = field(default_factory=list)
    """Files that hold no DICOM instance; directories of media (DICOMDIR) among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instance:
    path: Path
    sop_class_uid: UID
    sop_instance_uid: str
    transfer_syntax_uid: UID
    agrees: bool
    """True: the file meta information says the same, so that the file can be sent from where it lies."""


def send_folder(
    folder: Path,
    *,
    host: str,
    port: int,
    called_ae_title: str,
    calling_ae_title: str = "SCREENER_SEND",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    timeout_seconds: float = 60,
) -> SendReport:
    """Send every instance below `folder`, in the order of the paths, without encoding anything anew.

    A refused instance is reported and the next one sent. `on_progress` is told
    how many of how many files are done. SendError where there is no association
    to begin with; one lost on the way is opened again once per instance. Where that
    fails, what is left is not sent.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    report = SendReport()
    instances = []
    for path in paths:
        instance = _read(path)
        if isinstance(instance, _Instance):
            instances.append(instance)
        else:
            (report.not_dicom if instance.reason in _NOT_DICOM else report.refused).append(instance)
    total = len(paths)
    on_progress(total - len(instances), total)
    sender = _Sender(host, port, called_ae_title, calling_ae_title, timeout_seconds)
    done = 0
    try:
        for batch in _in_batches(instances):
            with sender.associate(batch):
                for instance in batch:
                    reason = sender.send(instance)
                    if reason:
                        report.refused.append(NotTaken(instance.path, reason))
                    else:
                        report.sent += 1
                    done += 1
                    on_progress(total - len(instances) + done, total)
    except SendError as error:
        if not sender.has_associated:
            raise
        lost = f"the connection was lost, and then {error}"
        report.not_sent += [NotTaken(instance.path, lost) for instance in instances[done:]]
    return report


def _read(path: Path) -> _Instance | NotTaken:
    """Read what a C-STORE request needs."""
    try:
        ds = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
    except InvalidDicomError:
        return NotTaken(path, _NO_PREFIX)
    except (OSError, EOFError, ValueError, NotImplementedError) as error:
        return NotTaken(path, f"the file cannot be read ({type(error).__name__})")
    meta = ds.file_meta
    if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return NotTaken(path, _MEDIA_DIRECTORY)
    sop_class_uid, sop_instance_uid = str(ds.get("SOPClassUID", "")), str(ds.get("SOPInstanceUID", ""))
    transfer_syntax_uid = str(meta.get("TransferSyntaxUID", ""))
    if not (is_uid(sop_class_uid) and is_uid(sop_instance_uid)):
        return NotTaken(path, "the file has no valid SOP Class UID and SOP Instance UID")
    if not is_uid(transfer_syntax_uid):
        return NotTaken(path, "the file meta information has no Transfer Syntax UID")
    stated = meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID")
    return _Instance(
        path=path,
        sop_class_uid=UID(sop_class_uid),
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=UID(transfer_syntax_uid),
        agrees=stated == (sop_class_uid, sop_instance_uid),
    )


def _in_batches(instances: list[_Instance]) -> Iterator[list[_Instance]]:
    """Cut the list wherever one association can propose no further kind of file."""
    batch: list[_Instance] = []
    kinds: set[tuple[UID, UID]] = set()
    for instance in instances:
        kind = (instance.sop_class_uid, instance.transfer_syntax_uid)
        if kind not in kinds and len(kinds) == MAXIMUM_CONTEXTS:
            yield batch
            batch, kinds = [], set()
        batch.append(instance)
        kinds.add(kind)
    if batch:
        yield batch


class _Sender:
    """One association after the other with the same receiver."""

    def __init__(
        self, host: str, port: int, called_ae_title: str, calling_ae_title: str, timeout_seconds: float
    ) -> None:
        # With it a path is sent byte for byte and in pieces; without it the library would decode and encode anew.
        _config.STORE_SEND_CHUNKED_DATASET = True
        self._host = host
        self._port = port
        self._called_ae_title = called_ae_title
        self._calling_ae_title = calling_ae_title
        self._ae = make_ae(calling_ae_title, timeout_seconds=timeout_seconds)
        self._contexts: list[Any] = []
        self._assoc: Any = None
        self.has_associated = False

    @contextmanager
    def associate(self, batch: list[_Instance]) -> Iterator[None]:
        """Keep an association open that proposes what `batch` needs, as it lies in the files."""
        kinds = dict.fromkeys((instance.sop_class_uid, instance.transfer_syntax_uid) for instance in batch)
        self._contexts = [build_context(*kind) for kind in kinds]
        self._open()
        try:
            yield
        finally:
            if self._assoc.is_established:
                self._assoc.release()

    def send(self, instance: _Instance) -> str:
        """Send one instance; the reason why it was not taken, empty when it was. SendError: no association any more."""
        for _ in range(2):
            if not self._assoc.is_established:
                self._open()
            reason = self._try(instance)
            if reason is not None:
                return reason
            self._assoc.join(_ABORT_SECONDS)  # until it knows that it is over, it would take another request
        return "the connection was lost before an answer came"

    def _try(self, instance: _Instance) -> str | None:
        """None: no answer came."""
        accepted = {(context.abstract_syntax, context.transfer_syntax[0]) for context in self._assoc.accepted_contexts}
        if (instance.sop_class_uid, instance.transfer_syntax_uid) not in accepted:
            return f"the receiver does not take {instance.sop_class_uid.name} in {instance.transfer_syntax_uid.name}"
        with _as_sendable(instance) as path:
            try:
                answer = self._assoc.send_c_store(path)
            except RuntimeError:  # the association ended meanwhile
                return None
        if "Status" not in answer:
            return None
        if code_to_category(answer.Status) in {"Success", "Warning"}:
            return ""
        comment = str(answer.get("ErrorComment", "")).strip()
        return f"refused with 0x{answer.Status:04X}" + (f": {comment}" if comment else "")

    def _open(self) -> None:
        has_connected: list[bool] = []

        def prepare(event: evt.Event) -> None:
            has_connected.append(True)
            _send_at_once(event)

        self._assoc = associate(
            self._ae,
            self._host,
            self._port,
            contexts=self._contexts,
            ae_title=self._called_ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, prepare)],
        )
        if self._assoc.is_established:
            self.has_associated = True
            return
        receiver = f"{self._called_ae_title} at {self._host}:{self._port}"
        if self._assoc.is_rejected:
            rejection = self._assoc.acceptor.primitive
            why = _REJECTIONS.get((rejection.result_source, rejection.diagnostic), "it gives no reason")
            who = f" {self._calling_ae_title}" if (rejection.result_source, rejection.diagnostic) == (1, 3) else ""
            hint = "; add it to [[listener.peers]] there, or use --calling" if who else ""
            raise SendError(f"{receiver} rejects the association: {why}{who}{hint}")
        if self._assoc.acceptor.primitive is not None:
            raise SendError(f"{receiver} takes none of the kinds of files in the folder")
        if has_connected:
            raise ConnectionClosedError(f"{receiver} closed the connection, or does not answer the association request")
        raise SendError(f"{receiver} cannot be reached")


def _send_at_once(event: evt.Event) -> None:
    """Switch Nagle's algorithm off: it costs 40 ms per instance where the receiver delays its acknowledgments."""
    connection = event.assoc.dul.socket
    if connection and connection.socket:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def _as_sendable(instance: _Instance) -> Iterator[Path]:
    """Give a file whose meta information agrees with its data set: PS3.4 B.2.3 asks this of the request."""
    if instance.agrees:
        yield instance.path
        return
    with tempfile.NamedTemporaryFile(suffix=".dcm") as copy, instance.path.open("rb") as original:
        head = encode_file_meta(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid, "")
        copy.write(head)
        original.seek(split_dataset(instance.path)[1])
        while piece := original.read(1 << 20):
            copy.write(piece)
        copy.flush()
        yield Path(copy.name)
