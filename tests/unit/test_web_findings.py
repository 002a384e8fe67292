"""A reader's findings on the case page: who may enter them, what is kept, and what the page says of them."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from screener.finding_words import FINDING_WORDS
from screener.journey import Ending, Queue
from screener.store import Store
from screener.store.values import UltrasoundOutcome
from screener.store.web_accounts import Role
from screener.us_study import Finding
from screener.web.csrf import csrf_token
from screener.web.enter_findings import HAS_FAILED, LABELS, WILL_DECIDE
from tests.unit import test_web_gate as gate
from tests.unit.test_store import LEASE, MAX_WAIT, QUIET, THRESHOLDS
from tests.unit.test_store_ultrasound import a_frame, a_lesion, claimed, dispatch_study, finish
from tests.unit.test_web_gate import HTML, NOW

clock, empty, store, client, flagged = gate.clock, gate.empty, gate.store, gate.client, gate.flagged
IRREGULAR = {"shape": "irregular", "margin": "unknown"}


@pytest.fixture
def lesion(store: Store) -> int:
    """A study with an ultrasound lesion called malignant."""
    run, now = claimed(store, 1)
    finish(store, run, 0.83, now)
    return run.study_id


def post(client: TestClient, token: str, study_id: int, **fields: str) -> int:
    data = {"csrf_token": csrf_token(token), "run": "1"} | fields
    return int(client.post(f"/studies/{study_id}/findings", data=data, headers=HTML).status_code)


def test_what_is_chosen_is_kept_with_the_name_of_the_account(client: TestClient, store: Store, lesion: int) -> None:
    assert post(client, gate.enter(client, store, Role.RADIOLOGIST), lesion, **IRREGULAR) == 303
    (entry,) = store.entries_of(lesion)
    assert (entry.entered_by, entry.at) == ("radiologist", NOW)
    assert entry.findings == {Finding.IRREGULAR_SHAPE: True, Finding.POORLY_DEFINED_MARGIN: None}
    line = store.audit_lines(study_id=lesion)[0]
    assert (line.account, line.action) == ("radiologist", "findings")
    assert line.detail == "run 1: irregular shape yes, poorly defined margin not known"


def test_what_is_chosen_holds_of_the_lesion_that_the_page_shows(client: TestClient, store: Store, lesion: int) -> None:
    run, now = claimed(store, 2)
    store.record_frames(run, [a_frame(2)])
    other = replace(a_lesion(0.2), sop_instance_uid=a_frame(2).sop_instance_uid)
    outcome = UltrasoundOutcome(lesion=other, is_flagged=False, results=(), model_identity="2.25.99")
    store.finish_ultrasound_run(run, outcome, destinations=[], recipients=[], seconds=1.0, now=now)
    assert post(client, gate.enter(client, store, Role.RADIOLOGIST), lesion, **IRREGULAR) == 303
    (entry,) = store.entries_of(lesion)
    assert (entry.sop_instance_uid, entry.frame_number) == (a_frame(1).sop_instance_uid, 7)


def test_a_reader_may_look_at_findings_and_enter_none(client: TestClient, store: Store, lesion: int) -> None:
    store.enter_findings(lesion, {Finding.IRREGULAR_SHAPE: False}, entered_by="dr.gray", now=NOW)
    assert post(client, gate.enter(client, store, Role.READER), lesion, **IRREGULAR) == 403
    assert len(store.entries_of(lesion)) == 1
    text = client.get(f"/studies/{lesion}").text
    assert "dr.gray" in text
    assert f'action="/studies/{lesion}/findings"' not in text


def test_a_stale_form_enters_nothing(client: TestClient, store: Store, lesion: int) -> None:
    assert post(client, gate.enter(client, store, Role.RADIOLOGIST), lesion, csrf_token="0" * 64, **IRREGULAR) == 403
    assert store.entries_of(lesion) == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"shape": ""}, 400),
        ({"shape": "round"}, 400),
        ({"shape": "x" * 17}, 400),
        ({"shape": "irregular", "run": "2"}, 409),
        ({"shape": "irregular", "run": "one"}, 400),
    ],
)
def test_what_the_form_does_not_offer_is_refused(
    client: TestClient, store: Store, lesion: int, fields: dict[str, str], status: int
) -> None:
    assert post(client, gate.enter(client, store, Role.RADIOLOGIST), lesion, **fields) == status
    assert store.entries_of(lesion) == []


def test_a_ct_study_takes_no_findings(client: TestClient, store: Store, flagged: int) -> None:
    assert post(client, gate.enter(client, store, Role.RADIOLOGIST), flagged, **IRREGULAR) == 409
    assert store.entries_of(flagged) == []
    assert 'id="findings"' not in client.get(f"/studies/{flagged}").text


def test_the_page_says_that_a_new_run_follows_and_what_stands(client: TestClient, store: Store, lesion: int) -> None:
    token = gate.enter(client, store, Role.RADIOLOGIST)
    before = client.get(f"/studies/{lesion}").text
    assert "Nobody has entered findings." in before
    assert before.count("now: not known") == len(FINDING_WORDS)
    assert WILL_DECIDE not in before
    assert post(client, token, lesion, **IRREGULAR) == 303
    after = client.get(f"/studies/{lesion}").text
    assert WILL_DECIDE in after
    assert "<strong>radiologist</strong> entered: irregular shape yes, poorly defined margin not known" in after
    assert "now: irregular, entered" in after
    assert "now: nobody can tell, entered" in after


@pytest.mark.parametrize(("ending", "said"), [(Ending.FAILED, HAS_FAILED), (None, "")])
def test_once_the_new_run_has_ended_the_page_says_how(
    client: TestClient, store: Store, lesion: int, ending: Ending | None, said: str
) -> None:
    assert post(client, gate.enter(client, store, Role.RADIOLOGIST), lesion, **IRREGULAR) == 303
    later = NOW + QUIET
    for study in store.quiet_studies(later, quiet=QUIET, max_wait=MAX_WAIT):
        dispatch_study(store, study, THRESHOLDS, later)
    run = store.claim_run(Queue.US, "worker", later, LEASE)
    assert run is not None
    assert WILL_DECIDE in client.get(f"/studies/{lesion}").text
    if ending is None:
        store.end_run_as(run, 1, later)
    else:
        store.end_run(run, ending, code="bug", reason="It broke.", now=later)
    text = client.get(f"/studies/{lesion}").text
    assert WILL_DECIDE not in text
    assert (HAS_FAILED in text) == (said == HAS_FAILED)


def test_every_finding_that_can_be_told_has_its_place_in_the_form() -> None:
    assert list(LABELS) == list(FINDING_WORDS)
    assert {finding for finding, _ in FINDING_WORDS.values()} == set(Finding)
