"""A connection keeps its times: over real sockets, with peers that are slow."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from screener.connection import TICK_SECONDS, Connection, ConnectionOverError, StoppingError
from tests.peers.raw_peer import pdu

ANSWER_SECONDS = 0.6
SLACK_SECONDS = 30.0
"""A busy machine may take so long over what ends at once."""
ECHO = pdu(4, bytes(100))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the peer's; what each system holds back is small."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        peer = socket.create_connection(door.getsockname())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours, _ = door.accept()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        with ours, peer:
            yield ours, peer


def open_connection(ours: socket.socket, is_stopping: threading.Event | None = None) -> Connection:
    return Connection(ours, is_stopping or threading.Event(), answer_seconds=ANSWER_SECONDS)


def read(connection: Connection, seconds: float = 5) -> bytes:
    _, body = connection.read_pdu(first_byte_by=time.monotonic() + seconds, whole_within_seconds=seconds)
    return bytes(body)


def test_a_peer_that_takes_an_answer_slowly_has_its_time_and_no_more(ends):
    ours, peer = ends

    def drain() -> None:
        with suppress(OSError):
            while peer.recv(2000):
                time.sleep(0.02)

    threading.Thread(target=drain, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(ConnectionOverError, match="did not take an answer"):
        open_connection(ours).send(bytes(2_000_000))
    assert ANSWER_SECONDS / 2 < time.monotonic() - began < SLACK_SECONDS


def test_a_long_answer_arrives_whole(ends):
    ours, peer = ends
    came = bytearray()

    def drain() -> None:
        with suppress(OSError):
            while piece := peer.recv(65536):
                came.extend(piece)

    reader = threading.Thread(target=drain)
    reader.start()
    connection = open_connection(ours)
    sent = bytes(range(256)) * 200
    connection.send(sent)
    connection.close()
    reader.join(SLACK_SECONDS)
    assert came == sent


def test_a_pdu_that_comes_in_pieces_is_read_whole(ends):
    ours, peer = ends
    connection = open_connection(ours)

    def trickle() -> None:
        for piece in (ECHO[:3], ECHO[3:50], ECHO[50:]):
            time.sleep(1.2 * TICK_SECONDS)
            peer.sendall(piece)

    threading.Thread(target=trickle).start()
    assert read(connection) == bytes(100)


def test_a_silent_peer_is_given_up_in_time(ends):
    began = time.monotonic()
    with pytest.raises(ConnectionOverError, match="silent"):
        read(open_connection(ends[0]), 0.3)
    assert time.monotonic() - began < SLACK_SECONDS


def test_a_connection_ends_when_the_daemon_stops(ends):
    is_stopping = threading.Event()
    threading.Timer(0.2, is_stopping.set).start()
    with pytest.raises(StoppingError):
        read(open_connection(ends[0], is_stopping))
