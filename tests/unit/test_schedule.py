"""The clockwork goes on whatever becomes of the machine's clock."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from apscheduler.schedulers import base

from screener import schedule
from screener.schedule import Verb, start_schedule

SECONDS = 0.05
DEADLINE_SECONDS = 10.0


class Clock(datetime):
    """The machine's clock, set by hand."""

    step = timedelta(0)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + cls.step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "step", timedelta(0))
    monkeypatch.setattr(base, "datetime", Clock)
    monkeypatch.setattr(schedule, "datetime", Clock)
    return Clock


@contextmanager
def running(verbs: dict[str, tuple[float, Verb]]) -> Iterator[None]:
    running_schedule = start_schedule(verbs)
    try:
        yield
    finally:
        running_schedule.stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=-20000)])
def test_a_clock_set_back_stops_nothing(clock: type[Clock], step: timedelta) -> None:
    runs: list[datetime] = []
    before = datetime.now(UTC)
    with running({"look": (SECONDS, runs.append), "look rarely": (3600.0, lambda _: None)}):
        wait_until(lambda: len(runs) >= 2)
        clock.step = step
        wait_until(lambda: sum(run < before for run in runs) >= 3)


def test_a_clock_set_forward_costs_one_turn_and_not_each_that_was_missed(clock: type[Clock]) -> None:
    runs: list[datetime] = []
    later = datetime.now(UTC) + timedelta(days=9)
    with running({"look": (SECONDS, runs.append)}):
        wait_until(lambda: len(runs) >= 2)
        clock.step = timedelta(days=10)
        wait_until(lambda: sum(run > later for run in runs) >= 3)


def test_a_verb_that_fails_runs_again(clock: type[Clock], caplog: pytest.LogCaptureFixture) -> None:
    runs: list[datetime] = []

    def fail(now: datetime) -> None:
        runs.append(now)
        raise ValueError("CANARY^DONOTLOG")

    with running({"fail": (SECONDS, fail)}):
        wait_until(lambda: len(runs) >= 2)
    assert "job=fail" in caplog.text


def test_a_verb_never_runs_beside_itself() -> None:
    at_work, is_over = threading.Lock(), threading.Event()
    runs: list[bool] = []

    def work(_: datetime) -> None:
        runs.append(at_work.acquire(blocking=False))
        is_over.wait(3 * SECONDS)
        at_work.release()

    with running({"work": (SECONDS, work)}):
        wait_until(lambda: len(runs) >= 3)
    assert all(runs)
