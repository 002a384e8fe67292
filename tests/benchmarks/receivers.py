"""The receivers that are compared, each as it would be deployed: ours, Orthanc, and DCMTK's storescp."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.orthanc import Orthanc
from tests.peers.ports import free_port, wait_for_port
from tests.peers.require import require

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
NO_DELAY = {"TCP_NODELAY": "1"}  # without it DCMTK writes each answer in two pieces and waits 40 ms between them


@dataclass(frozen=True)
class Receiver:
    """One that listens."""

    port: int
    ae_title: str
    process_id: int
    """Of the program."""
    process_ids: tuple[int, ...]
    """Those that receive: the program itself, or children of it."""


@contextmanager
def our_daemon(folder: Path, processes: int) -> Iterator[Receiver]:
    """Run the daemon without workers; it answers after file, folder and row are durable."""
    folder.mkdir(parents=True)
    port = free_port()
    listener = {"port": port, "processes": processes, "maximum_associations": 64}
    lines = ["[listener]", *(f"{key} = {json.dumps(value)}" for key, value in listener.items())]
    lines += ["[storage]", "reserve_mib = 0", "clean_below_mib = 0"]
    lines += ["[completeness]", "quiet_seconds = 86400", "max_wait_seconds = 86400"]
    (folder / "config.toml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "screener", "run", "--no-workers", "--config", str(folder / "config.toml")]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stderr=output)
    try:
        _wait_for_line(process, log, b"listening as")  # the port answers before the last of several processes receives
        receiving = _children(process.pid) if processes > 1 else [process.pid]
        assert len(receiving) >= processes, "not all listener processes have come"
        yield Receiver(port, "PAROTID", process.pid, tuple(receiving))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Run Orthanc with its own defaults: SQLite, and files synced."""
    server = Orthanc(folder)
    os.environ.update(NO_DELAY)
    server.start()
    assert server._process is not None
    try:
        process_id = server._process.pid
        yield Receiver(server.dicom_port, server.ae_title, process_id, (process_id,))
    finally:
        server.stop()


@contextmanager
def storescp(folder: Path) -> Iterator[Receiver]:
    """Run storescp, a process for each association; it syncs nothing and keeps no rows."""
    folder.mkdir(parents=True)
    port = free_port()
    command = [require("storescp"), "--fork", "-od", str(folder), "-aet", "STORESCP", str(port)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=os.environ | NO_DELAY, stdout=output, stderr=output)
        try:
            wait_for_port(port)
            yield Receiver(port, "STORESCP", process.pid, (process.pid,))
        finally:
            process.terminate()
            process.wait()


def proportional_bytes(process_id: int) -> int:
    """Proportional set size: what is shared counts in parts (proc(5), smaps_rollup)."""
    text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))


def processor_seconds(process_id: int) -> float:
    """What a process and its children have used so far, those that have ended and those that still run."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(fields[number - 3]) for number in (14, 15, 16, 17))  # proc(5): utime, stime, cutime, cstime
    running = sum(processor_seconds(child) for child in _children(process_id))
    return ticks / os.sysconf("SC_CLK_TCK") + running


def _wait_for_line(process: subprocess.Popen[bytes], log: Path, words: bytes) -> None:
    deadline = time.monotonic() + START_SECONDS
    while words not in (said := log.read_bytes()):
        assert process.poll() is None, said.decode(errors="replace")
        assert time.monotonic() < deadline, said.decode(errors="replace")
        time.sleep(0.1)


def _children(process_id: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]
