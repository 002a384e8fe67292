"""An EHR's inbox: takes HL7 messages by MLLP, checks each with hl7apy, and answers as a test wants."""

import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.parser import parse_message

START, END = b"\x0b", b"\x1c\r"


class Inbox:
    """Holds what was taken; `answers` are the codes of the next acknowledgments, "" for silence; then "AA"."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.raw: list[str] = []
        self.seen: list[str] = []
        """Control IDs in the order in which they came, taken or not."""
        self.faults: list[str] = []
        self.answers: list[str] = []
        self.host = "127.0.0.1"
        self.port = 0

    def take(self, data: bytes) -> bytes | None:
        """Answer one message; a control ID that was taken before is taken again and kept once."""
        text = data.decode()
        control_id = text.split("\r")[0].split("|")[9]
        self.seen.append(control_id)
        code = self.answers.pop(0) if self.answers else "AA"
        if not code:
            return None
        if code == "AA" and control_id not in [message.msh.msh_10.value for message in self.messages]:
            try:
                message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
                message.validate()
            except Exception as error:  # noqa: BLE001 - whatever the library has against it fails the test
                self.faults.append(f"{type(error).__name__}: {error}")
            else:
                self.messages.append(message)
                self.raw.append(text)
        msh = f"MSH|^~\\&|EHR|HOSPITAL|PAROTID||20260101120000||ACK^R01^ACK|A{len(self.seen)}|P|2.5.1"
        return f"{msh}\rMSA|{code}|{control_id}\r".encode()


@contextmanager
def open_inbox(inbox: Inbox, *, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Inbox]:
    """Serve `inbox` at 127.0.0.1 until the block ends."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data = b""
            while piece := self.request.recv(65536):
                data += piece
                while END in data:
                    framed, _, data = data.partition(END)
                    assert framed.startswith(START)
                    answer = inbox.take(framed.removeprefix(START))
                    if answer is None:
                        return
                    self.request.sendall(START + answer + END)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

        def get_request(self) -> tuple[object, object]:
            connection, address = super().get_request()
            return (tls.wrap_socket(connection, server_side=True) if tls else connection), address

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Server((inbox.host, port), Handler) as server:
        inbox.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield inbox
        finally:
            server.shutdown()
