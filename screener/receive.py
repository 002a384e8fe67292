"""-> RECEIVED: answer C-STORE with Success once the file is whole on disk and its row committed.

Everything else is refused or kept aside with a reason. What a sender saw
answered with Success is in the archive, byte for byte. This is the door: who
is let in, with what, and how many at a time; `take_instance` has the rest.
"""

import logging
import socket
import ssl
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, _config, evt
from pynetdicom.dsutils import encode
from sqlalchemy.exc import SQLAlchemyError

from screener.archive import Archive
from screener.association import Association
from screener.command_set import LONGEST_COMMENT, Command
from screener.commit import INVALID_ARGUMENT, CommitmentService
from screener.commit_rows import RowWriter
from screener.config import Listener as ListenerSettings
from screener.config import Peer
from screener.connection import Connection
from screener.listen import Server, allow_many_files, open_socket, share_memory
from screener.read_header import is_uid
from screener.service import Admitted, Caller, Context, EventReport, Limits, Rejected
from screener.slots import Slots
from screener.sop_classes import DOCUMENTS, IMAGES
from screener.storage_commitment import (
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    UnreadableCommitmentError,
    decode_commitment,
)
from screener.store import Store
from screener.store.sync_later import LaterSync
from screener.store.values import OwedReport
from screener.take_instance import IncomingInstance, Intake, StoreRequest, Tally
from screener.turned_away import TurnedAway
from screener.upper_layer import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    AssociationRequest,
    ContextResult,
    ProposedContext,
)

VERIFICATION = "1.2.840.10008.1.1"
CALLING_AE_TITLE_UNKNOWN = Rejected(1, 1, 3)  # PS3.8 table 9-21: permanent, by the service user
CALLED_AE_TITLE_UNKNOWN = Rejected(1, 1, 7)
LOCAL_LIMIT_EXCEEDED = Rejected(2, 3, 2)  # transient, by the service provider, presentation related

TRANSFER_SYNTAXES = frozenset(ALL_TRANSFER_SYNTAXES) | {f"1.2.840.10008.1.2.4.{process}" for process in range(50, 67)}
"""All of PS3.6 A, the retired JPEG processes of old archives included: nothing is decoded here."""
UNCOMPRESSED = frozenset((ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian))

