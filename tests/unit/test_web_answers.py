"""What the worklist and the case page say of what was not assessed, and of ultrasound: never that nothing was found."""

import re
from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from screener.decide import decide
from screener.journey import Queue
from screener.mentions import Mention, Verdict
from screener.store import Screening, Store
from screener.store import tables as t
from screener.store.mentions import FILE
from screener.store.web_accounts import Role
from screener.store.web_case import KnownPatient
from screener.store.web_worklist import Wish
from screener.study import Candidate, Presence, SeriesChoice, Side
from screener.us_study import Answer
from screener.web.say_answers import say_beside_masses
from tests.peers.values import a_candidate, an_assessment, an_instance
from tests.unit import test_standing as standing
from tests.unit import test_web_gate as gate
from tests.unit.test_store import LEASE, QUIET, START, THRESHOLDS, dispatch
from tests.unit.test_store_ultrasound import finish as finish_ultrasound

clock, empty, store, client = gate.clock, gate.empty, gate.store, gate.client
NONE = "nothing above the threshold"
P, A, U = Presence.PRESENT, Presence.ABSENT, Presence.UNDETERMINED


@pytest.fixture
def reader(client: TestClient, store: Store) -> TestClient:
    gate.enter(client, store, Role.READER)
    return client


def of_study(number: int) -> dict[str, object]:
    return {
        "study_instance_uid": f"1.2.{number}",
        "series_instance_uid": f"1.2.{number}.1",
        "sop_instance_uid": f"1.2.{number}.1.1",
    }


def screen(store: Store, number: int, *masses: Candidate, assessed: tuple[Side, ...] = tuple(Side)) -> int:
    """A CT study of the same patient as the others, with these masses; its number."""
    now = START + timedelta(hours=number)
    store.record_instance(an_instance(number, **of_study(number)), now)
    dispatch(store, now + QUIET)
    run = store.claim_run(Queue.CT, "worker", now + QUIET, LEASE)
    assert run is not None
    series = str(of_study(number)["series_instance_uid"])
    chosen = SeriesChoice(
        series_instance_uid=series, modality="CT", score=4.0, is_chosen=True, reasons=(), instance_count=1
    )
    store.record_series(run, [chosen], None)
    assessments = tuple(an_assessment(side, is_assessed=side in assessed) for side in (Side.RIGHT, Side.LEFT))
    screening = Screening(
        assessments=assessments,
        candidates=masses,
        verdict=decide(assessments, masses, THRESHOLDS),
        results=(),
        model_identity="2.25.99",
    )
    store.finish_run(run, screening, destinations=[], recipients=[], seconds=1.0, now=now + QUIET)
    return know(store, run.study_id, number)


def screen_ultrasound(store: Store, number: int, malignancy: float | None) -> int:
    now = START + timedelta(hours=number)
    ultrasound = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.6.1", "modality": "US"}
    store.record_instance(an_instance(number, **(of_study(number) | ultrasound)), now)
    dispatch(store, now + QUIET)
    run = store.claim_run(Queue.US, "worker", now + QUIET, LEASE)
    assert run is not None
    finish_ultrasound(store, run, malignancy, now + QUIET)
    return know(store, run.study_id, number)


def know(store: Store, study_id: int, number: int) -> int:
    known = KnownPatient(study_id=study_id, patient_key="somebody", study_date=date(2026, 1, number))
    store.record_patients([known])
    return study_id


def finding_of(client: TestClient, study_id: int, query: str = "") -> str:
    """The words of the worklist's column."""
    row = re.search(rf'<tr data-study="{study_id}".*?</tr>', client.get(f"/{query}").text, re.DOTALL)
    assert row is not None
    cell = re.search(r'<td data-label="Finding">(.*?)</td>', row[0], re.DOTALL)
    assert cell is not None
    return " ".join(re.sub("<[^>]*>", " ", cell[1]).split())


def prior_of(client: TestClient, study_id: int, shown: int) -> str:
    """The words of one line of a case's list of screenings."""
    page = client.get(f"/studies/{shown}").text
    part = page[page.index("<h2>Screenings of this patient</h2>") :]
    row = next(
        row for row in re.findall("<tr.*?</tr>", part, re.DOTALL) if f">{study_id}<" in row or f">{study_id}," in row
    )
    return " ".join(re.sub("<[^>]*>", " ", row).split())


