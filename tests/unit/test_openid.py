"""Signing in through an OpenID provider: a true one on loopback, every lie that it may tell, and one that is away."""

import re
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from screener.config import Config, ConfigError, make_config
from screener.show_config import compare_configs, list_settings, show_config
from screener.store import Store
from screener.store.web_accounts import Role
from screener.web.ask_provider import KEPT, LEFT_ALONE
from screener.web.check_id_token import Expected, TokenError, check_id_token, half_digest, read_keys
from screener.web.csrf import csrf_token
from screener.web.gate import COOKIE
from screener.web.grant_role import find_claim, grant_role, read_name
from screener.web.headers import POLICY
from screener.web.manage_accounts import change_password, leave_to_openid, list_accounts
from screener.web.passwords import is_password
from screener.web.sign_in_openid import COOKIE as UNDER_WAY
from screener.web.sign_in_openid import TIME_TO_SIGN_IN, UnderWay, _read_cookie
from screener.web.site import make_site
from screener.web_settings import OpenId
from tests.peers.certificates import Certificate, make_certificate
from tests.peers.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, encode, open_provider
from tests.unit import test_web_gate as gate
from tests.unit.test_web_gate import HTML, NOW, PASSWORD, Clock

clock, empty, store = gate.clock, gate.empty, gate.store

BACK = "https://screener.test/sign-in/openid/return"
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {"preferred_username": "alice", "roles": ["screener-radiologist", "other"]},
    "bob": {"preferred_username": "bob", "roles": ["other"]},
    "carol": {"preferred_username": "carol", "roles": "screener-reader"},
    "no-name": {"roles": ["screener-reader"]},
    "odd-name": {"preferred_username": "a b\n", "roles": ["screener-reader"]},
    "reader": {"preferred_username": "reader", "roles": ["screener-administrator"]},
}
SECRET = {"SCREENER_OPENID_SECRET": CLIENT_SECRET}


def web(provider: str, **openid: Any) -> dict[str, Any]:
    roles = {
        "readers": ["screener-reader"],
        "radiologists": ["screener-radiologist"],
        "administrators": ["screener-administrator"],
    }
    table = {"issuer": provider, "client_id": CLIENT_ID, "timeout_seconds": 2.0} | roles | openid
    return {"url": "https://screener.test", "max_failures": 3, "openid": table}


@dataclass
class Desk:
    """A browser before a site with a provider."""

    client: TestClient
    provider: OpenIdProvider
    store: Store
    clock: Clock

    def begin(self, path: str = "/sign-in/openid") -> str:
        """Ask for the sign-in; where the browser is sent."""
        answer = self.client.get(path)
        assert answer.status_code == 303
        return answer.headers["location"]

    def come_back(self, address: str) -> Any:
        assert address.startswith(BACK)
        return self.client.get(address.removeprefix("https://screener.test"), headers=HTML)

    def sign_in(self, person: str = "alice", path: str = "/sign-in/openid") -> Any:
        return self.come_back(self.provider.authorize(self.begin(path), person))

    @property
    def is_in(self) -> bool:
        return self.client.get("/worklist.json").status_code == 200

    def sign_out(self) -> Any:
        data = {"csrf_token": csrf_token(self.client.cookies[COOKIE])}
        return self.client.post("/sign-out", data=data, headers=HTML)


@pytest.fixture(scope="module")
def served() -> Iterator[OpenIdProvider]:
    with open_provider(OpenIdProvider(PEOPLE, BACK)) as provider:
        yield provider


@pytest.fixture
def provider(served: OpenIdProvider, clock: Clock) -> OpenIdProvider:
    served.lies, served.changes, served.metadata, served.algorithm, served.signed_in = set(), {}, {}, "RS256", ""
    served.calls.clear()
    served.signed_out.clear()
    served.now = lambda: clock().timestamp()
    return served


