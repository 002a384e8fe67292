"""A peer without a DICOM library: it sends the bytes that it is told to, and no more."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ABORT, ACCEPT, REJECT = 7, 2, 3


class RawPeer:
    """Made by `call`."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def associate(self) -> None:
        """Ask for CT in one context, number 1."""
        self.send(associate_request())
        assert self.read_pdu()[0] == ACCEPT

    def read_pdu(self) -> tuple[int, bytes]:
        """Read a PDU; type 0 where the other end has hung up."""
        header = self._read(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", header)
        return kind, self._read(length)

    def wait_for_end(self, seconds: float) -> float:
        """Read whatever comes until the other end hangs up; the seconds that it took."""
        began = time.monotonic()
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionError:
            pass
        return time.monotonic() - began

    def is_over(self) -> bool:
        """Tell whether the other end has hung up, without waiting."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.setblocking(True)
        return True

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (piece := self.socket.recv(count - len(data))):
            data += piece
        return data


@contextmanager
def call(port: int, seconds: float = 120, host: str = "127.0.0.1") -> Iterator[RawPeer]:
    """Connect from the loopback address `host`; nothing is sent yet."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(host, 0)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield RawPeer(sock)


def associate_request(
    *extra_items: bytes, abstract_syntax: str = CTImageStorage, called_ae_title: str = "PAROTID"
) -> bytes:
    """Ask for one presentation context, number 1."""
    syntaxes = item(0x30, abstract_syntax.encode()) + item(0x40, ExplicitVRLittleEndian.encode())
    context = item(0x20, bytes((1, 0, 0, 0)) + syntaxes)
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    application = item(0x10, b"1.2.840.10008.3.1.1.1")
    fixed = struct.pack(">HH16s16s32x", 1, 0, called_ae_title.encode().ljust(16), b"RAW".ljust(16))
    return pdu(1, fixed + application + context + user + b"".join(extra_items))


def store_request(sop_instance_uid: str, sop_class_uid: str = CTImageStorage) -> bytes:
    """Give the command set of a C-STORE that a data set follows."""
    elements = b"".join(
        (
            element(0x0002, padded(sop_class_uid)),
            element(0x0100, b"\x01\x00"),
            element(0x0110, b"\x07\x00"),
            element(0x0700, b"\x00\x00"),
            element(0x0800, b"\x01\x00"),
            element(0x1000, padded(sop_instance_uid)),
        )
    )
    return element(0, struct.pack("<L", len(elements))) + elements


def echo_request() -> bytes:
    """Give the command set of a C-ECHO."""
    elements = b"".join(
        (
            element(0x0002, padded("1.2.840.10008.1.1")),
            element(0x0100, b"\x30\x00"),
            element(0x0110, b"\x01\x00"),
            element(0x0800, b"\x01\x01"),
        )
    )
    return element(0, struct.pack("<L", len(elements))) + elements


def action_request(message_id: int) -> bytes:
    """Give the command set of an N-ACTION that asks for storage commitment, and that a data set follows."""
    elements = b"".join(
        (
            element(0x0003, padded("1.2.840.10008.1.20.1")),
            element(0x0100, b"\x30\x01"),
            element(0x0110, struct.pack("<H", message_id)),
            element(0x0800, b"\x01\x00"),
            element(0x1001, padded("1.2.840.10008.1.20.1.1")),
            element(0x1008, b"\x01\x00"),
        )
    )
    return element(0, struct.pack("<L", len(elements))) + elements


def data_pdu(fragment: bytes, *, is_command: bool = False, is_last: bool = False, context_id: int = 1) -> bytes:
    control = is_command | is_last << 1
    return pdu(4, struct.pack(">LBB", len(fragment) + 2, context_id, control) + fragment)


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def padded(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
