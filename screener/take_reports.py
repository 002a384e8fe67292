"""The door for radiology reports: HL7 v2 ORU^R01 by MLLP, acknowledged once what they say is committed.

Kept are the answer of the rules and keyed digests by which the report finds
its study; the text is read and forgotten.
"""

import hashlib
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from screener.listen import Server, open_socket
from screener.logs import describe_error
from screener.mentions import read_report
from screener.order_keys import OrderKeys
from screener.read_frames import END, MOST_BYTES, START, Frame, FrameReader
from screener.read_oru import NotTakenError, Oru, Report, Status, decode_message, list_ack_codes, read_oru, write_ack
from screener.report_settings import Reports
from screener.store import Store
from screener.store.sent_reports import SentReport, name_report
from screener.turned_away import TurnedAway

ANSWER_SECONDS: Final = 10.0
"""For a TLS handshake, and for a peer to take an acknowledgment."""
END_SECONDS: Final = 5.0
LARGE_BYTES: Final = 1 << 20
"""Of a message from which on it is read alone: to read one takes several times its length in memory."""

logger = logging.getLogger(__name__)


class ReportDoor:
    """Listens for reports; any number of senders, each answered in turn."""

    def __init__(
        self,
        settings: Reports,
        store: Store,
        keys: OrderKeys,
        clock: Callable[[], datetime],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._clock = clock
        self._tls = tls
        self._turned_away = TurnedAway(store, clock)
        self._is_over = threading.Event()
        self._one_large = threading.Lock()

    @property
    def port(self) -> int:
        """The TCP port in use, also where the settings left the choice to the system with 0."""
        return self._server.port

    def start(self) -> None:
        """Listen; OSError where the address is taken or not ours."""
        listening = open_socket(self._settings.host, self._settings.port)
        self._server = Server(listening, self._serve, is_known=self._settings.admits)
        self._server.start()

    def stop(self) -> None:
        """Accept nothing more and let what is in hand be answered; what is not acknowledged is sent again."""
        self._is_over.set()
        self._server.close()
        self._server.wait_until_idle(END_SECONDS)

    def _serve(self, connection: socket.socket, host: str, tell: Callable[[bool], None]) -> None:  # noqa: ARG002 - the server's shape
        if not self._settings.admits(host):
            logger.warning("a sender of reports was turned away: reports.senders does not name host=%s", host)
            self._turned_away.remember(f"a sender of reports at {host} is not named in reports.senders")
            return
        try:
            connection.settimeout(ANSWER_SECONDS)
            if self._tls is None:
                self._converse(connection, host)
                return
            with self._tls.wrap_socket(connection, server_side=True) as protected:
                self._converse(protected, host)
        except OSError as error:  # ssl.SSLError is one
            logger.warning("a connection of a sender of reports ended: %s host=%s", type(error).__name__, host)

    def _converse(self, connection: socket.socket, host: str) -> None:
        frames = FrameReader(connection, idle_seconds=self._settings.idle_seconds, is_over=self._is_over.is_set)
        while (frame := frames.read()) is not None:
            with self._one_large if len(frame.data) > LARGE_BYTES else nullcontext():
                answers = self._answer(frame, host)
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(b"".join(START + answer + END for answer in answers))

    def _answer(self, frame: Frame, host: str) -> list[bytes]:
        """Take one message: AA or CA once it is committed, else why not, as far as its sender wants to be told.

        Nothing that a message holds ends the door.
        """
        text = decode_message(frame.data)
        code, reason = self._take(frame, text, host)
        if code != "AA":
            logger.warning("a report was not taken: %s, %s host=%s", code, reason, host)
        told = list_ack_codes(text, code)
        return [write_ack(text, each, reason, at=self._clock()).encode(errors="replace") for each in told]

    def _take(self, frame: Frame, text: str, host: str) -> tuple[str, str]:
        """Give the code of the acknowledgment and the reason; AE where it may be sent again as it is, or mended."""
        try:
            if not frame.is_whole:
                return "AR", f"the message has more than {MOST_BYTES >> 20} MiB"
            oru = read_oru(text, int(self._settings.accession_field.removeprefix("OBR-")))
            self._keep(oru, frame.data)
            _tell_passed_over(oru, host)
        except NotTakenError as refusal:
            return refusal.code, refusal.reason
        except SQLAlchemyError as error:
            logger.error("a report was not kept: %s", describe_error(error))
            return "AE", "the report cannot be kept for now: send it again"
        except Exception as error:  # noqa: BLE001 - the edge: a bug that one message meets leaves the door open
            logger.error("a report met an unexpected error: %s", describe_error(error))
            return "AE", "unexpected error: a person must look at the screener's log"
        return "AA", ""

    def _keep(self, oru: Oru, data: bytes) -> None:
        """Commit what the reports say, then file what has a study; a message that was taken before changes nothing."""
        digest = hashlib.sha256(data).hexdigest()
        reports = [self._digest(report, name_report(digest, number)) for number, report in enumerate(oru.reports)]
        now = self._clock()
        kept = self._store.keep_reports(reports, now)
        filed = self._file([report.accession_key for report in reports], now)
        logger.info(
            "reports=%d new=%d filed=%d not_final=%d passed_over=%d",
            *(len(reports), kept, filed, oru.not_final, len(oru.passed_over)),
        )

    def _file(self, accession_keys: list[str], now: datetime) -> int:
        """File at once what can be; what fails here is filed by the daemon's clockwork, for it is kept."""
        try:
            return self._store.file_reports(now, accession_keys)
        except SQLAlchemyError as error:
            logger.error("a report that is kept is not filed yet: %s", describe_error(error))
            return 0

    def _digest(self, report: Report, sha256: str) -> SentReport:
        is_withdrawn = report.status is Status.WITHDRAWN
        return SentReport(
            accession_key=self._keys.of_accession(report.accession_number),
            patient_keys=tuple(dict.fromkeys(self._keys.of_patient(each) for each in report.patient_ids)),
            order_key=self._keys.of_order(report.accession_number, report.order),
            status=report.status,
            mention=None if is_withdrawn else read_report(report.text),
            sha256=sha256,
        )


def _tell_passed_over(oru: Oru, host: str) -> None:
    for reason, count in Counter(oru.passed_over).items():
        parts = "1 part of a message was" if count == 1 else f"{count} parts of a message were"
        logger.warning("%s passed over: %s host=%s", parts, reason, host)