def open_desk(provider: OpenIdProvider, store: Store, clock: Clock, folder: Path, **changes: Any) -> Desk:
    table = web(provider.issuer, **changes.pop("openid", {})) | changes
    config = make_config({"web": table}, base=folder, environment=SECRET)
    client = TestClient(
        make_site(config, store, clock),
        base_url="https://screener.test",
        follow_redirects=False,
        raise_server_exceptions=False,
    )
    return Desk(client=client, provider=provider, store=store, clock=clock)


@pytest.fixture
def desk(provider: OpenIdProvider, store: Store, clock: Clock, tmp_path: Path) -> Desk:
    return open_desk(provider, store, clock, tmp_path)


# The way in


def test_a_person_whom_the_provider_knows_comes_in_with_the_role_of_its_claim(desk: Desk) -> None:
    answer = desk.sign_in(path="/sign-in/openid?next=%2Fstudies%2F7%3Fa%3Db")
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/7?a=b")
    account = desk.store.find_account("alice")
    assert account is not None
    assert (account.role, account.is_local) == (Role.RADIOLOGIST, False)
    line = desk.store.audit_lines()[0]
    assert (line.account, line.action, line.detail) == ("alice", "signed in", "OpenID, radiologist")
    cookies = answer.headers.get_list("set-cookie")
    (cookie,) = [each.lower() for each in cookies if each.startswith(COOKIE + "=")]
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(cookie.split("; "))
    assert desk.is_in


def test_what_is_asked_of_the_provider_is_bound_to_the_browser(desk: Desk) -> None:
    first, second = (dict(parse_qsl(urlsplit(desk.begin()).query)) for _ in range(2))
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
    assert first["scope"] == "openid profile"
    assert first["redirect_uri"] == BACK
    assert "prompt" not in first
    cookie = desk.client.cookies[UNDER_WAY]
    assert not any(value in cookie for value in second.values())


def test_the_way_back_is_as_the_settings_say_whatever_host_is_asked(desk: Desk) -> None:
    answer = desk.client.get("/sign-in/openid", headers={"Host": "evil.test", "X-Forwarded-Host": "evil.test"})
    assert "evil" not in answer.headers["location"]


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"], None])
def test_the_secret_is_given_as_the_provider_takes_it(desk: Desk, methods: list[str] | None) -> None:
    if methods:
        desk.provider.metadata = {"token_endpoint_auth_methods_supported": methods}
    assert desk.sign_in().status_code == 303


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_both_kinds_of_keys_are_believed(desk: Desk, algorithm: str) -> None:
    desk.provider.algorithm = algorithm
    assert desk.sign_in().status_code == 303


def test_a_new_key_of_the_provider_is_fetched(desk: Desk) -> None:
    desk.sign_in()
    desk.provider.rotate()
    desk.client.cookies.clear()
    desk.clock.now += timedelta(minutes=2)
    assert desk.sign_in().status_code == 303
    assert desk.provider.calls.count("/realm/keys") == 2


def test_what_the_provider_publishes_is_kept_for_a_while(desk: Desk) -> None:
    for _ in range(3):
        desk.client.cookies.clear()
        desk.sign_in()
    published = [path for path in desk.provider.calls if path != "/realm/token"]
    assert published == ["/realm/.well-known/openid-configuration", "/realm/keys"]
    desk.clock.now += KEPT
    desk.client.cookies.clear()
    desk.sign_in()
    assert len(desk.provider.calls) == 3 + 2 + 3


def test_a_text_is_a_claim_as_well_as_a_list(desk: Desk) -> None:
    desk.sign_in("carol")
    account = desk.store.find_account("carol")
    assert account is not None
    assert account.role is Role.READER


def test_the_role_is_that_of_the_last_sign_in_and_the_account_stays_the_persons(desk: Desk) -> None:
    desk.sign_in()
    desk.client.cookies.clear()
    desk.provider.changes = {"roles": ["screener-reader"], "preferred_username": "alice.b"}
    assert desk.sign_in().status_code == 303
    assert [account.name for account in desk.store.accounts() if not account.is_local] == ["alice"]
    assert desk.store.find_account("alice").role is Role.READER  # type: ignore[union-attr]


