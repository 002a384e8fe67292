"""Read HL7 messages off a connection: MLLP framing, whatever packets they come in (HL7 v2.5.1 Appendix C.4)."""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

START: Final = b"\x0b"
END: Final = b"\x1c\r"
MOST_BYTES: Final = 16 << 20
"""Of a message, pictures that it may carry included."""
HEAD_BYTES: Final = 65536
"""What is kept of a longer one, and how much may stand between two messages."""
MESSAGE_SECONDS: Final = 60.0
"""From its first byte to its last."""
TICK_SECONDS: Final = 0.5
_PIECE_BYTES: Final = 65536
_INTERRUPTED: Final = re.compile(rb".*\x0b(?=(?:\xef\xbb\xbf)?MSH[^\w\s]{3})", re.S)
"""All up to the last message that begins within another one: word processors break lines with 0x0B too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message as it came."""

    data: bytes
    is_whole: bool
    """False: it is too long, and `data` is how it begins."""


class FrameReader:
    """Gives the messages of one connection in their order; the connection's owner closes it."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        idle_seconds: float,
        is_over: Callable[[], bool] = lambda: False,
        message_seconds: float = MESSAGE_SECONDS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`is_over`: asked twice a second, True ends the wait for more."""
        self._connection = connection
        self._idle_seconds = idle_seconds
        self._is_over = is_over
        self._message_seconds = message_seconds
        self._most_bytes = most_bytes
        self._buffer = bytearray()

    def read(self) -> Frame | None:
        """Wait for the next message; None where there is none: the peer is gone, silent for too long, or talks else.

        What stands before a message is dropped, and a message that another one interrupts: nobody has acknowledged it.
        """
        if not self._find_start():
            return None
        deadline = time.monotonic() + self._message_seconds
        searched = 0
        while (end := self._buffer.find(END, searched)) < 0:
            if len(self._buffer) > self._most_bytes:
                return self._skip(deadline)
            searched = max(len(self._buffer) - 1, 0)
            if not self._receive(deadline):
                return None
        data = bytes(self._buffer[:end])
        del self._buffer[: end + len(END)]
        interrupted = _INTERRUPTED.match(data) if START in data else None
        return Frame(data=data[interrupted.end() :] if interrupted else data, is_whole=True)

    def _find_start(self) -> bool:
        """Drop all up to the next message; False where there comes none."""
        deadline = time.monotonic() + self._idle_seconds
        dropped = 0
        while (start := self._buffer.find(START)) < 0:
            dropped += len(self._buffer)
            self._buffer.clear()
            if dropped > HEAD_BYTES or not self._receive(deadline):
                return False
        del self._buffer[: start + 1]
        return True

    def _skip(self, deadline: float) -> Frame | None:
        """Drop the rest of a message that is too long, and give how it began."""
        head = bytes(self._buffer[:HEAD_BYTES])
        while (end := self._buffer.find(END)) < 0:
            del self._buffer[:-1]  # the last byte may begin the end
            if not self._receive(deadline):
                return None
        del self._buffer[: end + len(END)]
        return Frame(data=head, is_whole=False)

    def _receive(self, deadline: float) -> bool:
        """Wait for more; False where none comes by then."""
        self._connection.settimeout(TICK_SECONDS)
        while not self._is_over() and time.monotonic() < deadline:
            try:
                piece = self._connection.recv(_PIECE_BYTES)
            except TimeoutError:
                continue
            self._buffer += piece
            return bool(piece)
        return False
