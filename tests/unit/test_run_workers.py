"""A daemon that is told to stop ends its workers in order: what they have in hand is put back, and not counted."""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener import run_workers
from screener.config import Config, load_config
from screener.dispatch import dispatch_study
from screener.hints import Hints
from screener.journey import Queue
from screener.run_workers import Workers
from screener.store import Store, open_store
from tests.peers.values import an_instance
from tests.unit.slow_worker import MODULE

DEADLINE_SECONDS = 120.0
STOP_SECONDS = 8.0
LEASE = timedelta(minutes=1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text("", encoding="utf-8")
    return load_config(path)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    config.storage_folder.mkdir(parents=True, exist_ok=True)
    opened = open_store(config.database_url, is_migrating=True)
    now = datetime.now(UTC)
    opened.record_instance(an_instance(), now)
    (study,) = opened.quiet_studies(now, quiet=timedelta(0), max_wait=timedelta(days=1))
    dispatch_study(opened, study, config.thresholds(), now)
    yield opened
    opened.engine.dispose()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_study_in_hand_is_put_back_when_the_daemon_stops_and_no_attempt_is_counted(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_workers, "COMMAND", (sys.executable, "-m", MODULE))
    monkeypatch.setattr(run_workers, "STOP_SECONDS", STOP_SECONDS)
    workers = Workers(tmp_path / "config.toml")
    hints = Hints(config)
    hints.send(Queue.CT)
    workers.watch(datetime.now(UTC))
    try:
        wait_for(lambda: bool(store.backlog().leases))
    finally:
        began = time.monotonic()
        workers.stop()
    assert time.monotonic() - began < STOP_SECONDS
    hints.close()
    run = store.claim_run(Queue.CT, "next", datetime.now(UTC), LEASE)
    assert run is not None
    assert (run.attempts, run.failures, run.tried_since) == (2, 0, None)
    assert "told to stop" in store.study_report(1).steps[-1].sentence
