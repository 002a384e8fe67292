"""The decision: each candidate on its own against the thresholds in force."""

from screener.decide import decide
from screener.study import Presence, Side, Thresholds
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_assessment

THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="r1")


def test_a_component_at_the_threshold_is_flagged() -> None:
    verdict = decide(BOTH_ASSESSED, [a_candidate(1, 500)], THRESHOLDS)
    assert verdict.is_flagged
    assert [gland.presence for gland in verdict.glands] == [Presence.PRESENT, Presence.ABSENT]


def test_two_small_components_never_add_up_to_a_mass() -> None:
    assert not decide(BOTH_ASSESSED, [a_candidate(1, 499), a_candidate(2, 499)], THRESHOLDS).is_flagged


def test_only_components_above_the_threshold_are_named_largest_first() -> None:
    found = [a_candidate(1, 600), a_candidate(2, 900), a_candidate(3, 100)]
    assert decide(BOTH_ASSESSED, found, THRESHOLDS).glands[0].candidate_numbers == (2, 1)


def test_a_gland_that_was_not_assessed_is_undetermined_and_says_why() -> None:
    verdict = decide((an_assessment(Side.RIGHT, is_assessed=False), BOTH_ASSESSED[1]), [], THRESHOLDS)
    right, left = verdict.glands
    assert (right.presence, left.presence) == (Presence.UNDETERMINED, Presence.ABSENT)
    assert "the scan ends below the gland" in right.reason


def test_right_comes_before_left_whatever_the_order_given() -> None:
    sides = [gland.side for gland in decide(BOTH_ASSESSED[::-1], [], THRESHOLDS).glands]
    assert sides == [Side.RIGHT, Side.LEFT]


def test_the_threshold_stands_in_every_sentence() -> None:
    verdict = decide(BOTH_ASSESSED, [a_candidate(1, 500)], THRESHOLDS)
    assert all("500" in gland.reason for gland in verdict.glands)
