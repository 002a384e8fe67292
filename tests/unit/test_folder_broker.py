"""The embedded broker: what is sent arrives whole, or not at all."""

import threading
from pathlib import Path
from uuid import uuid4

import pytest
from kombu import Connection
from kombu.simple import SimpleQueue
from kombu.transport.virtual import BrokerState

from screener.config import make_config
from screener.folder_broker import Transport, prepare_broker_folder


def connect(folder: Path) -> Connection:
    config = make_config({"storage": {"folder": str(folder)}}, base=folder, environment={})
    prepare_broker_folder(config.broker_folder)
    settings = config.celery_settings()
    return Connection(settings["broker_url"], transport_options=settings["broker_transport_options"])


def test_many_writers_and_a_greedy_reader_lose_nothing_and_read_nothing_half(tmp_path: Path) -> None:
    writers, messages = 4, 50

    def write(number: int) -> None:
        with connect(tmp_path) as connection:
            queue = SimpleQueue(connection, "ct")
            for message in range(messages):
                queue.put({"writer": number, "message": message, "filler": "x" * 20000})
            queue.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    with connect(tmp_path) as connection:
        queue = SimpleQueue(connection, "ct", no_ack=True)
        for thread in threads:
            thread.start()
        read = {(m["writer"], m["message"]) for m in (queue.get(timeout=20).payload for _ in range(writers * messages))}
        queue.close()
    for thread in threads:
        thread.join()
    assert len(read) == writers * messages
    assert list((tmp_path / "broker" / "messages").iterdir()) == []


def test_what_a_power_cut_leaves_of_the_brokers_folder_stops_no_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = tmp_path / "broker" / "control"
    control.mkdir(parents=True)
    (control / "ct.exchange").touch()  # Kombu writes its table of bindings in place
    monkeypatch.setattr(Transport, "global_state", BrokerState())  # as in a new process
    with connect(tmp_path) as connection:
        queue = SimpleQueue(connection, "ct", no_ack=True)
        queue.put({"message": 1})
        assert queue.get(timeout=20).payload == {"message": 1}
        queue.close()


@pytest.mark.parametrize(
    "content", [b"", bytes(64), b"\xff\xfe", b'{"body": "W1'], ids=["empty", "zeros", "no text", "cut off"]
)
def test_a_message_that_a_power_cut_left_unwritten_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    messages = tmp_path / "broker" / "messages"
    with connect(tmp_path) as connection:
        queue = SimpleQueue(connection, "ct", no_ack=True)
        queue.put({"message": 1})
        (messages / f"0_{uuid4()}.ct.msg").write_bytes(content)  # its turn is first
        assert queue.get(timeout=20).payload == {"message": 1}
        queue.close()
    assert list(messages.iterdir()) == []
    assert "queue=ct" in caplog.text


def test_celery_speaks_json_only(tmp_path: Path) -> None:
    settings = make_config({}, base=tmp_path, environment={}).celery_settings()
    assert settings["accept_content"] == ["json"]
    assert {settings["task_serializer"], settings["result_serializer"]} == {"json"}


def test_redis_waits_longer_than_the_hard_time_limit(tmp_path: Path) -> None:
    tables = {"queue": {"broker": "redis://127.0.0.1/0", "time_limit_seconds": 5000}}
    settings = make_config(tables, base=tmp_path, environment={}).celery_settings()
    assert settings["broker_transport_options"]["visibility_timeout"] > 5000
