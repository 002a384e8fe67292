"""What was freed goes back to the system: glibc keeps it where something that is still in use lies behind it.

A spoiled object may take hundreds of megabytes for a second; without this a listener would hold them until its end.
"""

import ctypes
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

WORTH_BYTES: Final = 8 << 20
LOOK_SECONDS: Final = 5.0


class FreedMemory:
    """Called again and again by one thread; does nothing where the C library or the system has no such means."""

    def __init__(self) -> None:
        self._least = resident_bytes()
        self._looked_at = float("-inf")

    def give_back(self) -> None:
        """Give back what was freed, where the process holds `WORTH_BYTES` more than it ever has at the least.

        Looks once in `LOOK_SECONDS`. What is still in use then is looked for again: a look costs little.
        """
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        resident = resident_bytes()
        self._least = min(self._least, resident)
        if resident - self._least > WORTH_BYTES:
            _trim()


def resident_bytes() -> int:
    """Memory of this process that the system holds for it (proc(5), statm); 0 where it does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _trim() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # malloc_trim(3): of every arena, since glibc 2.8
