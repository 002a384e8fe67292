"""Which refusals the audit trail tells already: whoever is refused a thousand times fills no disk."""

from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

_KEPT: Final = 10_000


class Refusals:
    """The latest ones, in memory: a process that starts anew tells them again."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, datetime] = OrderedDict()
        self._lock = Lock()

    def is_first(self, key: str, now: datetime, window: timedelta) -> bool:
        """True, once in each `window`: nobody was refused for this key."""
        with self._lock:
            told_at = self._told.get(key)
            if told_at is not None and now - told_at < window:
                return False
            self._told[key] = now
            self._told.move_to_end(key)
            while len(self._told) > _KEPT:
                self._told.popitem(last=False)
            return True