def test_the_sign_in_page_offers_both_ways(desk: Desk) -> None:
    text = desk.client.get("/sign-in?next=/studies/7%22%3E", headers=HTML).text
    assert 'href="/sign-in/openid?next=/studies/7%22%3E"' in text
    assert 'name="password"' in text
    assert desk.client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 303


def test_local_accounts_can_be_switched_off(
    provider: OpenIdProvider, store: Store, clock: Clock, tmp_path: Path
) -> None:
    desk = open_desk(provider, store, clock, tmp_path, local_accounts=False)
    assert 'name="password"' not in desk.client.get("/sign-in").text
    assert desk.client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 403
    assert desk.sign_in().status_code == 303


def test_a_provider_can_be_told_to_ask_each_time(
    provider: OpenIdProvider, store: Store, clock: Clock, tmp_path: Path
) -> None:
    desk = open_desk(provider, store, clock, tmp_path, openid={"prompt": "login"})
    assert "prompt=login" in desk.begin()


# Lies

LIES: dict[str, dict[str, Any]] = {
    "nonce of another sign-in": {"nonce": "0" * 64},
    "nonce in a list": {"nonce": None},
    "no nonce": {"nonce": None},
    "another audience": {"aud": "another"},
    "several audiences": {"aud": [CLIENT_ID, "another"]},
    "several audiences, for another": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "for another party": {"azp": "another"},
    "no audience": {"aud": None},
    "expired": {"exp": int(NOW.timestamp()) - 61},
    "never expires": {"exp": None},
    "expires as a text": {"exp": "9999999999"},
    "issued long ago": {"iat": int(NOW.timestamp()) - 700},
    "issued in the future": {"iat": int(NOW.timestamp()) + 120},
    "not yet valid": {"nbf": int(NOW.timestamp()) + 120},
    "another issuer": {"iss": "https://evil.test"},
    "no issuer": {"iss": None},
    "no subject": {"sub": None},
    "a number as subject": {"sub": 7},
    "at_hash of another access token": {"at_hash": encode(b"x" * 16)},
    "at_hash as a number": {"at_hash": 7},
}
SIGNED_WRONG = ["none", "hs256", "forged", "changed", "unknown key"]


def assert_nobody_came_in(desk: Desk, answer: Any) -> None:
    assert answer.status_code == 401
    assert "cannot be believed" in answer.text
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert not desk.is_in
    assert desk.store.find_account("alice") is None
    assert desk.store.audit_lines()[0].action == "sign-in failed"


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_lies_lets_nobody_in(desk: Desk, caplog: pytest.LogCaptureFixture, lie: str) -> None:
    address = desk.begin()
    nonce = dict(parse_qsl(urlsplit(address).query))["nonce"]
    desk.provider.changes = LIES[lie] | ({"nonce": [nonce]} if lie == "nonce in a list" else {})
    assert_nobody_came_in(desk, desk.come_back(desk.provider.authorize(address, "alice")))
    assert "is not believed" in caplog.text
    assert "alice" not in caplog.text


@pytest.mark.parametrize("lie", SIGNED_WRONG)
def test_a_token_that_the_provider_has_not_signed_lets_nobody_in(desk: Desk, lie: str) -> None:
    desk.provider.lies = {lie}
    assert_nobody_came_in(desk, desk.sign_in())


def test_the_token_that_all_lies_are_made_from_is_believed(desk: Desk) -> None:
    desk.provider.changes = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID, "exp": int(NOW.timestamp()) - 59}
    assert desk.sign_in().status_code == 303


def test_a_key_that_is_not_published_makes_us_look_once_a_minute(desk: Desk) -> None:
    desk.provider.lies = {"unknown key"}
    for _ in range(3):
        desk.sign_in()
    assert desk.provider.calls.count("/realm/keys") == 1
    desk.clock.now += timedelta(seconds=61)
    desk.sign_in()
    assert desk.provider.calls.count("/realm/keys") == 2


def test_an_answer_that_names_another_issuer_is_not_taken_to_the_provider(desk: Desk) -> None:
    address = desk.provider.authorize(desk.begin(), "alice").replace("iss=http", "iss=https")
    assert_nobody_came_in(desk, desk.come_back(address))
    assert "/realm/token" not in desk.provider.calls


