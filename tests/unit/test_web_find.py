"""The search by patient: who is found by what, who may ask, and that neither address nor trail says for whom."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from screener.config import make_config
from screener.phantom import make_phantom
from screener.store import Store
from screener.store.values import Kind
from screener.store.web_accounts import Role
from screener.web import know_patients
from screener.web.csrf import csrf_token
from screener.web.find_studies import MOST_FOUND
from screener.web.gate import COOKIE, digest_token
from screener.web.know_patients import know_new_patients
from screener.web.read_patient import Patient, PatientReader, _fold
from screener.web.site import make_site
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance

NOW = datetime(2026, 5, 6, tzinfo=UTC)
TOKEN = "secret of a reader"
HTML = {"Accept": "text/html"}
PATIENTS = {
    1: ("CANARY^DONOTLOG", "CANARY-ID-1"),
    2: ("MÜLLER^CANARY^DONOTLOG", "CANARY-ID-2"),
    3: ("CANARY^DONOTLOG", "CANARY-ID-1"),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "var").mkdir()
    opened = open_new_store(f"sqlite:///{tmp_path}/var/screener.sqlite")
    opened.add_account("rita", Role.READER, "", NOW)
    account = opened.find_account("rita")
    assert account is not None
    opened.begin_session(account.account_id, digest_token(TOKEN), NOW, NOW + timedelta(hours=1))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    """Three studies of two patients are here, and their headers have been read."""
    folder = tmp_path / "var"
    for number, (name, patient_id) in PATIENTS.items():
        phantom = make_phantom(rows=16, spacing_mm=(16.0, 16.0, 60.0), patient_name=name, patient_id=patient_id)
        ds = phantom.datasets[0]
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.AccessionNumber = f"CANARY-ACC-{number}"
        ds.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        receive(store, number, f"{number}.dcm")
    know_new_patients(store, store, PatientReader(folder))
    config = make_config({}, base=tmp_path, environment={})
    client = TestClient(make_site(config, store, lambda: NOW), base_url="https://screener.test", follow_redirects=False)
    client.cookies.set(COOKIE, TOKEN, domain="screener.test")
    return client


def receive(store: Store, number: int, path: str) -> None:
    uid = f"1.2.{number}"
    store.record_instance(an_instance(number, study_instance_uid=uid, sop_instance_uid=f"{uid}.1", path=path), NOW)


def search(client: TestClient, text: str) -> list[int]:
    """The numbers of the studies found, the newest first."""
    answer = client.post("/find", data={"csrf_token": csrf_token(TOKEN), "find": text}, headers=HTML)
    assert text.strip() not in str(answer.url)
    if answer.status_code == 303:
        return [int(answer.headers["location"].removeprefix("/studies/"))]
    assert answer.status_code == 200
    rows = answer.text.split('<tr data-study="')[1:]
    return [int(row.partition('"')[0]) for row in rows]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2", [2]),  # our number
        ("1.2.3", [3]),
        ("CANARY-ID-1", [3, 1]),
        (" canary-id-2 ", [2]),
        ("CANARY-ACC-3", [3]),
        ("Müller", [2]),
        ("MUELLER, Canary", [2]),
        ("donotlog canary", [3, 2, 1]),
        ("Müller Gray", []),  # every word must be part of the name
        ("CANARY-ID", []),  # a part of an ID is none
        ("CANARY-ID-3", []),
        ("^^", []),
        ("\0", []),
        ("%", []),
    ],
)
def test_a_study_is_found_by_what_people_have_of_it(client: TestClient, text: str, found: list[int]) -> None:
    assert search(client, text) == found


def test_nothing_asked_for_is_the_worklist(client: TestClient) -> None:
    answer = client.post("/find", data={"csrf_token": csrf_token(TOKEN), "find": "  "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_only_who_has_signed_in_may_ask_and_only_from_our_form(client: TestClient) -> None:
    assert client.post("/find", data={"find": "CANARY-ID-1"}, headers=HTML).status_code == 403
    assert client.get("/find?find=1").status_code == 405
    client.cookies.clear()
    assert client.post("/find", data={"csrf_token": csrf_token(TOKEN), "find": "CANARY-ID-1"}).status_code == 401


def test_neither_database_nor_trail_tells_whom_was_asked_for(
    client: TestClient, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert search(client, "CANARY-ID-1") == [3, 1]
    (line,) = [line for line in store.audit_lines() if line.action == "search"]
    assert (line.account, line.detail, line.study_id) == ("rita", "2 found", None)
    assert "CANARY" not in caplog.text.upper()
    content = b"".join(path.read_bytes() for path in (tmp_path / "var").glob("screener.sqlite*"))
    assert b"CANARY" not in content.upper()
    assert b"MULLER" not in content.upper()


def test_very_many_are_cut_and_it_is_said(client: TestClient, store: Store) -> None:
    for number in range(10, 10 + MOST_FOUND):
        receive(store, number, "1.dcm")
    while know_new_patients(store, store, PatientReader(client.app.state.site.config.storage_folder)):
        pass
    answer = client.post("/find", data={"csrf_token": csrf_token(TOKEN), "find": "CANARY-ID-1"}, headers=HTML)
    assert answer.text.count("<tr data-study=") == MOST_FOUND
    assert "the newest of more" in answer.text


def test_a_study_that_was_known_before_it_could_be_searched_is_read_once_more(client: TestClient, store: Store) -> None:
    from screener.store.patient_words import patient_words

    with store.engine.begin() as connection:
        connection.execute(patient_words.delete())
    assert search(client, "CANARY-ID-1") == []
    reader = PatientReader(client.app.state.site.config.storage_folder)
    assert know_new_patients(store, store, reader) == 3
    assert know_new_patients(store, store, reader) == 0
    assert search(client, "CANARY-ID-1") == [3, 1]


def test_what_has_no_header_to_read_is_asked_for_once(client: TestClient, store: Store) -> None:
    receive(store, 9, "gone.dcm")
    reader = PatientReader(client.app.state.site.config.storage_folder)
    assert [know_new_patients(store, store, reader) for _ in range(2)] == [1, 0]


def test_many_studies_without_an_image_keep_no_older_one_from_being_found(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(know_patients, "TRIED", 3)
    receive(store, 8, "1.dcm")
    for number in range(100, 103):
        uid = f"1.2.{number}"
        document = an_instance(number, study_instance_uid=uid, sop_instance_uid=f"{uid}.1", kind=Kind.DOCUMENT)
        store.record_instance(document, NOW)
    reader = PatientReader(client.app.state.site.config.storage_folder)
    assert know_new_patients(store, store, reader) == 1


def test_words_are_the_same_however_they_are_written() -> None:
    assert _fold("Müller-Gray^Änne") == _fold("MUELLER gray, aenne") == ["muller", "gray", "anne"]
    assert _fold("山田^太郎") == ["山田", "太郎"]
    assert _fold(" ^=,-_") == []


def test_another_installation_has_other_digests(tmp_path: Path) -> None:
    patient = Patient(name="Gray, Anne", patient_id="4711", accession_number="0815", study_date=date(2026, 1, 1))
    mine, theirs = PatientReader(tmp_path / "a"), PatientReader(tmp_path / "b")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    assert len(mine.words(patient)) == 4
    assert not mine.words(patient) & theirs.words(patient)
    assert mine.search("4711").whole <= mine.words(patient)
    assert mine.search("anne gray").names <= mine.words(patient)
    assert mine.words(Patient()) == frozenset()
