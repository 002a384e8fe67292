"""A listener gives back what was freed, though what is kept lies between."""

import ctypes
import os
import time
from pathlib import Path

import pytest

from screener.listen import Server, open_socket

PIECES, PIECE_BYTES = 50_000, 4000
MOST_OF_IT = PIECES * PIECE_BYTES // 2
DEADLINE_SECONDS = 60.0

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")


def resident() -> int:
    """Memory that the system holds for this process (proc(5), statm), in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def take() -> list[bytes]:
    """Take 200 MB in small pieces."""
    return [b"%d" % number + b"x" * PIECE_BYTES for number in range(PIECES)]


def test_a_listener_gives_back_what_was_freed_between_what_is_kept() -> None:
    server = Server(open_socket("127.0.0.1", 0), lambda *_: None)
    server.start()
    try:
        pieces = take()
        full = resident()
        kept = pieces[::100]
        del pieces
        deadline = time.monotonic() + DEADLINE_SECONDS
        while full - resident() < MOST_OF_IT and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        server.close()
    assert full - resident() >= MOST_OF_IT
    assert len(kept) == PIECES // 100
