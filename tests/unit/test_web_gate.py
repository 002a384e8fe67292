"""Who is let in: every route without a session, with too low a role, with a stale form; and signing in."""

import re
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from screener.config import make_config
from screener.journey import Ending, Queue
from screener.store import Store, open_store
from screener.store.web_accounts import Role
from screener.web.begin_session import own_path
from screener.web.csrf import csrf_token
from screener.web.gate import COOKIE, digest_token
from screener.web.headers import MAX_BODY_BYTES, POLICY
from screener.web.passwords import hash_password
from screener.web.routes import ROUTES, Route
from screener.web.site import make_site
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, QUIET, START, dispatch, finish
from tests.unit.test_store_ultrasound import claimed as us_claimed
from tests.unit.test_store_ultrasound import finish as us_finish

PASSWORD = "correct horse battery staple"
NOW = datetime(2026, 5, 6, 7, 8, tzinfo=UTC)
HASH = hash_password(PASSWORD)
HTML = {"Accept": "text/html"}
FORMS = [route for route in ROUTES if route.method == "POST"]
GUARDED = [route for route in ROUTES if route.role is not None]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its people, made once and copied for each test."""
    path = tmp_path_factory.mktemp("empty") / "screener.sqlite"
    made = open_new_store(f"sqlite:///{path}")
    for role in Role:
        made.add_account(role.value, role, HASH, NOW)
    made.engine.dispose()
    return path


@pytest.fixture
def store(tmp_path: Path, empty: Path) -> Iterator[Store]:
    (tmp_path / "var").mkdir()
    shutil.copy(empty, tmp_path / "var")
    opened = open_store(f"sqlite:///{tmp_path}/var/screener.sqlite")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def client(store: Store, tmp_path: Path, clock: Clock) -> TestClient:
    tables = {"web": {"max_failures": 3}}
    config = make_config(tables, base=tmp_path, environment={})
    return TestClient(
        make_site(config, store, clock),
        base_url="https://screener.test",
        follow_redirects=False,
        raise_server_exceptions=False,
    )


@pytest.fixture
def flagged(store: Store) -> int:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    run = store.claim_run(Queue.CT, "worker", START + QUIET, LEASE)
    assert run is not None
    finish(store, run)
    return run.study_id


def enter(client: TestClient, store: Store, role: Role) -> str:
    """Give the client a session of that role; the session's secret."""
    token = f"secret of {role}"
    account = store.find_account(role.value)
    assert account is not None
    store.begin_session(account.account_id, digest_token(token), NOW, NOW + timedelta(hours=10))
    client.cookies.set(COOKIE, token, domain="screener.test")
    return token


def path_of(route: Route) -> str:
    filled = {"study_id": "1", "number": "0", "plane": "coronal", "side": "right"}
    return re.sub(r"{(\w+)}", lambda match: filled.get(match[1], "x"), route.path)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


# Routes


def test_nothing_is_served_that_is_not_in_the_table(client: TestClient) -> None:
    served = {
        (method, route.path) for route in client.app.routes if isinstance(route, APIRoute) for method in route.methods
    }
    assert served == {(route.method, route.path) for route in ROUTES}
    others = [route.path for route in client.app.routes if not isinstance(route, APIRoute)]
    assert others == ["/static"]


def test_only_signing_in_and_a_signed_link_are_open_to_all() -> None:
    open_to_all = {"/sign-in", "/sign-in/openid", "/sign-in/openid/return", "/acknowledge"}
    assert {route.path for route in ROUTES if route.role is None} == open_to_all


@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_nobody_comes_in_without_a_session(client: TestClient, flagged: int, route: Route) -> None:
    answer = client.request(route.method, path_of(route))
    assert answer.status_code == 401
    client.cookies.set(COOKIE, "a guess", domain="screener.test")
    assert client.request(route.method, path_of(route)).status_code == 401


@pytest.mark.parametrize("route", [route for route in GUARDED if route.role is not Role.READER], ids=name)
def test_a_lower_role_is_refused_and_the_trail_says_so(
    client: TestClient, store: Store, flagged: int, route: Route
) -> None:
    assert route.role is not None
    lower = list(Role)[list(Role).index(route.role) - 1]
    token = enter(client, store, lower)
    data = {"csrf_token": csrf_token(token), "run": "1", "opinion": "agree"} if route.method == "POST" else None
    assert client.request(route.method, f"{path_of(route)}?q=CANARY", data=data).status_code == 403
    line = store.audit_lines()[0]
    assert (line.action, line.detail) == ("refused", f"{route.method} {route.path}, which takes the role {route.role}")
    assert line.study_id == (flagged if "{study_id}" in route.path else None)
    assert store.reviews_of(flagged) == []
    assert store.acknowledgements_of(flagged) == []


