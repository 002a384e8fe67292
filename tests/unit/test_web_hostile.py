"""Hostile input at every route, on both databases: whatever is asked and however, no page ends in an error.

schemathesis makes the requests from the schema that FastAPI writes of the
routes; the site itself serves no schema.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from screener.config import make_config
from screener.journey import Queue
from screener.store import Store
from screener.store.web_accounts import Role
from screener.web import passwords
from screener.web.csrf import csrf_token
from screener.web.gate import COOKIE, digest_token
from screener.web.routes import ROUTES, Route
from screener.web.site import make_site
from tests.peers.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, open_provider
from tests.peers.servers import open_postgresql
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, QUIET, START, dispatch, finish
from tests.unit.test_store_ultrasound import ULTRASOUND
from tests.unit.test_store_ultrasound import finish as us_finish

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 5
NOW = datetime(2026, 5, 6, tzinfo=UTC)
TOKEN = "secret of an administrator"
HEADERS = {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}
NUMBERS = (1, 2, 0, -1, 2**31, 2**63, 2**64, 10**40)
TEXTS = (
    *("\x00", "1\x00", "%00", "\ud7ff\ufffe", "-1", "9" * 40, "1e400", "a" * 5000, "//evil.test"),
    *("1.1.nan", "1.1.inf", "1.99999999999999999999.0x1p0", "0.1.0x1p99999"),
    *("\N{FULLWIDTH DIGIT ONE}", "\N{SUPERSCRIPT TWO}"),
)


@dataclass
class Served:
    """A site with a flagged CT and a flagged ultrasound study, and an administrator's browser."""

    client: TestClient
    store: Store
    written: dict[str, Any]
    """The schema as FastAPI writes it."""
    schema: Any
    """The same, read by schemathesis."""

    def enter(self) -> None:
        """Begin the session, where the request before has ended it."""
        account = self.store.find_account("adam")
        assert account is not None
        if self.store.find_session(digest_token(TOKEN), NOW, timedelta(hours=1)) is None:
            self.store.begin_session(account.account_id, digest_token(TOKEN), NOW, NOW + timedelta(hours=10))
        self.client.cookies.clear()
        self.client.cookies.set(COOKIE, TOKEN, domain="screener.test")

    def ask(self, method: str, path: str, values: dict[str, Any]) -> int:
        """Ask as the administrator's browser would; a form carries the session's token."""
        self.enter()
        given = {"data": values | {"csrf_token": csrf_token(TOKEN)}} if method == "POST" else {"params": values}
        return self.client.request(method, path, headers=HEADERS, **given).status_code


@pytest.fixture(scope="module", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Weak digests: thousands of sign-ins are tried, and how strong a digest is asks another test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        yield


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "var").mkdir()
    if request.param == "sqlite":
        yield from serve(folder, f"sqlite:///{folder}/var/screener.sqlite")
    else:
        with open_postgresql() as url:
            yield from serve(folder, url)


def serve(folder: Path, url: str) -> Iterator[Served]:
    provider = OpenIdProvider({}, "https://screener.test/sign-in/openid/return")
    with open_provider(provider):
        yield from serve_with(provider, folder, url)


def serve_with(provider: OpenIdProvider, folder: Path, url: str) -> Iterator[Served]:
    openid = {"issuer": provider.issuer, "client_id": CLIENT_ID, "readers": ["reader"], "timeout_seconds": 60.0}
    web = {"max_failures": 1000, "url": "https://screener.test", "openid": openid}
    config = make_config({"web": web}, base=folder, environment={"SCREENER_OPENID_SECRET": CLIENT_SECRET})
    store = open_new_store(url)
    store.add_account("adam", Role.ADMINISTRATOR, "", NOW)
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    run = store.claim_run(Queue.CT, "worker", START + QUIET, LEASE)
    assert run is not None
    finish(store, run)
    finish_ultrasound(store)
    site = make_site(config, store, lambda: NOW)
    written = site.openapi()
    schema = schemathesis.openapi.from_dict(written)
    with TestClient(
        site, base_url="https://screener.test", follow_redirects=False, raise_server_exceptions=False
    ) as client:
        yield Served(client=client, store=store, written=written, schema=schema)
    store.engine.dispose()


def finish_ultrasound(store: Store) -> None:
    other = {"study_instance_uid": "1.2.4", "series_instance_uid": "1.2.4.1", "sop_instance_uid": "1.2.4.1.1"}
    store.record_instance(an_instance(2, sop_class_uid=ULTRASOUND, modality="US", **other), START)
    dispatch(store, START + QUIET)
    run = store.claim_run(Queue.US, "worker", START + QUIET, LEASE)
    assert run is not None
    us_finish(store, run, 0.83, START + QUIET)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def fields_of(served: Served, route: Route) -> tuple[list[str], list[str]]:
    """What stands in the path, and what in the query or the form."""
    asked = served.written["paths"][route.path][route.method.lower()]
    path = [each["name"] for each in asked.get("parameters", []) if each["in"] == "path"]
    query = [each["name"] for each in asked.get("parameters", []) if each["in"] == "query"]
    for content in asked.get("requestBody", {}).get("content", {}).values():
        query += list(resolve(served, content["schema"])["properties"])
    return path, query


def resolve(served: Served, schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema refers to."""
    where = schema.get("$ref", "").rpartition("/")[2]
    named: dict[str, Any] = served.written["components"]["schemas"][where] if where else schema
    return named


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_no_request_made_from_the_schema_ends_in_an_error(served: Served, route: Route) -> None:
    operation = served.schema[route.path][route.method]
    cases = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=st.one_of(cases), study_id=st.sampled_from([1, 2, None]))
    def ask(case: Any, study_id: int | None) -> None:
        if study_id is not None and "study_id" in case.path_parameters:
            case.path_parameters["study_id"] = study_id
        values = case.body if route.method == "POST" else case.query
        values = values if isinstance(values, dict) else {}
        assert served.ask(route.method, case.formatted_path, values) < 500, (case.path_parameters, values)

    ask()


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_no_known_trick_ends_in_an_error(served: Served, route: Route) -> None:
    in_path, others = fields_of(served, route)
    sound = {"study_id": "1", "number": "0", "plane": "coronal", "side": "right"}
    for field in in_path:
        for trick in (*NUMBERS, "\x00", "x", "\N{SUPERSCRIPT TWO}"):
            path = route.path.format(**(sound | {field: str(trick)})).replace("\x00", "%00")
            assert served.ask(route.method, path, {}) < 500, path
    for field in others:
        for trick in (*TEXTS, *map(str, NUMBERS)):
            path = route.path.format(**sound)
            usual = {"run": "1", "opinion": "comment", "text": "seen"} if route.method == "POST" else {}
            status = served.ask(route.method, path, usual | {field: trick})
            assert status < 500, f"{field}={trick!r}"


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "POST"], ids=name)
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xfe=\xff", "application/x-www-form-urlencoded"),
        (b"a=" * 2000, "application/x-www-form-urlencoded"),
        (b'{"run": 1}', "application/json"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
        (b'--x\r\nContent-Disposition: form-data; name="text"; filename="a"\r\n\r\nx\r\n--x--\r\n',
         "multipart/form-data; boundary=x"),
    ],
)  # fmt: skip
def test_no_broken_form_ends_in_an_error(served: Served, route: Route, content: bytes, kind: str) -> None:
    served.enter()
    path = route.path.format(study_id=1)
    answer = served.client.request(route.method, path, content=content, headers=HEADERS | {"Content-Type": kind})
    assert answer.status_code < 500
