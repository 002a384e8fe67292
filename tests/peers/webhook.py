"""A program that takes signed notices: refuses a wrong signature and an old timestamp, keeps each notice once."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.peers.ports import free_port


class Receiver:
    """Holds what was taken, by identifier; `answers` are the next statuses, then 204."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.notices: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[dict[str, str], bytes]] = []
        """Headers, in lower case, and body of every call, taken or not."""
        self.answers: list[int] = []
        self.location = ""
        self.port = free_port()
        self.now = time.time

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/notices"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Do what the README asks of a receiver: the status to answer with."""
        self.calls.append((headers, body))
        timestamp = headers["x-screener-timestamp"]
        signed = hmac.new(self.secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers["x-screener-signature"], f"v1={signed}"):
            return 401
        if abs(self.now() - int(timestamp)) > 300:
            return 403
        status = self.answers.pop(0) if self.answers else 204
        if status < 300:
            self.notices.setdefault(headers["x-screener-notice"], json.loads(body))
        return status


@contextmanager
def open_receiver(receiver: Receiver) -> Iterator[Receiver]:
    """Serve `receiver` at its port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", receiver.port), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield receiver
        finally:
            server.shutdown()
