"""One peer's connection: whole PDUs in, bytes out, each within its time, and no more memory than has come."""

import socket
import ssl
import struct
import threading
import time
from contextlib import suppress

from screener.upper_layer import HEADER_BYTES, INVALID_PARAMETER, LONGEST, UNRECOGNIZED_PDU

TICK_SECONDS = 0.25
"""So often at least a silent connection looks at the clock and at whether the daemon stops."""
SLOWEST_BYTES_PER_SECOND = 1024
GOODBYE_SECONDS = 2.0
"""How long the peer has to close after the last PDU of ours (PS3.8 9.1.5, ARTIM)."""

_FIRST_BUFFER_BYTES = 16 << 10
_BUFFER_BYTES = 256 << 10
_RECEIVED = frozenset((1, 2, 3, 4, 5, 6, 7))


class ConnectionOverError(Exception):
    """The peer has hung up, has taken too long, or the daemon stops; the message says which."""


class StoppingError(ConnectionOverError):
    """The daemon stops."""


class WrongPDUError(Exception):
    """The peer has sent what no acceptor takes; it deserves an abort."""

    def __init__(self, reason: int, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        """PS3.8 table 9-26."""


class Connection:
    """A socket whose owner is one thread; `is_stopping` ends it from outside."""

    def __init__(self, sock: socket.socket, is_stopping: threading.Event, *, answer_seconds: float) -> None:
        """`answer_seconds`: the time that the peer has to take an answer of ours."""
        self._socket = sock
        self._is_stopping = is_stopping
        self._answer_seconds = answer_seconds
        self._buffer = bytearray(_FIRST_BUFFER_BYTES)
        self._start = self._end = 0
        self._is_plain = True
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The system keeps the time: a timeout of Python's costs a poll before each call, and the interpreter's lock
        # changes hands twice as often.
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _encode_interval(TICK_SECONDS))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _encode_interval(answer_seconds))

    def start_tls(self, context: ssl.SSLContext, within_seconds: float) -> None:
        """Shake hands as a server; ssl.SSLError says what the peer lacks."""
        self._is_plain = False
        self._socket.settimeout(within_seconds)
        try:
            self._socket = context.wrap_socket(self._socket, server_side=True)
        except TimeoutError:
            raise ConnectionOverError("the TLS handshake took too long") from None
        except ssl.SSLError:
            raise
        except OSError:
            raise ConnectionOverError("hung up in the TLS handshake") from None
        self._socket.settimeout(TICK_SECONDS)

    def read_pdu(self, *, first_byte_by: float, whole_within_seconds: float) -> tuple[int, memoryview]:
        """Wait for a PDU; its type, and what follows the header, valid until the next call.

        `first_byte_by` is an instant of `time.monotonic`, and so is the limit
        for the rest once the first byte is here.
        """
        self._fill(1, first_byte_by, "was silent for too long")
        whole_by = max(time.monotonic() + whole_within_seconds, first_byte_by)
        late = "took too long over a PDU"
        self._fill(HEADER_BYTES, whole_by, late)
        kind, length = struct.unpack_from(">BxL", self._buffer, self._start)
        if length > LONGEST.get(kind, 0):
            if kind not in _RECEIVED:
                raise WrongPDUError(UNRECOGNIZED_PDU, "a PDU of no known type")
            raise WrongPDUError(INVALID_PARAMETER, "a PDU longer than agreed, or one that an acceptor never gets")
        self._fill(HEADER_BYTES + length, whole_by, late)
        start = self._start + HEADER_BYTES
        self._start = start + length
        return kind, memoryview(self._buffer)[start : start + length]

    def wait(self, until: float) -> bool:
        """Wait until a byte is here or the instant has come; True: a byte."""
        try:
            self._fill(1, until, "")
        except _TooLateError:
            return False
        return True

    def send(self, pdus: bytes) -> None:
        """Send all of `pdus` within the time that the peer has to take an answer."""
        deadline = time.monotonic() + self._answer_seconds
        try:
            sent = self._socket.send(pdus) if self._is_plain else 0
            if sent < len(pdus):
                self._send_slowly(memoryview(pdus)[sent:], deadline)
        except OSError:
            raise ConnectionOverError("did not take an answer") from None

    def _send_slowly(self, pdus: memoryview, deadline: float) -> None:
        """Send what the system did not take at once, or goes by TLS: a timeout of Python's holds for the whole."""
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        self._socket.sendall(pdus)
        self._socket.settimeout(None if self._is_plain else TICK_SECONDS)

    def say_goodbye(self, pdus: bytes) -> None:
        """Send the last words, and let the peer read them before the connection is closed."""
        with suppress(OSError, ConnectionOverError):
            self._socket.settimeout(GOODBYE_SECONDS)
            self._socket.sendall(pdus)
            self._socket.shutdown(socket.SHUT_WR)
            # What lies unread when a socket is closed makes the system drop our last words at the peer's end.
            deadline = time.monotonic() + GOODBYE_SECONDS
            while time.monotonic() < deadline and not self._is_stopping.is_set() and self._socket.recv(4096):
                pass

    def close(self) -> None:
        """Close; may be called twice."""
        with suppress(OSError):
            self._socket.close()

    def _fill(self, count: int, deadline: float, late: str) -> None:
        """Receive until `count` bytes stand in the buffer."""
        while self._end - self._start < count:
            self._make_room()
            if self._is_stopping.is_set():
                raise StoppingError("the daemon stops")
            now = time.monotonic()
            if now >= deadline:
                raise _TooLateError(late)
            _acknowledge(self._socket)
            try:
                with memoryview(self._buffer) as view:
                    received = self._socket.recv_into(view[self._end :])
            except (TimeoutError, BlockingIOError):  # of TLS, and of the system
                continue
            except OSError:
                raise ConnectionOverError("hung up") from None
            if not received:
                raise ConnectionOverError("hung up")
            self._end += received

    def _make_room(self) -> None:
        """Move what is left to the front; grow only once the buffer is full of bytes that have come."""
        if self._start:
            left = self._buffer[self._start : self._end]
            self._buffer[: len(left)] = left
            self._start, self._end = 0, len(left)
        if self._end == len(self._buffer):
            # A new one: views of the old may be around.
            grown = bytearray(min(max(2 * len(self._buffer), _FIRST_BUFFER_BYTES), 2 * _BUFFER_BYTES))
            grown[: self._end] = self._buffer
            self._buffer = grown


class _TooLateError(ConnectionOverError):
    """The time for what was awaited is over."""


def _encode_interval(seconds: float) -> bytes:
    """Encode a `struct timeval` (socket(7), SO_RCVTIMEO); not all zero, which would mean for ever."""
    whole, rest = divmod(max(round(seconds * 1e6), 1), 1_000_000)
    return struct.pack("@ll", whole, rest)


def _acknowledge(sock: socket.socket) -> None:
    """Acknowledge what came at once (tcp(7), TCP_QUICKACK; the system forgets it with every answer).

    A sender that leaves Nagle's algorithm on, and many do, holds back the rest
    of an instance until then: 40 ms each, measured as four times fewer small ones a second.
    """
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
