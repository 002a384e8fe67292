"""A listener gives back what was freed, though what is kept lies between."""

import ctypes
import time

import pytest

from screener import freed_memory
from screener.freed_memory import FreedMemory, resident_bytes
from screener.listen import Server, open_socket

PIECES, PIECE_BYTES = 50_000, 4000
MOST_OF_IT = PIECES * PIECE_BYTES // 2
DEADLINE_SECONDS = 60.0

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")


def take() -> list[bytes]:
    """Take 200 MB in small pieces."""
    return [b"%d" % number + b"x" * PIECE_BYTES for number in range(PIECES)]


def test_a_listener_gives_back_what_was_freed_between_what_is_kept() -> None:
    server = Server(open_socket("127.0.0.1", 0), lambda *_: None)
    server.start()
    try:
        pieces = take()
        full = resident_bytes()
        kept = pieces[::100]
        del pieces
        deadline = time.monotonic() + DEADLINE_SECONDS
        while full - resident_bytes() < MOST_OF_IT and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        server.close()
    assert full - resident_bytes() >= MOST_OF_IT
    assert len(kept) == PIECES // 100


def test_it_looks_no_more_often_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(freed_memory, "resident_bytes", lambda: looked.append(1) or 0)
    memory = FreedMemory()
    for _ in range(3):
        memory.give_back()
    assert len(looked) == 2, "at its beginning, and once more"


def test_what_has_hardly_grown_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FreedMemory()
    monkeypatch.setattr(freed_memory, "LOOK_SECONDS", 0.0)
    trimmed: list[int] = []
    monkeypatch.setattr(freed_memory, "_trim", lambda: trimmed.append(1))
    for resident, trims in ((100, 0), (100 + 8, 0), (100 + 9, 1), (100 + 9, 2), (90, 2), (90 + 8, 2), (90 + 9, 3)):
        monkeypatch.setattr(freed_memory, "resident_bytes", lambda resident=resident: resident << 20)
        memory.give_back()
        assert len(trimmed) == trims, resident


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FreedMemory()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    monkeypatch.setattr(freed_memory, "resident_bytes", lambda: 1 << 50)
    memory.give_back()
