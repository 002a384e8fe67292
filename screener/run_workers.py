"""The embedded default's workers: one child process per queue, started again when it ends."""

import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from os import getpid
from pathlib import Path

from screener.journey import Queue

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "workers")
START_AGAIN_AFTER = timedelta(seconds=5)
STOP_SECONDS = 20.0
"""A worker that has not stopped by then is killed."""
PUT_BACK_SECONDS = 5.0
"""Of them are left for putting back what a worker has in hand."""


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    started_at: datetime


class Workers:
    """Child processes of the daemon; `watch` starts those that are missing."""

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path.resolve()
        self._workers: dict[Queue, _Worker] = {}

    def watch(self, now: datetime) -> None:
        """Start every worker that is not running; one that ended at once waits a moment."""
        for queue in Queue:
            worker = self._workers.get(queue)
            if worker is not None and worker.process.poll() is None:
                continue
            if worker is not None:
                if timedelta(0) <= now - worker.started_at < START_AGAIN_AFTER:  # before 0: the clock was set back
                    continue
                logger.error("worker queue=%s ended with status %s: started again", queue, worker.process.returncode)
            self._workers[queue] = _Worker(self._start(queue), now)

    def _start(self, queue: Queue) -> subprocess.Popen[bytes]:
        command = [*COMMAND, queue.value, "--config", str(self._config_path), "--parent", str(getpid())]
        command += ["--stop-seconds", str(STOP_SECONDS - PUT_BACK_SECONDS)]
        # its own group: Ctrl-C in a terminal reaches the daemon alone, which then stops its workers in order
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)

    def stop(self) -> None:
        """Ask every worker to finish what it has in hand; what takes too long puts it back, or is killed."""
        processes = [worker.process for worker in self._workers.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(timeout=max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                logger.warning("worker %d did not stop in time: ended", process.pid)
                process.kill()
                process.wait()
