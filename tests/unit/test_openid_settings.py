"""What [web.openid] of config.toml may hold, and how claims become a role and a name."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from screener.config import Config, ConfigError, make_config
from screener.show_config import compare_configs, list_settings, show_config
from screener.store import Store
from screener.store.web_accounts import Role
from screener.web.grant_role import find_claim, grant_role, read_name
from screener.web.site import make_site
from screener.web_settings import OpenId
from tests.peers.openid_provider import CLIENT_SECRET
from tests.unit import openid_desk
from tests.unit import test_web_gate as gate
from tests.unit.openid_desk import SECRET, web
from tests.unit.test_web_gate import Clock

clock, empty, store = gate.clock, gate.empty, gate.store
served, provider, desk = openid_desk.served, openid_desk.provider, openid_desk.desk


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