RESOURCE_LIMITATION = 0x0213  # PS3.7 C.5
MOST_OWED_INSTANCES = 100_000
"""In reports that wait on one association, beside the first."""
MEANT_CLASSES = 8
END_SECONDS = 5.0
"""How long an association has to notice that the daemon stops."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Guest:
    """What the door knows of an association that it has let in."""

    tally: Tally
    slots: list[int]
    started_at: float = field(default_factory=time.monotonic)
    owed: deque[tuple[Context, OwedReport]] = field(default_factory=deque)
    """Reports on storage commitment, in the order of their requests."""
    told: OwedReport | None = None
    """Sent, and not yet answered; the next one waits for that."""


class Listener:
    """The door: C-ECHO, C-STORE and storage commitment for the peers that the settings admit."""

    def __init__(
        self,
        settings: ListenerSettings,
        archive: Archive,
        store: Store,
        clock: Callable[[], datetime],
        *,
        tls: ssl.SSLContext | None = None,
        shared: tuple[socket.socket, Slots] | None = None,
    ) -> None:
        """`shared`: the socket on which other processes accept as well, and the counts that they share."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._tls = tls
        self._shared = shared
        self._slots = shared[1] if shared else Slots()
        is_line = shared is not None and store.engine.dialect.name == "sqlite"
        turn: Callable[[], AbstractContextManager[None]] = self._slots.turn if is_line else nullcontext
        self._later_sync = LaterSync(store.engine) if LaterSync.fits(store.engine) else None
        writing = Store(self._later_sync.engine) if self._later_sync else store
        sync = self._later_sync.sync if self._later_sync else lambda: None
        self._intake = Intake(archive, store, RowWriter(writing, turn, sync), clock)
        self._turned_away = TurnedAway(store, clock, turn)
        self._commitments = CommitmentService(settings, archive, store, clock, sync)
        self._limits = Limits(
            acse_seconds=settings.acse_timeout_seconds,
            network_seconds=settings.network_timeout_seconds,
            dimse_seconds=settings.dimse_timeout_seconds,
        )
        self._guests: dict[Caller, _Guest] = {}
        self._is_stopping = threading.Event()
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The TCP port in use, also where the settings left the choice to the system with 0."""
        return self._server.port if self._server else self._settings.port

    def start(self) -> None:
        """Listen; OSError where the address is taken."""
        silence_libraries()
        allow_many_files()
        share_memory()
        listening = self._shared[0] if self._shared else open_socket(self._settings.host, self._settings.port)
        self._server = Server(listening, self._serve, is_known=self._is_known, is_shared=self._shared is not None)
        self._server.start()

    def stop(self, grace_seconds: float = 5) -> None:
        """Take no new association, let open ones end for `grace_seconds`, then abort them."""
        if self._server is None:
            return
        self._server.close()
        if not self._server.wait_until_idle(grace_seconds):
            self._is_stopping.set()
            self._server.wait_until_idle(END_SECONDS)
        self._server = None
        if self._later_sync is not None:
            self._later_sync.close()

    def _is_known(self, host: str) -> bool:
        return any(peer.includes(host) for peer in self._settings.peers)

    def _serve(self, sock: socket.socket, host: str, tell: Callable[[bool], None]) -> None:
        connection = Connection(sock, self._is_stopping, answer_seconds=self._settings.network_timeout_seconds)
        Association(connection, self, self._limits, host=host, tls=self._tls, tell=tell).run()

    def admit(self, caller: Caller, request: AssociationRequest) -> Admitted | Rejected:
        """Let the caller in or not, and narrow what it may store to what its peers entry allows."""
        calling_ae_title, host = request.calling_ae_title, caller.host
        if request.called_ae_title != self._settings.ae_title.strip():
            _logger.warning(
                "association rejected: called AE title is not ours calling_ae_title=%s host=%s called_ae_title=%s",
                calling_ae_title, host, request.called_ae_title,
            )  # fmt: skip
            self._turned_away.remember(
                f"{calling_ae_title} at {host} called another AE title than {self._settings.ae_title}."
            )
            return CALLED_AE_TITLE_UNKNOWN
        peers = [peer for peer in self._settings.peers if peer.admits(calling_ae_title, host)]
        if not peers:
            _logger.warning(
                "association rejected: no [[listener.peers]] entry admits calling_ae_title=%s host=%s",
                calling_ae_title, host,
            )  # fmt: skip
            self._turned_away.remember(
                f"No [[listener.peers]] entry of config.toml admits {calling_ae_title} at {host}."
            )
            return CALLING_AE_TITLE_UNKNOWN
        slots = self._take_slots(calling_ae_title, host, peers)
        if slots is None:
            return LOCAL_LIMIT_EXCEEDED
        self._guests[caller] = _Guest(Tally(calling_ae_title, host), slots)
        accepted = IMAGES | DOCUMENTS if any(peer.sends_documents for peer in peers) else IMAGES
        self._tell_refused(request, host, accepted)
        roles = {  # a sender that asks is our user, a PACS that reports is our provider (PS3.7 D.3.3.4)
            uid: role for uid, role in request.roles.items() if uid == STORAGE_COMMITMENT
        }
        return Admitted([_answer_context(context, accepted) for context in request.contexts], roles)

    def _take_slots(self, calling_ae_title: str, host: str, peers: list[Peer]) -> list[int] | None:
        """Take a place among all, and one among those of the caller; None: there is none, and the log says which."""
        limits = [("all", self._settings.maximum_associations)]
        own = [peer.maximum_associations for peer in peers if peer.maximum_associations]
        if own:
            limits.append((f"{calling_ae_title} at {host}", min(own)))
        taken: list[int] = []
        for kind, limit in limits:
            slot = self._slots.take(kind, limit)
            if slot is None:
                _logger.warning(
                    "association rejected for the moment: maximum_associations=%d are open calling_ae_title=%s host=%s "
                    "limit=%s", limit, calling_ae_title, host, "of all" if kind == "all" else "of this sender",
                )  # fmt: skip
                for other in taken:
                    self._slots.give_back(other)
                return None
            taken.append(slot)
        return taken

    def _tell_refused(self, request: AssociationRequest, host: str, accepted: frozenset[str]) -> None:
        """Log the SOP classes that are refused; a sender that proposes everything it knows means nothing by it."""
        proposed = {context.abstract_syntax for context in request.contexts}
        refused = sorted(_name(uid) for uid in proposed - accepted - {VERIFICATION, STORAGE_COMMITMENT})
        if refused:
            is_meant = len(refused) <= MEANT_CLASSES
            more = "" if is_meant else f" and {len(refused) - MEANT_CLASSES} more"
            _logger.log(
                logging.WARNING if is_meant else logging.INFO,
                "SOP classes refused calling_ae_title=%s host=%s sop_classes=%s%s",
                request.calling_ae_title, host, ", ".join(refused[:MEANT_CLASSES]), more,
            )  # fmt: skip

    def store(self, caller: Caller, command: Command, context: Context) -> IncomingInstance:
        """Begin to take an instance."""
        request = StoreRequest(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            agreed_sop_class_uid=context.abstract_syntax,
            transfer_syntax_uid=context.transfer_syntax,
        )
        return IncomingInstance(self._intake, self._guests[caller].tally, request)

    def act(self, caller: Caller, command: Command, context: Context, data_set: bytes) -> int:
        """Take a request for storage commitment."""
        ds = _decode(data_set, context)
        if ds is None or context.abstract_syntax != STORAGE_COMMITMENT:
            return INVALID_ARGUMENT
        status, report = self._commitments.take_request(caller.calling_ae_title, caller.host, command.type_id, ds)
        if report is None:
            return status
        owed = self._guests[caller].owed
        if owed and sum(len(other.instances) for _, other in owed) + len(report.instances) > MOST_OWED_INSTANCES:
            _logger.warning(
                "storage commitment refused calling_ae_title=%s: too many reports wait", caller.calling_ae_title
            )
            return RESOURCE_LIMITATION
        owed.append((context, report))
        return status

    def take_report(self, context: Context, data_set: bytes) -> int:
        """Take a PACS's report on results of ours."""
        ds = _decode(data_set, context)
        if ds is None or context.abstract_syntax != STORAGE_COMMITMENT:
            return INVALID_ARGUMENT
        return self._commitments.take_report(ds)

    def owed_report(self, caller: Caller) -> EventReport | None:
        """Give the next report that is owed on this association; None while another is not answered, or none is."""
        guest = self._guests[caller]
        while guest.owed and guest.told is None:
            context, report = guest.owed.popleft()
            made = self._commitments.make_report(report)
            if made is not None:
                guest.told = report
                return _event_report(context, *made)
        return None

    def report_answered(self, caller: Caller, status: int | None) -> None:
        """The requestor has taken our report, or not."""
        guest = self._guests[caller]
        if guest.told is not None:
            self._commitments.report_answered(guest.told, status)
            guest.told = None

    def leave(self, caller: Caller) -> None:
        """Give the place of an association to others."""
        guest = self._guests[caller]
        while guest.slots:
            self._slots.give_back(guest.slots.pop())

    def conclude(self, caller: Caller, how: str) -> None:
        """Say in one line what an association has brought."""
        guest = self._guests.pop(caller)
        tally = guest.tally
        for unanswered in ([guest.told] if guest.told else []) + [report for _, report in guest.owed]:
            self._commitments.report_answered(unanswered, None)
        is_echo_only = not (tally.stored or tally.resent or tally.aside or tally.refused)
        _logger.log(
            logging.DEBUG if is_echo_only else logging.INFO,
            "association %s calling_ae_title=%s host=%s "
            "studies=%d stored=%d resent=%d aside=%d refused=%d seconds=%.1f",
            how, tally.calling_ae_title, tally.host, len(tally.studies), tally.stored, tally.resent, tally.aside,
            tally.refused, time.monotonic() - guest.started_at,
        )  # fmt: skip
        for study_instance_uid, stored in tally.studies.items():
            try:
                number = self._store.find_study(study_instance_uid)
            except SQLAlchemyError:  # it is a line of the log, no more
                number = None
            _logger.info("study=%s stage=received stored=%d", number, stored)


