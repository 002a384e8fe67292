"""A browser before a site that knows an OpenID provider on loopback; shared by the tests of signing in there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from screener.config import make_config
from screener.store import Store
from screener.web.csrf import csrf_token
from screener.web.gate import COOKIE
from screener.web.site import make_site
from tests.peers.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, open_provider
from tests.unit import test_web_gate as gate
from tests.unit.test_web_gate import HTML, Clock

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
    table = {"issuer": provider, "client_id": CLIENT_ID, "timeout_seconds": 60.0} | roles | openid
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
    served.refusal = ""
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
