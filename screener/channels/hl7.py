"""Telling an EHR's inbox: one HL7 v2.5.1 message (ORU^R01) per study, by MLLP, and its acknowledgment waited for."""

import hashlib
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from screener.channels.message import Message
from screener.channels.write_oru import write_oru
from screener.notice_settings import Hl7Receiver
from screener.outcomes import NeedsPerson, TryAgain
from screener.read_elements import is_away, read_elements
from screener.read_header import NOT_READABLE
from screener.store.values import OwedNotice

CHANNEL = "hl7"
# MLLP, HL7 v2.5.1 Implementation Guide appendix C: what begins and ends a message
START: Final = b"\x0b"
END: Final = b"\x1c\r"
_MOST_ACK_BYTES = 1 << 20
_WANTED = [
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "AccessionNumber", "PlacerOrderNumberImagingServiceRequest", "StudyDate", "StudyTime",
]  # fmt: skip
_TAKEN = {"AA", "CA"}  # HL7 table 0008
_REFUSED = {"AE", "AR", "CE", "CR"}


class Hl7Channel:
    """ORU^R01 to the receiver of a [[notices.hl7]] table, by its name."""

    name = CHANNEL

    def __init__(
        self, settings: list[Hl7Receiver], storage_folder: Path, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Keep the settings; `storage_folder` holds the images that name the patient."""
        self._by_name = {receiver.name: receiver for receiver in settings}
        self._storage_folder = storage_folder
        self._ssl_context = ssl_context

    def send(self, message: Message, recipient: str) -> None:
        """Send one ORU^R01 for each study of `message`, and wait until each is acknowledged.

        AA takes it. Raises NeedsPerson for AE and AR, whose words are left out
        as they may quote the patient, and TryAgain for silence, a broken
        connection, or an answer to another message. After a failure all are
        sent again under the same control IDs (MSH-10).
        """
        receiver = self._by_name.get(recipient)
        if receiver is None:
            raise NeedsPerson(f"no hl7 receiver {recipient} is set up in config.toml", code="no_channel")
        if not receiver.include_patient_identity:
            raise NeedsPerson(
                f"the hl7 receiver {recipient} cannot be used: a message without the patient (PID) can be filed "
                "nowhere, and its include_patient_identity is false",
                code="identity_withheld",
            )
        where = f"the hl7 receiver {recipient}"
        encoded = [self._encode(message, notice, receiver) for notice in message.notices]
        try:
            with self._connect(receiver) as connection:
                for control_id, data in encoded:
                    connection.sendall(START + data + END)
                    _judge_ack(_read_ack(connection), control_id, where)
        except ssl.SSLCertVerificationError as error:
            raise NeedsPerson(
                f"the certificate of {where} is not trusted: {error.verify_message}", code="certificate_refused"
            ) from error
        except OSError as error:
            raise TryAgain(f"{where} cannot be reached: {type(error).__name__}", code="hl7_unreachable") from error

    def _encode(self, message: Message, notice: OwedNotice, receiver: Hl7Receiver) -> tuple[str, bytes]:
        """Give the control ID and the bytes of one study's message."""
        if not notice.example_path:
            raise NeedsPerson(
                f"no image of study {notice.study_id} is here any more to say whose it is", code="no_patient"
            )
        path = self._storage_folder / notice.example_path
        try:
            header = read_elements(path, _WANTED)
            control_id = _name_control(notice, message.owed_since)
            text = write_oru(
                notice,
                header,
                receiver,
                control_id=control_id,
                made_at=datetime.now(UTC),
                links=message.links.get(notice.notice_id, ()),
            )
        except NOT_READABLE as error:
            if is_away(path, error):
                raise TryAgain(
                    f"the images of study {notice.study_id} cannot be read now: {type(error).__name__}",
                    code="image_unreadable",
                ) from None
            raise NeedsPerson(
                f"the images of study {notice.study_id} do not say whose they are: {type(error).__name__}",
                code="no_patient",
            ) from None
        return control_id, text.encode()

    def _connect(self, receiver: Hl7Receiver) -> socket.socket:
        timeout = receiver.ack_timeout_seconds
        connection = socket.create_connection((receiver.host, receiver.port), timeout=timeout)
        if not receiver.tls:
            return connection
        context = self._ssl_context or ssl.create_default_context()
        try:
            return context.wrap_socket(connection, server_hostname=receiver.host)
        except OSError:
            connection.close()
            raise


def _name_control(notice: OwedNotice, owed_since: datetime) -> str:
    """Give the control ID: of a retry the same, another where the figures are those of another run."""
    content = hashlib.sha256(f"{notice.run_id}.{int(owed_since.timestamp())}".encode()).hexdigest()
    return f"{notice.notice_id}-{content}"[:20]  # MSH-10: 20 characters


def _read_ack(connection: socket.socket) -> bytes:
    """Read one framed answer; OSError where none comes whole."""
    data = b""
    while END not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("the receiver closed the connection before it answered")
        data += piece
        if len(data) > _MOST_ACK_BYTES:
            raise ConnectionError("the receiver's answer has no end")
    return data[: data.index(END)].lstrip(START)


def _judge_ack(answer: bytes, control_id: str, where: str) -> None:
    """Return where the answer takes the message `control_id`."""
    code, answered = _read_msa(answer.decode("latin-1"))
    if code in _REFUSED:
        raise NeedsPerson(f"{where} refused the message ({code})", code="hl7_refused")
    if code not in _TAKEN or answered != control_id:
        raise TryAgain(f"{where} gave an answer that is none to this message", code="hl7_answer")


def _read_msa(answer: str) -> tuple[str, str]:
    """Give MSA-1 and MSA-2; empty where there is no such segment."""
    separator = answer[3:4] or "|"
    for segment in answer.replace("\n", "\r").split("\r"):
        fields = segment.split(separator)
        if fields[0] == "MSA" and len(fields) > 2:
            return fields[1].strip(), fields[2].strip()
    return "", ""
