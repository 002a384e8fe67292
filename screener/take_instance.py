"""One C-STORE on its way to an answer: keep the instance, keep it aside, or refuse it with the reason.

The data set goes to the disk as it comes, so that a long one needs no more
memory than a short one. Success is said when file, folder and row are durable.
"""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO

from sqlalchemy.exc import SQLAlchemyError

from screener.archive import ASIDE, Archive, Arriving, Kept
from screener.commit_rows import RowWriter
from screener.logs import describe_error
from screener.read_header import Header, UnreadableDataSetError, is_uid, read_header
from screener.sop_classes import DOCUMENTS, SECONDARY_CAPTURE
from screener.store import Store
from screener.store.values import Kind, Receipt, ReceivedInstance

SUCCESS = 0x0000
INVALID_SOP_INSTANCE = 0x0117  # PS3.7 9.1.1.1.9 and C.5.7
SOP_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.4.2.1: the request left what its presentation context agreed on
OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1: the sender may try again
DOES_NOT_MATCH = 0xA900  # PS3.4 table B.2-1: the data set is not what the request says
CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1: trying again will not help

LONGEST_UID = 64  # PS3.5 9.1
ROOM_BYTES = 1 << 20
"""So much room is looked for ahead, and looked for again when it is used up."""
HEAD_BYTES = 64 << 10
LONGEST_INSTANCE_BYTES = 4 << 30
"""Of a data set: some 8,000 frames of 512 x 512."""
TRY_AGAIN = (OUT_OF_RESOURCES, "internal error, try again")

_logger = logging.getLogger("screener.receive")


@dataclass(slots=True)
class Tally:
    """What one association brought, for the one line that the log says of it."""

    calling_ae_title: str
    host: str
    studies: Counter[str] = field(default_factory=Counter)
    """New instances by Study Instance UID."""
    stored: int = 0
    resent: int = 0
    aside: int = 0
    refused: int = 0
    has_warned_of_disk: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """Where instances go, for all associations."""

    archive: Archive
    store: Store
    rows: RowWriter
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """What a C-STORE says before its data set."""

    sop_class_uid: str
    sop_instance_uid: str
    agreed_sop_class_uid: str
    transfer_syntax_uid: str


