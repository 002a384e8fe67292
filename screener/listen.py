"""Accept connections, one thread each, and see them all end."""

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from screener.connection import TICK_SECONDS

BACKLOG = 128  # the system's connections that wait; few would make the ninth modality of a busy morning wait a second
MOST_STRANGERS = 256
"""Connections that have not yet asked for an association, besides those that have one."""
MOST_STRANGERS_OF_A_HOST = 64
YIELD_SECONDS = 0.002
"""A process with associations lets others come first at a new one, so long for each that it has."""

_logger = logging.getLogger(__name__)


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address; OSError where it is taken or not ours."""
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    is_any_ipv6 = family == socket.AF_INET6 and address[0] == "::"
    listening = socket.create_server(
        address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=is_any_ipv6 and socket.has_dualstack_ipv6()
    )
    listening.settimeout(TICK_SECONDS)
    return listening


class Server:
    """Hands every connection to `serve` in a thread of its own, which closes it."""

    def __init__(
        self,
        listening: socket.socket,
        serve: Callable[[socket.socket, str, Callable[[], None]], None],
        *,
        is_shared: bool = False,
    ) -> None:
        """`serve` gets a connection, the address it comes from, and what to call once it has asked for an association.

        `is_shared`: other processes accept from the same socket.
        """
        self._listening = listening
        # A socket made from a descriptor knows nothing of the time limit that its maker set, and would poll instead.
        listening.settimeout(TICK_SECONDS)
        self._serve = serve
        self._is_shared = is_shared
        self._is_closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._strangers: Counter[str] = Counter()
        self._accepting = threading.Thread(target=self._accept, name="listener", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port in use."""
        return int(self._listening.getsockname()[1])

    def start(self) -> None:
        """Begin to accept."""
        self._accepting.start()

    def close(self) -> None:
        """Accept nothing more."""
        self._is_closing.set()
        self._accepting.join()
        self._listening.close()

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait for the end of all connections; True: there is none left."""
        deadline = time.monotonic() + seconds
        while self._threads and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._threads

    def _accept(self) -> None:
        while not self._is_closing.is_set():
            try:
                connection, address = self._listening.accept()
            except TimeoutError:
                continue
            except OSError as error:  # no descriptor left, or gone before it was accepted
                _logger.warning("a connection was not accepted: %s", error.strerror)
                self._is_closing.wait(TICK_SECONDS)
                continue
            self._receive(connection, address[0])
            if self._is_shared:
                time.sleep(YIELD_SECONDS * len(self._threads))

    def _receive(self, connection: socket.socket, host: str) -> None:
        with self._lock:
            is_welcome = self._strangers.total() < MOST_STRANGERS and self._strangers[host] < MOST_STRANGERS_OF_A_HOST
            if is_welcome:
                self._strangers[host] += 1
        if not is_welcome:
            _logger.warning("connection closed: too many from host=%s that ask for no association", host)
            connection.close()
            return
        thread = threading.Thread(target=self._run, args=(connection, host), name="association", daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            _logger.warning("connection closed: no thread for it host=%s", host)
            with self._lock:
                self._threads.discard(thread)
                self._strangers[host] -= 1
            connection.close()

    def _run(self, connection: socket.socket, host: str) -> None:
        is_stranger = True

        def introduce() -> None:
            nonlocal is_stranger
            with self._lock:
                self._strangers[host] -= is_stranger
                is_stranger = False
                if not self._strangers[host]:
                    del self._strangers[host]

        try:
            self._serve(connection, host, introduce)
        finally:
            introduce()
            connection.close()
            with self._lock:
                self._threads.discard(threading.current_thread())
