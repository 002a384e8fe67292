"""An OpenID provider that is away, broken, or not who it says."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from screener.store import Store
from screener.web.ask_provider import LEFT_ALONE, try_provider
from screener.web.gate import COOKIE
from tests.peers.certificates import Certificate, make_certificate
from tests.peers.openid_provider import CLIENT_ID, OpenIdProvider, open_provider
from tests.unit import openid_desk
from tests.unit import test_web_gate as gate
from tests.unit.openid_desk import BACK, PEOPLE, Desk, open_desk
from tests.unit.test_web_gate import HTML, PASSWORD, Clock

clock, empty, store = gate.clock, gate.empty, gate.store
served, provider, desk = openid_desk.served, openid_desk.provider, openid_desk.desk


def test_an_address_must_wait_after_very_many_answers_that_are_not_believed(desk: Desk) -> None:
    desk.provider.lies = {"forged"}
    answers = [desk.sign_in().status_code for _ in range(16)]
    assert answers == [401] * 15 + [429]
    assert desk.provider.calls.count("/realm/token") == 15
    right = {"name": "reader", "password": PASSWORD}
    assert desk.client.post("/sign-in", data=right).status_code == 303  # local accounts are counted by themselves
    desk.sign_out()
    assert desk.sign_in().status_code == 429
    desk.clock.now += timedelta(minutes=16)
    desk.provider.lies = set()
    assert desk.sign_in().status_code == 303


@pytest.mark.parametrize("changes", [{"iat": 700}, {"iat": -700}, {"exp": 61}, {"nbf": -120}], ids=str)
def test_a_clock_that_is_wrong_counts_as_nobodys_failure(
    desk: Desk, caplog: pytest.LogCaptureFixture, changes: dict[str, int]
) -> None:
    now = int(desk.clock().timestamp())
    desk.provider.changes = {name: now - seconds for name, seconds in changes.items()}
    assert [desk.sign_in().status_code for _ in range(16)] == [401] * 16
    assert caplog.text.count("is not believed") == 1  # a line a minute for each address
    assert [line.action for line in desk.store.audit_lines()].count("sign-in failed") == 1
    desk.provider.changes = {}
    assert desk.sign_in().status_code == 303


@pytest.mark.parametrize("word", ["invalid_client", "unauthorized_client"])
def test_a_secret_that_has_expired_counts_as_nobodys_failure(desk: Desk, word: str) -> None:
    desk.provider.refusal = word
    assert [desk.sign_in().status_code for _ in range(16)] == [401] * 16
    desk.provider.refusal = ""
    assert desk.sign_in().status_code == 303


def test_a_code_that_somebody_makes_up_counts_as_a_failure(desk: Desk) -> None:
    desk.provider.refusal = "invalid_grant"
    assert [desk.sign_in().status_code for _ in range(16)] == [401] * 15 + [429]


def test_failures_of_local_accounts_leave_the_hospitals_sign_in_alone(
    provider: OpenIdProvider, store: Store, clock: Clock, tmp_path: Path
) -> None:
    desk = open_desk(provider, store, clock, tmp_path, max_failures=1)
    for number in range(6):
        answer = desk.client.post("/sign-in", data={"name": f"nobody-{number}", "password": "x"})
    assert answer.status_code == 429
    assert desk.sign_in().status_code == 303


def test_who_comes_in_or_has_no_role_counts_as_no_failure(desk: Desk) -> None:
    for person in ("alice", "bob") * 10:
        desk.client.cookies.clear()
        assert desk.sign_in(person).status_code in {303, 403}


@pytest.mark.parametrize("lie", ["broken", "redirect", "nonsense", "no token"])
def test_a_broken_provider_gives_a_page_and_a_line_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture, lie: str
) -> None:
    desk.provider.lies = {lie}
    answer = desk.sign_in()
    assert answer.status_code == 503
    assert 'role="alert"' in answer.text
    assert 'name="password"' in answer.text  # local accounts go on
    assert "the OpenID provider cannot be asked: it" in caplog.text
    assert "/realm/elsewhere" not in desk.provider.calls
    desk.provider.lies = set()
    assert desk.sign_in().status_code == 303


def test_a_wrong_secret_is_named_in_the_log_by_the_providers_word(
    provider: OpenIdProvider, store: Store, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = open_desk(provider, store, clock, tmp_path, openid={"client_id": CLIENT_ID})
    desk.client.app.state.site.provider.settings._secret = None  # type: ignore[attr-defined]
    assert desk.sign_in().status_code == 401
    assert "invalid_client" in caplog.text
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.test"},
        {"authorization_endpoint": "http://evil.test/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
        {"jwks_uri": 7},
        {"end_session_endpoint": "http://evil.test/"},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
        {"token_endpoint_auth_methods_supported": 7},
    ],
)
def test_a_discovery_document_that_cannot_be_used_sends_nobody_anywhere(desk: Desk, metadata: dict[str, Any]) -> None:
    desk.provider.metadata = metadata
    answer = desk.client.get("/sign-in/openid", headers=HTML)
    assert answer.status_code == 503
    assert "location" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "a..test", f"{'a' * 80}.test"])
def test_an_address_that_there_cannot_be_counts_as_away(desk: Desk, host: str) -> None:
    desk.provider.metadata = {"token_endpoint": f"https://{host}/token"}
    assert desk.sign_in().status_code == 503


def test_a_provider_that_is_away_is_left_alone_for_a_moment_and_asked_again(
    store: Store, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider = OpenIdProvider(PEOPLE, BACK)
    provider.now = lambda: clock().timestamp()
    desk = open_desk(provider, store, clock, tmp_path)
    answer = desk.client.get("/sign-in/openid?next=/system", headers=HTML)
    assert answer.status_code == 503
    assert 'href="/sign-in/openid?next=/system"' in answer.text
    assert "cannot be reached" in caplog.text
    with open_provider(provider):
        assert desk.client.get("/sign-in/openid").status_code == 503
        assert provider.calls == []
        clock.now += LEFT_ALONE
        assert desk.sign_in().status_code == 303


TEXTS = ("\x00", "\ud7ff\ufffe", "a" * 5000, "//evil.test", "%00", "'\"<>")


@pytest.mark.parametrize("field", ["code", "error", "iss", "state", "next"])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_answer_that_somebody_makes_up_ends_in_an_error(desk: Desk, field: str, text: str) -> None:
    state = dict(parse_qsl(urlsplit(desk.begin()).query))["state"]
    given = {"state": state, "code": "x"} | {field: text}
    answer = desk.client.get("/sign-in/openid/return", params=given, headers=HTML)
    assert answer.status_code in {400, 401}
    assert text not in answer.text
    assert not desk.is_in


def test_the_log_says_at_the_start_whether_the_provider_can_be_asked(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    provider = desk.client.app.state.site.provider  # type: ignore[attr-defined]
    desk.provider.metadata = {"issuer": "https://another.test"}
    with caplog.at_level("INFO"):
        try_provider(provider)
        assert "cannot be asked: its discovery document is of another issuer" in caplog.text
        desk.provider.metadata = {}
        try_provider(provider)
        assert "the OpenID provider answers" in caplog.text


def test_a_provider_that_knows_no_such_page_gives_a_page_and_a_line_at_the_start(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.provider.lies = {"gone"}  # a wrong issuer, or a proxy while the provider starts
    answer = desk.client.get("/sign-in/openid", headers=HTML)
    assert answer.status_code == 503
    assert 'name="password"' in answer.text
    caplog.clear()
    try_provider(desk.client.app.state.site.provider)  # type: ignore[attr-defined]
    assert "the OpenID provider cannot be asked: it refuses: status 404" in caplog.text


def test_what_is_known_of_a_provider_serves_on_while_it_knows_no_such_page(desk: Desk) -> None:
    assert desk.sign_in().status_code == 303
    desk.client.cookies.clear()
    desk.provider.lies = {"gone"}
    desk.clock.now += timedelta(minutes=61)
    assert desk.sign_in().status_code == 303


def test_who_signs_out_before_a_provider_that_knows_no_such_page_is_out_here(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.sign_in()
    site = desk.client.app.state.site  # type: ignore[attr-defined]
    site.provider._endpoints._kept = None  # as after a restart
    desk.provider.lies = {"gone"}
    assert desk.sign_out().status_code == 200
    assert COOKIE not in desk.client.cookies
    assert not desk.is_in
    assert "sign-out: the OpenID provider cannot be asked: it refuses: status 404" in caplog.text


def test_who_is_in_stays_in_while_the_provider_is_away(store: Store, clock: Clock, tmp_path: Path) -> None:
    provider = OpenIdProvider(PEOPLE, BACK)
    provider.now = lambda: clock().timestamp()
    desk = open_desk(provider, store, clock, tmp_path)
    with open_provider(provider):
        desk.sign_in()
    assert desk.is_in
    clock.now += timedelta(minutes=20)
    assert desk.is_in


@contextmanager
def open_tls(certificate: Certificate) -> Iterator[str]:
    """A server that answers nothing but a status, over TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_certificate_of_a_stranger_is_not_trusted(
    provider: OpenIdProvider, store: Store, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = (make_certificate(tmp_path, name) for name in ("ours", "theirs"))
    with open_tls(theirs) as issuer:
        for authority, is_trusted in ((ours, False), (theirs, True)):
            caplog.clear()
            openid = {"issuer": issuer, "tls_ca": str(authority.certificate)}
            desk = open_desk(provider, store, clock, tmp_path, openid=openid)
            assert desk.client.get("/sign-in/openid").status_code == 503
            assert ("its certificate is not trusted" in caplog.text) is not is_trusted
            assert ("it answers with status 501" in caplog.text) is is_trusted
