"""The whole installation as processes under a supervisor: daemon, workers, and where wanted Redis and PostgreSQL.

Orthanc is the PACS and a small mail server takes the notices; both stay up
unless a proof ends them. The screening is that of `stand_in_worker`.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from screener.journey import Queue
from tests.chaos.stand_in_worker import MODULE, SECONDS_VARIABLE
from tests.chaos.supervisor import Supervisor, Unit, are_gone, find_tree, kill, list_processes, send_signal
from tests.peers.hospital import Hospital
from tests.peers.mailbox import Mailbox, open_mailbox
from tests.peers.orthanc import Orthanc
from tests.peers.ports import free_port, is_open
from tests.peers.require import require

ROOT = Path(__file__).resolve().parents[2]
QUEUES = (Queue.CT, Queue.RESULTS)
MOST_ATTEMPTS = 3


@dataclass
class Servers:
    """Redis that keeps nothing and PostgreSQL that keeps all, each in a folder of its own."""

    folder: Path
    redis_port: int = field(default_factory=free_port)
    postgresql_port: int = field(default_factory=free_port)

    @property
    def broker(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def database(self) -> str:
        return f"postgresql+psycopg://screener@127.0.0.1:{self.postgresql_port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def answers_redis(self) -> bool:
        with suppress(redis.exceptions.RedisError), redis.Redis.from_url(self.broker, socket_timeout=2) as client:
            return bool(client.ping())
        return False

    def answers_postgresql(self) -> bool:
        with suppress(psycopg.Error), self.connect() as connection:
            connection.execute("SELECT 1")
            return True
        return False

    def connect(self) -> "psycopg.Connection[Any]":
        url = f"postgresql://screener@127.0.0.1:{self.postgresql_port}/postgres"
        return psycopg.connect(url, connect_timeout=2, autocommit=True)

    def make(self, restart_seconds: float, log_folder: Path) -> list[Unit]:
        """Make the database cluster; the units that run it and Redis."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        initdb = require("initdb")
        as_user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        make = [*as_user, initdb, "-D", str(self.data), "-U", "screener", "--auth=trust", "-E", "UTF8"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        server = str(Path(initdb).with_name("postgres"))
        place = ["-p", str(self.postgresql_port), "-k", str(self.folder), "-h", "127.0.0.1"]
        options = [require("redis-server"), "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", ""]
        return [
            Unit(
                name="postgresql",
                command=[*as_user, server, "-D", str(self.data), *place],
                log=log_folder / "postgresql.log",
                restart_seconds=restart_seconds,
                is_up=self.answers_postgresql,
            ),
            Unit(
                name="redis",
                command=[*options, "--dir", str(log_folder)],
                log=log_folder / "redis.log",
                restart_seconds=restart_seconds,
                is_up=self.answers_redis,
            ),
        ]


class Installation:
    """Everything that runs; `kill_unit` and its like end parts of it, the supervisor brings them back."""

    def __init__(
        self,
        folder: Path,
        mailbox: Mailbox,
        orthanc: Orthanc,
        *,
        port: int,
        backend: str = "embedded",
        settings: dict[str, dict[str, Any]] | None = None,
        screening_seconds: float = 0.5,
        restart_seconds: float = 2.0,
        has_networks: bool = False,
    ) -> None:
        """`has_networks` True: the product's own programs with their networks. False: the stand-in of fixed time."""
        self.folder = folder
        self.orthanc = orthanc
        self.supervisor = Supervisor()
        self.screening_seconds = screening_seconds
        self.restart_seconds = restart_seconds
        self._daemon_words = ("screener",) if has_networks else (MODULE, "daemon")
        self._worker_module = "workers" if has_networks else MODULE
        self.servers = Servers(Path(f"{folder}-postgresql")) if backend == "servers" else None
        settings = {table: dict(keys) for table, keys in (settings or {}).items()}
        if self.servers is not None:
            settings.setdefault("queue", {})["broker"] = self.servers.broker
            settings.setdefault("database", {})["url"] = self.servers.database
        destination = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
        self.hospital = Hospital(folder / "hospital", mailbox, [destination], settings=settings, port=port)

    def start(self) -> None:
        self.hospital.folder.mkdir(parents=True, exist_ok=True)
        self.hospital.write_config()
        if self.servers is not None:
            for unit in self.servers.make(self.restart_seconds, self.hospital.folder):
                self.supervisor.start(unit)
        self.supervisor.start(self._daemon())
        if self.servers is not None:
            for queue in QUEUES:
                self.supervisor.start(self._worker(queue))

    def _unit(self, name: str, *words: str, is_up: Callable[[], bool]) -> Unit:
        return Unit(
            name=name,
            command=[sys.executable, "-m", *words, "--config", str(self.hospital.config_path)],
            log=self.hospital.folder / f"{name}.log",
            restart_seconds=self.restart_seconds,
            is_up=is_up,
            environment={SECONDS_VARIABLE: str(self.screening_seconds), "PYTHONPATH": str(ROOT)},
        )

    def _daemon(self) -> Unit:
        words = [*self._daemon_words, "run"] + (["--no-workers"] if self.servers is not None else [])
        return self._unit("daemon", *words, is_up=lambda: is_open(self.hospital.port))

    def _worker(self, queue: Queue) -> Unit:
        return self._unit(
            f"worker-{queue}", self._worker_module, queue.value, is_up=lambda: bool(self.worker_pids(queue))
        )

    def stop(self) -> dict[str, int]:
        try:
            return self.supervisor.stop()
        finally:
            if self.hospital._store is not None:
                self.hospital._store.engine.dispose()
            if self.servers is not None:
                shutil.rmtree(self.servers.folder, ignore_errors=True)

    def worker_pids(self, queue: Queue) -> list[int]:
        """The worker's main process and its children, parents first; also of a worker whose daemon was killed."""
        processes = list_processes()
        word, config = f"-m {self._worker_module} {queue} ", str(self.hospital.config_path)
        found = [process for process in processes if word in f"{process.words} " and config in process.words]
        return sorted(process.pid for process in found)

    def pids(self, name: str) -> list[int]:
        """Every process of a unit, or of an embedded worker."""
        if name.startswith("worker-"):
            return self.worker_pids(Queue(name.removeprefix("worker-")))
        process = self.supervisor.units[name].process
        return [] if process is None else find_tree(process.pid)

    def daemon_pids(self) -> list[int]:
        """The daemon without its workers."""
        workers = {pid for queue in Queue for pid in self.worker_pids(queue)}
        return [pid for pid in self.pids("daemon") if pid not in workers]

    def is_running(self) -> bool:
        """True: all units are up, and so are the daemon's workers."""
        return self.supervisor.are_up() and all(self.worker_pids(queue) for queue in QUEUES)

    def third_attempts(self) -> list[int]:
        """Runs that a worker holds for the last time that they may be tried."""
        query = f"SELECT id FROM runs WHERE state = 'running' AND attempts >= {MOST_ATTEMPTS}"  # noqa: S608
        return [row[0] for row in self._look(query)]

    def count_claims(self) -> tuple[int, int]:
        """How often runs were taken, and how many wait."""
        runs = self._look("SELECT attempts, state FROM runs")
        return sum(attempts for attempts, _ in runs), sum(state == "waiting" for _, state in runs)

    def _look(self, query: str) -> list[tuple[Any, ...]]:
        """Read without a lock, so that frozen workers do not hold up who looks."""
        if self.servers is not None:
            with self.servers.connect() as connection:
                return connection.execute(query.encode()).fetchall()
        path = self.hospital.folder / "var" / "screener.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(query).fetchall()

    def kill_sparing(self, pids: list[int], *, hits_screening: bool) -> bool:
        """Kill `pids`, unless that would hit a study whose last attempt this is: then False.

        The screening is frozen while it is looked at, so that none begins between the look and the kill.
        """
        frozen = self.worker_pids(Queue.CT) if hits_screening else []
        send_signal(frozen, signal.SIGSTOP)
        try:
            if hits_screening and self.third_attempts():
                return False
            kill(pids)
        except (psycopg.Error, sqlite3.Error):  # it cannot be looked at: nothing is killed
            return False
        finally:
            send_signal(frozen, signal.SIGCONT)
        return True


@contextmanager
def open_installation(folder: Path, **options: Any) -> Iterator[Installation]:
    """Run Orthanc, the mail server and the installation until the block ends, also by SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        port = free_port()
        orthanc = Orthanc(folder / "orthanc", {"screener": ("PAROTID", "127.0.0.1", port)}).start()
        stack.callback(orthanc.stop)
        mailbox = stack.enter_context(open_mailbox())
        installation = Installation(folder, mailbox, orthanc, port=port, **options)
        stack.callback(installation.stop)
        installation.start()
        yield installation


def wait_until_gone(pids: list[int], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not are_gone(pids):
        assert time.monotonic() < deadline, "killed processes have not gone"
        time.sleep(0.05)
