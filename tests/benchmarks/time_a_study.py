"""How long the door takes over a study of 300 slices, and how much of that waits for the disk."""

import os
import stat
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from screener.archive import Archive
from screener.config import Listener as ListenerSettings
from screener.receive import Listener
from screener.store import open_store
from tests.benchmarks.send_load import send

SLICES = 300


def describe_a_study(folder: Path, side: int) -> None:
    """Print the seconds from the first request to the last answer, and the share of each kind of sync."""
    folder.mkdir(parents=True)
    seconds: dict[str, float] = defaultdict(float)
    store = open_store(f"sqlite:///{folder / 'screener.sqlite'}", is_migrating=True)
    listener = Listener(ListenerSettings(port=0), Archive(folder, 0), store, lambda: datetime.now(UTC))
    listener.start()
    try:
        send(listener.port, "PAROTID", 10, 1, side)  # folders and statements are made once
        with timed_syncs(store.engine.dialect, seconds):
            began, ended = send(listener.port, "PAROTID", SLICES, 2, side)
    finally:
        listener.stop()
        store.engine.dispose()
    took = ended - began
    shares = ", ".join(f"{what} {100 * spent / took:.0f} %" for what, spent in sorted(seconds.items()))
    waited = 100 * sum(seconds.values()) / took
    print(f"a study of {SLICES} slices: {took:.2f} s ({SLICES / took:.0f} a second), {waited:.0f} % in syncs: {shares}")


@contextmanager
def timed_syncs(dialect: Any, seconds: dict[str, float]) -> Iterator[None]:
    """Add up the seconds in `os.fsync` and in the database's commit, whose sync is not Python's."""
    fsync, commit = os.fsync, dialect.do_commit
    lock = threading.Lock()

    def timed(what: str, call: Callable[[Any], None], argument: Any) -> None:
        began = time.monotonic()
        call(argument)
        with lock:
            seconds[what] += time.monotonic() - began

    def sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        timed("folder" if is_folder else "file", fsync, descriptor)

    os.fsync = sync
    dialect.do_commit = lambda connection: timed("row", commit, connection)
    try:
        yield
    finally:
        os.fsync = fsync
        del dialect.do_commit
