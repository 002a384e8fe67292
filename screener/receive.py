"""-> RECEIVED: answer C-STORE with Success once the file is whole on disk and its row committed.

Everything else is refused or kept aside with a reason. What a sender saw
answered with Success is in the archive, byte for byte.
"""

import logging
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, build_context, evt, register_uid
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy.exc import SQLAlchemyError

from screener import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from screener.archive import Archive, Kept
from screener.commit import CommitmentService
from screener.config import Listener as ListenerSettings
from screener.logs import describe_error
from screener.read_header import Header, UnreadableDataSetError, is_uid, read_header
from screener.sop_classes import DOCUMENTS, IMAGES, SECONDARY_CAPTURE, ULTRASOUND_RETIRED
from screener.storage_commitment import STORAGE_COMMITMENT
from screener.store import Store
from screener.store.values import Kind, Receipt, ReceivedInstance

SUCCESS = 0x0000
SOP_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.4.2.1: the request left what its presentation context agreed on
OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1: the sender may try again
DOES_NOT_MATCH = 0xA900  # PS3.4 table B.2-1: the data set is not what the request says
CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1: trying again will not help

REJECTED_PERMANENT, BY_USER = 1, 1  # PS3.8 table 9-21
CALLING_AE_TITLE_UNKNOWN, CALLED_AE_TITLE_UNKNOWN = 3, 7

TRANSFER_SYNTAXES = frozenset(ALL_TRANSFER_SYNTAXES) | {f"1.2.840.10008.1.2.4.{process}" for process in range(50, 67)}
"""All of PS3.6 A, the retired JPEG processes of old archives included: nothing is decoded here."""

MAXIMUM_PDU_SIZE = 128 << 10  # measured: fewer, larger PDUs; one of unlimited size would have to fit in memory
BACKLOG = 128  # the library's 5 makes the ninth modality of a busy morning wait a second
MEANT_CLASSES = 8

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tally:
    """What one association brought, for the one line that the log says of it."""

    calling_ae_title: str
    host: str
    started_at: float = field(default_factory=time.monotonic)
    studies: Counter[str] = field(default_factory=Counter)
    """New instances by Study Instance UID."""
    stored: int = 0
    resent: int = 0
    aside: int = 0
    refused: int = 0
    has_warned_of_disk: bool = False