def answer_fetched(
    archive: Archive, store: Store, clock: Callable[[], datetime], ae_title: str
) -> Callable[[evt.Event], Dataset]:
    """What answers each image that a PACS sends on an association of ours (C-GET): kept exactly as at the door."""
    intake = Intake(archive, store, RowWriter(store), clock)

    def answer(event: evt.Event) -> Dataset:
        request: Any = event.request
        instance = IncomingInstance(
            intake,
            Tally(ae_title, event.assoc.acceptor.address or ""),
            StoreRequest(
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                agreed_sop_class_uid=str(event.context.abstract_syntax),
                transfer_syntax_uid=str(event.context.transfer_syntax),
            ),
        )
        with (request.DataSet or BytesIO()).getbuffer() as data_set:
            instance.write(data_set)
        code, comment = instance.finish()
        status = Dataset()
        status.Status = code
        if comment:
            status.ErrorComment = comment[:LONGEST_COMMENT]
        return status

    return answer


def silence_libraries() -> None:
    """Keep out of every log what the DICOM libraries say of the values they meet: it may be a patient's."""
    _config.LOG_HANDLER_LEVEL = "none"  # nor format every PDU, which costs more than to receive it
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b")


def _answer_context(context: ProposedContext, accepted: frozenset[str]) -> ContextResult:
    """Accept a context in the first of its transfer syntaxes that we know: the sender knows how it holds its files."""
    if context.abstract_syntax in accepted:
        known: frozenset[str] = TRANSFER_SYNTAXES
    elif context.abstract_syntax in {VERIFICATION, STORAGE_COMMITMENT}:
        known = UNCOMPRESSED
    else:
        return ContextResult(context.context_id, ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN)
    for transfer_syntax in context.transfer_syntaxes:
        if transfer_syntax in known:
            return ContextResult(context.context_id, ACCEPTED, transfer_syntax)
    return ContextResult(context.context_id, TRANSFER_SYNTAXES_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN)


def _event_report(context: Context, event_type: int, ds: Dataset) -> EventReport:
    return EventReport(
        context=context,
        sop_class_uid=STORAGE_COMMITMENT,
        sop_instance_uid=WELL_KNOWN_INSTANCE,
        event_type=event_type,
        data_set=encode(ds, *_encoding(context)) or b"",
    )


def _encoding(context: Context) -> tuple[bool, bool]:
    """Whether the VR is implicit, and whether the little end comes first."""
    return context.transfer_syntax == ImplicitVRLittleEndian, context.transfer_syntax != ExplicitVRBigEndian


def _decode(data_set: bytes, context: Context) -> Dataset | None:
    is_implicit, is_little = _encoding(context)
    try:
        return decode_commitment(data_set, is_implicit=is_implicit, is_little=is_little)
    except UnreadableCommitmentError as error:
        _logger.warning("a request or report on storage commitment is refused: %s", error)
        return None


def _name(sop_class_uid: str) -> str:
    return UID(sop_class_uid).name if is_uid(sop_class_uid) else "(not a UID)"
