"""One word stands for a place, not for a finding: another mass there, or a larger one, is told and is open again."""

from dataclasses import replace
from datetime import timedelta
from weakref import WeakKeyDictionary

import pytest

from screener.decide import decide
from screener.match_rules import find_on_ct, match_rules
from screener.notice_settings import Notices
from screener.store import Store
from screener.study import Candidate, Side
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance
from tests.unit import test_notice_rules as rules
from tests.unit.test_notice_rules import CHAIN, MINUTE, NOON, Box, night, rule, settings, tell
from tests.unit.test_store import QUIET, THRESHOLDS, a_screening, claimed, dispatch

LEFT, BOTH = (Side.LEFT,), (Side.LEFT, Side.RIGHT)


def find_masses(store: Store, notices: Notices, minutes: int, *masses: Candidate) -> int:
    """Screen the study once more, on a later image; the number of the run's row."""
    now = NOON + minutes * MINUTE
    number = int(now.timestamp())
    store.record_instance(
        an_instance(number, study_instance_uid="1.2.1", sop_instance_uid=f"1.2.1.{number}", path="image.dcm"),
        now - QUIET,
    )
    dispatch(store, now)
    run = claimed(store, now)
    screening = replace(a_screening(), candidates=masses, verdict=decide(BOTH_ASSESSED, masses, THRESHOLDS), results=())
    recipients = match_rules(notices, find_on_ct(masses), {}, now.astimezone())
    store.finish_run(run, screening, destinations=[], recipients=recipients, seconds=1.0, now=now)
    tell(store, notices, rules_box(store), now)
    return run.run_id


BOXES: WeakKeyDictionary[Store, Box] = WeakKeyDictionary()


def rules_box(store: Store) -> Box:
    """The box of this store alone: a number of the object's would come again with a later test's."""
    return BOXES.setdefault(store, Box())


def a_mass(number: int, voxels: int, z_mm: float = 0.0) -> Candidate:
    return replace(a_candidate(number, voxels, Side.LEFT), center_mm=(0.0, 0.0, z_mm))


@pytest.mark.parametrize(
    ("later", "is_same"),
    [
        ((a_mass(1, 1000),), True),
        ((a_mass(1, 1500, 10.0),), True),
        ((a_mass(1, 1501),), False),
        ((a_mass(1, 1000, 10.1),), False),
        ((a_mass(1, 1000), a_mass(2, 600, 30.0)), False),
    ],
)
def test_an_acknowledgement_holds_for_the_masses_that_were_seen_and_for_no_other(
    store: Store, later: tuple[Candidate, ...], *, is_same: bool
) -> None:
    notices = settings(rule("all", "a@x"))
    first = find_masses(store, notices, 0, a_mass(1, 1000))
    store.acknowledge(first, by="alice", how="web", now=NOON + MINUTE)
    second = find_masses(store, notices, 10, *later)
    assert (store.acknowledgement_of(second) is not None) is is_same
    assert len(rules_box(store).told) == (1 if is_same else 2), "and is told again where it is another"
    assert store.open_findings() == int(not is_same)


def test_many_small_steps_carry_an_acknowledgement_to_no_large_change(store: Store) -> None:
    notices = settings(rule("all", "a@x"))
    first = find_masses(store, notices, 0, a_mass(1, 1000))
    store.acknowledge(first, by="alice", how="web", now=NOON + MINUTE)
    second = find_masses(store, notices, 10, a_mass(1, 1400))
    assert store.acknowledgement_of(second) is not None
    third = find_masses(store, notices, 20, a_mass(1, 1900))
    assert store.acknowledgement_of(third) is None
    assert len(rules_box(store).told) == 2


def test_who_is_told_of_every_finding_is_told_first_by_the_rule_that_escalates(store: Store) -> None:
    notices = settings(
        rule("plain", "a@x"),
        rule("slow", "a@x", escalate_after_minutes=60, escalate_to="rest"),
        rule("soon", "a@x", escalate_after_minutes=30, escalate_to="rest"),
        rule("rest", "chief@x", otherwise=True),
        recipients=["a@x"],
    )
    (told, _) = match_rules(notices, find_on_ct([a_mass(1, 900)]), {}, NOON)
    assert (told.rule, told.escalate_seconds) == ("soon", 1800)


def test_the_chain_goes_on_behind_one_who_has_heard_already(store: Store) -> None:
    first = rule("first", "a@x", escalate_after_minutes=30, escalate_to="second")
    notices, box = settings(first, *CHAIN[1:], **CHIEF), Box()
    rules.find(store, notices, Side.LEFT)
    for minutes in (0, 31, 32, 95, 200, 500):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert sorted(box.recipients) == ["a@x", "chief@x", "chief@x", "last@x"]
    first, second = (step.sentence for step in store.study_report(1).steps if step.stage == "escalated")
    assert first.endswith("rule second tells 1 address(es)")
    assert second.endswith("rule third tells 1 address(es)")


