"""A sender that costs next to nothing: the same slice under ever new UIDs, one association, one answer at a time.

`python -m tests.benchmarks.send_load PORT AE_TITLE COUNT STUDY SIDE` opens its association, says "ready", waits for a
line, sends, and prints two instants of the system's monotonic clock: the first byte of the first request and the
last answer. It does what a modality does, with TCP_NODELAY, in PDUs as long as the receiver takes; but encodes its
slice once and before it is ready, so that what is measured is the receiver.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

from tests.peers.raw_peer import ACCEPT, RawPeer, associate_request, data_pdu, pdu, store_request
from tests.peers.scanner import make_ct

LONGEST_PDU = 128 << 10
UID_LENGTH = 60


def main() -> None:
    """Send, and print when it began and when it was done."""
    port, ae_title, count, study, side = sys.argv[1:]
    print(*send(int(port), ae_title, int(count), int(study), int(side), wait=_wait_for_word), flush=True)


def send(
    port: int, ae_title: str, count: int, study: int, side: int, *, wait: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Send `count` slices of one study once `wait` is over; the instants (s) of first request and last answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = RawPeer(sock)
        peer.send(associate_request(called_ae_title=ae_title))
        kind, answer = peer.read_pdu()
        if kind != ACCEPT:
            raise SystemExit(f"no association with {ae_title}")
        message = Message(side, study, _longest_pdu(answer))
        wait()
        began = time.monotonic()
        for number in range(count):
            peer.send(message.numbered(number))
            _check_answer(peer)
        ended = time.monotonic()
        peer.send(pdu(5, bytes(4)))
        peer.read_pdu()
    return began, ended


def _wait_for_word() -> None:
    print("ready", flush=True)
    sys.stdin.readline()  # all senders begin at the same time


class Message:
    """The PDUs of one C-STORE, whose SOP Instance UID is changed in place."""

    def __init__(self, side: int, study: int, longest_pdu: int) -> None:
        root = generate_uid(prefix=f"1.2.826.0.1.3680043.8.498.{study}.")[:50]
        self._root = root
        self._places: list[int] = []
        blank = self._uid(0)
        noise = np.random.default_rng(0).integers(-1000, 1000, (side, side), dtype=np.int16).tobytes()
        ds = make_ct(
            Rows=side, Columns=side, PixelData=noise, SOPInstanceUID=blank,
            StudyInstanceUID=f"{root[:40]}.1", SeriesInstanceUID=f"{root[:40]}.2",
        )  # fmt: skip
        encoded = DicomBytesIO()
        encoded.is_implicit_VR, encoded.is_little_endian = False, True
        del ds.file_meta
        write_dataset(encoded, ds)
        data_set = encoded.getvalue()
        room = longest_pdu - 6
        pieces = [data_set[start : start + room] for start in range(0, len(data_set), room)]
        pdus = [data_pdu(store_request(blank), is_command=True, is_last=True)]
        pdus += [data_pdu(piece, is_last=number == len(pieces)) for number, piece in enumerate(pieces, start=1)]
        self._bytes = bytearray(b"".join(pdus))
        position = self._bytes.find(blank.encode())
        while position >= 0:
            self._places.append(position)
            position = self._bytes.find(blank.encode(), position + 1)

    def _uid(self, number: int) -> str:
        return f"{self._root}.1{number:0{UID_LENGTH - len(self._root) - 2}d}"

    def numbered(self, number: int) -> bytearray:
        """Give the bytes to send; the same buffer every time."""
        uid = self._uid(number).encode()
        for position in self._places:
            self._bytes[position : position + UID_LENGTH] = uid
        return self._bytes


def _longest_pdu(accept: bytes) -> int:
    position = accept.rindex(b"\x51\x00\x00\x04")
    (longest,) = struct.unpack_from(">L", accept, position + 4)
    return min(longest or LONGEST_PDU, LONGEST_PDU)


def _check_answer(peer: RawPeer) -> None:
    """Read one answer, which may come in any number of PDUs; SystemExit where it is not Success."""
    command = BytesIO()
    while True:
        kind, body = peer.read_pdu()
        if kind != 4:
            raise SystemExit("the receiver has ended the association")
        position = 0
        is_last = False
        while position < len(body):
            length, _, control = struct.unpack_from(">LBB", body, position)
            command.write(body[position + 6 : position + 4 + length])
            is_last = bool(control & 2)
            position += 4 + length
        if is_last:
            break
    encoded = command.getvalue()
    status = encoded.index(b"\0\0\0\x09\x02\0\0\0") + 8
    if encoded[status : status + 2] != b"\0\0":
        raise SystemExit(f"an answer is 0x{int.from_bytes(encoded[status : status + 2], 'little'):04X}")


if __name__ == "__main__":
    main()
