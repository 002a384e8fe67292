"""One daemon at a time works on a database; whoever only asks or orders needs not be alone."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from screener.config import ConfigError
from screener.one_daemon import OneDaemon
from screener.store.daemon_lock import DaemonLock, FileLock, SessionLock, open_daemon_lock
from tests.peers.ports import free_port, is_open
from tests.peers.servers import open_postgresql

DEADLINE_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


def wait_until(is_so: Callable[[], bool], what: Callable[[], str] = lambda: "it never came to that") -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


class Machine:
    """A daemon as a machine of its own would start it, on the database and the folder of all."""

    def __init__(self, folder: Path, name: str, database: str = "") -> None:
        self.port = free_port()
        self.config = folder / f"{name}.toml"
        self.config.write_text(
            f'[listener]\nport = {self.port}\n[database]\nurl = "{database}"\n'
            "[storage]\nreserve_mib = 0\nclean_below_mib = 0\n"
        )
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "screener", "run", "--no-workers", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    def listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return is_open(self.port)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def command(self, *words: str) -> int:
        command = [sys.executable, "-m", "screener", *words, "--config", str(self.config)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False).returncode


@contextmanager
def machines(folder: Path, database: str = "") -> Iterator[tuple[Machine, Machine]]:
    first, second = Machine(folder, "first", database), Machine(folder, "second", database)
    try:
        yield first, second
    finally:
        second.stop()
        first.stop()


def test_a_second_daemon_on_one_database_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with machines(tmp_path) as (first, second):
        first.start()
        wait_until(first.listens)
        second.start()
        process = second.process
        assert process is not None
        wait_until(lambda: process.poll() is not None, lambda: "the second daemon works beside the first")
        assert process.returncode == 1
        said = second.log.read_text()
        assert "another screener daemon works on this database" in said
        assert "Traceback" not in said
        assert first.listens()
        assert first.command("status") == 0


def test_a_daemon_that_was_killed_leaves_the_database_to_the_next(tmp_path: Path) -> None:
    with machines(tmp_path) as (first, second):
        first.start()
        wait_until(first.listens)
        assert first.process is not None
        first.process.kill()
        first.process.wait()
        second.start()
        wait_until(second.listens)


def end_sessions(url: str) -> None:
    """End every other session of the server, as its restart would."""
    server = sa.create_engine(url, poolclass=sa.NullPool)
    with server.connect() as connection:
        others = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        pids = connection.execute(sa.text(others)).scalars().all()
        for pid in pids:
            connection.execute(sa.select(sa.func.pg_terminate_backend(pid, 30_000)))


@pytest.fixture(params=["file", "session"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[DaemonLock, DaemonLock]]:
    """Two locks of one database, as two daemons would have them."""
    url = f"sqlite:///{tmp_path}/screener.sqlite" if request.param == "file" else request.getfixturevalue("postgresql")
    first, second = open_daemon_lock(url), open_daemon_lock(url)
    assert isinstance(first, FileLock if request.param == "file" else SessionLock)
    yield first, second
    first.release()
    second.release()


def test_one_of_two_has_the_lock_until_it_lets_go(pair: tuple[DaemonLock, DaemonLock]) -> None:
    first, second = pair
    assert [first.take(), second.take(), first.take()] == [True, False, True]
    first.release()
    wait_until(second.take)  # a server learns a moment later that a session has gone
    assert not first.take()


def test_a_daemon_that_begins_waits_for_one_that_ends(
    pair: tuple[DaemonLock, DaemonLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    assert first.take()
    monkeypatch.setattr("screener.one_daemon.time.sleep", lambda _: first.release())
    begun = OneDaemon(second, on_lost=lambda: None)
    begun.begin()
    assert begun.is_alone


def test_a_daemon_that_begins_waits_no_longer_than_one_that_died_is_missed(
    pair: tuple[DaemonLock, DaemonLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    assert first.take()
    monkeypatch.setattr(second, "patience_seconds", 0.1)
    with pytest.raises(ConfigError, match="another screener daemon"):
        OneDaemon(second, on_lost=lambda: None).begin()


def test_a_session_that_the_database_has_lost_is_followed_by_another(postgresql: str) -> None:
    lock, other = SessionLock(postgresql), SessionLock(postgresql)
    daemon = OneDaemon(lock, on_lost=lambda: None)
    daemon.begin()
    end_sessions(postgresql)
    daemon.watch(NOW)
    assert daemon.is_alone
    assert not other.take()
    daemon.end()


def test_a_daemon_whose_database_was_taken_by_another_does_nothing_and_ends(
    postgresql: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock, other = SessionLock(postgresql), SessionLock(postgresql)
    lost: list[bool] = []
    done: list[datetime] = []
    daemon = OneDaemon(lock, on_lost=lambda: lost.append(True))
    work = daemon.alone(done.append)
    daemon.begin()
    work(NOW)
    end_sessions(postgresql)
    assert other.take()
    daemon.watch(NOW)
    work(NOW)
    assert (done, lost) == ([NOW], [])
    assert "another daemon has taken the database" in caplog.text
    monkeypatch.setattr(lock, "patience_seconds", 0.0)
    daemon.watch(NOW)
    assert (lost, daemon.is_lost) == ([True], True)
    other.release()


def test_a_daemon_whose_database_is_away_waits_for_it() -> None:
    lost: list[bool] = []
    with open_postgresql() as url:
        daemon = OneDaemon(SessionLock(url), on_lost=lambda: lost.append(True))
        daemon.begin()
        end_sessions(url)
    daemon.watch(NOW)
    daemon.watch(NOW)
    assert (daemon.is_alone, lost) == (False, [])
    daemon.end()


def test_a_session_is_missed_soon_where_the_other_machine_has_gone(postgresql: str) -> None:
    lock = SessionLock(postgresql)
    assert lock.take()
    assert lock._connection is not None
    silence = lock._connection.execute(sa.text("SHOW tcp_keepalives_idle")).scalar_one()
    assert int(silence) + 3 * 5 < lock.patience_seconds
    lock.release()


def test_a_folder_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    lock = open_daemon_lock(f"sqlite:///{tmp_path}/nowhere/screener.sqlite")
    with pytest.raises(ConfigError, match=r"database\.url: .*nowhere"):
        OneDaemon(lock, on_lost=lambda: None).begin()
