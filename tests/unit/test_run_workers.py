"""The daemon's own workers: one that has ended is started again."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener import run_workers
from screener.run_workers import START_AGAIN_AFTER, Workers

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Workers]:
    """Workers that end at once."""
    monkeypatch.setattr(run_workers, "COMMAND", (sys.executable, "-c", "pass"))
    opened = Workers(tmp_path / "config.toml")
    opened.watch(NOW)
    wait_for(opened)
    yield opened
    opened.stop()


def wait_for(workers: Workers) -> None:
    for worker in workers._workers.values():
        worker.process.wait(timeout=60)


def pids(workers: Workers) -> set[int]:
    return {worker.process.pid for worker in workers._workers.values()}


@pytest.mark.parametrize("later", [START_AGAIN_AFTER, timedelta(hours=-1)], ids=["in time", "clock set back"])
def test_a_worker_that_ended_is_started_again(workers: Workers, later: timedelta) -> None:
    before = pids(workers)
    workers.watch(NOW + later)
    assert not before & pids(workers)


def test_a_worker_that_ends_at_once_waits_a_moment(workers: Workers) -> None:
    before = pids(workers)
    workers.watch(NOW + START_AGAIN_AFTER / 2)
    assert pids(workers) == before
