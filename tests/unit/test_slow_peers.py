"""Peers that are slow, silent or greedy: each ends within its time, frees its place and leaves nothing behind."""

import socket
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.peers.door import Door, open_door
from tests.peers.raw_peer import (
    ABORT,
    RawPeer,
    associate_request,
    call,
    data_pdu,
    echo_request,
    pdu,
    store_request,
)
from tests.peers.scanner import AssociationFailed

TIMEOUT_SECONDS = 0.5
SLACK_SECONDS = 60.0
"""For a machine with other work; a peer that is not ended stays for good."""
TIMEOUTS = {
    "acse_timeout_seconds": TIMEOUT_SECONDS,
    "network_timeout_seconds": TIMEOUT_SECONDS,
    "dimse_timeout_seconds": TIMEOUT_SECONDS,
}
PATIENT = {"acse_timeout_seconds": 3600, "network_timeout_seconds": 3600, "dimse_timeout_seconds": 3600}


def slow_door(folder: Path, **only: float):  # type: ignore[no-untyped-def]
    """Open a door with one place; `only` these of its timeouts ever run out in a test."""
    return open_door(folder, maximum_associations=1, **(PATIENT | only))


def has_room_again(door: Door) -> bool:
    """The only place is free, and no file is left of who held it."""
    deadline = time.monotonic() + SLACK_SECONDS
    while time.monotonic() < deadline:
        with suppress(AssociationFailed, RuntimeError):  # ended before it asked
            if door.scanner.echo() == 0 and not door.files():
                return True
        time.sleep(0.05)
    return False


def trickle(peer: RawPeer, piece: Callable[[], bytes]) -> float:
    """Send a piece every now and then until the other end hangs up; the seconds that it took."""
    began = time.monotonic()
    try:
        while not peer.is_over():
            assert time.monotonic() - began < SLACK_SECONDS, "it may trickle for ever"
            peer.send(piece())
            time.sleep(TIMEOUT_SECONDS / 10)
    except ConnectionError:
        pass
    return time.monotonic() - began


def test_a_caller_that_says_nothing_is_hung_up_on(tmp_path: Path) -> None:
    with slow_door(tmp_path, acse_timeout_seconds=TIMEOUT_SECONDS) as door, call(door.listener.port) as peer:
        assert peer.wait_for_end(SLACK_SECONDS) > TIMEOUT_SECONDS / 2
        assert has_room_again(door)


def test_a_request_that_comes_byte_by_byte_is_hung_up_on(tmp_path: Path) -> None:
    request = iter(associate_request())
    with slow_door(tmp_path, acse_timeout_seconds=TIMEOUT_SECONDS) as door, call(door.listener.port) as peer:
        trickle(peer, lambda: bytes([next(request)]))
        assert has_room_again(door)


def test_a_silent_association_is_aborted(tmp_path: Path) -> None:
    with slow_door(tmp_path, network_timeout_seconds=TIMEOUT_SECONDS) as door, call(door.listener.port) as peer:
        peer.associate()
        assert peer.read_pdu()[0] == ABORT
        assert has_room_again(door)


def test_a_peer_that_stops_in_the_middle_of_a_pdv_leaves_nothing(tmp_path: Path) -> None:
    with slow_door(tmp_path, network_timeout_seconds=TIMEOUT_SECONDS) as door, call(door.listener.port) as peer:
        peer.associate()
        peer.send(data_pdu(store_request(generate_uid()), is_command=True, is_last=True))
        peer.send(data_pdu(bytes(1000)))
        peer.send(data_pdu(bytes(1000))[:500])
        assert peer.read_pdu()[0] == ABORT
        assert has_room_again(door)
        assert door.rows() == {}


def test_a_pdu_that_comes_byte_by_byte_is_aborted(tmp_path: Path) -> None:
    data = iter(data_pdu(bytes(10000)))
    with slow_door(tmp_path, network_timeout_seconds=TIMEOUT_SECONDS) as door, call(door.listener.port) as peer:
        peer.associate()
        peer.send(data_pdu(store_request(generate_uid()), is_command=True, is_last=True))
        trickle(peer, lambda: bytes([next(data)]))
        assert has_room_again(door)


def test_a_message_in_ever_more_tiny_pdus_is_aborted(tmp_path: Path) -> None:
    with slow_door(tmp_path, dimse_timeout_seconds=TIMEOUT_SECONDS) as door, call(door.listener.port) as peer:
        peer.associate()
        peer.send(data_pdu(store_request(generate_uid()), is_command=True, is_last=True))
        trickle(peer, lambda: data_pdu(b"\0"))
        assert has_room_again(door)