@pytest.mark.parametrize(
    ("right", "left", "said"),
    [
        (A, A, (NONE,)),
        (U, U, ("not assessed",)),
        (U, A, ("right: not assessed", f"left: {NONE}")),
        (P, A, ()),
        (P, U, ("left: not assessed",)),
        (P, P, ()),
    ],
)
def test_what_stands_beside_the_masses_of_ct(right: Presence, left: Presence, said: tuple[str, ...]) -> None:
    assert say_beside_masses({Side.RIGHT: right, Side.LEFT: left}, None) == said


@pytest.mark.parametrize("answer", list(Answer))
def test_ultrasound_never_says_that_glands_hold_nothing(answer: Answer) -> None:
    said = say_beside_masses({}, answer)
    assert NONE not in said
    assert bool(said) == (answer is not Answer.MALIGNANT)


def test_a_decision_without_glands_is_not_assessed() -> None:
    assert say_beside_masses({}, None) == ("not assessed",)


def test_the_worklist_tells_not_assessed_from_nothing_found(reader: TestClient, store: Store) -> None:
    assert finding_of(reader, screen(store, 1)) == NONE
    assert finding_of(reader, screen(store, 2, assessed=())) == "not assessed"
    assert finding_of(reader, screen(store, 3, assessed=(Side.LEFT,))) == f"right: not assessed · left: {NONE}"
    one = screen(store, 4, a_candidate(1, 900, Side.LEFT), assessed=(Side.LEFT,))
    assert finding_of(reader, one) == "left parotid open right: not assessed"


def test_the_worklist_tells_what_ultrasound_answered(reader: TestClient, store: Store) -> None:
    assert finding_of(reader, screen_ultrasound(store, 1, None)) == "no lesion found"
    assert finding_of(reader, screen_ultrasound(store, 2, 0.1)) == "lesion called benign"
    assert finding_of(reader, screen_ultrasound(store, 3, 0.9)) == "ultrasound lesion open"
    study_id = screen_ultrasound(store, 4, None)
    with store.engine.begin() as connection:
        last = sa.select(sa.func.max(t.lesions.c.id)).scalar_subquery()
        connection.execute(t.lesions.update().where(t.lesions.c.id == last).values(answer=Answer.NOT_ASSESSABLE))
    assert finding_of(reader, study_id) == "not assessable"


def test_flagged_ultrasound_is_listed_with_either_side(reader: TestClient, store: Store) -> None:
    lesion, left = screen_ultrasound(store, 1, 0.9), screen(store, 2, a_candidate(1, 900, Side.LEFT))
    benign = screen_ultrasound(store, 3, 0.1)
    for side, shown in (("right", {lesion}), ("left", {lesion, left})):
        page = reader.get(f"/?side={side}").text
        assert {int(number) for number in re.findall(r'data-study="(\d+)"', page)} == shown
        assert "no side is known" in page
    assert benign not in {lesion, left}


def test_the_probability_shown_and_sorted_by_is_the_one_that_decided(reader: TestClient, store: Store) -> None:
    by_findings, by_pictures = screen_ultrasound(store, 1, 0.55), screen_ultrasound(store, 2, 0.8)
    with store.engine.begin() as connection:
        first = t.lesions.c.probability == 0.55
        connection.execute(t.lesions.update().where(first).values(is_by_findings=True, combined_probability=0.93))
    page = reader.get("/?sort=probability").text
    assert [int(number) for number in re.findall(r'data-study="(\d+)"', page)] == [by_findings, by_pictures]
    assert "0.93" in page
    assert "0.55" not in page


def test_earlier_screenings_tell_not_assessed_and_ultrasound_from_nothing_found(
    reader: TestClient, store: Store
) -> None:
    malignant, nothing = screen_ultrasound(store, 1, 0.9), screen(store, 2, assessed=(Side.LEFT,))
    shown = screen(store, 3, a_candidate(1, 900, Side.RIGHT), a_candidate(2, 800, Side.LEFT))
    assert prior_of(reader, malignant, shown).endswith("ultrasound, side not known: lesion called malignant")
    assert prior_of(reader, nothing, shown).endswith(f"not assessed {NONE}")
    assert prior_of(reader, shown, shown).endswith("0.90 ml not assessed before 0.80 ml not found before")


@pytest.mark.parametrize("kept", [[], ["left"], ["right"], ["right", "left"]], ids=str)
def test_a_case_of_which_not_every_gland_is_known_is_shown(reader: TestClient, store: Store, kept: list[str]) -> None:
    study_id = screen(store, 1)
    with store.engine.begin() as connection:
        connection.execute(t.glands.delete().where(t.glands.c.side.not_in(kept)))
    answer = reader.get(f"/studies/{study_id}")
    assert answer.status_code == 200
    assert re.findall(r"<strong>(\w+) parotid", answer.text) == ["Right", "Left"]  # a picture of either
    assert answer.text.count(" ml, mean ") == len(kept)


