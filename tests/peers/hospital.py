"""A hospital around a running screener: scanner, PACS, mailbox, and the daemon as an operator would start it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from screener.config import load_config
from screener.store import Store, StudyReport, open_store
from tests.peers.mailbox import Mailbox
from tests.peers.ports import free_port, is_open
from tests.peers.scanner import Scanner

STUDY_SECONDS = 120.0


@dataclass
class Hospital:
    """`start` and `stop` the daemon as often as a test likes; the folder is what stays."""

    folder: Path
    mailbox: Mailbox
    destinations: list[dict[str, Any]]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    sources: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Any other array of tables, by its name."""
    _process: subprocess.Popen[bytes] | None = None
    _store: Store | None = None

    @property
    def config_path(self) -> Path:
        return self.folder / "config.toml"

    @property
    def log_path(self) -> Path:
        return self.folder / "daemon.log"

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = open_store(load_config(self.config_path).database_url)
        return self._store

    @property
    def scanner(self) -> Scanner:
        return Scanner(self.port)

    @property
    def daemon_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def write_config(self) -> None:
        settings: dict[str, dict[str, Any]] = {
            "listener": {"port": self.port},
            "storage": {"reserve_mib": 50, "clean_below_mib": 50},
            "completeness": {"quiet_seconds": 4, "max_wait_seconds": 30},
            "queue": {"lease_seconds": 10, "retry_seconds": 1},
            "results": {"retry_seconds": 1, "max_retry_seconds": 2, "confirm_seconds": 0.2},
            "models": {
                "us_segmenter": ""
            },  # spares each worker for ultrasound its models; a test that wants them says so
            "notices": {"retry_seconds": 1, "max_retry_seconds": 2},
            "notices.email": {"host": "127.0.0.1", "port": self.mailbox.port, "recipients": ["ent@hospital.test"]},
        }
        for table, keys in self.settings.items():
            settings.setdefault(table, {}).update(keys)
        lines = []
        for table, keys in settings.items():
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        for table, entries in self.tables.items():
            for entry in entries:
                lines += [f"[[{table}]]", *(f"{k} = {json.dumps(v)}" for k, v in entry.items())]
        for source in self.sources:
            lines += ["[[pull.sources]]", *(f"{k} = {json.dumps(v)}" for k, v in source.items())]
        for destination in self.destinations:
            lines += ["[[results.destinations]]", *(f"{k} = {json.dumps(v)}" for k, v in destination.items())]
        self.config_path.write_text("\n".join(lines) + "\n")

    def start(self, *arguments: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config()
        command = [sys.executable, "-m", "screener", "run", "--config", str(self.config_path), *arguments]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._listens, 180, "the listener has opened its port")
        assert self.scanner.echo() == 0

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the daemon ended: {self.log_path.read_text()[-2000:]}"
        return is_open(self.port)

    def stop(self) -> int:
        """Ask the daemon to stop, as systemd does; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout=60)
        self._process = None
        return status

    def kill(self) -> None:
        """Kill the daemon as a power cut would, its workers too."""
        assert self._process is not None
        workers = self.worker_pids()
        self._process.kill()
        self._process.wait(timeout=20)
        for pid in workers:
            _kill(pid)
        self._process = None

    def worker_pids(self, queue: str = "") -> list[int]:
        """Process numbers of the workers (of one queue) and their prefork children."""
        listing = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in listing.splitlines()[1:]]
        wanted = f"-m workers {queue}".strip()
        parents = {int(row[0]) for row in rows if int(row[1]) == self.daemon_pid and wanted in row[2]}
        children = {int(row[0]) for row in rows if int(row[1]) in parents}
        return sorted(parents | children)

    def kill_worker(self, queue: str) -> None:
        for pid in self.worker_pids(queue):
            _kill(pid)

    def report(self, study_instance_uid: str) -> StudyReport:
        study_id = self.store.find_study(study_instance_uid)
        assert study_id is not None, "the study was not received"
        return self.store.study_report(study_id)

    def wait_for(
        self, study_instance_uid: str, is_enough: Callable[[StudyReport], bool], seconds: float = STUDY_SECONDS
    ) -> StudyReport:
        def found() -> bool:
            study_id = self.store.find_study(study_instance_uid)
            return study_id is not None and is_enough(self.store.study_report(study_id))

        wait_until(found, seconds, lambda: self.explain(study_instance_uid))
        return self.report(study_instance_uid)

    def wait_for_ending(self, study_instance_uid: str, seconds: float = STUDY_SECONDS) -> StudyReport:
        return self.wait_for(study_instance_uid, lambda report: report.ending is not None, seconds)

    def command(self, *arguments: str) -> str:
        """What a `screener` command prints, both streams, as an operator sees it."""
        command = [sys.executable, "-m", "screener", *arguments]
        environment = {**os.environ, "SCREENER_CONFIG": str(self.config_path)}
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
        ).stdout

    def explain(self, study: str) -> str:
        return re.sub(r"\s+", " ", self.command("explain", study))


def wait_until(is_true: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)


@contextmanager
def open_hospital(hospital: Hospital, *arguments: str) -> Iterator[Hospital]:
    """Run the daemon until the block ends; its log goes to pytest when the test fails."""
    try:
        hospital.start(*arguments)
        yield hospital
    except BaseException:
        print(hospital.log_path.read_text()[-6000:])
        raise
    finally:
        if hospital._process is not None:
            hospital.stop()
        if hospital._store is not None:
            hospital._store.engine.dispose()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
