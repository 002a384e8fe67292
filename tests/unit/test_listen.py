"""The socket that several processes accept from."""

import os
import socket
import threading
from collections.abc import Callable

import pytest

from screener.listen import Server, open_socket


def test_a_socket_that_was_handed_over_is_waited_on_and_not_polled(caplog: pytest.LogCaptureFixture) -> None:
    listening = open_socket("127.0.0.1", 0)
    served = threading.Event()

    def serve(connection: socket.socket, _: str, __: Callable[[], None]) -> None:
        connection.close()
        served.set()

    server = Server(socket.socket(fileno=os.dup(listening.fileno())), serve, is_shared=True)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert served.wait(10)
    server.close()
    listening.close()
    assert "not accepted" not in caplog.text
