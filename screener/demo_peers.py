"""The demo's hospital: a PACS that keeps what it is sent, and a mailbox."""

import socket
import time
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One object as the PACS took it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    at: float
    """time.monotonic() when it was whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail as the mailbox took it."""

    message: EmailMessage
    recipients: tuple[str, ...]
    at: float
    """time.monotonic() when it was taken."""


class DemoPACS:
    """Answers C-ECHO and C-STORE and writes every object it takes into `folder`."""

    ae_title = "DEMO_PACS"

    def __init__(self, folder: Path) -> None:
        """`folder` exists."""
        self._folder = folder
        self.received: list[Received] = []
        self._ae = AE(ae_title=self.ae_title)
        self._ae.supported_contexts = [*AllStoragePresentationContexts]
        self._ae.add_supported_context(Verification)

    def __enter__(self) -> Self:
        # typed as optional by the library: None is what the call that blocks gives
        self._server = cast(
            Any, self._ae.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        )
        self.port: int = self._server.socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        path = self._folder / f"{len(self.received) + 1:03d}.dcm"
        path.write_bytes(event.encoded_dataset())
        ds = event.dataset
        self.received.append(
            Received(
                path=path,
                sop_class_uid=str(ds.SOPClassUID),
                sop_instance_uid=str(ds.SOPInstanceUID),
                study_instance_uid=str(ds.StudyInstanceUID),
                at=time.monotonic(),
            )
        )
        return 0x0000


class DemoMailbox:
    """A mail server that takes every mail."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    def __enter__(self) -> Self:
        self._controller = Controller(self, hostname=HOST, port=find_free_port())
        self._controller.start()
        self.port: int = self._controller.port
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002
        """Keep the mail; the server calls this name with all of these, wanted or not."""
        content = envelope.content
        mail = message_from_bytes(content if isinstance(content, bytes) else b"", policy=policy.default)
        if isinstance(mail, EmailMessage):
            self.mails.append(Mail(message=mail, recipients=tuple(envelope.rcpt_tos), at=time.monotonic()))
        return "250 taken"


def find_free_port() -> int:
    """Give a TCP port that was free a moment ago."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        return int(held.getsockname()[1])


def answers_echo(port: int, called_ae_title: str) -> bool:
    """Tell whether a C-ECHO to this machine is answered with Success."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) != 0:
            return False
    ae = AE(ae_title="DEMO_SCANNER")
    ae.add_requested_context(Verification)
    assoc = ae.associate(HOST, port, ae_title=called_ae_title)
    if not assoc.is_established:
        return False
    try:
        status = assoc.send_c_echo().get("Status")
    finally:
        assoc.release()
    return bool(status == 0x0000)
