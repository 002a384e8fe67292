"""Pictures stand under the decision that they belong to, and no other person finds them in the browser afterwards."""

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from screener.store import Store
from screener.store.values import RunReport
from screener.store.web_accounts import Role
from screener.web import show_images
from screener.web.csrf import csrf_token
from screener.web.gate import digest_token
from screener.web.show_images import _identify
from tests.unit import test_web_gate as gate
from tests.unit.test_web_gate import HTML, NOW

clock, empty, store, client, flagged = gate.clock, gate.empty, gate.store, gate.client, gate.flagged
PICTURES = (
    "key-image.png",
    "stack.json",
    "slices/0.png",
    "outlines/0.png",
    "planes/coronal.png",
    "planes/sagittal.png",
    "glands/right.png",
)


@pytest.fixture
def key_image(store: Store, tmp_path: Path, flagged: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a picture that is there."""
    path = tmp_path / "key_image.png"
    path.write_bytes(b"a picture")
    monkeypatch.setattr(Store, "result_file", lambda *_: path)
    return f"/studies/{flagged}/key-image.png"


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_of_a_run_that_is_not_in_force_is_refused(
    client: TestClient, store: Store, flagged: int, picture: str
) -> None:
    gate.enter(client, store, Role.READER)
    answer = client.get(f"/studies/{flagged}/{picture}?run=2")
    assert answer.status_code == 409
    assert "later run" in answer.json()["sentence"]
    assert client.get(f"/studies/{flagged}/{picture}?run=1").status_code != 409


def test_the_page_names_its_run_in_every_address(
    client: TestClient, store: Store, flagged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.web.show_case._has_key_image", lambda _: True)
    gate.enter(client, store, Role.READER)
    page = client.get(f"/studies/{flagged}").text
    assert page.count("key-image.png?run=1") == page.count("key-image.png") == 2
    script = client.get("/static/case.js").text
    assert script.count("${run}") == script.count(".png?") + script.count("stack.json?") == 3
    template = (Path(show_images.__file__).parent / "templates" / "case.html").read_text()
    assert template.count(".png?run={{ run.number }}") == template.count(".png") == 5
    assert 'data-run="{{ run.number }}"' in template


def test_a_browser_keeps_only_what_names_its_run_and_for_this_session(
    client: TestClient, store: Store, key_image: str
) -> None:
    gate.enter(client, store, Role.READER)
    kept = client.get(f"{key_image}?run=1").headers
    assert (kept["cache-control"], kept["vary"]) == ("private, max-age=600", "Cookie")
    assert client.get(key_image).headers["cache-control"] == "no-store"


def test_signing_out_empties_the_browsers_cache(client: TestClient, store: Store) -> None:
    token = gate.enter(client, store, Role.READER)
    answer = client.post("/sign-out", data={"csrf_token": csrf_token(token)}, headers=HTML)
    assert answer.headers["clear-site-data"] == '"cache"'


def test_the_trail_tells_the_pictures_of_a_session_whose_number_was_given_out_before(
    client: TestClient, store: Store, flagged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_images, "_noted", OrderedDict())
    numbers = []
    for role in (Role.READER, Role.RADIOLOGIST):
        token = gate.enter(client, store, role)
        client.get(f"/studies/{flagged}/key-image.png")
        session = store.find_session(digest_token(token), NOW, gate.timedelta(hours=1))
        assert session is not None
        numbers.append(session.session_id)
        store.end_session(session.session_id)
    assert numbers[0] == numbers[1]
    told = [line.account for line in store.audit_lines(study_id=flagged) if line.action == "images"]
    assert told == ["radiologist", "reader"]


def test_planes_are_kept_by_what_was_screened_and_not_by_a_number_that_is_given_out_again() -> None:
    def run_of(series_instance_uid: str, seg: str) -> RunReport:
        series = SimpleNamespace(series_instance_uid=series_instance_uid, is_chosen=True)
        run: Any = SimpleNamespace(number=1, series=(series,), results=(SimpleNamespace(sop_instance_uid=seg),))
        return cast("RunReport", run)

    first = _identify(7, run_of("1.2.1", "2.25.1"))
    assert first == _identify(7, run_of("1.2.1", "2.25.1"))
    assert first != _identify(7, run_of("1.2.2", "2.25.1"))
    assert first != _identify(7, run_of("1.2.1", "2.25.2"))
