"""Callers that are turned away, however many: no thread, descriptor or row is theirs without a bound."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from screener.config import Peer
from screener.listen import MOST_STRANGERS_OF_A_HOST, MOST_UNKNOWN
from screener.store.tables import oddities
from tests.peers.door import NOW, Door, open_door
from tests.peers.hospital import wait_until
from tests.peers.raw_peer import REJECT, RawPeer, associate_request, call, pdu

RELEASE = pdu(5, bytes(4))
WRONG = associate_request(called_ae_title="ANOTHER")


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    """Connections that are closed before their door."""
    with ExitStack() as crowd:
        yield crowd


def threads() -> int:
    return sum(thread.name == "association" for thread in threading.enumerate())


def join(crowd: ExitStack, door: Door, host: str, count: int) -> list[RawPeer]:
    return [crowd.enter_context(call(door.listener.port, 60, host)) for _ in range(count)]


def test_rejected_callers_that_stay_connected_hold_the_places_of_strangers(
    tmp_path: Path, crowd: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.connection.GOODBYE_SECONDS", 3600.0)
    with open_door(tmp_path, acse_timeout_seconds=3600) as door, crowd:
        for _ in range(MOST_STRANGERS_OF_A_HOST):
            [caller] = join(crowd, door, "127.0.0.2", 1)
            caller.send(WRONG)
            assert caller.read_pdu()[0] == REJECT
        for late in join(crowd, door, "127.0.0.2", 36):
            assert late.read_pdu() == (0, b"")
        assert threads() == MOST_STRANGERS_OF_A_HOST
        assert door.scanner.echo() == 0


def test_a_caller_that_was_released_and_stays_connected_holds_a_place_of_a_stranger(
    tmp_path: Path, crowd: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.connection.GOODBYE_SECONDS", 3600.0)
    with open_door(tmp_path, acse_timeout_seconds=3600) as door, crowd:
        for _ in range(MOST_STRANGERS_OF_A_HOST):
            [caller] = join(crowd, door, "127.0.0.2", 1)
            caller.associate()
            caller.send(RELEASE)
            assert caller.read_pdu()[0] == 6
        [late] = join(crowd, door, "127.0.0.2", 1)
        assert late.read_pdu() == (0, b"")
        assert door.scanner.echo() == 0


def test_hosts_that_no_entry_admits_leave_the_door_open_to_those_that_are(tmp_path: Path, crowd: ExitStack) -> None:
    peers = [Peer(ae_title="*", hosts=["127.0.0.1"])]
    with open_door(tmp_path, peers=peers, acse_timeout_seconds=3600) as door, crowd:
        for number in range(2, 7):
            join(crowd, door, f"127.0.0.{number}", MOST_STRANGERS_OF_A_HOST)
        assert door.scanner.echo() == 0
        wait_until(lambda: threads() <= MOST_UNKNOWN, 10, "the echo's own thread has ended, and no more are here")


def test_an_unknown_host_is_told_why_it_is_turned_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peers = [Peer(ae_title="*", hosts=["127.0.0.1"])]
    with open_door(tmp_path, peers=peers) as door, call(door.listener.port, host="127.0.0.9") as caller:
        caller.send(associate_request())
        assert caller.read_pdu()[0] == REJECT
    assert "no [[listener.peers]] entry admits calling_ae_title=RAW host=127.0.0.9" in caplog.text


def test_a_line_of_the_log_stands_for_many_that_find_no_place(
    tmp_path: Path, crowd: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    with open_door(tmp_path, acse_timeout_seconds=3600) as door, crowd:
        for late in join(crowd, door, "127.0.0.2", MOST_STRANGERS_OF_A_HOST + 20)[MOST_STRANGERS_OF_A_HOST:]:
            late.wait_for_end(60)
    assert len([line for line in caplog.messages if "connections closed" in line]) < 20


def turn_away(door: Door, calling_ae_title: str) -> None:
    with call(door.listener.port) as caller:
        caller.send(WRONG.replace(b"RAW".ljust(16), calling_ae_title.encode().ljust(16)))
        assert caller.read_pdu()[0] == REJECT


def callers(door: Door) -> list[str]:
    with door.store.engine.connect() as connection:
        return list(connection.execute(sa.select(oddities.c.reason).order_by(oddities.c.id)).scalars())


def test_a_caller_that_calls_again_and_again_costs_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_door(tmp_path) as door:
        begun = []
        sa.event.listen(door.store.engine, "begin", begun.append)
        for _ in range(10):
            turn_away(door, "AGAIN")
        assert len(begun) == 1


def test_more_callers_than_can_be_remembered_are_only_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.turned_away.MOST_REMEMBERED", 5)
    with open_door(tmp_path) as door:
        for number in range(8):
            turn_away(door, f"CALLER{number}")
        assert len(callers(door)) == 5


def test_the_database_keeps_the_newest_callers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.store.refusals.MOST_CALLERS", 3)
    with open_door(tmp_path) as door:
        for number in range(5):
            turn_away(door, f"CALLER{number}")
        assert [reason.split()[0] for reason in callers(door)] == ["CALLER2", "CALLER3", "CALLER4"]


def test_what_was_only_refused_is_forgotten_after_a_while(tmp_path: Path) -> None:
    with open_door(tmp_path) as door:
        turn_away(door, "CALLER")
        assert door.store.forget_refusals(NOW - timedelta(seconds=1)) == 0
        assert door.store.forget_refusals(NOW) == 1
        assert callers(door) == []
