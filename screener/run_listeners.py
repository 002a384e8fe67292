"""Several processes that receive on one port, where the daemon itself is not enough.

The daemon listens and accepts nothing; its children accept from its socket,
so that one which dies takes no waiting connection with it, and is started again.
"""

import json
import logging
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from screener.config import Config, ConfigError
from screener.connection import GOODBYE_SECONDS
from screener.listen import open_socket
from screener.receive import END_SECONDS
from screener.slots import Slots

START_AGAIN_AFTER = timedelta(seconds=1)
START_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    started_at: datetime


class ListenerProcesses:
    """The door as `[listener] processes` children; started, stopped and asked for its port like a `Listener`."""

    def __init__(self, config: Config) -> None:
        self._settings = config.listener
        self._handed_over = _hand_over(config)
        self._slots = Slots()
        self._children: list[_Child] = []
        self._is_over = False

    @property
    def port(self) -> int:
        """The TCP port in use, also where the settings left the choice to the system with 0."""
        return int(self._socket.getsockname()[1])

    @property
    def process_ids(self) -> list[int]:
        """Of the children, as they run now."""
        return [child.process.pid for child in self._children]

    def start(self) -> None:
        """Listen; OSError where the address is taken, ConfigError where no child comes to receive.

        Returns once all children receive, or have had long enough.
        """
        self._socket = open_socket(self._settings.host, self._settings.port)
        now = datetime.now(UTC)
        self._children = [_Child(self._start_child(), now) for _ in range(self._settings.processes)]
        deadline = time.monotonic() + START_SECONDS
        ready = [_is_ready(child.process, deadline - time.monotonic()) for child in self._children]
        if not any(ready):
            self.stop(grace_seconds=0)
            raise ConfigError(f"listener.processes: none of {len(ready)} starts; the log has the reason")
        if not all(ready):
            logger.error("listeners that do not start: %d; the log has the reason", ready.count(False))

    def watch(self, now: datetime) -> None:
        """Start every child again that has ended; one that ended at once waits a moment."""
        if self._is_over:
            return
        for child in self._children:
            waits = timedelta(0) <= now - child.started_at < START_AGAIN_AFTER  # before 0: the clock was set back
            if child.process.poll() is not None and not waits:
                logger.error("a listener ended with status %s: started again", child.process.returncode)
                _close_pipes(child.process)
                child.process, child.started_at = self._start_child(), now

    def stop(self, grace_seconds: float = 5) -> None:
        """Take no new association, let open ones end for `grace_seconds`, then abort them."""
        if self._is_over:
            return
        self._is_over = True
        processes = [child.process for child in self._children]
        for process in processes:
            _close_pipes(process)
        deadline = time.monotonic() + grace_seconds + END_SECONDS + GOODBYE_SECONDS
        for process in processes:
            try:
                process.wait(timeout=max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                logger.warning("listener %d did not stop in time: ended", process.pid)
                process.kill()
                process.wait()
        self._socket.close()
        self._slots.close()
        os.close(self._handed_over)

    def _start_child(self) -> subprocess.Popen[bytes]:
        descriptors = self._socket.fileno(), self._slots.descriptor, self._handed_over
        command = [sys.executable, "-m", "screener.listener_process", "--socket", str(descriptors[0])]
        command += ["--slots", str(descriptors[1]), "--settings", str(descriptors[2])]
        # Its own group: Ctrl-C in a terminal reaches the daemon alone. It stops when its standard input ends,
        # which it does with the daemon too, however that ends.
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=descriptors, process_group=0)


def _hand_over(config: Config) -> int:
    """Write down what a child needs of the settings, as the daemon has read them; the descriptor of a file in memory.

    config.toml may have been edited since, and a command line is read by all.
    """
    tables = config.model_dump(mode="json", include={"listener", "storage", "database", "log"})
    descriptor = os.memfd_create("settings")
    with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as file:
        json.dump({"base": str(config.resolve("")), "tables": tables}, file)
    return descriptor


def _is_ready(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the one byte that a child writes when it receives."""
    if process.stdout is None:
        return False
    readable, _, _ = select.select([process.stdout], [], [], max(seconds, 0))
    return bool(readable) and bool(process.stdout.read(1))


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
