"""The pages on which an administrator tries and changes a threshold, and everybody sees the quality."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from screener.config import load_config
from screener.store import Store
from screener.store.reviews import Opinion
from screener.store.web_accounts import Role
from screener.watch_config import SettingsInForce
from screener.web.csrf import csrf_token
from screener.web.gate import COOKIE, digest_token
from screener.web.site import make_site
from tests.unit.test_replay_all import mass, open_fast, review, screen_all

FILE = "# ours\n[storage]\nfolder = '.'\n[decision]\nmin_voxels = 500 # 10 mm\n"
HTML = {"Accept": "text/html"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_fast(tmp_path)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.fixture
def client(store: Store, path: Path) -> TestClient:
    site = make_site(load_config(path, {}), store, lambda: datetime.now(UTC))
    return TestClient(site, base_url="https://screener.test", follow_redirects=False, headers=HTML)


def enter(client: TestClient, store: Store, role: Role = Role.ADMINISTRATOR) -> None:
    now = datetime.now(UTC)
    store.add_account(role.value, role, "", now)
    account = store.find_account(role.value)
    assert account is not None
    store.begin_session(account.account_id, digest_token(role), now, now + timedelta(hours=1))
    client.cookies.set(COOKIE, role, domain="screener.test")


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page.partition('id="trial"')[2])
    assert found is not None, name
    return html.unescape(found[1])


def post(client: TestClient, **data: str) -> int:
    return client.post("/thresholds", data={"csrf_token": csrf_token(Role.ADMINISTRATOR)} | data).status_code


def test_a_threshold_is_tried_then_changed_then_in_force(client: TestClient, store: Store, path: Path) -> None:
    daemon = SettingsInForce(load_config(path, {}), path, store, {})
    daemon.begin(datetime.now(UTC))
    (right, missed) = screen_all(store, [mass(900), mass(350)])
    review(store, right, Opinion.AGREE)
    review(store, missed, Opinion.DISAGREE)
    enter(client, store)
    page = client.get("/thresholds?min_voxels=300").text
    assert "With 300 instead of 500 voxels, the last 90 days would have sent 2 notices instead of 1" in page
    assert path.read_text(encoding="utf-8") == FILE
    data = {name: hidden(page, name) for name in ("csrf_token", "file_sha256", "changes")}
    assert client.post("/thresholds", data=data).status_code == 303
    assert path.read_text(encoding="utf-8") == FILE.replace("500", "300")
    assert (store.audit_lines()[0].action, store.audit_lines()[0].account) == ("threshold", "administrator")
    assert "min_voxels 500 -&gt; 300" in client.get("/audit").text
    waiting = client.get("/thresholds").text
    assert "which the daemon takes over within seconds" in waiting
    assert '<span class="problem">In force: 500, since ' in waiting
    for _ in range(2):
        daemon.watch(datetime.now(UTC))
    assert daemon.thresholds().min_voxels == 300
    taken = client.get("/thresholds").text
    assert "In force: 500" not in taken
    assert "In force: 300, since " in taken
    assert f"Revision <strong>{daemon.thresholds().config_revision}</strong> is in force" in taken
    assert "decision.min_voxels: 500 → 300" in taken


@pytest.mark.parametrize("role", [Role.READER, Role.RADIOLOGIST])
def test_only_an_administrator_sees_and_changes_thresholds(
    client: TestClient, store: Store, path: Path, role: Role
) -> None:
    enter(client, store, role)
    assert client.get("/thresholds").status_code == 403
    data = {"csrf_token": csrf_token(role), "file_sha256": "", "changes": '{"min_voxels": 300}'}
    assert client.post("/thresholds", data=data).status_code == 403
    assert path.read_text(encoding="utf-8") == FILE
    assert 'href="/thresholds"' not in client.get("/quality").text


def test_a_value_that_is_not_allowed_is_refused_with_its_range(client: TestClient, store: Store) -> None:
    enter(client, store)
    page = client.get("/thresholds?min_voxels=3").text
    assert "decision.min_voxels: 3 is not allowed, only a whole number, at least 30" in page
    assert 'id="trial"' not in page


def test_an_emptied_field_is_named_and_not_passed_over(client: TestClient, store: Store) -> None:
    enter(client, store)
    page = html.unescape(client.get("/thresholds", params={"min_voxels": " ", "gamma": "7"}).text)
    assert "decision.min_voxels: '' is not allowed" in page
    assert 'id="trial"' not in page


@pytest.mark.parametrize("days", ["0", "-1", "nan", "x", "", "4000", "<b>"])
def test_wrong_days_are_named_with_their_range_and_nothing_typed_is_lost(
    client: TestClient, store: Store, days: str
) -> None:
    enter(client, store)
    answer = client.get("/thresholds", params={"min_voxels": "300", "us_findings": "decide", "days": days})
    assert answer.status_code == 400
    page = html.unescape(answer.text)
    assert f"Days to try it on: {days or 'nothing'} is not allowed, only a number, more than 0 and at most 3660" in page
    assert '<input name="min_voxels" value="300"' in page
    assert "<option selected>decide" in page
    assert f'name="days" value="{days}"' in page
    assert 'id="trial"' not in page
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ('{"min_voxels": 3}', 409),
        ('{"min_voxels": [3]}', 400),
        ('{"min_probability": 0.4}', 400),
        ('{"folder": "x"}', 400),
        ("{}", 400),
        ("[" * 900, 400),
        ("min_voxels=300", 400),
    ],
)
def test_a_forged_form_changes_nothing(client: TestClient, store: Store, path: Path, changes: str, status: int) -> None:
    enter(client, store)
    sha256 = hidden(client.get("/thresholds?min_voxels=300").text, "file_sha256")
    assert post(client, file_sha256=sha256, changes=changes) == status
    assert path.read_text(encoding="utf-8") == FILE
    assert all(line.action != "threshold" for line in store.audit_lines())


def test_a_file_that_was_changed_meanwhile_is_left_alone(client: TestClient, store: Store, path: Path) -> None:
    enter(client, store)
    sha256 = hidden(client.get("/thresholds?min_voxels=300").text, "file_sha256")
    path.write_text(FILE + "gamma = 3\n", encoding="utf-8")
    assert post(client, file_sha256=sha256, changes='{"min_voxels": 300}') == 409
    assert path.read_text(encoding="utf-8") == FILE + "gamma = 3\n"


def test_a_wrong_file_is_said_and_not_written_over(client: TestClient, store: Store, path: Path) -> None:
    enter(client, store)
    path.write_text("[decision]\nmin_voxels = 3\n", encoding="utf-8")
    page = client.get("/thresholds").text
    assert "config.toml is wrong" in page
    assert "(line 2)" in page
    assert post(client, file_sha256="0", changes='{"min_voxels": 300}') == 409
    assert path.read_text(encoding="utf-8") == "[decision]\nmin_voxels = 3\n"


def test_beside_a_wrong_file_what_is_in_force_is_tried_against(client: TestClient, store: Store, path: Path) -> None:
    """The pages were started with 500; the daemon has taken over 800 since, and then refused the file."""
    daemon = SettingsInForce(load_config(path, {}), path, store, {})
    daemon.begin(datetime.now(UTC))
    for text in (FILE.replace("500", "800"), FILE.replace("500", "3")):
        path.write_text(text, encoding="utf-8")
        for _ in range(2):
            daemon.watch(datetime.now(UTC))
    enter(client, store)
    page = client.get("/thresholds?min_voxels=300").text
    assert f'<th scope="col">in force, revision {daemon.thresholds().config_revision}</th>' in page
    assert "With 300 instead of 800 voxels" in page
    assert "all else as it is in force" in page
    assert "the last good settings stay in force, and a trial is held against them" in page
    assert "In force: 800, since " in page, "beside the field, which holds what is tried"
    assert "Nothing can be written while config.toml is wrong." in page
    assert "as config.toml" not in page


def test_beside_a_wrong_file_without_a_daemon_the_pages_say_whose_settings_they_try(
    client: TestClient, store: Store, path: Path
) -> None:
    enter(client, store)
    path.write_text(FILE.replace("500", "3"), encoding="utf-8")
    page = client.get("/thresholds?min_voxels=300").text
    assert '<th scope="col">as these pages were started with</th>' in page
    assert "the last good settings stay in force" not in page
    assert "as config.toml" not in page


@pytest.mark.parametrize("query", ["days=0", "days=-1", "days=nan", "days=x", "min_voxels=%00", "gamma=%3Cscript%3E"])
def test_nonsense_is_no_error_of_ours(client: TestClient, store: Store, query: str) -> None:
    enter(client, store)
    answer = client.get(f"/thresholds?{query}")
    assert answer.status_code < 500
    assert "<script>" not in answer.text


def test_everybody_who_has_signed_in_sees_the_quality(client: TestClient, store: Store) -> None:
    (right,) = screen_all(store, [mass(900)])
    review(store, right, Opinion.AGREE)
    enter(client, store, Role.READER)
    page = client.get("/quality").text
    assert "1.00 (0.21 to 1.00)" in page
    assert "unnamed scanner" in page
    assert client.get("/quality?days=1").status_code == 200
    assert client.get("/quality?days=inf").status_code == 400


def test_the_system_page_tells_the_revision_that_the_daemon_decides_by(
    client: TestClient, store: Store, path: Path
) -> None:
    daemon = SettingsInForce(load_config(path, {}), path, store, {})
    daemon.begin(datetime.now(UTC))
    path.write_text(FILE.replace("500", "300"), encoding="utf-8")
    for _ in range(2):
        daemon.watch(datetime.now(UTC))
    enter(client, store, Role.READER)
    assert f"revision {daemon.thresholds().config_revision} in force since" in client.get("/system").text
    path.write_text("[decision", encoding="utf-8")
    for _ in range(2):
        daemon.watch(datetime.now(UTC))
    assert "is WRONG and changes nothing" in client.get("/system").text


def test_the_quality_page_draws_control_charts_without_script_or_style(client: TestClient, store: Store) -> None:
    screen_all(store, [mass(900), mass(100)])
    enter(client, store, Role.READER)
    page = client.get("/quality").text
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) >= 2
    assert all('role="img"' in chart and "<desc id=" in chart for chart in charts)
    assert not re.search(r"<script|style=|\son\w+=", "".join(charts))
    names = re.findall(r'<title id="([^"]+)"', "".join(charts))
    assert len(names) == len(set(names)) == len(charts)
    assert "unnamed scanner: flagged, by week" in page