def test_an_answer_must_name_its_issuer_where_the_provider_says_that_it_does(desk: Desk) -> None:
    desk.provider.metadata = {"authorization_response_iss_parameter_supported": True}
    address = re.sub("&iss=.*", "", desk.provider.authorize(desk.begin(), "alice"))
    assert_nobody_came_in(desk, desk.come_back(address))
    assert desk.sign_in().status_code == 303


def test_a_code_comes_back_once(desk: Desk) -> None:
    desk.provider.lies = {"replay"}
    address = desk.begin()
    under_way = desk.client.cookies[UNDER_WAY]
    back = desk.provider.authorize(address, "alice")
    assert desk.come_back(back).status_code == 303
    desk.client.cookies.clear()
    assert desk.come_back(back).status_code == 400  # without the cookie, as from another browser
    desk.client.cookies.set(UNDER_WAY, under_way, domain="screener.test")
    assert desk.come_back(back).status_code == 400
    assert not desk.is_in
    assert desk.provider.calls.count("/realm/token") == 1


def test_a_code_of_another_browser_is_refused(desk: Desk) -> None:
    theirs = desk.provider.authorize(desk.begin(), "alice")
    desk.client.cookies.clear()
    ours = desk.provider.authorize(desk.begin(), "carol")
    values = {name: dict(parse_qsl(urlsplit(each).query)) for name, each in (("theirs", theirs), ("ours", ours))}
    mixed = desk.provider.answer(code=values["theirs"]["code"], state=values["ours"]["state"])
    answer = desk.come_back(mixed)
    assert answer.status_code == 401  # its verifier is not that of the code's challenge
    assert not desk.is_in


@pytest.mark.parametrize("state", ["", "0" * 64, "\N{SNOWMAN}", "a" * 5000])
def test_an_answer_without_the_state_of_this_browser_is_refused(desk: Desk, state: str) -> None:
    desk.begin()
    assert desk.come_back(desk.provider.answer(code="x", state=state)).status_code == 400
    assert "/realm/token" not in desk.provider.calls


def test_who_takes_too_long_begins_again(desk: Desk) -> None:
    back = desk.provider.authorize(desk.begin(), "alice")
    desk.clock.now += TIME_TO_SIGN_IN + timedelta(seconds=2)
    assert desk.come_back(back).status_code == 400
    assert not desk.is_in


def test_the_way_back_in_the_browser_of_who_is_in_leads_to_the_worklist(desk: Desk) -> None:
    back = desk.provider.authorize(desk.begin(), "alice")
    desk.come_back(back)
    answer = desk.come_back(back)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("next_path", ["https://evil.test/", "//evil.test", "/\\evil.test", "/" + "a" * 2000])
def test_nobody_is_sent_to_another_site(desk: Desk, next_path: str) -> None:
    desk.client.get("/sign-in/openid", params={"next": next_path})
    address = desk.begin(f"/sign-in/openid?next={next_path}")
    assert desk.come_back(desk.provider.authorize(address, "alice")).headers["location"] == "/"


@pytest.mark.parametrize("next_path", ["https://evil.test/", "//evil.test"])
def test_a_cookie_of_ones_own_making_leads_nowhere_else(desk: Desk, next_path: str) -> None:
    address = desk.begin()
    secret, begun, _ = desk.client.cookies[UNDER_WAY].split(".")
    desk.client.cookies.set(UNDER_WAY, f"{secret}.{begun}.{next_path}", domain="screener.test")
    assert desk.come_back(desk.provider.authorize(address, "alice")).headers["location"] == "/"


BROKEN = ["", ".", "..", "a.b.c", f"a.{'9' * 12}./", f"a.{'9' * 500}./", f"a.{NOW.timestamp() + 5:.0f}./"]


@pytest.mark.parametrize("cookie", [*BROKEN, "a.\N{SUPERSCRIPT TWO}./"])
def test_a_broken_cookie_is_no_sign_in(cookie: str) -> None:
    assert _read_cookie(cookie, NOW) is None


