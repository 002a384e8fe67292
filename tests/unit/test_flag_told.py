"""What a recipient last heard is what holds: a flag is told again where another was told in between."""

from dataclasses import replace
from datetime import datetime, timedelta

from screener.decide import decide
from screener.store import Store
from screener.study import Side
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance
from tests.unit.test_store import (
    QUIET,
    START,
    THRESHOLDS,
    a_screening,
    claimed,
    deliver_and_notify,
    dispatch,
)

RIGHT, LEFT = (Side.RIGHT,), (Side.LEFT,)
BOTH = (Side.LEFT, Side.RIGHT)


def screen(store: Store, number: int, sides: tuple[Side, ...], *, is_told: bool = True) -> None:
    """Run `number` of the study, an hour after the one before, flags these sides."""
    now: datetime = START + timedelta(hours=number)
    store.record_instance(an_instance(number), now)
    dispatch(store, now + QUIET)
    candidates = tuple(a_candidate(place, 900, side) for place, side in enumerate(sides, start=1))
    verdict = decide(BOTH_ASSESSED, candidates, THRESHOLDS)
    store.finish_run(
        claimed(store, now + QUIET),
        replace(a_screening(), candidates=candidates, verdict=verdict),
        destinations=["pacs"],
        recipients=[("email", "ent@hospital.test")],
        seconds=1.0,
        now=now + QUIET,
    )
    if is_told:
        deliver_and_notify(store, now + QUIET)


def runs_told(store: Store) -> list[int]:
    return [run.number for run in store.study_report(1).runs for notice in run.notices if notice.state == "sent"]


def test_a_flag_that_moves_to_the_other_side_and_back_is_told_each_time(store: Store) -> None:
    for number, sides in enumerate((RIGHT, LEFT, RIGHT, RIGHT, LEFT), start=1):
        screen(store, number, sides)
    assert runs_told(store) == [1, 2, 3, 5]


def test_a_second_side_that_comes_and_goes_is_told_each_time(store: Store) -> None:
    for number, sides in enumerate((RIGHT, BOTH, RIGHT), start=1):
        screen(store, number, sides)
    assert runs_told(store) == [1, 2, 3]


def test_a_flag_that_moves_back_before_anybody_heard_is_not_told_again(store: Store) -> None:
    screen(store, 1, RIGHT)
    screen(store, 2, LEFT, is_told=False)
    screen(store, 3, RIGHT)
    assert runs_told(store) == [1]


def test_a_flag_after_a_withdrawal_moves_as_any_other(store: Store) -> None:
    for number, sides in enumerate((RIGHT, (), RIGHT, LEFT, RIGHT, RIGHT), start=1):
        screen(store, number, sides)
    assert runs_told(store) == [1, 2, 3, 4, 5]


def test_a_person_who_asks_again_is_told_once_also_after_a_withdrawal(store: Store) -> None:
    screen(store, 1, RIGHT)
    screen(store, 2, ())
    store.reprocess(1, START + timedelta(hours=2, minutes=30))
    for number in (3, 4):
        screen(store, number, RIGHT)
    assert runs_told(store) == [1, 2, 3]
