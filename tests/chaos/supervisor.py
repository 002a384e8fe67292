"""Processes that are started again when they end, as systemd does, and killed when a proof wants it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOOK_SECONDS = 0.2


@dataclass
class Unit:
    """One service: what starts it, how long after its end, and how it tells that it is up."""

    name: str
    command: Sequence[str]
    log: Path
    restart_seconds: float
    is_up: Callable[[], bool] = lambda: True
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    """What is done before each start."""
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None
    ended_at: float = 0.0

    def start(self) -> None:
        self.before()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **self.environment}
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


class Supervisor:
    """Keeps its units running from `start` to `stop`."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._has_begun = False

    def start(self, unit: Unit, seconds: float = 120) -> None:
        """Start a unit, wait until it is up, and watch it from now on."""
        unit.start()
        deadline = time.monotonic() + seconds
        while not unit.is_up():
            assert unit.process is not None
            assert unit.process.poll() is None, f"{unit.name} ended: {unit.log.read_text(errors='replace')[-2000:]}"
            assert time.monotonic() < deadline, f"{unit.name} is not up"
            time.sleep(LOOK_SECONDS)
        self.units[unit.name] = unit
        if not self._has_begun:
            self._has_begun = True
            self._thread.start()

    def are_up(self) -> bool:
        """Tell whether every unit runs and says that it is up."""
        return all(u.process is not None and u.process.poll() is None and u.is_up() for u in self.units.values())

    def stop(self, seconds: float = 60) -> dict[str, int]:
        """End every unit in the reverse order of their starts, as systemd does; their exit statuses."""
        self._is_over.set()
        if self._has_begun:
            self._thread.join()
        statuses = {}
        for unit in reversed(self.units.values()):
            if unit.process is None:
                continue
            tree = find_tree(unit.pid)
            unit.process.terminate()
            try:
                unit.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                unit.process.kill()
                unit.process.wait()
            statuses[unit.name] = unit.process.returncode
            kill(tree)
        return statuses

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            for unit in self.units.values():
                if unit.process is not None and unit.process.poll() is not None:
                    unit.process, unit.ended_at = None, time.monotonic()
                if unit.process is None and time.monotonic() - unit.ended_at >= unit.restart_seconds:
                    unit.start()


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    words: str


def list_processes() -> list[Process]:
    """Every process that has not ended; zombies are none."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if after_name[0] not in "ZX":
                found.append(Process(int(folder.name), int(after_name[1]), words))
    return found


def find_tree(pid: int, processes: Iterable[Process] | None = None) -> list[int]:
    """`pid` and all that it has started, parents first."""
    children: dict[int, list[int]] = {}
    for process in processes if processes is not None else list_processes():
        children.setdefault(process.parent, []).append(process.pid)
    tree, new = [], [pid]
    while new:
        tree += new
        new = [child for parent in new for child in children.get(parent, [])]
    return tree


def send_signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(pids: Iterable[int]) -> None:
    send_signal(pids, signal.SIGKILL)


def are_gone(pids: Iterable[int]) -> bool:
    return not {process.pid for process in list_processes()} & set(pids)