def test_a_cookie_is_read_as_it_was_written() -> None:
    under_way = UnderWay(secret="secret", begun_at=NOW, next_path='/studies/7?a="b";c=d, e')
    assert _read_cookie(under_way.write(), NOW) == under_way


KEYS = read_keys(OpenIdProvider({}, BACK).keys())


@given(token=st.text(max_size=40) | st.from_regex(r"\A[A-Za-z0-9_-]{1,30}\.[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{0,30}\Z"))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_text_is_a_token_and_none_ends_in_another_error(token: str) -> None:
    expected = Expected(issuer="i", client_id="c", nonce="n", access_token="", now=NOW)
    with pytest.raises(TokenError):
        check_id_token(token, KEYS, expected)


@pytest.mark.parametrize("document", [{}, {"keys": 7}, {"keys": [7, {}, {"kty": "RSA"}, {"kty": "oct", "k": "AAAA"}]}])
def test_a_set_of_keys_holds_those_that_are_some(document: dict[str, Any]) -> None:
    assert not read_keys(document).keys


def test_the_digest_of_an_access_token_is_as_the_standard_has_it() -> None:
    # OpenID Connect Core 1.0, A.3 and A.4: access token and at_hash of the example
    assert half_digest("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", "RS256") == "77QmUPtjPfzWtF2AnpK9RQ"


# Who may not come in


def test_who_has_no_role_is_told_so_and_the_trail_holds_it(desk: Desk) -> None:
    answer = desk.sign_in("bob")
    assert answer.status_code == 403
    assert "have no role here" in answer.text
    assert not desk.is_in
    assert desk.store.find_account("bob") is None
    line = desk.store.audit_lines()[0]
    assert (line.account, line.action, line.detail) == ("bob", "sign-in failed", "OpenID: no role")


@pytest.mark.parametrize("person", ["no-name", "odd-name"])
def test_who_has_no_name_that_can_be_used_is_told_so(desk: Desk, person: str) -> None:
    answer = desk.sign_in(person)
    assert answer.status_code == 403
    assert "preferred_username" in answer.text
    assert not desk.is_in


def test_a_local_account_is_not_taken_over_by_its_name(desk: Desk) -> None:
    answer = desk.sign_in("reader")
    assert answer.status_code == 403
    assert "screener users openid reader" in answer.text
    account = desk.store.find_account("reader")
    assert account is not None
    assert (account.role, account.is_local, account.openid_subject) == (Role.READER, True, None)


def test_a_name_that_the_provider_gives_to_another_person_is_not_theirs(desk: Desk) -> None:
    desk.sign_in()
    desk.client.cookies.clear()
    desk.provider.changes = {"sub": "another person"}
    assert desk.sign_in().status_code == 403
    assert not desk.is_in


def test_an_account_can_be_left_to_the_provider_and_taken_back(desk: Desk) -> None:
    leave_to_openid(desk.store, "reader")
    assert desk.client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 401
    assert desk.sign_in("reader").status_code == 303
    assert desk.store.find_account("reader").role is Role.ADMINISTRATOR  # type: ignore[union-attr]
    assert "OpenID" in list_accounts(desk.store)
    secret = desk.store.engine.url.database
    password = Path(str(secret)).with_name("password")
    password.write_text("another password\n")
    change_password(desk.store, "reader", password)
    assert not desk.is_in
    desk.client.cookies.clear()
    assert desk.sign_in("reader").status_code == 403
    data = {"name": "reader", "password": "another password"}
    assert desk.client.post("/sign-in", data=data).status_code == 303


def test_no_password_opens_an_account_of_the_provider(desk: Desk) -> None:
    desk.sign_in()
    desk.client.cookies.clear()
    for guess in ("", "nobody's password", PASSWORD):
        assert desk.client.post("/sign-in", data={"name": "alice", "password": guess}).status_code == 401
        assert not is_password(guess, "")


def test_a_disabled_account_is_out_at_once_and_stays_out(desk: Desk) -> None:
    desk.sign_in()
    desk.store.disable_account("alice")
    assert not desk.is_in
    desk.client.cookies.clear()
    answer = desk.sign_in()
    assert answer.status_code == 403
    assert "disabled" in answer.text


