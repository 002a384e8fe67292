"""A hospital's interface engine: sends HL7 messages by MLLP, well or badly framed, and reads the acknowledgments."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

START, END = b"\x0b", b"\x1c\r"


def frame(message: str, codec: str = "utf-8") -> bytes:
    return START + message.encode(codec) + END


class ReportSender:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._data = b""

    def send(self, message: str, codec: str = "utf-8") -> str:
        """Send one message and give its acknowledgment's code."""
        self.connection.sendall(frame(message, codec))
        return self.code()

    def code(self) -> str:
        """MSA-1 of the next acknowledgment; empty where the peer has hung up."""
        return self.answer().partition("MSA|")[2].partition("|")[0].strip()

    def answer(self) -> str:
        while END not in self._data:
            try:
                piece = self.connection.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return ""
            self._data += piece
        framed, _, self._data = self._data.partition(END)
        assert framed.startswith(START)
        return framed.removeprefix(START).decode()


@contextmanager
def open_sender(port: int, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[ReportSender]:
    """Call the door for reports."""
    with socket.create_connection((host, port), timeout=20) as connection:
        if tls is None:
            yield ReportSender(connection)
            return
        with tls.wrap_socket(connection, server_hostname="localhost") as protected:
            yield ReportSender(protected)
