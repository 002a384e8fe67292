"""A daemon that is told to stop ends its workers in order: what they have in hand is put back, and not counted."""

import os
import signal
import subprocess
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
from screener.store import ReceivedInstance, Store
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.slow_worker import MODULE

DEADLINE_SECONDS = 120.0
STOP_SECONDS = 40.0
LEASE = timedelta(minutes=1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text("", encoding="utf-8")
    return load_config(path)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    config.storage_folder.mkdir(parents=True, exist_ok=True)
    opened = open_new_store(config.database_url)
    dispatch(opened, config, an_instance())
    yield opened
    opened.engine.dispose()


def dispatch(store: Store, config: Config, instance: ReceivedInstance) -> None:
    now = datetime.now(UTC)
    store.record_instance(instance, now)
    (study,) = store.quiet_studies(now, quiet=timedelta(0), max_wait=timedelta(days=1))
    dispatch_study(store, study, config.thresholds(), now)


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
    monkeypatch.setattr(run_workers, "PUT_BACK_SECONDS", STOP_SECONDS - 3)
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
    assert "its worker stopped" in store.study_report(1).steps[-1].sentence


def test_a_study_that_was_taken_after_a_child_was_killed_is_put_back_and_not_counted(
    config: Config, store: Store, tmp_path: Path
) -> None:
    dispatch(store, config, an_instance(2, study_instance_uid="1.2.4"))
    hints = Hints(config)
    for _ in range(2):
        hints.send(Queue.CT)
    command = [sys.executable, "-m", MODULE, "ct", "--config", str(tmp_path / "config.toml")]
    worker = subprocess.Popen(command, env={**os.environ, "FAMILY_SECONDS": "20"})
    try:
        wait_for(lambda: bool(store.backlog().leases))
        os.kill(int(store.backlog().leases[0].owner.split(":")[1]), signal.SIGKILL)
        wait_for(lambda: len(store.backlog().leases) == 2)  # the child in its place has taken the other study
        wait_for(lambda: worker.poll() is not None)
    finally:
        worker.kill()
        worker.wait()
    hints.close()
    (lease,) = store.backlog().leases
    assert lease.study_id == 1, "the killed child's study is put back by its lease, and counted"
    run = store.claim_run(Queue.CT, "next", datetime.now(UTC), LEASE)
    assert run is not None
    assert (run.study_id, run.failures) == (2, 0)