def test_a_session_ends_as_a_local_one_does(desk: Desk) -> None:
    desk.sign_in()
    desk.clock.now += timedelta(minutes=31)
    assert not desk.is_in


def test_whom_the_provider_refuses_reads_its_word_and_nothing_else(desk: Desk) -> None:
    for error, shown in (("access_denied", "(access_denied)"), ("<script>", "let you in.")):
        state = dict(parse_qsl(urlsplit(desk.begin()).query))["state"]
        answer = desk.come_back(desk.provider.answer(error=error, state=state, error_description="call 555"))
        assert answer.status_code == 401
        assert shown in answer.text
        assert "555" not in answer.text
        assert "<script>" not in answer.text


# A provider that is away, slow or broken


def test_an_address_must_wait_after_very_many_answers_that_are_not_believed(desk: Desk) -> None:
    desk.provider.lies = {"forged"}
    answers = [desk.sign_in().status_code for _ in range(16)]
    assert answers == [401] * 15 + [429]
    assert desk.provider.calls.count("/realm/token") == 15
    right = {"name": "reader", "password": PASSWORD}
    assert desk.client.post("/sign-in", data=right).status_code == 429  # the address is one for both
    desk.clock.now += timedelta(minutes=16)
    desk.provider.lies = set()
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


# The way out


