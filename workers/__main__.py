"""`python -m workers QUEUE`: one worker for one queue, prefork with one child."""

import argparse
import os
import signal
import threading
import time
import warnings
from pathlib import Path

from celery.platforms import SecurityWarning

from screener.config import CONFIG_VARIABLE
from screener.journey import Queue

WATCH_SECONDS = 1.0


def main() -> None:
    """Start a worker and stay until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("queue", choices=[queue.value for queue in Queue], help="the queue to work on")
    parser.add_argument("--config", type=Path, help="config.toml; otherwise SCREENER_CONFIG, then ./config.toml")
    parser.add_argument("--parent", type=int, help="stop when the process with this number is no longer the parent")
    options = parser.parse_args()
    if options.config is not None:
        os.environ[CONFIG_VARIABLE] = str(options.config.resolve())
    if options.parent is not None:
        threading.Thread(target=_stop_with_parent, args=(options.parent,), daemon=True).start()

    warnings.filterwarnings("ignore", category=SecurityWarning)  # inside a container there is often only root
    from workers.app import app

    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--queues={options.queue}",
            "--concurrency=1",
            "--pool=prefork",
            f"--hostname={options.queue}@%h",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )


def _stop_with_parent(parent: int) -> None:
    """A daemon that was killed must not leave a worker behind that holds the accelerator."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
