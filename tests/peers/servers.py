"""Redis and PostgreSQL, started for a test on free loopback ports and gone after it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.peers.ports import free_port, wait_for_port
from tests.peers.require import require


@contextmanager
def open_redis(folder: Path) -> Iterator[str]:
    """Yield the URL of a Redis that keeps nothing."""
    port = free_port()
    command = [require("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for_postgresql(port: int, seconds: float = 60.0) -> None:
    """Return when the server takes connections: it listens before it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="screener", dbname="postgres").close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def open_postgresql() -> Iterator[str]:
    """Yield the SQLAlchemy URL of a PostgreSQL with an empty database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = require(str(binaries[-1] / "initdb") if binaries else "initdb")
    server = str(Path(initdb).with_name("postgres"))
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    make = [*as_user, initdb, "-D", str(data), "-U", "screener", "--auth=trust", "-E", "UTF8"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    port = free_port()
    run = [*as_user, server, "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    try:
        wait_for_port(port)
        _wait_for_postgresql(port)
        yield f"postgresql+psycopg://screener@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)