def test_signing_out_ends_both_sessions(desk: Desk) -> None:
    desk.sign_in()
    token = desk.client.cookies[COOKIE]
    answer = desk.sign_out()
    assert answer.status_code == 200
    (leads_to,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', answer.text)
    asked = dict(parse_qsl(urlsplit(leads_to.replace("&amp;", "&")).query))
    assert leads_to.startswith(f"{desk.provider.issuer}/sign-out?")
    assert asked["client_id"] == CLIENT_ID
    assert asked["post_logout_redirect_uri"] == "https://screener.test/sign-in"
    assert asked["id_token_hint"].count(".") == 2
    desk.client.cookies.set(COOKIE, token, domain="screener.test")
    assert not desk.is_in
    assert desk.store.audit_lines()[0].action == "signed out"


def test_where_the_provider_has_no_sign_out_the_page_says_so(desk: Desk) -> None:
    desk.provider.metadata = {"end_session_endpoint": None}
    desk.sign_in()
    answer = desk.sign_out()
    assert "You may still be signed in at the hospital" in answer.text
    assert "refresh" not in answer.text


def test_a_very_long_token_is_left_out_of_the_address(desk: Desk) -> None:
    desk.provider.changes = {"groups": ["g" * 36] * 200}
    desk.sign_in()
    answer = desk.sign_out()
    assert "post_logout_redirect_uri" in answer.text
    assert "id_token_hint" not in answer.text


def test_who_signed_in_by_password_signs_out_as_before(desk: Desk) -> None:
    desk.client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    answer = desk.sign_out()
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


# The settings


def test_without_a_provider_there_is_no_such_page(store: Store, clock: Clock, tmp_path: Path) -> None:
    site = make_site(make_config({}, base=tmp_path, environment={}), store, clock)
    client = TestClient(site, base_url="https://screener.test", follow_redirects=False)
    for path in ("/sign-in/openid", "/sign-in/openid/return"):
        assert client.get(path).status_code == 404
    assert "openid" not in client.get("/sign-in").text


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"openid": {"issuer": "http://idp.test"}}, "https"),
        ({"openid": {"client_id": ""}}, "client_id"),
        ({"openid": {"scopes": ["profile"]}}, "openid"),
        ({"openid": {"scopes": ["openid", "a b"]}}, "scopes"),
        ({"openid": {"readers": [], "radiologists": [], "administrators": []}}, "nobody could sign in"),
        ({"url": ""}, "needs url"),
        ({"url": "http://screener.test"}, "https"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    table = web("https://idp.test", **changes.pop("openid", {})) | changes
    with pytest.raises(ConfigError, match=word):
        make_config({"web": table}, base=tmp_path, environment=SECRET)


def test_one_way_in_is_always_left(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody could sign in"):
        make_config({"web": {"local_accounts": False}}, base=tmp_path, environment={})


def test_a_missing_secret_stops_the_start_and_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SCREENER_OPENID_SECRET_FILE"):
        make_config({"web": web("https://idp.test")}, base=tmp_path, environment={})


def test_a_file_of_authorities_that_is_none_is_named(tmp_path: Path, store: Store, clock: Clock) -> None:
    config = make_config({"web": web("https://idp.test", tls_ca="no.pem")}, base=tmp_path, environment=SECRET)
    with pytest.raises(ConfigError, match=r"web\.openid\.tls_ca"):
        make_site(config, store, clock)


def test_the_secret_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{CLIENT_SECRET}\n")
    environment = {"SCREENER_OPENID_SECRET_FILE": str(tmp_path / "secret")}
    config: Config = make_config({"web": web("https://idp.test")}, base=tmp_path, environment=environment)
    assert config.web.openid.secret is not None
    assert config.web.openid.secret.get_secret_value() == CLIENT_SECRET
    shown = show_config(config)
    assert 'web.openid.secret = "********"' in shown
    assert 'web.openid.issuer = "https://idp.test"' in shown
    for text in (shown, str(list_settings(config)), str(compare_configs(Config(), config)), repr(config)):
        assert CLIENT_SECRET not in text


# Roles and names


@pytest.mark.parametrize(
    ("told", "role"),
    [
        (["r"], Role.READER),
        (["r", "a", "d"], Role.ADMINISTRATOR),
        (["d", "x"], Role.RADIOLOGIST),
        ("d", Role.RADIOLOGIST),
        ("dr", None),
        ([], None),
        ([["r"], {"r": 1}, 7, None], None),
        ({"r": "r"}, None),
        (None, None),
        (7, None),
    ],
)
def test_the_highest_role_counts_and_nothing_else_is_one(told: Any, role: Role | None) -> None:
    settings = OpenId(readers=["r"], radiologists=["d"], administrators=["a"])
    assert grant_role({"roles": told}, settings) is role


def test_a_claim_is_found_by_its_name_or_where_its_dots_lead() -> None:
    claims = {"https://a.test/roles": 1, "realm_access": {"roles": 2}, "a": "text"}
    assert find_claim(claims, "https://a.test/roles") == 1
    assert find_claim(claims, "realm_access.roles") == 2
    assert find_claim(claims, "a.b") is find_claim(claims, "b") is None


@pytest.mark.parametrize("name", ["alice", "alice@hospital.example", "a.b-c_d1"])
def test_a_name_of_the_provider_is_one_that_a_local_account_could_have(name: str) -> None:
    assert read_name({"preferred_username": name}, OpenId()) == name


@pytest.mark.parametrize("name", ["", " a", "a b", "a\n", "CANARY^X", "x" * 65, None, 7, ["alice"]])
def test_what_is_no_name_is_none(name: Any) -> None:
    assert read_name({"preferred_username": name}, OpenId()) == ""


# The store


def test_one_person_who_comes_in_by_two_windows_has_one_account(store: Store) -> None:
    def enter(_: int) -> Any:
        return store.account_by_openid("digest", "alice", Role.READER, NOW)

    with ThreadPoolExecutor(4) as pool:
        accounts = list(pool.map(enter, range(8)))
    assert {account.name for account in accounts} == {"alice"}
    assert len({account.account_id for account in accounts}) == 1


def test_the_store_keeps_no_token_of_a_session_that_has_ended(desk: Desk) -> None:
    desk.sign_in()
    desk.sign_out()
    with desk.store.engine.connect() as connection:
        dump = "\n".join(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    assert "eyJ" not in dump
    assert "subject of alice" not in dump


def test_a_session_of_long_ago_keeps_no_token_either(desk: Desk, clock: Clock) -> None:
    desk.sign_in()
    clock.now += timedelta(hours=11)
    desk.client.cookies.clear()
    desk.client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    with desk.store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sessions WHERE id_token IS NOT NULL").scalar() == 0
