"""The pages say what the radiology report says of a finding, and what it does not mention stands first."""

import re
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from screener.read_reports import add_report
from screener.store import Store
from screener.store.web_accounts import Role
from screener.store.web_worklist import Wish
from screener.study import Side
from screener.weigh_reports import Standing
from tests.peers.values import a_candidate
from tests.unit import test_web_gate as gate
from tests.unit.test_store import START
from tests.unit.test_web_answers import screen

clock, empty, store, client = gate.clock, gate.empty, gate.store, gate.client
LEFT, RIGHT = a_candidate(1, 900, Side.LEFT), a_candidate(1, 900, Side.RIGHT)
SILENT, DENIED = b"The lungs are clear.", b"The parotid glands are unremarkable."
ON_THE_LEFT, NO_SIDE = b"There is a mass of 2 cm in the left parotid.", b"There is a parotid mass of 2 cm."


@pytest.fixture
def reader(client: TestClient, store: Store) -> TestClient:
    gate.enter(client, store, Role.READER)
    return client


def report(store: Store, study: int, text: bytes) -> None:
    add_report(store, study, text, START + timedelta(days=1))


def acknowledge(store: Store, study: int) -> None:
    decided = store.decided_number(study)
    assert decided is not None
    assert store.acknowledge(decided.run_id, by="rita", how="web", now=START) is not None


def listed(store: Store, wish: Wish | None = None, limit: int = 50) -> list[int]:
    """The numbers of the worklist, page after page."""
    found, after, is_last = [], None, False
    while not is_last:
        page = store.worklist_page(wish or Wish(), after, limit)
        found += [line.study_id for line in page.lines]
        after, is_last = page.after, page.after is None
    return found


@pytest.mark.parametrize(("text", "mass", "standing", "is_first"), [
    (SILENT, LEFT, Standing.NOT_MENTIONED, True),
    (DENIED, LEFT, Standing.NOT_MENTIONED, True),
    (ON_THE_LEFT, RIGHT, Standing.NOT_MENTIONED, True),
    (ON_THE_LEFT, LEFT, Standing.MENTIONED, False),
    (NO_SIDE, LEFT, Standing.DOUBTFUL, False),
])  # fmt: skip
def test_what_the_report_does_not_mention_stands_first_and_is_marked(
    store: Store, reader: TestClient, text: bytes, mass: object, standing: Standing, *, is_first: bool
) -> None:
    first, second = screen(store, 1, mass), screen(store, 2, LEFT)
    report(store, first, text)
    page = store.worklist_page(Wish())
    assert [line.study_id for line in page.lines] == ([first, second] if is_first else [second, first])
    assert {line.study_id: line.reports.standing for line in page.lines} == {
        first: standing, second: Standing.NO_REPORT
    }  # fmt: skip
    words = {"not mentioned": "not in the report", "doubtful": "report in doubt", "mentioned": "in the report"}
    assert re.findall(r'class="report-mark [\w-]+" title="[^"]+">([^<]+)<', reader.get("/").text) == [words[standing]]


def test_pages_of_the_worklist_neither_lose_nor_double_a_study_over_the_tiers(store: Store) -> None:
    numbers = [screen(store, number, *([LEFT] if number % 3 else [])) for number in range(1, 10)]
    unreported = numbers[1::3]
    for study in unreported:
        report(store, study, SILENT)
    acknowledge(store, numbers[0])
    for limit in (1, 2, 4, 50):
        for sort in ("newest", "oldest"):
            found = listed(store, Wish(sort=sort), limit)
            assert sorted(found) == numbers
            assert set(found[:3]) == set(unreported)
    assert listed(store, Wish(show="open"), 2)[:3] == unreported[::-1]
    assert listed(store, Wish(show="unreported"), 2) == unreported[::-1]
    assert sorted(listed(store, Wish(show="unreported", sort="size"), 2)) == unreported
    assert listed(store, Wish(show="running"), 2) == []


def test_an_acknowledged_finding_does_not_stand_first_again(store: Store) -> None:
    first, second = screen(store, 1, LEFT), screen(store, 2, LEFT)
    report(store, first, SILENT)
    acknowledge(store, first)
    assert listed(store) == [second, first]


def test_a_report_that_comes_later_changes_the_worklist_at_once(store: Store, reader: TestClient) -> None:
    study = screen(store, 1, LEFT)
    before = store.worklist_state()
    assert "no report known" in reader.get(f"/studies/{study}").text
    report(store, study, ON_THE_LEFT)
    assert store.worklist_state() != before
    page = reader.get(f"/studies/{study}").text
    assert "Radiology report: mentioned." in page
    assert "mentions a parotid mass in the left parotid" in page


def test_the_case_page_tells_of_a_mass_that_only_the_report_mentions(store: Store, reader: TestClient) -> None:
    study = screen(store, 1)
    report(store, study, ON_THE_LEFT)
    assert "Radiology report: mentioned." in reader.get(f"/studies/{study}").text
    assert "report-mark" not in reader.get("/").text, "nothing is flagged"


def test_the_address_of_a_page_names_a_tier(store: Store, reader: TestClient) -> None:
    screen(store, 1, LEFT)
    assert reader.get("/?after=2.9.0x0p%2B0").status_code == 200
    assert reader.get("/?after=7.9.0x0p%2B0").status_code == 400
