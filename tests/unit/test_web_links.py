"""The page behind the link in a mail: whose finding it acknowledges, and whose never."""

from datetime import datetime, timedelta
from pathlib import Path

from starlette.testclient import TestClient

from screener.config import make_config
from screener.link_notices import make_linker
from screener.link_secret import load_link_secret
from screener.store import Store
from screener.store import tables as t
from screener.study import Side
from tests.unit import test_web_gate as gate
from tests.unit.test_store import START
from tests.unit.test_taken_back import LATER, Mail, find_anew, tell
from tests.unit.test_web_gate import NOW

clock, empty, store, client, flagged = gate.clock, gate.empty, gate.store, gate.client, gate.flagged


def token_of(store: Store, folder: Path) -> str:
    """The token that a mail about the first notice carries."""
    (notice,) = store.owed_notices(START + timedelta(days=1))
    secret = load_link_secret(make_config({}, base=folder, environment={}).storage_folder)
    return make_linker("https://screener.test", secret, days=1000)(notice).partition("token=")[2]


def give_numbers_out_again(store: Store, now: datetime) -> None:
    """As where the newest study was forgotten, and the next one got its numbers: SQLite gave them out again."""
    with store.engine.begin() as connection:
        connection.execute(t.notices.update().values(owed_since=now))


def test_the_link_of_a_notice_acknowledges_its_finding(
    client: TestClient, store: Store, tmp_path: Path, flagged: int
) -> None:
    token = token_of(store, tmp_path)
    assert client.get(f"/acknowledge?token={token}").status_code == 200
    assert store.acknowledgements_of(flagged) == []
    assert client.post("/acknowledge", data={"token": token}).status_code == 200
    (standing,) = store.acknowledgements_of(flagged)
    assert (standing.by, standing.at) == ("ent@hospital.test", NOW)


def test_a_link_acknowledges_what_its_mail_told_and_nothing_larger_that_was_found_since(
    client: TestClient, store: Store, tmp_path: Path, flagged: int
) -> None:
    """The first mail came and its answer was lost: the same notice tells of both runs."""
    small = token_of(store, tmp_path)
    find_anew(store, Side.RIGHT, now=LATER, voxels=9000)
    large = token_of(store, tmp_path)
    for token, runs in ((small, [1]), (large, [1, 2])):
        assert "was acknowledged" not in client.get(f"/acknowledge?token={token}").text
        assert "was acknowledged" in client.post("/acknowledge", data={"token": token}).text
        assert [standing.run_number for standing in store.acknowledgements_of(flagged)] == runs
    trail = [line.detail for line in store.audit_lines(study_id=flagged)]
    assert sorted(trail) == [f"run {number}, by the link in a notice" for number in (1, 2)]


def test_a_link_works_although_its_finding_was_taken_back_and_found_again_while_the_mail_was_on_its_way(
    client: TestClient, store: Store, tmp_path: Path, flagged: int
) -> None:
    token = token_of(store, tmp_path)

    def lose_and_find() -> None:
        for hours, sides in enumerate(([], [Side.RIGHT])):
            find_anew(store, *sides, now=LATER + timedelta(hours=hours))

    tell(store, Mail(lose_and_find), LATER)
    assert client.post("/acknowledge", data={"token": token}).status_code == 200
    assert [standing.run_number for standing in store.acknowledgements_of(flagged)] == [1, 3]


def test_a_link_of_what_was_taken_back_leads_to_the_mail_that_tells_it_again(
    client: TestClient, store: Store, tmp_path: Path, flagged: int
) -> None:
    before = token_of(store, tmp_path)
    for hours, sides in enumerate(([], [Side.RIGHT])):
        find_anew(store, *sides, now=LATER + timedelta(hours=hours))
    refused = client.post("/acknowledge", data={"token": before})
    assert (refused.status_code, "newest message" in refused.text) == (404, True)
    assert store.acknowledgements_of(flagged) == []
    assert client.post("/acknowledge", data={"token": token_of(store, tmp_path)}).status_code == 200


def test_a_link_never_acknowledges_what_got_its_numbers_afterwards(
    client: TestClient, store: Store, tmp_path: Path, flagged: int
) -> None:
    token = token_of(store, tmp_path)
    give_numbers_out_again(store, NOW - timedelta(hours=1))
    assert client.get(f"/acknowledge?token={token}").status_code == 404
    assert client.post("/acknowledge", data={"token": token}).status_code == 404
    assert store.acknowledgements_of(flagged) == []