def test_a_case_that_could_not_be_assessed_says_that_opinions_on_it_count_as_nothing(
    client: TestClient, store: Store
) -> None:
    gate.enter(client, store, Role.RADIOLOGIST)
    said = "counts neither as a finding nor as none"
    unknown = screen(store, 1, assessed=(Side.LEFT,))
    judged = [screen(store, 2), screen(store, 3, a_candidate(1, 900, Side.LEFT), assessed=(Side.LEFT,))]
    judged.append(screen_ultrasound(store, 4, None))
    unclear = screen_ultrasound(store, 5, None)
    with store.engine.begin() as connection:
        last = sa.select(sa.func.max(t.lesions.c.id)).scalar_subquery()
        connection.execute(t.lesions.update().where(t.lesions.c.id == last).values(answer=Answer.NOT_ASSESSABLE))
    assert all(said in client.get(f"/studies/{study_id}").text for study_id in (unknown, unclear))
    assert not any(said in client.get(f"/studies/{study_id}").text for study_id in judged)


def test_growth_is_told_against_the_last_mass_of_that_side(reader: TestClient, store: Store) -> None:
    screen(store, 1, a_candidate(1, 600, Side.LEFT))
    screen(store, 2, a_candidate(1, 700, Side.RIGHT), assessed=(Side.RIGHT,))
    shown = screen(store, 3, a_candidate(1, 900, Side.LEFT))
    assert prior_of(reader, shown, shown).endswith("0.90 ml +50 % in 2 days")


def test_growth_is_not_told_against_ultrasound(reader: TestClient, store: Store) -> None:
    screen_ultrasound(store, 1, None)
    shown = screen(store, 2, a_candidate(1, 900, Side.LEFT))
    assert prior_of(reader, shown, shown).endswith(f"{NONE} 0.90 ml")


@pytest.mark.parametrize(
    ("later", "earlier", "growth"),
    [
        ((standing.UNSEEN, standing.NOTHING), f"0.90 ml {NONE}", "0.90 ml +0 % in 3 days 0.90 ml not found before"),
        ((standing.UNSEEN, standing.MASS), "0.90 ml 0.90 ml", "0.90 ml +0 % in 3 days 0.90 ml +0 % in 3 days"),
        ((standing.NOTHING, standing.NOTHING), f"{NONE} {NONE}", "0.90 ml not found before 0.90 ml not found before"),
    ],
)
def test_earlier_screenings_and_growth_tell_what_stands(
    reader: TestClient, store: Store, later: tuple[str, str], earlier: str, growth: str
) -> None:
    for number, seen in ((1, (standing.MASS, standing.MASS)), (2, later)):
        standing.look(store, number, *seen)
    know(store, 1, 1)
    shown = screen(store, 4, a_candidate(1, 900, Side.RIGHT), a_candidate(2, 900, Side.LEFT))
    assert prior_of(reader, 1, shown).endswith(earlier)
    assert prior_of(reader, shown, shown).endswith(growth)


def test_a_case_says_which_side_a_later_run_has_taken_back(store: Store, reader: TestClient) -> None:
    standing.look(store, 1, standing.MASS, standing.MASS)
    assert "Withdrawn since" not in reader.get("/studies/1").text
    standing.look(store, 2, standing.UNSEEN, standing.NOTHING)
    page = reader.get("/studies/1").text
    assert "Withdrawn since: left parotid." in page
    assert "Withdrawn since: right" not in page


def test_a_case_weighs_the_report_against_what_is_in_force(store: Store, reader: TestClient) -> None:
    standing.look(store, 1, standing.MASS, standing.MASS)
    mention = Mention(verdict=Verdict.MENTIONED, sides=frozenset({Side.RIGHT}), sentence_number=1)
    store.add_mention(1, mention, source=FILE, sha256="a" * 64, now=START)
    assert "Radiology report: not mentioned." in reader.get("/studies/1").text
    assert len(store.worklist_page(Wish(show="unreported")).lines) == 1
    standing.look(store, 2, standing.UNSEEN, standing.NOTHING)
    assert "Radiology report: mentioned." in reader.get("/studies/1").text
    assert store.worklist_page(Wish(show="unreported")).lines == ()