CHIEF = {"recipients": ["chief@x"]}


def test_a_step_to_one_who_has_heard_outlives_a_later_run_that_finds_the_same(store: Store) -> None:
    notices, box = settings(*CHAIN, **CHIEF), Box()
    rules.find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    box.is_away = True
    tell(store, notices, box, NOON + 31 * MINUTE)
    rules.find(store, notices, Side.LEFT, now=NOON + 40 * MINUTE)
    box.is_away = False
    for minutes in (41, 120, 121):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert sorted(box.recipients) == ["a@x", "b@x", "chief@x", "chief@x", "last@x"]


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_finding_that_grows_escalates_still(store: Store, *, is_taken: bool) -> None:
    hours = "00:00-24:00" if is_taken else "07:00-12:05"
    first = rule("first", "a@x", hours=hours, escalate_after_minutes=30, escalate_to="second")
    notices, box = settings(first, rule("second", "chief@x", otherwise=True, min_voxels=5000)), Box()
    rules.find(store, notices, *LEFT)
    tell(store, notices, box, NOON)
    rules.find(store, notices, *BOTH, now=NOON + 10 * MINUTE)
    for minutes in (11, 31, 32, 45, 46, 200):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert sorted(box.recipients) == ["a@x", "a@x", "chief@x"]
    assert "mass in the right and the left" in dict(box.told)["chief@x"].subject


def tell_left_and_acknowledge(store: Store, notices: Notices, box: Box) -> None:
    """Find a mass in the left gland, tell it at noon, and let a@x take note of it a minute later."""
    rules.find(store, notices, *LEFT)
    tell(store, notices, box, NOON)
    run_id = store.flagged_run(1)
    assert run_id is not None
    store.acknowledge(run_id, by="a@x", how="mail", now=NOON + MINUTE)


def test_a_change_of_what_was_acknowledged_escalates_by_the_rule_that_told_it(store: Store) -> None:
    first = rule("first", "a@x", hours="07:00-12:05", escalate_after_minutes=30, escalate_to="second")
    notices, box = settings(first, rule("second", "chief@x", otherwise=True, min_voxels=5000)), Box()
    tell_left_and_acknowledge(store, notices, box)
    tell(store, notices, box, NOON + 31 * MINUTE)
    assert box.recipients == ["a@x"]
    rules.find(store, notices, *BOTH, now=NOON + 40 * MINUTE)
    for minutes in (41, 72, 73):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert box.recipients == ["a@x", "a@x", "chief@x"]


def test_a_change_of_what_was_acknowledged_has_a_time_of_its_own(store: Store) -> None:
    first = rule("first", "a@x", escalate_after_minutes=30, escalate_to="second")
    notices, box = settings(first, rule("second", "chief@x", otherwise=True, min_voxels=5000)), Box()
    tell_left_and_acknowledge(store, notices, box)
    rules.find(store, notices, *BOTH, now=NOON + 20 * MINUTE)
    for minutes in (21, 31, 49):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert box.recipients == ["a@x", "a@x"], "what was told first was acknowledged"
    tell(store, notices, box, NOON + 52 * MINUTE)
    assert box.recipients == ["a@x", "a@x", "chief@x"]


@pytest.mark.parametrize("later", [LEFT, BOTH])
def test_what_is_owed_within_the_hours_is_told_although_a_later_run_falls_outside_them(
    store: Store, later: tuple[Side, ...]
) -> None:
    notices, box = settings(rule("day", "a@x", hours="07:00-19:00")), Box()
    box.is_away = True
    rules.find(store, notices, Side.LEFT, now=night(18, 50))
    tell(store, notices, box, night(18, 50))
    for minute in (5, 10):
        rules.find(store, notices, *later, now=night(19, minute))
    box.is_away = False
    tell(store, notices, box, night(19, 11))
    assert box.recipients == ["a@x"]
    assert "rule day" in box.told[0][1].text


def test_a_link_to_an_earlier_run_acknowledges_the_run_in_force_where_it_finds_the_same(store: Store) -> None:
    notices = settings(rule("all", "a@x"))
    first = find_masses(store, notices, 0, a_mass(1, 1000))
    second = find_masses(store, notices, 10, a_mass(1, 1100))
    store.acknowledge(first, by="a@x", how="mail", now=NOON + timedelta(hours=1))
    standing = store.acknowledgement_of(second)
    assert standing is not None
    assert standing.by == "a@x"
    assert store.open_findings() == 0
    third = find_masses(store, notices, 120, a_mass(1, 9000))
    store.acknowledge(first, by="a@x", how="mail", now=NOON + timedelta(hours=3))
    assert store.acknowledgement_of(third) is None, "the link told nothing of so large a mass"
