"""Instances per second into our door, beside DCMTK's storescp in the same run.

`python -m tests.benchmarks.receive_rate`. The sender is DCMTK's storescu, which
stands for most modalities. Ours answers after fsync and a committed row;
storescp when the file is written, run as it comes and with TCP_NODELAY=1, without
which it writes each answer in two pieces and waits 40 ms between them. Rounds
alternate between the receivers, and the best of each counts, because the
machine is rarely ours alone.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from screener.archive import Archive
from screener.config import Listener as ListenerSettings
from screener.receive import Listener
from screener.store import open_store
from tests.peers.scanner import make_ct

SIDE = 512  # voxels
START_SECONDS = 20.0


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    if not (shutil.which("storescp") and shutil.which("storescu")):
        print("needs DCMTK (storescp, storescu)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        print(f"{options.slices} slices of {SIDE} x {SIDE}, best of {options.rounds} rounds, instances per second")
        print(f"{'associations':>12}{'screener':>10}{'storescp':>10}{'ratio':>8}{'with nodelay':>14}{'ratio':>8}")
        for associations in options.associations:
            rates: dict[str, list[float]] = {"ours": [], "0": [], "1": []}
            for number in range(options.rounds):
                scratch = work / f"{associations}-{number}"
                shares = _write_slices(scratch / "sent", options.slices, associations)
                with _our_door(scratch) as port:
                    rates["ours"].append(options.slices / _send(shares, port))
                for nodelay in ("0", "1"):
                    with _storescp(scratch / f"theirs{nodelay}", nodelay) as port:
                        rates[nodelay].append(options.slices / _send(shares, port))
                shutil.rmtree(scratch)
            ours, plain, tuned = (max(rates[name]) for name in ("ours", "0", "1"))
            print(
                f"{associations:>12}{ours:>10.0f}{plain:>10.0f}{ours / plain:>8.2f}{tuned:>14.0f}{ours / tuned:>8.2f}",
                flush=True,
            )
    return 0


def _write_slices(folder: Path, count: int, shares: int) -> list[Path]:
    """Write the slices, dealt out over one folder per association."""
    noise = np.random.default_rng(0).integers(-1000, 1000, (SIDE, SIDE), dtype=np.int16).tobytes()
    folders = [folder / f"{number}" for number in range(shares)]
    for share in folders:
        share.mkdir(parents=True)
    for number in range(count):
        ds = make_ct(Rows=SIDE, Columns=SIDE, PixelData=noise)
        ds.save_as(folders[number % shares] / f"{number:04d}.dcm", enforce_file_format=True)
    return folders


def _send(shares: list[Path], port: int) -> float:
    """Send every share over an association of its own, all at once; the seconds until the last is done."""
    command = ["storescu", "-aec", "PAROTID", "+sd", "127.0.0.1", str(port)]
    began = time.monotonic()
    senders = [subprocess.Popen([*command, str(share)], stdout=subprocess.DEVNULL) for share in shares]
    if sum(sender.wait() for sender in senders):
        raise SystemExit("storescu failed")
    return time.monotonic() - began


@contextmanager
def _our_door(scratch: Path) -> Iterator[int]:
    """Run the door in a process of its own, as the daemon does."""
    command = [sys.executable, "-m", "tests.benchmarks.receive_rate", "--serve", str(scratch / "ours")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def _serve(folder: Path) -> int:
    """Print the port, receive until standard input ends."""
    folder.mkdir(parents=True)
    store = open_store(f"sqlite:///{folder / 'screener.sqlite'}", is_migrating=True)
    listener = Listener(ListenerSettings(port=0), Archive(folder, 0), store, lambda: datetime.now(UTC))
    listener.start()
    print(listener.port, flush=True)
    sys.stdin.read()
    listener.stop()
    return 0


@contextmanager
def _storescp(folder: Path, nodelay: str) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    folder.mkdir()
    process = subprocess.Popen(
        ["storescp", "--fork", "-od", str(folder), str(port)],
        env=os.environ | {"TCP_NODELAY": nodelay},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise SystemExit("storescp does not start") from None
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        raise SystemExit(_serve(Path(sys.argv[2])))
    raise SystemExit(main())