def test_a_refused_write_is_found_by_its_study(client: TestClient, store: Store, flagged: int) -> None:
    data = {"csrf_token": csrf_token(enter(client, store, Role.READER)), "run": "1", "opinion": "agree"}
    client.post(f"/studies/{flagged}/review", data=data)
    enter(client, store, Role.ADMINISTRATOR)
    assert "POST /studies/{study_id}/review" in client.get(f"/audit?study={flagged}").text


@pytest.mark.parametrize("typed", ["123456", "9999999999999", "x", "0x1"])
def test_what_is_no_study_stands_in_no_line_of_the_trail(
    client: TestClient, store: Store, flagged: int, typed: str
) -> None:
    data = {"csrf_token": csrf_token(enter(client, store, Role.READER)), "run": "1", "opinion": "agree"}
    assert client.post(f"/studies/{typed}/review", data=data).status_code in {403, 404, 422, 400}
    assert all(line.study_id is None and typed not in line.detail.split() for line in store.audit_lines())


@pytest.mark.parametrize("route", [route for route in FORMS if route.role is not None], ids=name)
@pytest.mark.parametrize("stale", ["", "0" * 64, csrf_token("of another session")])
def test_a_form_of_another_session_is_refused(
    client: TestClient, store: Store, flagged: int, route: Route, stale: str
) -> None:
    enter(client, store, Role.ADMINISTRATOR)
    data = {"csrf_token": stale, "run": "1", "opinion": "agree"}
    answer = client.request(route.method, path_of(route), data=data)
    assert answer.status_code == 403
    assert store.acknowledgements_of(flagged) == []
    assert client.get("/worklist.json").status_code == 200  # nor was the session ended


