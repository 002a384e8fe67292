"""The pages as a child of the daemon, started again when it ends."""

import logging
import subprocess
import sys
from datetime import datetime, timedelta
from os import getpid
from pathlib import Path

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "screener", "web")
START_AGAIN_AFTER = timedelta(seconds=5)
STOP_SECONDS = 10.0
"""Pages that have not ended by then are ended."""


class WebProcess:
    """A child process of the daemon; `watch` starts it where it is missing."""

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at: datetime | None = None

    def watch(self, now: datetime) -> None:
        """Start the pages if they are not served; a process that ended at once waits a moment."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None and self._started_at is not None:
            if timedelta(0) <= now - self._started_at < START_AGAIN_AFTER:  # before 0: the clock was set back
                return
            logger.error("the process of the pages ended with status %s: started again", self._process.returncode)
        command = [*COMMAND, "--config", str(self._config_path), "--parent", str(getpid())]
        # its own group: Ctrl-C in a terminal reaches the daemon alone, which then stops it
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
        self._started_at = now

    def stop(self) -> None:
        """Ask it to end; what takes too long is ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
