"""What somebody who has not signed in can cost: guesses, memory, lines of the audit trail, and connections."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from screener.config import make_config
from screener.store import Store
from screener.web import hurry_connections, manage_accounts, passwords, sign_in
from screener.web.passwords import AT_ONCE, hash_password, is_password
from screener.web.refusals import Refusals
from screener.web.serve import _make_settings
from tests.peers.servers import open_postgresql
from tests.peers.stores import open_new_store
from tests.unit import test_web_gate as gate
from tests.unit.test_web_gate import NOW, PASSWORD

clock, empty, store, client = gate.clock, gate.empty, gate.store, gate.client
WINDOW = timedelta(minutes=15)
GUESSES = 12


def test_a_digest_costs_what_rfc_9106_asks() -> None:
    """64 MiB and three passes: its second recommended option."""
    assert hash_password(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_guesses_at_the_same_time_are_counted_before_any_of_them_is_looked_at(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def refuse_slowly(*_: object) -> bool:
        looked_at.append(1)
        time.sleep(0.3)
        return False

    monkeypatch.setattr(sign_in, "is_password", refuse_slowly)
    with ThreadPoolExecutor(GUESSES) as guessers:
        data = {"name": "reader", "password": "a guess"}
        answers = list(guessers.map(lambda _: client.post("/sign-in", data=data).status_code, range(GUESSES)))
    assert len(looked_at) <= 3  # web.max_failures
    assert answers.count(429) == GUESSES - len(looked_at)


def test_attempts_at_the_same_time_see_each_other_on_postgresql() -> None:
    with open_postgresql() as url:
        opened = open_new_store(url)
        with ThreadPoolExecutor(4) as pool:
            begun = list(pool.map(lambda _: opened.begin_sign_in({"key": 2}, NOW, WINDOW), range(GUESSES)))
        assert sum(bool(rows) for rows in begun) == opened.failed_sign_ins("key", NOW - WINDOW) <= 2
        opened.engine.dispose()


def test_a_right_password_counts_as_no_failure(client: TestClient) -> None:
    for _ in range(8):
        client.cookies.clear()
        assert client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 303


def test_an_attempt_too_many_is_not_counted(store: Store) -> None:
    (first,), (second,) = (store.begin_sign_in({"key": 2}, NOW, WINDOW) for _ in range(2))
    assert store.begin_sign_in({"key": 2, "other": 9}, NOW, WINDOW) == []
    assert (store.failed_sign_ins("key", NOW), store.failed_sign_ins("other", NOW)) == (2, 0)
    store.sign_in_succeeded([first])
    assert store.begin_sign_in({"key": 2}, NOW, WINDOW) not in ([], [second])
    assert store.begin_sign_in({"key": 2}, NOW + 2 * WINDOW, WINDOW)


def test_refusals_are_told_once_in_each_window(client: TestClient, store: Store, clock: gate.Clock) -> None:
    data = {"name": "reader", "password": "a guess"}
    for _ in range(20):
        client.post("/sign-in", data=data)
    assert [line.action for line in store.audit_lines()].count("sign-in refused") == 1
    clock.now += WINDOW + timedelta(minutes=1)
    for _ in range(20):
        client.post("/sign-in", data=data)
    assert [line.action for line in store.audit_lines()].count("sign-in refused") == 2


@pytest.mark.parametrize("typed", ["reader", "a secret typed as a name"])
def test_the_trail_names_a_locked_account_and_never_what_was_typed_where_there_is_none(
    client: TestClient, store: Store, typed: str
) -> None:
    for _ in range(4):
        client.post("/sign-in", data={"name": typed, "password": "a guess"})
    (line,) = [line for line in store.audit_lines() if line.action == "sign-in refused"]
    assert line.account == ("reader" if typed == "reader" else "")
    assert line.detail == "too many failures of one account"
    assert "secret" not in repr(store.audit_lines())


def test_the_trail_tells_which_wait_is_an_address_s_and_no_account_s(client: TestClient, store: Store) -> None:
    for number in range(15):
        client.post("/sign-in", data={"name": f"guess {number}", "password": "wrong"})
    client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    line = store.audit_lines()[0]
    assert (line.action, line.account) == ("sign-in refused", "reader")
    assert line.detail == "too many failures from one address"


def change_password(tmp_path: Path, store: Store, name: str) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    manage_accounts.change_password(store, name, tmp_path / "password")


def test_a_new_password_ends_the_wait_of_its_account_and_of_no_other(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    for name in ("reader", "radiologist"):
        for _ in range(4):
            client.post("/sign-in", data={"name": name, "password": "a guess"})
    change_password(tmp_path, store, "reader")
    assert client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 303
    client.cookies.clear()
    assert client.post("/sign-in", data={"name": "radiologist", "password": PASSWORD}).status_code == 429


def test_a_new_password_does_not_end_the_wait_of_an_address(client: TestClient, store: Store, tmp_path: Path) -> None:
    for number in range(15):
        client.post("/sign-in", data={"name": f"guess {number}", "password": "wrong"})
    change_password(tmp_path, store, "reader")
    assert client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 429


def test_refusals_are_kept_for_so_many_keys_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.web.refusals._KEPT", 2)
    refusals = Refusals()
    assert [refusals.is_first(key, NOW, WINDOW) for key in "aabcaa"] == [True, False, True, True, True, False]


def test_only_so_many_passwords_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = [0], [0]

    class Hasher:
        def verify(self, *_: str) -> None:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            time.sleep(0.05)
            at_work[0] -= 1

    monkeypatch.setattr(passwords, "_hasher", Hasher())
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: is_password("a password", "a digest"), range(8)))
    assert most[0] == AT_ONCE


def test_a_password_is_still_known_again() -> None:
    kept = hash_password(PASSWORD)
    assert is_password(PASSWORD, kept)
    assert not is_password("another one", kept)
    assert not is_password("nobody's password", None)


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that answers every request after a second, and looks at its connections every 0.3 s."""
    monkeypatch.setattr(hurry_connections, "LOOK_SECONDS", 0.3)

    async def answer(scope: dict[str, object], receive: object, send: object) -> None:
        message = await receive()  # type: ignore[operator]
        while message.get("more_body"):
            message = await receive()  # type: ignore[operator]
        await asyncio.sleep(1.0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]

    server = uvicorn.Server(_make_settings(answer, make_config({}, base=tmp_path, environment={})))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)


def is_ended(connection: socket.socket) -> bool:
    """True: the other end closed it; TimeoutError where it waits on."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"], ids=["", "head", "form"]
)
def test_who_brings_no_request_is_ended(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=8) as connection:
        connection.sendall(sent)
        assert is_ended(connection)


def test_who_waits_for_an_answer_is_not(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=8) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
