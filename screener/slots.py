"""Counts that the listener's processes share, and that a killed process gives back by dying.

A slot is the lock on one byte of a file without a name: the system lets go of
it with the process that held it, so no count has to be put right afterwards.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_REGION = 1024
"""Slots of one kind, more than any limit in config.toml."""
_TURN = 0
_FIRST_KIND = 1


class Slots:
    """Slots in one process; those of other processes are seen through the descriptor that they share."""

    def __init__(self, descriptor: int | None = None) -> None:
        """None: make a file of our own, whose `descriptor` may be handed on."""
        self.descriptor = os.memfd_create("slots") if descriptor is None else descriptor
        self._held: set[int] = set()  # a lock of this process does not keep out its own threads
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def take(self, kind: str, limit: int) -> int | None:
        """Take one of `limit` slots of a kind; None: all are taken."""
        start = _FIRST_KIND + int.from_bytes(hashlib.sha256(kind.encode()).digest()[:6]) * _REGION
        with self._lock:
            for slot in range(start, start + limit):
                if slot not in self._held and self._try(slot):
                    self._held.add(slot)
                    return slot
        return None

    def give_back(self, slot: int) -> None:
        """Let others have a slot that was taken."""
        with self._lock:
            self._held.discard(slot)
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, slot)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only thread of all processes within."""
        with self._turn:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, _TURN)
            try:
                yield
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, _TURN)

    def close(self) -> None:
        """Let go of all."""
        os.close(self.descriptor)

    def _try(self, slot: int) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
            return False
        return True