class Listener:
    """The door: C-ECHO, C-STORE and storage commitment for the peers that the settings admit."""

    def __init__(
        self, settings: ListenerSettings, archive: Archive, store: Store, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._store = store
        self._clock = clock
        self._commitments = CommitmentService(settings, archive, store, clock)
        self._tallies: dict[Any, _Tally] = {}
        self._server: Any = None
        self._ae = AE(settings.ae_title)
        self._ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_associations = settings.maximum_associations
        self._ae.maximum_pdu_size = MAXIMUM_PDU_SIZE
        self._ae.network_timeout = settings.network_timeout_seconds
        self._ae.acse_timeout = settings.network_timeout_seconds
        self._ae.dimse_timeout = settings.network_timeout_seconds
        self._ae.require_called_aet = True
        # All that an association may do until `_negotiate` has let its caller in.
        self._ae.supported_contexts = [build_context(Verification)]

    @property
    def port(self) -> int:
        """The TCP port in use, also where the settings left the choice to the system with 0."""
        return int(self._server.server_address[1]) if self._server else self._settings.port

    def start(self) -> None:
        """Listen; OSError where the address is taken."""
        _silence_libraries()
        for keyword, sop_class_uid in ULTRASOUND_RETIRED.items():
            register_uid(sop_class_uid, keyword, StorageServiceClass)
        self._server = self._ae.start_server(
            (self._settings.host, self._settings.port),
            block=False,
            evt_handlers=[
                (evt.EVT_PDU_RECV, _acknowledge),
                (evt.EVT_REQUESTED, self._negotiate),
                (evt.EVT_REJECTED, self._report_limit),
                (evt.EVT_C_STORE, self._answer),
                (evt.EVT_N_ACTION, self._commitments.take_request),
                (evt.EVT_N_EVENT_REPORT, self._commitments.take_report),
                (evt.EVT_RELEASED, self._conclude, ["released"]),
                (evt.EVT_ABORTED, self._conclude, ["aborted"]),
            ],
        )
        self._server.socket.listen(BACKLOG)
        self._server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts

    def stop(self, grace_seconds: float = 5) -> None:
        """Take no new association, let open ones end for `grace_seconds`, then abort them."""
        if self._server is None:
            return
        self._server.shutdown()
        deadline = time.monotonic() + grace_seconds
        while self._ae.active_associations and time.monotonic() < deadline:
            time.sleep(0.02)
        self._ae.shutdown()
        self._server = None

    def _negotiate(self, event: evt.Event) -> None:
        """Let the caller in or not, and narrow what it may store to what its peers entry allows."""
        assoc = event.assoc
        request: Any = assoc.requestor.primitive
        calling_ae_title, host = request.calling_ae_title.strip(), assoc.requestor.address
        if request.called_ae_title.strip() != self._settings.ae_title.strip():
            _logger.warning(
                "association rejected: called AE title is not ours calling_ae_title=%s host=%s called_ae_title=%s",
                calling_ae_title, host, request.called_ae_title.strip(),
            )  # fmt: skip
            self._remember(f"{calling_ae_title} at {host} called another AE title than {self._settings.ae_title}.")
            self._reject(assoc, CALLED_AE_TITLE_UNKNOWN)
            return
        peers = [peer for peer in self._settings.peers if peer.admits(calling_ae_title, host)]
        if not peers:
            _logger.warning(
                "association rejected: no [[listener.peers]] entry admits calling_ae_title=%s host=%s",
                calling_ae_title, host,
            )  # fmt: skip
            self._remember(f"No [[listener.peers]] entry of config.toml admits {calling_ae_title} at {host}.")
            self._reject(assoc, CALLING_AE_TITLE_UNKNOWN)
            return
        accepted = IMAGES | DOCUMENTS if any(peer.sends_documents for peer in peers) else IMAGES
        proposed: dict[UID, dict[UID, None]] = {}  # in the sender's order, which knows best how it holds its files
        for context in request.presentation_context_definition_list:
            proposed.setdefault(context.abstract_syntax, {}).update(dict.fromkeys(context.transfer_syntax))
        assoc.acceptor.supported_contexts = [build_context(Verification), self._commitments.context()] + [
            build_context(sop_class_uid, [uid for uid in uids if uid in TRANSFER_SYNTAXES] or None)
            for sop_class_uid, uids in proposed.items()
            if sop_class_uid in accepted
        ]
        refused = sorted(_name(uid) for uid in proposed if uid not in accepted | {Verification, STORAGE_COMMITMENT})
        if refused:
            # A sender that proposes everything it has ever heard of means nothing by it.
            is_meant = len(refused) <= MEANT_CLASSES
            more = "" if is_meant else f" and {len(refused) - MEANT_CLASSES} more"
            _logger.log(
                logging.WARNING if is_meant else logging.INFO,
                "SOP classes refused calling_ae_title=%s host=%s sop_classes=%s%s",
                calling_ae_title, host, ", ".join(refused[:MEANT_CLASSES]), more,
            )  # fmt: skip
        self._tallies[assoc] = _Tally(calling_ae_title, host)

    def _remember(self, reason: str) -> None:
        """`screener status` tells who was turned away, each caller once."""
        try:
            self._store.record_oddity(
                study_instance_uid=None, sop_instance_uid="", code="caller", reason=reason, path="", sha256="",
                now=self._clock(),
            )  # fmt: skip
        except SQLAlchemyError as error:
            _logger.error("a rejected caller is not remembered: %s", describe_error(error))

    def _reject(self, assoc: Any, diagnostic: int) -> None:
        assoc.acse.send_reject(REJECTED_PERMANENT, BY_USER, diagnostic)
        assoc.kill()  # waits until the rejection is out and the connection closed

    def _report_limit(self, event: evt.Event) -> None:
        self._tallies.pop(event.assoc, None)
        _logger.warning(
            "association rejected for the moment: maximum_associations=%d are open", self._settings.maximum_associations
        )

    def _conclude(self, event: evt.Event, how: str) -> None:
        tally = self._tallies.pop(event.assoc, None)
        if tally is None:  # rejected: that has had its line
            return
        is_echo_only = not (tally.stored or tally.resent or tally.aside or tally.refused)
        _logger.log(
            logging.DEBUG if is_echo_only else logging.INFO,
            "association %s calling_ae_title=%s host=%s "
            "studies=%d stored=%d resent=%d aside=%d refused=%d seconds=%.1f",
            how, tally.calling_ae_title, tally.host, len(tally.studies), tally.stored, tally.resent, tally.aside,
            tally.refused, time.monotonic() - tally.started_at,
        )  # fmt: skip
        for study_instance_uid, stored in tally.studies.items():
            number = self._store.find_study(study_instance_uid)
            _logger.info("study=%s stage=received stored=%d", number, stored)

    def _answer(self, event: evt.Event) -> Dataset:
        """Answer one C-STORE request; whatever goes wrong, the sender learns that it must keep the instance."""
        tally = self._tallies.get(event.assoc)
        if tally is None:
            return _status(OUT_OF_RESOURCES, "the association is being closed")
        try:
            return _StoreRequest(self._archive, self._store, self._clock(), tally, event).answer()
        except Exception as error:  # noqa: BLE001 - the C-STORE edge: the daemon goes on, the sender tries again
            tally.refused += 1
            detail = error.strerror if isinstance(error, OSError) else ""
            _logger.error("C-STORE failed: %s %s", describe_error(error), detail)
            return _status(OUT_OF_RESOURCES, "internal error, try again")


def answer_fetched(
    archive: Archive, store: Store, clock: Callable[[], datetime], ae_title: str
) -> Callable[[evt.Event], Dataset]:
    """What answers each image that a PACS sends on an association of ours (C-GET): kept exactly as at the door."""

    def answer(event: evt.Event) -> Dataset:
        tally = _Tally(ae_title, event.assoc.acceptor.address or "")
        try:
            return _StoreRequest(archive, store, clock(), tally, event).answer()
        except Exception as error:  # noqa: BLE001 - the C-STORE edge, here too: what was not kept is asked for again
            _logger.error("C-STORE failed: %s", describe_error(error))
            return _status(OUT_OF_RESOURCES, "internal error, try again")

    return answer


class _StoreRequest:
    """One C-STORE request on its way to an answer."""

    def __init__(self, archive: Archive, store: Store, now: datetime, tally: _Tally, event: evt.Event) -> None:
        request: Any = event.request
        self._archive = archive
        self._store = store
        self._now = now
        self._tally = tally
        self._data_set: BytesIO = request.DataSet or BytesIO()
        self._sop_class_uid = str(request.AffectedSOPClassUID)
        self._sop_instance_uid = str(request.AffectedSOPInstanceUID)
        self._agreed_sop_class_uid = str(event.context.abstract_syntax)
        self._transfer_syntax_uid = str(event.context.transfer_syntax)

    def answer(self) -> Dataset:
        """Refuse, keep aside or keep; PS3.4 B.2.3 and table B.2-1."""
        if not self._archive.has_room(self._data_set.getbuffer().nbytes):
            return self._refuse_for_disk()
        if self._sop_class_uid != self._agreed_sop_class_uid:
            self._tally.refused += 1
            return _status(SOP_CLASS_NOT_SUPPORTED, "SOP class differs from the presentation context's")
        if not is_uid(self._sop_instance_uid):
            return self._refuse_unreadable("The Affected SOP Instance UID of the request is not a valid UID.")
        try:
            header = read_header(self._data_set, self._transfer_syntax_uid)
        except UnreadableDataSetError as error:
            return self._refuse_unreadable(str(error))
        if (header.sop_class_uid, header.sop_instance_uid) != (self._sop_class_uid, self._sop_instance_uid):
            return self._refuse_mismatch(header)
        return self._refuse_truncated(header) if header.is_truncated else self._keep(header)

    def _refuse_for_disk(self) -> Dataset:
        self._tally.refused += 1
        if not self._tally.has_warned_of_disk:
            self._tally.has_warned_of_disk = True
            _logger.warning(
                "images refused: the disk is below its reserve calling_ae_title=%s", self._tally.calling_ae_title
            )
        with suppress(UnreadableDataSetError, SQLAlchemyError):  # a courtesy to who asks why; the answer stands
            header = read_header(self._data_set, self._transfer_syntax_uid)
            self._store.record_oddity(
                study_instance_uid=header.study_instance_uid, sop_instance_uid="", code="disk_full",
                reason="Images were refused with 0xA700: the disk was below its reserve.", path="", sha256="",
                now=self._now,
            )  # fmt: skip
        return _status(OUT_OF_RESOURCES, "disk below its reserve, try again later")

    def _refuse_unreadable(self, reason: str) -> Dataset:
        with self._data_set.getbuffer() as data_set:
            kept = self._archive.keep_aside(data_set, **self._meta())
        self._record_oddity(None, "unreadable", reason, kept.path, kept.sha256)
        self._tally.refused += 1
        return _status(CANNOT_UNDERSTAND, reason)

    def _refuse_mismatch(self, header: Header) -> Dataset:
        reason = "The SOP Class or Instance UID of the data set differs from the request's."
        with self._data_set.getbuffer() as data_set:
            kept = self._archive.keep_aside(data_set, **self._meta())
        self._record_oddity(header.study_instance_uid, "mismatch", reason, kept.path, kept.sha256)
        self._tally.refused += 1
        return _status(DOES_NOT_MATCH, "data set UIDs differ from the request's")

    def _refuse_truncated(self, header: Header) -> Dataset:
        """Never Success: the sender may hold the whole instance, and the name must stay free for it."""
        reason = "The pixel data end before their declared length: the sender's file is cut short."
        with self._data_set.getbuffer() as data_set:
            kept = self._archive.keep_aside(data_set, **self._meta())
        self._record_oddity(header.study_instance_uid, "truncated", reason, kept.path, kept.sha256)
        self._tally.refused += 1
        return _status(CANNOT_UNDERSTAND, "pixel data end before their declared length")

    def _keep(self, header: Header) -> Dataset:
        with self._data_set.getbuffer() as data_set:
            kept = self._archive.write_received(data_set, **self._meta())
        receipt = self._store.record_instance(self._describe(header, kept), self._now)
        if not self._archive.holds(kept.path):  # taken for an expired one before its row was committed
            with self._data_set.getbuffer() as data_set:
                self._archive.write_received(data_set, **self._meta())
        if receipt is Receipt.CONFLICT:
            reason = "Other content was received before under this SOP Instance UID: the newcomer is kept aside."
            path = self._archive.move_aside(kept.path)
            self._record_oddity(header.study_instance_uid, "conflict", reason, path, kept.sha256)
            self._tally.aside += 1
        elif receipt is Receipt.RESENT:
            self._tally.resent += 1
        else:
            self._tally.stored += 1
            self._tally.studies[header.study_instance_uid] += 1
        return _status(SUCCESS)

    def _describe(self, header: Header, kept: Kept) -> ReceivedInstance:
        return ReceivedInstance(
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            modality=header.modality,
            transfer_syntax_uid=self._transfer_syntax_uid,
            kind=self._kind(header),
            path=kept.path,
            sha256=kept.sha256,
            size_bytes=kept.size_bytes,
            calling_ae_title=self._tally.calling_ae_title,
        )

    def _kind(self, header: Header) -> Kind:
        # Only what a run can make is looked up, so that an image costs no query.
        could_be_ours = header.sop_class_uid in DOCUMENTS | SECONDARY_CAPTURE
        if header.is_ours or (could_be_ours and self._store.is_our_result(header.sop_instance_uid)):
            return Kind.OWN
        return Kind.DOCUMENT if header.sop_class_uid in DOCUMENTS else Kind.IMAGE

    def _meta(self) -> dict[str, str]:
        return {
            "sop_class_uid": self._sop_class_uid,
            "sop_instance_uid": self._sop_instance_uid if is_uid(self._sop_instance_uid) else "",
            "transfer_syntax_uid": self._transfer_syntax_uid,
            "calling_ae_title": self._tally.calling_ae_title,
        }

    def _record_oddity(self, study_instance_uid: str | None, code: str, reason: str, path: str, sha256: str) -> None:
        sop_instance_uid = self._meta()["sop_instance_uid"]
        self._store.record_oddity(
            study_instance_uid=study_instance_uid,
            sop_instance_uid=sop_instance_uid,
            code=code,
            reason=reason,
            path=path,
            sha256=sha256,
            now=self._now,
        )
        _logger.warning(
            "instance odd code=%s calling_ae_title=%s sop_instance_uid=%s reason=%s",
            code, self._tally.calling_ae_title, sop_instance_uid, reason,
        )  # fmt: skip


def _silence_libraries() -> None:
    """Keep out of every log what the DICOM libraries say of the values they meet: it may be a patient's."""
    _config.LOG_HANDLER_LEVEL = "none"  # nor format every PDU, which costs more than to receive it
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b")


def _acknowledge(event: evt.Event) -> None:
    """Acknowledge what came at once (tcp(7), TCP_QUICKACK; the system forgets it with every answer).

    A sender that leaves Nagle's algorithm on, and many do, holds back the rest
    of an instance until then: 40 ms each, measured as four times fewer small ones a second.
    """
    connection = event.assoc.dul.socket
    with suppress(OSError):  # hung up meanwhile
        if connection and connection.socket:
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _status(code: int, comment: str = "") -> Dataset:
    """Make the status of a response; PS3.7 C.4: a comment has 64 characters at most."""
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment[:64]
    return status


def _name(sop_class_uid: UID) -> str:
    return sop_class_uid.name if is_uid(sop_class_uid) else "(not a UID)"