@pytest.mark.parametrize("route", FORMS, ids=name)
def test_a_form_from_another_site_is_refused(client: TestClient, store: Store, flagged: int, route: Route) -> None:
    token = enter(client, store, Role.ADMINISTRATOR)
    data = {"csrf_token": csrf_token(token), "run": "1", "opinion": "agree"}
    answer = client.request(route.method, path_of(route), data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert store.acknowledgements_of(flagged) == []


def test_a_worklist_that_asks_for_news_by_itself_keeps_nobody_signed_in(
    client: TestClient, store: Store, clock: Clock
) -> None:
    enter(client, store, Role.READER)
    for _ in range(3):
        clock.now += timedelta(minutes=10)
        assert client.get("/worklist.json").status_code == client.get("/?part=rows").status_code == 200
    clock.now += timedelta(minutes=1)
    assert client.get("/worklist.json").status_code == client.get("/").status_code == 401


def test_who_does_something_stays_signed_in(client: TestClient, store: Store, clock: Clock) -> None:
    enter(client, store, Role.READER)
    for _ in range(3):
        clock.now += timedelta(minutes=25)
        assert client.get("/").status_code == 200


# What is done


def test_the_first_acknowledgement_stands_and_a_second_changes_nothing(
    client: TestClient, store: Store, flagged: int
) -> None:
    for role in (Role.RADIOLOGIST, Role.ADMINISTRATOR):
        data = {"csrf_token": csrf_token(enter(client, store, role)), "run": "1"}
        assert client.post(f"/studies/{flagged}/acknowledge", data=data).status_code == 303
    (standing,) = store.acknowledgements_of(flagged)
    assert (standing.by, standing.at) == ("radiologist", NOW)


def test_what_a_page_did_not_show_cannot_be_judged(client: TestClient, store: Store, flagged: int) -> None:
    data = {"csrf_token": csrf_token(enter(client, store, Role.RADIOLOGIST)), "run": "2", "opinion": "agree"}
    for deed in ("acknowledge", "review"):
        answer = client.post(f"/studies/{flagged}/{deed}", data=data, headers=HTML)
        assert answer.status_code == 409
        assert "later run" in answer.text


def test_who_disagrees_says_why(client: TestClient, store: Store, flagged: int) -> None:
    data = {"csrf_token": csrf_token(enter(client, store, Role.RADIOLOGIST)), "run": "1", "opinion": "disagree"}
    assert client.post(f"/studies/{flagged}/review", data=data | {"text": "  "}).status_code == 400
    assert client.post(f"/studies/{flagged}/review", data=data | {"text": "a node"}).status_code == 303
    assert [review.text for review in store.reviews_of(flagged)] == ["a node"]
    assert len(store.acknowledgements_of(flagged)) == 1  # an opinion is an acknowledgement too


def test_looking_is_written_down(client: TestClient, store: Store, flagged: int) -> None:
    enter(client, store, Role.READER)
    assert client.get(f"/studies/{flagged}").status_code == 200
    line = store.audit_lines(study_id=flagged)[0]
    assert (line.account, line.action, line.detail) == ("reader", "case", "run 1")


def test_an_ultrasound_case_says_what_its_model_has_learned_from(client: TestClient, store: Store) -> None:
    run, now = us_claimed(store, 1)
    us_finish(store, run, 0.83, now)
    enter(client, store, Role.RADIOLOGIST)
    text = client.get(f"/studies/{run.study_id}").text
    assert "Malignant" in text
    assert "learned from lesions of a test: from no parotid tumor." in text
    assert "called malignant from 0.5" in text
    assert 'id="acknowledge"' in text
    assert 'id="viewer"' not in text  # no stack of slices
    assert "ultrasound lesion" in client.get("/").text
    assert client.get(f"/studies/{run.study_id}/stack.json").status_code == 404


def test_whoever_asks_for_the_pictures_alone_is_written_down_once(
    client: TestClient, store: Store, flagged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.web.show_images._noted", OrderedDict())
    enter(client, store, Role.READER)
    for path in ("slices/0.png", "slices/1.png", "key-image.png"):
        client.get(f"/studies/{flagged}/{path}")
    assert [line.action for line in store.audit_lines(study_id=flagged)] == ["images"]


@pytest.mark.parametrize("state", ["waiting", "set aside", "failed"])
def test_a_study_without_a_decision_has_a_page_that_says_so(client: TestClient, store: Store, state: str) -> None:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    if state != "waiting":
        run = store.claim_run(Queue.CT, "worker", START + QUIET, LEASE)
        assert run is not None
        store.end_run(run, Ending(state), code="why", reason="Too few slices.", now=START + QUIET)
    enter(client, store, Role.RADIOLOGIST)
    text = client.get("/studies/1").text
    assert ("Too few slices." if state != "waiting" else "Nothing has been decided yet.") in text
    assert "Acknowledge" not in text
    assert client.get("/studies/1/key-image.png").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies/99", 404),
        ("/studies/99999999999999999999", 404),
        ("/studies/x", 400),
        ("/studies/1/slices/0.png", 404),
        ("/studies/1/key-image.png", 404),
        ("/studies/1/planes/oblique.png", 400),
        ("/?after=nonsense", 400),
        ("/?show=nonsense", 400),
        ("/?find=99", 404),
        ("/nothing", 404),
        ("/static/../site.py", 404),
        ("/static/%2e%2e/site.py", 404),
    ],
)
def test_what_makes_no_sense_is_answered_with_a_sentence(
    client: TestClient, store: Store, flagged: int, path: str, status: int
) -> None:
    enter(client, store, Role.READER)
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status
    assert '<p role="alert">' in answer.text


