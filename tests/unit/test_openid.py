"""Signing in through an OpenID provider, and out again: who comes in, who does not, and what is kept."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from screener.__main__ import main
from screener.store import Store
from screener.store.web_accounts import Role
from screener.web import passwords
from screener.web.ask_provider import KEPT
from screener.web.gate import COOKIE
from screener.web.manage_accounts import change_password, leave_to_openid, list_accounts
from screener.web.passwords import is_password
from screener.web.sign_in_openid import COOKIE as UNDER_WAY
from tests.peers.openid_provider import CLIENT_ID, OpenIdProvider
from tests.peers.servers import open_postgresql
from tests.peers.stores import open_new_store
from tests.unit import openid_desk
from tests.unit import test_web_gate as gate
from tests.unit.openid_desk import BACK, Desk, open_desk
from tests.unit.test_web_gate import HTML, NOW, PASSWORD, Clock

clock, empty, store = gate.clock, gate.empty, gate.store
served, provider, desk = openid_desk.served, openid_desk.provider, openid_desk.desk


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


def test_no_password_opens_an_account_of_the_provider(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_NOBODY", gate.HASH)  # what is compared where there is no digest
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


# The store


def test_one_person_who_comes_in_by_two_windows_has_one_account(store: Store) -> None:
    def enter(_: int) -> Any:
        return store.account_by_openid("digest", "alice", Role.READER, NOW)

    with ThreadPoolExecutor(4) as pool:
        accounts = list(pool.map(enter, range(8)))
    assert {account.name for account in accounts} == {"alice"}
    assert len({account.account_id for account in accounts}) == 1


def test_on_postgresql_too_one_person_has_one_account_and_no_name_of_another() -> None:
    with open_postgresql() as url:
        opened = open_new_store(url)
        opened.add_account("local", Role.READER, gate.HASH, NOW)

        def enter(number: int) -> Any:
            return opened.account_by_openid("digest", f"alice{number % 2}", Role(list(Role)[number % 3]), NOW)

        with ThreadPoolExecutor(4) as pool:
            assert len({account.account_id for account in pool.map(enter, range(12))}) == 1
        assert opened.account_by_openid("other", "local", Role.READER, NOW) is None
        assert len(opened.accounts()) == 2
        opened.engine.dispose()


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


PROVIDER = """
[web]
url = "https://screener.hospital.example"
[web.openid]
issuer = "https://login.hospital.example"
client_id = "screener"
readers = ["reader"]
"""


def test_an_account_is_left_to_the_provider_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "var").mkdir()
    with_provider = tmp_path / "with_provider.toml"
    with_provider.write_text(PROVIDER, encoding="utf-8")
    opened = open_new_store(f"sqlite:///{tmp_path}/var/screener.sqlite")
    opened.add_account("alice", Role.READER, gate.HASH, NOW)
    assert main(["users", "openid", "alice", "--config", str(tmp_path / "config.toml")]) == 1
    assert "web.openid.issuer is empty" in capsys.readouterr().err
    assert opened.audit_lines() == []
    command = ["users", "openid", "alice", "--config", str(with_provider)]
    assert main(command) == 0
    assert "no password opens it" in capsys.readouterr().out
    assert [line.action for line in opened.audit_lines()] == ["left to OpenID"]
    assert main([*command[:2], "nobody", *command[3:]]) == 1
    assert "there is no account nobody" in capsys.readouterr().err
    opened.engine.dispose()
