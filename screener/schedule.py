"""APScheduler: which of the verbs runs how often; nothing else.

APScheduler waits for times of day, and a machine's clock is set: by hand, or
by NTP after a start with a wrong one. A clock that is set back would hold
every verb up for as long as the step, one that is set forward would make each
missed turn be counted; both cost one turn here. What is kept in the database
keeps its times: a lease, a wait, a quiet period that began before the clock
was set back by an hour ends up to an hour late.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from screener.logs import describe_error

logger = logging.getLogger(__name__)

Verb = Callable[[datetime], object]
"""One of the daemon's verbs, given the time."""

CLOCK_SECONDS = 1.0
"""Between two looks at the clock, and how much of a step back is let pass: it makes a verb late by no more."""


class Schedule:
    """Runs each verb every so many seconds until it is stopped.

    A verb never runs beside itself; one that is late runs once, not as often
    as it missed. An error is logged and the verb runs again at its next time.
    """

    def __init__(self, verbs: dict[str, tuple[float, Verb]]) -> None:
        # A verb may take longer than its interval, as the night list does: skipping a turn is meant, not worth a
        # warning.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
        self._intervals = {name: timedelta(seconds=seconds) for name, (seconds, _) in verbs.items()}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(len(verbs))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for name, (seconds, verb) in verbs.items():
            trigger = _Every(seconds=seconds, timezone=UTC)
            self._scheduler.add_job(_guard, trigger, args=(name, verb), id=name, next_run_time=datetime.now(UTC))
        self._is_over = threading.Event()
        self._clock_watch = threading.Thread(target=self._watch_clock, name="clock watch", daemon=True)

    def start(self) -> None:
        """Begin, each verb at once."""
        self._scheduler.start()
        self._clock_watch.start()

    def stop(self) -> None:
        """Begin nothing more, and wait for what runs."""
        self._is_over.set()
        self._clock_watch.join()
        self._scheduler.shutdown(wait=True)

    def _watch_clock(self) -> None:
        """Bring forward whatever is due later than its interval allows: the clock has been set back since."""
        while not self._is_over.wait(CLOCK_SECONDS):
            now = datetime.now(UTC)
            waits = [(job, job.next_run_time - now - self._intervals[job.id]) for job in self._scheduler.get_jobs()]
            late = [(job, excess) for job, excess in waits if excess > timedelta(seconds=CLOCK_SECONDS)]
            if late:
                step = max(excess for _, excess in late).total_seconds()
                logger.warning("the clock was set back, by %.0f s or more: what would wait so long is done now", step)
            for job, _ in late:
                job.modify(next_run_time=now)


class _Every(IntervalTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Every so many seconds; turns that were missed are not counted one by one."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Give the time after the previous one, or one interval from now where that has passed."""
        following: datetime = super().get_next_fire_time(previous_fire_time, now)
        return following if following > now else now + self.interval


def start_schedule(verbs: dict[str, tuple[float, Verb]]) -> Schedule:
    """Run each verb from now on, until the schedule is stopped."""
    schedule = Schedule(verbs)
    schedule.start()
    return schedule


def _guard(name: str, verb: Verb) -> None:
    try:
        verb(datetime.now(UTC))
    except Exception as error:  # noqa: BLE001 - the edge: one failed round never ends the daemon
        logger.error("job=%s %s", name, describe_error(error))
