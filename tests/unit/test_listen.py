"""The socket that several processes accept from."""

import os
import resource
import socket
import threading
import time
from collections.abc import Callable

import pytest

from screener import listen
from screener.listen import MOST_STRANGERS_OF_A_HOST, Server, allow_many_files, open_socket


def test_a_socket_that_was_handed_over_is_waited_on_and_not_polled(caplog: pytest.LogCaptureFixture) -> None:
    listening = open_socket("127.0.0.1", 0)
    served = threading.Event()

    def serve(connection: socket.socket, _: str, __: Callable[[bool], None]) -> None:
        connection.close()
        served.set()

    server = Server(socket.socket(fileno=os.dup(listening.fileno())), serve, is_shared=True)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert served.wait(10)
    server.close()
    listening.close()
    assert "not accepted" not in caplog.text


def test_strangers_do_not_make_a_process_wait_for_others() -> None:
    hosts = [f"127.0.0.{number}" for number in range(2, 6)]
    count = MOST_STRANGERS_OF_A_HOST * len(hosts)
    listening = open_socket("127.0.0.1", 0)
    is_over, served = threading.Event(), threading.Semaphore(0)

    def serve(_: socket.socket, __: str, ___: Callable[[bool], None]) -> None:
        served.release()
        is_over.wait()

    server = Server(listening, serve, is_shared=True)
    server.start()
    began = time.monotonic()
    callers = [
        socket.create_connection(("127.0.0.1", server.port), source_address=(host, 0))
        for host in hosts
        for _ in range(MOST_STRANGERS_OF_A_HOST)
    ]
    assert all(served.acquire(timeout=120) for _ in range(count))
    assert time.monotonic() - began < count**2 / 2 * 0.002 / 2, "it waits longer for each that it has"
    is_over.set()
    assert server.wait_until_idle(60)
    for caller in callers:
        caller.close()
    server.close()


def test_a_process_with_few_callers_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = open_socket("127.0.0.1", 0)
    is_over, served = threading.Event(), [threading.Semaphore(0), threading.Semaphore(0)]

    def serve(number: int) -> Callable[[socket.socket, str, Callable[[bool], None]], None]:
        def take(_: socket.socket, __: str, tell: Callable[[bool], None]) -> None:
            tell(True)
            served[number].release()
            is_over.wait()

        return take

    def call(number: int) -> None:
        callers.append(socket.create_connection(("127.0.0.1", servers[0].port)))
        assert served[number].acquire(timeout=60), "another process took the caller"

    callers: list[socket.socket] = []
    servers = [Server(socket.socket(fileno=os.dup(listening.fileno())), serve(n), is_shared=True) for n in range(2)]
    servers[0].start()
    for _ in range(25):
        call(0)
    servers[1].start()
    monkeypatch.setattr(listen, "YIELD_SECONDS", 0.008)  # so far apart that no busy machine changes the order
    monkeypatch.setattr(listen, "LONGEST_YIELD_SECONDS", 0.2)
    for _ in range(6):
        time.sleep(0.3)  # both are waiting for a caller again
        call(1)
    is_over.set()
    for caller in callers:
        caller.close()
    for server in servers:
        server.close()
    listening.close()


def test_as_many_files_may_be_open_as_the_system_lets_us() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, 65536), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
