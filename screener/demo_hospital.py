"""The demo's own daemon between its PACS and its mailbox: started, waited for, and stopped whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from screener.config import load_config
from screener.demo_peers import HOST, DemoMailbox, DemoPACS, answers_echo, find_free_port
from screener.store import Store, open_store

AE_TITLE = "PAROTID"
QUIET_SECONDS = 3
RECIPIENT = "head-and-neck-clinic@hospital.example"
START_SECONDS = 120.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.3
READY = ("worker for queue ct is ready", "worker for queue us is ready")


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """Everything the demo started."""

    pacs: DemoPACS
    mailbox: DemoMailbox
    daemon: subprocess.Popen[bytes]
    log: Path
    store: Store
    storage_folder: Path
    port: int
    has_ultrasound: bool
    """Whether the settings name models for ultrasound."""


@contextmanager
def open_hospital(work: Path, log: Path) -> Iterator[Hospital]:
    """Start the PACS, the mailbox and the daemon; stop them in the opposite order, whatever happens."""
    (work / "pacs").mkdir()
    with DemoPACS(work / "pacs") as pacs, DemoMailbox() as mailbox:
        config_path, port = work / "config.toml", find_free_port()
        config_path.write_text(write_config(port, pacs, mailbox), encoding="utf-8")
        config = load_config(config_path, {})
        command = [sys.executable, "-m", "screener", "run", "--config", str(config_path)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SCREENER_")}
        with log.open("wb") as stream:
            # Its own session: Ctrl-C reaches the demo alone, which then stops the daemon in order.
            daemon = subprocess.Popen(
                command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )
        try:
            _await_daemon(daemon, port, log)
            store = open_store(config.database_url)
            try:
                yield Hospital(
                    pacs=pacs,
                    mailbox=mailbox,
                    daemon=daemon,
                    log=log,
                    store=store,
                    storage_folder=config.storage_folder,
                    port=port,
                    has_ultrasound=bool(config.models.us_segmenter and config.models.us_classifier),
                )
            finally:
                store.engine.dispose()
        finally:
            _stop(daemon)


def write_config(port: int, pacs: DemoPACS, mailbox: DemoMailbox) -> str:
    """The demo's config.toml: everything else is as shipped."""
    return f"""
[listener]
ae_title = {json.dumps(AE_TITLE)}
port = {port}
[storage]
folder = "var"
reserve_mib = 64
[completeness]
quiet_seconds = {QUIET_SECONDS}
[results]
retry_seconds = 2
[[results.destinations]]
name = "demo_pacs"
ae_title = {json.dumps(pacs.ae_title)}
host = {json.dumps(HOST)}
port = {pacs.port}
confirm = "none"
[notices]
retry_seconds = 2
[notices.email]
host = {json.dumps(HOST)}
port = {mailbox.port}
recipients = [{json.dumps(RECIPIENT)}]
"""


def _await_daemon(daemon: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.monotonic()
    wait_for(lambda: answers_echo(port, AE_TITLE), daemon, log, START_SECONDS, "the listener did not answer C-ECHO")
    print(f"The daemon answers C-ECHO on port {port} after {time.monotonic() - began:.1f} s.")
    wait_for(lambda: _are_ready(log), daemon, log, START_SECONDS, "the workers did not become ready")
    print(f"The workers have their models after {time.monotonic() - began:.1f} s.")


def wait_for(
    is_true: Callable[[], bool], daemon: subprocess.Popen[bytes], log: Path, seconds: float, otherwise: str
) -> None:
    """Wait until `is_true`; DemoError with `otherwise` after `seconds`, or at once where the daemon has ended."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if daemon.poll() is not None:
            raise DemoError(f"the daemon ended with status {daemon.returncode}; its last words:\n{_last_lines(log)}")
        if time.monotonic() > deadline:
            raise DemoError(f"{otherwise} within {seconds:.0f} s; the daemon's last words:\n{_last_lines(log)}")
        time.sleep(POLL_SECONDS)


def _are_ready(log: Path) -> bool:
    written = _read(log)
    return all(line in written for line in READY)


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _last_lines(log: Path, count: int = 12) -> str:
    return "\n".join(_read(log).splitlines()[-count:])


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    """End the daemon as its service manager would: SIGTERM, then, where that takes too long, by force."""
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        print("The daemon did not stop in time: ended by force.")
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()
