"""One daemon at a time works on a database; whoever only asks or orders needs not be alone."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.ports import free_port, is_open

DEADLINE_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]


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
