"""A free TCP port of the loopback interface."""

import itertools
import os
import socket
import time

FIRST, EACH, MOST_PROCESSES = 12000, 4000, 5
"""Below those that the system gives to whoever asks for any (ip(7), ip_local_port_range), so that nobody else gets ours
before it is bound; a block for each process of pytest-xdist."""

_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % MOST_PROCESSES
_numbers = itertools.count(os.getpid() * 37)  # two runs on one machine begin at different places


def free_port() -> int:
    """Return a port that nobody has, and that this function does not give again soon."""
    while True:
        port = FIRST + EACH * _PROCESS + next(_numbers) % EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_for_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_open(port):
        assert time.monotonic() < deadline, f"nothing listens on port {port}"
        time.sleep(0.05)
