"""APScheduler: which of the verbs runs how often; nothing else."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from screener.logs import describe_error

logger = logging.getLogger(__name__)

Verb = Callable[[datetime], object]
"""One of the daemon's verbs, given the time."""


def start_schedule(verbs: dict[str, tuple[float, Verb]]) -> BackgroundScheduler:
    """Run each verb every so many seconds until the scheduler is shut down.

    A verb never runs beside itself; one that is late runs once, not as often
    as it missed. An error is logged and the verb runs again at its next time.
    """
    # A verb may take longer than its interval, as the night list does: skipping a turn is meant, not worth a warning.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(len(verbs))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    for name, (seconds, verb) in verbs.items():
        scheduler.add_job(
            _guard, "interval", args=(name, verb), seconds=seconds, id=name, next_run_time=datetime.now(UTC)
        )
    scheduler.start()
    return scheduler


def _guard(name: str, verb: Verb) -> None:
    try:
        verb(datetime.now(UTC))
    except Exception as error:  # noqa: BLE001 - the edge: one failed round never ends the daemon
        logger.error("job=%s %s", name, describe_error(error))
