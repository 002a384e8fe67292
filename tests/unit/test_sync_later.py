"""Commits that are durable after a sync of the write-ahead log, and what becomes of a sync that fails."""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from screener.store import Store
from screener.store.engine import open_engine
from screener.store.sync_later import LaterSync
from screener.store.tables import instances
from tests.peers.values import an_instance

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Syncs:
    """Watches os.fdatasync, and lets it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[tuple[str, int]] = []
        """Name and length of what was synced."""
        self.failures = 0
        self._sync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, descriptor: int) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EIO, "broken")
        self._sync(descriptor)
        self.files.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, os.fstat(descriptor).st_size))


@pytest.fixture
def later(store: Store) -> Iterator[LaterSync]:
    opened = LaterSync(store.engine)
    yield opened
    opened.close()


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Syncs:
    if "later" in request.fixturenames:
        request.getfixturevalue("later")  # which syncs once itself
    return Syncs(monkeypatch)


def log_bytes(store: Store) -> int:
    return Path(f"{store.engine.url.database}-wal").stat().st_size


def count_in_database_alone(store: Store, tmp_path: Path) -> int:
    """Count the rows of a copy without the write-ahead log."""
    copy = tmp_path / "alone.sqlite"
    copy.write_bytes(Path(store.engine.url.database or "").read_bytes())
    with sqlite3.connect(copy) as connection:
        (count,) = connection.execute("SELECT count(*) FROM instances").fetchone()
    connection.close()
    return int(count)


def test_its_commits_are_not_synced_one_by_one(later: LaterSync) -> None:
    with later.engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 1  # NORMAL


def test_the_log_with_the_commit_in_it_is_synced(store: Store, later: LaterSync, syncs: Syncs) -> None:
    Store(later.engine).record_instance(an_instance(1), NOW)
    assert syncs.files == []
    assert store.study_report(1).images == 1  # others see it before
    later.sync()
    assert syncs.files == [("screener.sqlite-wal", log_bytes(store))]


def test_a_failure_is_told_and_the_log_is_carried_over_and_emptied(
    store: Store, later: LaterSync, syncs: Syncs, tmp_path: Path
) -> None:
    Store(later.engine).record_instance(an_instance(1), NOW)
    assert count_in_database_alone(store, tmp_path) == 0
    syncs.failures = 1
    with pytest.raises(OSError, match="broken"):
        later.sync()
    assert count_in_database_alone(store, tmp_path) == 1
    assert log_bytes(store) == 0, "what is left of the log would bring old pages back after a power cut"
    assert syncs.files == [("screener.sqlite-wal", 0)]
    Store(later.engine).record_instance(an_instance(2), NOW)
    later.sync()
    assert count_in_database_alone(store, tmp_path) == 1, "carried over once"


def test_where_that_fails_too_it_is_tried_again_before_the_next(
    store: Store, later: LaterSync, syncs: Syncs, tmp_path: Path
) -> None:
    Store(later.engine).record_instance(an_instance(1), NOW)
    syncs.failures = 2
    with pytest.raises(OSError, match="broken"):
        later.sync()
    assert syncs.files == []
    Store(later.engine).record_instance(an_instance(2), NOW)
    later.sync()
    assert count_in_database_alone(store, tmp_path) == 2
    assert syncs.files == [("screener.sqlite-wal", 0)]


def test_as_long_as_somebody_reads_from_the_log_it_stays_failed(
    store: Store, later: LaterSync, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.store.sync_later.MENDING_SECONDS", 0.05)
    writer = Store(later.engine)
    writer.record_instance(an_instance(1), NOW)
    reader = sqlite3.connect(store.engine.url.database or "", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM instances").fetchone()
    writer.record_instance(an_instance(2), NOW)
    syncs.failures = 1
    for _ in range(2):
        with pytest.raises(OSError, match=r"broken|nor carried over"):
            later.sync()
    reader.close()
    later.sync()
    assert len(syncs.files) == 1
    with later.engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA busy_timeout")).scalar() == 60_000


def test_what_others_left_in_the_log_is_carried_over_at_the_start(store: Store, syncs: Syncs, tmp_path: Path) -> None:
    store.record_instance(an_instance(1), NOW)
    assert count_in_database_alone(store, tmp_path) == 0
    LaterSync(store.engine).close()
    assert count_in_database_alone(store, tmp_path) == 1
    assert syncs.files == [("screener.sqlite-wal", 0)]


def test_the_log_stands_beside_the_file_that_a_link_means(store: Store, syncs: Syncs, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link #1%20?.sqlite"
    link.parent.mkdir()
    link.symlink_to(Path(store.engine.url.database or ""))
    Path(f"{link}-wal").write_bytes(b"of another time")
    later = LaterSync(open_engine(sa.URL.create("sqlite", database=str(link)).render_as_string()))
    syncs.files.clear()
    Store(later.engine).record_instance(an_instance(1), NOW)
    later.sync()
    assert syncs.files == [("screener.sqlite-wal", log_bytes(store))]
    later.close()


def test_another_log_is_synced_where_sqlite_has_begun_another(store: Store, later: LaterSync, syncs: Syncs) -> None:
    Store(later.engine).record_instance(an_instance(1), NOW)
    later.sync()
    later.engine.dispose()
    store.engine.dispose()  # the last connection removes the log
    Store(later.engine).record_instance(an_instance(2), NOW)
    later.sync()
    assert syncs.files[-1] == ("screener.sqlite-wal", log_bytes(store))
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(instances)).scalar() == 2


def test_it_may_be_closed_twice_and_used_again(later: LaterSync, syncs: Syncs) -> None:
    for number in (1, 2):
        Store(later.engine).record_instance(an_instance(number), NOW)
        later.sync()
        later.close()
        later.close()
    assert len(syncs.files) == 2


@pytest.mark.parametrize("url", ["sqlite://", "postgresql+psycopg://nobody@localhost/nowhere"])
def test_a_database_without_such_a_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="write-ahead log"):
        LaterSync(sa.create_engine(url))


def test_a_failure_is_not_hidden_from_those_who_sync_at_the_same_time(
    store: Store, later: LaterSync, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The system tells it to the first alone."""
    Store(later.engine).record_instance(an_instance(1), NOW)
    is_told = threading.Event()
    both, fates = threading.Barrier(2), []

    def sync_once_broken(_: int) -> None:
        if not is_told.is_set():
            is_told.set()
            with suppress(threading.BrokenBarrierError):
                both.wait(0.3)  # another one would come by now
            raise OSError(errno.EIO, "broken")
        both.abort()

    def sync() -> None:
        try:
            later.sync()
        except OSError:
            fates.append("failed")
        else:
            fates.append("durable" if count_in_database_alone(store, tmp_path) else "false")

    monkeypatch.setattr(os, "fdatasync", sync_once_broken)
    threads = [threading.Thread(target=sync) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(fates) == ["durable", "failed"]
