"""A worker that is told to stop lets its child finish; what takes too long is put back, at nobody's expense."""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from celery.signals import worker_ready, worker_shutting_down
from sqlalchemy.exc import SQLAlchemyError

from screener.claimant import name_process
from screener.config import find_config, load_config
from screener.logs import describe_error
from screener.store import open_store

logger = logging.getLogger(__name__)

_pools: list[Any] = []


def arrange_stop(seconds: float) -> None:
    """From now on, `seconds` after this process is told to stop, put back what its children hold and end."""

    def begin(**_: object) -> None:
        threading.Thread(target=_end_after, args=(seconds,), daemon=True).start()

    worker_ready.connect(lambda sender, **_: _pools.append(sender.pool), weak=False)
    worker_shutting_down.connect(begin, weak=False)


def _end_after(seconds: float) -> None:
    time.sleep(seconds)  # a worker that is done before ends without waiting for this thread
    put_back([child for pool in _pools for child in pool.info["processes"]])
    os._exit(0)  # its children see it, and end


def put_back(children: Sequence[int]) -> None:
    """End these processes and put back what they have in hand, at nobody's expense."""
    names = [name_process(child) for child in children]
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    try:
        store = open_store(load_config(find_config()).database_url)
        for study_id in store.put_back_of(names, datetime.now(UTC)):
            logger.warning("study=%d put back: its worker stops", study_id)
    except (SQLAlchemyError, OSError) as error:  # what is not put back here is by its lease
        logger.error("not put back: %s", describe_error(error))