class IncomingInstance:
    """Takes the data set of one C-STORE piece by piece; whatever goes wrong, the sender learns that it must keep it."""

    def __init__(self, intake: Intake, tally: Tally, request: StoreRequest) -> None:
        self._intake = intake
        self._archive = intake.archive
        self._store = intake.store
        self._tally = tally
        self._request = request
        self._arriving: Arriving | None = None
        self._room_bytes = ROOM_BYTES
        self._answer: tuple[int, str] | None = None
        """Refused before its end; the rest is not kept."""
        self._head: bytearray | None = None
        """What a refusal for the disk is told with."""
        try:
            self._begin()
        except (OSError, ValueError) as error:
            self._fail(error)

    def _begin(self) -> None:
        if self._request.sop_class_uid != self._request.agreed_sop_class_uid:
            self._refuse(SOP_CLASS_NOT_SUPPORTED, "SOP class differs from the presentation context's")
        elif len(self._request.sop_instance_uid) > LONGEST_UID:
            self._refuse(INVALID_SOP_INSTANCE, "the SOP Instance UID has more than 64 characters")
        elif not self._archive.has_room(ROOM_BYTES):
            self._refuse_for_disk(b"")
        else:
            self._arriving = self._archive.begin_received(**self._meta())

    def write(self, piece: memoryview) -> None:
        """Append to the data set."""
        if self._head is not None:
            self._head += piece[: max(HEAD_BYTES - len(self._head), 0)]
        if self._arriving is None:
            return
        try:
            if self._arriving.size_bytes + len(piece) > LONGEST_INSTANCE_BYTES:
                self._refuse_too_long()
                return
            self._arriving.write(piece)
            if self._arriving.size_bytes > self._room_bytes:
                self._room_bytes = self._arriving.size_bytes + ROOM_BYTES
                if not self._archive.has_room(ROOM_BYTES):
                    with self._arriving.open_data_set() as data_set:
                        self._refuse_for_disk(data_set.read(HEAD_BYTES))
                    self.discard()
        except OSError as error:
            self._fail(error)

    def finish(self) -> tuple[int, str]:
        """The data set is whole: refuse, keep aside or keep it; PS3.4 B.2.3 and table B.2-1."""
        try:
            if self._head is not None:
                self._tell_of_disk(self._head)
            return self._answer or self._judge()
        except Exception as error:  # noqa: BLE001 - the C-STORE edge: the daemon goes on, the sender tries again
            self._fail(error)
            return TRY_AGAIN
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind of what was not kept."""
        if self._arriving is not None:
            self._arriving.discard()
            self._arriving = None

    def _judge(self) -> tuple[int, str]:
        if self._arriving is None:
            return TRY_AGAIN
        if not is_uid(self._request.sop_instance_uid):
            return self._refuse_unreadable("The Affected SOP Instance UID of the request is not a valid UID.")
        try:
            header = self._read_header(self._arriving)
        except UnreadableDataSetError as error:
            return self._refuse_unreadable(str(error))
        stated = self._request.sop_class_uid, self._request.sop_instance_uid
        if (header.sop_class_uid, header.sop_instance_uid) != stated:
            reason = "The SOP Class or Instance UID of the data set differs from the request's."
            self._keep_aside(header.study_instance_uid, "mismatch", reason)
            return self._refuse(DOES_NOT_MATCH, "data set UIDs differ from the request's")
        if header.is_truncated:
            # Never Success: the sender may hold the whole instance, and the name must stay free for it.
            reason = "The data set ends before its declared length: the sender's file is cut short."
            self._keep_aside(header.study_instance_uid, "truncated", reason)
            return self._refuse(CANNOT_UNDERSTAND, "the data set ends before its declared length")
        return self._keep(self._arriving, header)

    def _read_header(self, arriving: Arriving) -> Header:
        with arriving.open_data_set() as data_set:
            return read_header(data_set, self._request.transfer_syntax_uid)

    def _keep(self, arriving: Arriving, header: Header) -> tuple[int, str]:
        rows = self._intake.rows
        with rows.coming():
            kept = arriving.keep()
            receipt = rows.record(self._describe(header, kept), self._intake.clock())
        if not arriving.is_kept():  # taken for an expired one before its row was committed
            arriving.keep_again()
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
        return SUCCESS, ""

    def _refuse(self, status: int, comment: str) -> tuple[int, str]:
        self._tally.refused += 1
        self._answer = status, comment
        return self._answer

    def _refuse_unreadable(self, reason: str) -> tuple[int, str]:
        self._keep_aside(None, "unreadable", reason)
        return self._refuse(CANNOT_UNDERSTAND, reason)

    def _refuse_too_long(self) -> None:
        self.discard()
        reason = f"The instance is longer than {LONGEST_INSTANCE_BYTES >> 20} MiB."
        self._refuse(CANNOT_UNDERSTAND, reason)
        with suppress(SQLAlchemyError):  # a courtesy to who asks why; the answer stands
            self._record_oddity(None, "too_long", reason, "", "")

    def _refuse_for_disk(self, head: bytes) -> None:
        self._head = bytearray(head)
        self._refuse(OUT_OF_RESOURCES, "disk below its reserve, try again later")
        if not self._tally.has_warned_of_disk:
            self._tally.has_warned_of_disk = True
            _logger.warning(
                "images refused: the disk is below its reserve calling_ae_title=%s", self._tally.calling_ae_title
            )

    def _tell_of_disk(self, head: bytearray) -> None:
        with suppress(UnreadableDataSetError, SQLAlchemyError):  # a courtesy to who asks why; the answer stands
            header = read_header(BytesIO(head), self._request.transfer_syntax_uid)
            self._store.record_oddity(
                study_instance_uid=header.study_instance_uid, sop_instance_uid="", code="disk_full",
                reason="Images were refused with 0xA700: the disk was below its reserve.", path="", sha256="",
                now=self._intake.clock(),
            )  # fmt: skip

    def _fail(self, error: Exception) -> None:
        self._refuse(*TRY_AGAIN)
        detail = error.strerror if isinstance(error, OSError) else ""
        _logger.error("C-STORE failed: %s %s", describe_error(error), detail)
        self.discard()

    def _describe(self, header: Header, kept: Kept) -> ReceivedInstance:
        return ReceivedInstance(
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            modality=header.modality,
            transfer_syntax_uid=self._request.transfer_syntax_uid,
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
        uid = self._request.sop_instance_uid
        return {
            "sop_class_uid": self._request.sop_class_uid,
            "sop_instance_uid": uid if is_uid(uid) else "",
            "transfer_syntax_uid": self._request.transfer_syntax_uid,
            "calling_ae_title": self._tally.calling_ae_title,
        }

    def _keep_aside(self, study_instance_uid: str | None, code: str, reason: str) -> None:
        if self._arriving is not None:
            kept = self._arriving.keep(ASIDE)
            self._record_oddity(study_instance_uid, code, reason, kept.path, kept.sha256)

    def _record_oddity(self, study_instance_uid: str | None, code: str, reason: str, path: str, sha256: str) -> None:
        sop_instance_uid = self._meta()["sop_instance_uid"]
        self._store.record_oddity(
            study_instance_uid=study_instance_uid,
            sop_instance_uid=sop_instance_uid,
            code=code,
            reason=reason,
            path=path,
            sha256=sha256,
            now=self._intake.clock(),
        )
        _logger.warning(
            "instance odd code=%s calling_ae_title=%s sop_instance_uid=%s reason=%s",
            code, self._tally.calling_ae_title, sop_instance_uid, reason,
        )  # fmt: skip
