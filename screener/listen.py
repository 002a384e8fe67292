"""Accept connections, one thread each, and see them all end."""

import ctypes
import logging
import resource
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from screener.connection import TICK_SECONDS
from screener.freed_memory import FreedMemory

BACKLOG = 128  # the system's connections that wait; few would make the ninth modality of a busy morning wait a second
MOST_STRANGERS = 256
"""Connections without an association, from addresses that the settings name: before it, after it, or turned away."""
MOST_STRANGERS_OF_A_HOST = 64
MOST_UNKNOWN = 32
"""Likewise from all other addresses: they are told why they are turned away, and shut the door to nobody."""
MOST_UNKNOWN_OF_A_HOST = 8
TELL_AGAIN_SECONDS = 10.0
YIELD_SECONDS = 0.002
"""A process with associations lets others come first at a new caller, so long for each that it has."""
LONGEST_YIELD_SECONDS = 0.05
MOST_FILES = 65536
"""A thousand associations need two thousand; programs that we start may count to whatever is allowed."""
_M_ARENA_MAX = -8  # malloc.h of glibc

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


def allow_many_files() -> None:
    """Raise what this process may have open, connections included, to what the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def share_memory() -> None:
    """Let the threads of this process share two arenas of memory (mallopt(3), M_ARENA_MAX); only glibc knows them.

    Each thread would get its own, and none gives back what was freed in it: a
    thread for each association holds more and more. What is free in these two
    goes back by `FreedMemory`.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


class _Crowd:
    """Connections without an association, counted by the address that they come from."""

    def __init__(self, most: int, most_of_a_host: int) -> None:
        self._most = most
        self._most_of_a_host = most_of_a_host
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def has_room(self, host: str) -> bool:
        with self._lock:
            return self._counts.total() < self._most and self._counts[host] < self._most_of_a_host

    def add(self, host: str, change: int) -> None:
        with self._lock:
            self._counts[host] += change
            if not self._counts[host]:
                del self._counts[host]


class Server:
    """Hands every connection to `serve` in a thread of its own, which closes it."""

    def __init__(
        self,
        listening: socket.socket,
        serve: Callable[[socket.socket, str, Callable[[bool], None]], None],
        *,
        is_known: Callable[[str], bool] = lambda _: True,
        is_shared: bool = False,
    ) -> None:
        """`serve` gets a connection, its address, and what to tell whether it has an association (True) or none.

        `is_known` tells whether any caller at an address can be let in.
        `is_shared`: other processes accept from the same socket.
        """
        self._listening = listening
        # A socket made from a descriptor knows nothing of the time limit that its maker set.
        listening.settimeout(0)
        self._callers = select.poll()
        self._callers.register(listening, select.POLLIN)
        self._serve = serve
        self._is_known = is_known
        self._is_shared = is_shared
        self._is_closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._guests = 0
        self._strangers = _Crowd(MOST_STRANGERS, MOST_STRANGERS_OF_A_HOST)
        self._unknown = _Crowd(MOST_UNKNOWN, MOST_UNKNOWN_OF_A_HOST)
        self._closed = 0
        self._told_at = float("-inf")
        self._freed = FreedMemory()
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
            self._freed.give_back()
            if not self._callers.poll(TICK_SECONDS * 1000):
                continue
            self._let_others_come_first()
            try:
                connection, address = self._listening.accept()
            except BlockingIOError:  # another process came first
                continue
            except OSError as error:  # no descriptor left, or gone before it was accepted
                _logger.warning("a connection was not accepted: %s", error.strerror)
                self._is_closing.wait(TICK_SECONDS)
                continue
            self._receive(connection, address[0])
            if self._is_shared:
                time.sleep(YIELD_SECONDS)  # of several that call at once the others get some, too

    def _let_others_come_first(self) -> None:
        if self._is_shared and self._guests:
            time.sleep(min(YIELD_SECONDS * self._guests, LONGEST_YIELD_SECONDS))

    def _receive(self, connection: socket.socket, host: str) -> None:
        crowd = self._strangers if self._is_known(host) else self._unknown
        if not crowd.has_room(host):
            self._turn_away(connection, host)
            return
        thread = threading.Thread(target=self._run, args=(connection, host, crowd), name="association", daemon=True)
        crowd.add(host, 1)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            _logger.warning("connection closed: no thread for it host=%s", host)
            connection.close()
            self._forget(thread, host, crowd)

    def _turn_away(self, connection: socket.socket, host: str) -> None:
        """Hang up on a connection for which there is no place; one line of the log may stand for many."""
        connection.close()
        self._closed += 1
        if time.monotonic() - self._told_at >= TELL_AGAIN_SECONDS:
            _logger.warning(
                "connections closed: %d, the last from host=%s: too many that have no association", self._closed, host
            )
            self._closed, self._told_at = 0, time.monotonic()

    def _run(self, connection: socket.socket, host: str, crowd: _Crowd) -> None:
        is_guest = False

        def tell(has_association: bool) -> None:
            nonlocal is_guest
            if has_association != is_guest:
                is_guest = has_association
                change = 1 if is_guest else -1
                crowd.add(host, -change)
                with self._lock:
                    self._guests += change

        try:
            self._serve(connection, host, tell)
        finally:
            connection.close()
            tell(False)
            self._forget(threading.current_thread(), host, crowd)

    def _forget(self, thread: threading.Thread, host: str, crowd: _Crowd) -> None:
        crowd.add(host, -1)
        with self._lock:
            self._threads.discard(thread)
