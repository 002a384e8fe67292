"""Every lie that an OpenID provider, or somebody between it and the browser, may tell: each lets nobody in."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from screener.web.check_id_token import Expected, TokenError, check_id_token, half_digest, read_keys
from screener.web.headers import POLICY
from screener.web.sign_in_openid import COOKIE as UNDER_WAY
from screener.web.sign_in_openid import TIME_TO_SIGN_IN, UnderWay, _read_cookie
from tests.peers.openid_provider import CLIENT_ID, OpenIdProvider, encode
from tests.unit import openid_desk
from tests.unit import test_web_gate as gate
from tests.unit.openid_desk import BACK, Desk
from tests.unit.test_web_gate import NOW

clock, empty, store = gate.clock, gate.empty, gate.store
served, provider, desk = openid_desk.served, openid_desk.provider, openid_desk.desk


LIES: dict[str, dict[str, Any]] = {
    "nonce of another sign-in": {"nonce": "0" * 64},
    "nonce in a list": {"nonce": None},
    "no nonce": {"nonce": None},
    "another audience": {"aud": "another"},
    "another audience, for this party": {"aud": "another", "azp": CLIENT_ID},
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
