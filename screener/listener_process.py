"""One of several processes that receive on the daemon's port; started by `run_listeners`, never by hand."""

import argparse
import json
import os
import signal
import socket
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pydicom.config

from screener.archive import Archive
from screener.config import Config, make_config
from screener.logs import start_logging
from screener.receive import Listener
from screener.slots import Slots
from screener.store import open_store
from screener.tls import make_listener_tls

SWITCH_SECONDS = 0.0005
"""An association that waits for the interpreter waits no longer than this for another's arithmetic."""


def main() -> None:
    """Receive until standard input ends, or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the socket that listens")
    parser.add_argument("--slots", type=int, required=True, help="descriptor of the counts that all share")
    parser.add_argument("--settings", type=int, required=True, help="descriptor of the daemon's settings")
    options = parser.parse_args()
    config = _read_settings(options.settings)
    start_logging(config.log.level)
    sys.setswitchinterval(SWITCH_SECONDS)
    # A value that breaks a rule of its VR is a warning of pydicom's that quotes the value.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    store = open_store(config.database_url)
    listener = Listener(
        config.listener,
        Archive(config.storage_folder, config.storage.reserve_mib << 20, is_begun=True),
        store,
        lambda: datetime.now(UTC),
        tls=make_listener_tls(config),
        shared=(socket.socket(fileno=options.socket), Slots(options.slots)),
    )
    is_over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: is_over.set())
    threading.Thread(target=_wait_for_daemon, args=(is_over,), daemon=True).start()
    listener.start()
    os.write(sys.stdout.fileno(), b"1")  # what `run_listeners` waits for
    is_over.wait()
    listener.stop()
    store.engine.dispose()


def _read_settings(descriptor: int) -> Config:
    """Read what `run_listeners` has written; other children read the same file."""
    handed_over = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    return make_config(handed_over["tables"], base=Path(handed_over["base"]), environment={})


def _wait_for_daemon(is_over: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    is_over.set()


if __name__ == "__main__":
    main()
