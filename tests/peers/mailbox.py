"""A mail server with one mailbox, as polite or as rude as a test wants it."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.peers.ports import free_port


class Mailbox:
    """Holds what was taken; `replies` maps a recipient to the reply that refuses it."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.replies: dict[str, str] = {}
        self.data_reply = ""
        self.quit_reply = "221 Bye"
        self.host = "127.0.0.1"
        self.port = 0
        self._arrival = threading.Condition()

    # aiosmtpd calls both with all of these, wanted or not.
    async def handle_RCPT(
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        rcpt_options: list[str],  # noqa: ARG002
    ) -> str:
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002
        if self.data_reply:
            return self.data_reply
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        with self._arrival:
            self.mails.append(mail)
            self.recipients += envelope.rcpt_tos
            self._arrival.notify_all()
        return "250 taken"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002
        return self.quit_reply

    def wait(self, is_enough: Callable[[list[EmailMessage]], bool], seconds: float = 10) -> list[EmailMessage]:
        """Wait until the mails are enough; AssertionError after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._arrival:
            while not is_enough(self.mails):
                assert self._arrival.wait(max(0.0, deadline - time.monotonic())), "the mail did not arrive"
            return list(self.mails)


@contextmanager
def open_mailbox(
    mailbox: Mailbox | None = None,
    *,
    port: int = 0,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
) -> Iterator[Mailbox]:
    """Serve `mailbox` at 127.0.0.1 until the block ends.

    `login` is the only user name and password let in; it needs `starttls`.
    """
    mailbox = mailbox or Mailbox()

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        assert login is not None
        known = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == login
        return AuthResult(success=known, handled=False)

    controller = Controller(
        mailbox,
        hostname=mailbox.host,
        port=port or free_port(),
        ssl_context=tls,
        tls_context=starttls,
        require_starttls=starttls is not None,
        enable_SMTPUTF8=False,
        auth_required=login is not None,
        authenticator=check if login else None,
        ready_timeout=60,
    )
    controller.start()
    mailbox.port = controller.port
    try:
        yield mailbox
    finally:
        controller.stop()