def test_an_error_tells_neither_page_nor_log_its_words(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> str:
        raise KeyError("CANARY^DONOTLOG")

    monkeypatch.setattr(Store, "worklist_state", fail)
    enter(client, store, Role.READER)
    answer = client.get("/", headers=HTML)
    assert answer.status_code == 500
    assert "CANARY" not in answer.text
    assert "KeyError at " in caplog.text
    assert answer.headers["Content-Security-Policy"] == POLICY


# Signing in


def test_signing_in_gives_a_cookie_that_no_script_reads(client: TestClient) -> None:
    answer = client.post("/sign-in", data={"name": "reader", "password": PASSWORD, "next": "/studies/7"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/7")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-screener=")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(cookie.split("; "))
    assert client.get("/").status_code == 200


def test_what_the_database_keeps_opens_nothing(client: TestClient, store: Store) -> None:
    client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    with store.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT token_sha256 FROM sessions").scalar_one()
    assert kept != client.cookies[COOKIE]
    client.cookies.clear()
    client.cookies.set(COOKIE, kept, domain="screener.test")
    assert client.get("/worklist.json").status_code == 401


@pytest.mark.parametrize("given", [("reader", "wrong"), ("nobody", PASSWORD), ("", ""), ("reader", "x" * 5000)])
def test_a_wrong_name_and_a_wrong_password_are_answered_alike(client: TestClient, given: tuple[str, str]) -> None:
    answer = client.post("/sign-in", data={"name": given[0], "password": given[1]})
    assert answer.status_code == 401
    assert "That is not the name and the password of an account." in answer.text
    assert "set-cookie" not in answer.headers


def test_an_account_must_wait_after_too_many_failures(client: TestClient, clock: Clock) -> None:
    for _ in range(3):
        client.post("/sign-in", data={"name": "reader", "password": "wrong"})
    right = {"name": "reader", "password": PASSWORD}
    assert client.post("/sign-in", data=right).status_code == 429
    assert client.post("/sign-in", data=right | {"name": "radiologist"}).status_code == 303
    client.cookies.clear()
    clock.now += timedelta(minutes=16)
    assert client.post("/sign-in", data=right).status_code == 303


def test_an_address_must_wait_after_very_many_failures(client: TestClient) -> None:
    for number in range(15):
        client.post("/sign-in", data={"name": f"guess {number}", "password": "wrong"})
    assert client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 429


def test_what_was_typed_as_a_name_is_kept_nowhere(client: TestClient, store: Store) -> None:
    client.post("/sign-in", data={"name": "my-secret-password", "password": "x"})
    with store.engine.connect() as connection:
        dump = "\n".join(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    assert "my-secret-password" not in dump
    assert PASSWORD not in dump


def test_a_session_ends_when_idle_and_at_its_end(client: TestClient, clock: Clock) -> None:
    client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    for _ in range(20):
        clock.now += timedelta(minutes=29)
        assert client.get("/system").status_code == 200
    clock.now += timedelta(minutes=31)
    assert client.get("/system").status_code == 401
    client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    for _ in range(21):
        clock.now += timedelta(minutes=29)
        status = client.get("/system").status_code
    assert status == 401  # after ten hours, however busy


def test_a_disabled_account_is_out_at_once(client: TestClient, store: Store) -> None:
    client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    store.disable_account("reader")
    assert client.get("/worklist.json").status_code == 401
    assert client.post("/sign-in", data={"name": "reader", "password": PASSWORD}).status_code == 401


def test_signing_out_ends_the_session_itself(client: TestClient) -> None:
    client.post("/sign-in", data={"name": "reader", "password": PASSWORD})
    token = client.cookies[COOKIE]
    client.post("/sign-out", data={"csrf_token": csrf_token(token)})
    client.cookies.set(COOKIE, token, domain="screener.test")
    assert client.get("/worklist.json").status_code == 401


@pytest.mark.parametrize("next_path", ["https://evil.test/", "//evil.test", "/\\evil.test", "/a\nb", "evil", ""])
def test_nobody_is_sent_to_another_site(next_path: str) -> None:
    assert own_path(next_path) == "/"


def test_a_page_asks_for_a_sign_in_and_comes_back(client: TestClient) -> None:
    answer = client.get("/studies/7?a=b", headers=HTML)
    assert answer.headers["location"] == "/sign-in?next=%2Fstudies%2F7%3Fa%3Db"


# Answers


@pytest.mark.parametrize("path", ["/sign-in", "/", "/static/screener.css", "/nothing"])
def test_every_answer_carries_the_policy(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Strict-Transport-Security"].startswith("max-age=")


def test_a_page_is_kept_in_no_cache(client: TestClient, store: Store, flagged: int) -> None:
    enter(client, store, Role.READER)
    assert client.get(f"/studies/{flagged}").headers["Cache-Control"] == "no-store"


def test_a_large_form_is_refused_before_it_is_read(client: TestClient) -> None:
    assert client.post("/sign-in", data={"name": "x" * MAX_BODY_BYTES}).status_code == 413
    assert client.post("/sign-in", content=iter([b"name=x"])).status_code == 411


def test_no_page_holds_a_script_or_a_style_of_its_own() -> None:
    templates = Path(__file__).resolve().parents[2] / "screener" / "web" / "templates"
    for path in templates.glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|\|\s*safe", text), path.name
