"""An opinion is of what a run said: it counts for a later run only where that says the same."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.performance import measure_performance
from screener.store import Store
from screener.store import tables as t
from screener.store.feedback import Judgment
from screener.store.reviews import Opinion
from screener.study import Candidate, Side
from screener.sweep_threshold import sweep_reviewed
from tests.peers.values import a_candidate, an_assessment
from tests.unit.test_replay_all import OLD, START, Measured, open_fast, review, screen, screen_all

AGREE, DISAGREE = Opinion.AGREE, Opinion.DISAGREE
FINDING, NO_FINDING = Judgment.FINDING, Judgment.NO_FINDING


def a_mass(number: int, side: Side, z_mm: float = 0.0) -> Candidate:
    return replace(a_candidate(number, 900, side), center_mm=(0.0, 0.0, z_mm))


CLEAN = Measured()
RIGHT, LEFT = (Measured(candidates=(a_mass(1, side),)) for side in (Side.RIGHT, Side.LEFT))
RIGHT_ELSEWHERE = Measured(candidates=(a_mass(1, Side.RIGHT, 40.0),))
BOTH = Measured(candidates=(a_mass(1, Side.RIGHT), a_mass(2, Side.LEFT)))
BENIGN, MALIGNANT = (Measured(is_ultrasound=True, malignancy=share) for share in (0.1, 0.9))

ONE_GLAND = (an_assessment(Side.RIGHT), an_assessment(Side.LEFT, is_assessed=False))
NOT_ASSESSED = Measured(assessments=ONE_GLAND)
RIGHT_ALONE = Measured(assessments=ONE_GLAND, candidates=RIGHT.candidates)
NO_PICTURE = Measured(is_ultrasound=True, frames=0)
UNSEEN = Measured(assessments=(an_assessment(Side.RIGHT, is_assessed=False), ONE_GLAND[1]))
A_PART = Measured(assessments=(replace(ONE_GLAND[0], covered_share=0.8, is_partial=True), an_assessment(Side.LEFT)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_fast(tmp_path)
    yield opened
    opened.engine.dispose()


def screen_again(store: Store, *runs: Measured) -> int:
    """Screen the study once more with each, on a later image."""
    later = store.study_report(1).images + 1 if store.study_numbers() else 1
    for image, measured in enumerate(runs, later):
        screen(store, 1, measured, OLD, came_at=START + timedelta(hours=image), image=image)
    return 1


def judged(store: Store) -> Judgment | None:
    """What people say of the study; None where it counts neither as a finding nor as none."""
    said = store.judgments()[1]
    return said if said in {FINDING, NO_FINDING} else None


def measured(store: Store) -> tuple[int, int, int, int]:
    """Flagged studies that people agreed with, disagreed with and did not review, and missed ones."""
    now = datetime.now(UTC)
    performance = measure_performance(store.quality_rows(now - timedelta(days=90)), store.judgments(), now, days=90)
    months = performance.months.values()
    agreed, disagreed = sum(month.agreed for month in months), sum(month.disagreed for month in months)
    return agreed, disagreed, sum(month.unreviewed for month in months), performance.missed


@pytest.mark.parametrize(
    ("first", "opinion", "later"),
    [
        (RIGHT, AGREE, LEFT),
        (RIGHT, DISAGREE, LEFT),
        (RIGHT, AGREE, BOTH),
        (RIGHT, AGREE, RIGHT_ELSEWHERE),
        (CLEAN, AGREE, LEFT),
        (CLEAN, DISAGREE, LEFT),
        (BENIGN, DISAGREE, RIGHT),
    ],
)
def test_an_opinion_says_nothing_of_what_a_later_run_alone_flags(
    store: Store, first: Measured, opinion: Opinion, later: Measured
) -> None:
    review(store, screen_again(store, first), opinion)
    screen_again(store, later)
    assert judged(store) is None
    assert measured(store) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    ("first", "opinion", "later", "judgment", "counts"),
    [
        (RIGHT, AGREE, RIGHT, FINDING, (1, 0, 0, 0)),
        (RIGHT, DISAGREE, RIGHT, NO_FINDING, (0, 1, 0, 0)),
        (CLEAN, AGREE, CLEAN, NO_FINDING, (0, 0, 0, 0)),
        (CLEAN, DISAGREE, CLEAN, FINDING, (0, 0, 0, 1)),
        (RIGHT, AGREE, CLEAN, FINDING, (0, 0, 0, 1)),
        (RIGHT, DISAGREE, CLEAN, NO_FINDING, (0, 0, 0, 0)),
        (MALIGNANT, AGREE, BENIGN, FINDING, (0, 0, 0, 1)),
    ],
)
def test_an_opinion_holds_for_the_same_finding_and_where_nothing_is_flagged_any_more(
    store: Store,
    first: Measured,
    opinion: Opinion,
    later: Measured,
    judgment: Judgment,
    counts: tuple[int, int, int, int],
) -> None:
    review(store, screen_again(store, first), opinion)
    screen_again(store, later)
    assert judged(store) is judgment
    assert measured(store) == counts


def test_an_opinion_on_ultrasound_says_nothing_of_ct(store: Store) -> None:
    review(store, screen_again(store, BENIGN), AGREE)
    screen_again(store, CLEAN)
    assert judged(store) is None


def test_who_has_changed_an_opinion_since_is_not_taken_at_the_earlier_one(store: Store) -> None:
    review(store, screen_again(store, RIGHT), AGREE)
    review(store, screen_again(store, CLEAN), AGREE)
    screen_again(store, RIGHT)
    assert judged(store) is None


def test_opinions_on_two_runs_are_disputed_only_where_both_hold(store: Store) -> None:
    review(store, screen_again(store, RIGHT), DISAGREE)
    review(store, screen_again(store, LEFT), AGREE, by="white")
    assert store.judgments() == {1: FINDING}
    review(store, screen_again(store, LEFT), DISAGREE, by="brown")
    assert store.judgments() == {1: Judgment.DISPUTED}


@pytest.mark.parametrize("opinion", [AGREE, DISAGREE])
@pytest.mark.parametrize("unknown", [NOT_ASSESSED, NO_PICTURE])
def test_what_people_say_of_not_assessed_is_kept_and_no_truth(
    store: Store, unknown: Measured, opinion: Opinion
) -> None:
    review(store, screen_again(store, unknown), opinion)
    assert judged(store) is None
    assert measured(store) == (0, 0, 0, 0)
    assert [each.opinion for each in store.reviews_of(1)] == [opinion]


@pytest.mark.parametrize(("before", "later"), [(CLEAN, NOT_ASSESSED), (RIGHT, NOT_ASSESSED), (NOT_ASSESSED, CLEAN)])
def test_no_opinion_holds_for_not_assessed_nor_any_on_it_for_another_run(
    store: Store, before: Measured, later: Measured
) -> None:
    review(store, screen_again(store, before), DISAGREE)
    screen_again(store, later)
    assert judged(store) is None


def test_who_agreed_that_it_could_not_be_assessed_takes_nothing_back(store: Store) -> None:
    review(store, screen_again(store, RIGHT), AGREE)
    review(store, screen_again(store, NOT_ASSESSED), AGREE)
    screen_again(store, RIGHT)
    assert judged(store) is FINDING


def test_a_flag_beside_a_gland_that_was_not_assessed_is_judged(store: Store) -> None:
    review(store, screen_again(store, RIGHT_ALONE), DISAGREE)
    assert judged(store) is NO_FINDING
    assert measured(store) == (0, 1, 0, 0)


def test_what_was_not_assessed_is_no_study_without_a_finding_for_the_curves(store: Store) -> None:
    for study_id in screen_all(store, [*[NOT_ASSESSED] * 6, *[RIGHT] * 5, NO_PICTURE]):
        review(store, study_id, AGREE)
    swept, on_ultrasound = sweep_reviewed(store, OLD, OLD, START - timedelta(days=1))
    assert (swept.findings, swept.clean, swept.points) == (5, 0, ())
    assert (on_ultrasound.findings, on_ultrasound.clean) == (0, 0)


@pytest.mark.parametrize("later", [UNSEEN, A_PART])
@pytest.mark.parametrize(
    ("first", "opinion", "counts"),
    [(RIGHT, AGREE, (1, 0, 0, 0)), (RIGHT, DISAGREE, (0, 1, 0, 0)), (BOTH, DISAGREE, (0, 1, 0, 0))],
)
def test_a_flag_that_stands_beside_a_later_run_is_counted_with_what_people_say_of_it(
    store: Store, first: Measured, opinion: Opinion, counts: tuple[int, int, int, int], later: Measured
) -> None:
    review(store, screen_again(store, first), opinion)
    screen_again(store, later)
    assert store.counts().flagged == 1
    assert measured(store) == counts


def test_a_flag_that_stands_is_not_judged_by_what_people_said_before_it(store: Store) -> None:
    review(store, screen_again(store, CLEAN), AGREE)
    screen_again(store, RIGHT, A_PART)
    assert judged(store) is None
    assert measured(store) == (0, 0, 1, 0)


def test_a_flag_of_ultrasound_is_counted_beside_a_ct_that_flags_nothing_whose_curve_it_leaves_alone(
    store: Store,
) -> None:
    review(store, screen_again(store, MALIGNANT, CLEAN), AGREE)
    assert measured(store) == (1, 0, 0, 0)
    on_ct, on_ultrasound = sweep_reviewed(store, OLD, OLD, START - timedelta(days=1))
    assert (on_ct.findings, on_ct.clean) == (0, 0)
    assert (on_ultrasound.findings, on_ultrasound.clean) == (1, 0)


def test_what_people_say_of_an_ultrasound_is_no_truth_of_an_exported_ct(store: Store) -> None:
    review(store, screen_again(store, MALIGNANT, CLEAN), DISAGREE)
    choice = {"series_instance_uid": "1.2", "modality": "CT", "score": 1.0, "is_chosen": True, "reasons": []}
    with store.engine.begin() as connection:
        connection.execute(t.series_choices.insert().values(run_id=2, instance_count=1, **choice))
    (run,) = store.reviewed_runs()
    assert (run.number, run.judgment) == (2, Judgment.OTHER)
