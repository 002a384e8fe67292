"""Redis as the broker: what its restart may not do to a worker."""

import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kombu import Connection
from kombu.simple import SimpleQueue

from screener.config import make_config
from screener.know_brokers import know_brokers
from tests.peers.ports import free_port, wait_for_port
from tests.peers.require import require


@contextmanager
def open_redis(port: int, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    words = [require("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield process
    finally:
        process.kill()
        process.wait(timeout=20)


@pytest.mark.parametrize("refuse", [False, True])
def test_a_hint_that_cannot_be_acknowledged_keeps_no_other_from_the_worker(tmp_path: Path, *, refuse: bool) -> None:
    port = free_port()
    tables = {"queue": {"broker": f"redis://127.0.0.1:{port}/0"}}
    config = make_config(tables, base=tmp_path, environment={})
    know_brokers(config)
    settings = config.celery_settings()
    with open_redis(port, tmp_path):
        connection = Connection(settings["broker_url"], transport_options=settings["broker_transport_options"])
        queue = SimpleQueue(connection, "ct")
        queue.consumer.qos(prefetch_count=1)
        queue.put({"number": 1})
        message = queue.get(timeout=10)
        assert not queue.channel.qos.can_consume()
    # Redis is gone: Celery logs that it cannot acknowledge, and goes on.
    logger = logging.getLogger("test")
    if refuse:
        message.reject_log_error(logger, connection.connection_errors)
    else:
        message.ack_log_error(logger, connection.connection_errors)
    assert queue.channel.qos.can_consume()