def test_a_peer_that_hangs_up_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with slow_door(tmp_path) as door:
        with call(door.listener.port) as peer:
            peer.associate()
            peer.send(data_pdu(store_request(generate_uid()), is_command=True, is_last=True))
            peer.send(data_pdu(bytes(1000)))
        assert has_room_again(door)


def test_a_peer_that_takes_no_answer_is_left(tmp_path: Path) -> None:
    request = data_pdu(echo_request(), is_command=True, is_last=True) * 100
    with slow_door(tmp_path, network_timeout_seconds=TIMEOUT_SECONDS) as door, call(door.listener.port) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.socket.settimeout(10 * TIMEOUT_SECONDS)  # with its full buffer it may not even hear that it was left
        peer.send(associate_request(abstract_syntax="1.2.840.10008.1.1"))
        began = time.monotonic()
        try:
            while True:
                assert time.monotonic() - began < SLACK_SECONDS, "it may ask for ever"
                peer.send(request)
        except (ConnectionError, TimeoutError):
            pass
        assert has_room_again(door)


@pytest.mark.parametrize("is_established", [False, True])
def test_a_pdu_of_four_gigabytes_is_refused_at_its_header(tmp_path: Path, is_established: bool) -> None:
    with slow_door(tmp_path) as door, call(door.listener.port) as peer:
        if is_established:
            peer.associate()
        tracemalloc.start()
        peer.send(pdu(4 if is_established else 1, b"")[:2] + b"\xff\xff\xff\xff" + bytes(1000))
        assert peer.read_pdu()[0] == ABORT
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 8 << 20
        assert has_room_again(door)


def test_a_host_full_of_silent_callers_does_not_keep_an_association_from_its_work(tmp_path: Path) -> None:
    with open_door(tmp_path, **PATIENT) as door:  # type: ignore[arg-type]
        with call(door.listener.port) as peer:
            peer.associate()
            silent = [socket.create_connection(("127.0.0.1", door.listener.port)) for _ in range(80)]
            try:
                for late in silent[64:]:
                    late.settimeout(SLACK_SECONDS)
                    assert late.recv(1) == b"", "one too many is told at once"
                peer.send(data_pdu(store_request("1.2.3"), is_command=True, is_last=True))
                peer.send(data_pdu(b"no DICOM", is_last=True))
                assert peer.read_pdu()[0] == 4
            finally:
                for sock in silent:
                    sock.close()
        assert door.scanner.echo() == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: door\r\n\r\n",
        bytes(100),
        b"\xff" * 100,
        associate_request(b"\x20\x00\xff\xff"),
        associate_request().replace(b"\x51\x00\x00\x04", b"\x51\x00\xff\xff"),
        pdu(1, bytes(10)),
        pdu(5, bytes(4)),
        data_pdu(b"early"),
    ],
    ids=["web", "zeros", "ones", "endless item", "endless part", "short", "release", "data"],
)
def test_what_is_no_association_request_is_aborted_and_harms_nobody(tmp_path: Path, request_bytes: bytes) -> None:
    with slow_door(tmp_path, acse_timeout_seconds=TIMEOUT_SECONDS) as door:
        with call(door.listener.port) as peer:
            peer.send(request_bytes)
            peer.wait_for_end(SLACK_SECONDS)
        assert has_room_again(door)


@pytest.mark.parametrize(
    "wrong",
    [
        pdu(4, b""),
        pdu(4, b"\0\0\0\1\1\3"),
        pdu(4, b"\0\0\xff\xff\1\3abc"),
        data_pdu(store_request("1.2.3"), is_command=True, is_last=True, context_id=9),
        data_pdu(b"no command", is_command=True, is_last=True),
        data_pdu(b"data without a command", is_last=True),
        data_pdu(bytes(32 << 10), is_command=True),
        associate_request(),
    ],
    ids=["empty", "short", "long", "context", "command", "order", "endless", "again"],
)
def test_what_breaks_the_protocol_is_aborted_and_harms_nobody(tmp_path: Path, wrong: bytes) -> None:
    with slow_door(tmp_path) as door:
        with call(door.listener.port) as peer:
            peer.associate()
            peer.send(wrong)
            assert peer.read_pdu()[0] == ABORT
        assert has_room_again(door)


def test_an_error_of_ours_ends_one_association_with_an_abort_and_its_words_stay_out_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("CANARY^DONOTLOG is no number")

    with slow_door(tmp_path) as door:
        with monkeypatch.context() as broken, call(door.listener.port) as peer:
            broken.setattr(door.listener, "store", fail)
            peer.associate()
            peer.send(data_pdu(store_request(generate_uid()), is_command=True, is_last=True))
            assert peer.read_pdu() == (ABORT, bytes((0, 0, 2, 0)))
        assert has_room_again(door)
    assert "ValueError at " in caplog.text
