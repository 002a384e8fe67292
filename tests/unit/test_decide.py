"""The decision: each candidate on its own against the thresholds in force."""

from screener.decide import decide
from screener.study import Candidate, GlandAssessment, Presence, Side, Thresholds

THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="r1")


def an_assessment(side: Side, *, is_assessed: bool = True) -> GlandAssessment:
    reason = "" if is_assessed else "the scan ends below the gland"
    return GlandAssessment(side=side, is_assessed=is_assessed, reason=reason, volume_mm3=25000.0, mean_hu=-5.0)


BOTH = (an_assessment(Side.RIGHT), an_assessment(Side.LEFT))


def a_candidate(number: int, voxels: int, side: Side = Side.RIGHT) -> Candidate:
    return Candidate(
        side=side,
        number=number,
        voxels=voxels,
        volume_mm3=float(voxels),
        longest_diameter_mm=11.0,
        mean_hu=45.0,
        max_probability=0.9,
        mean_probability=0.7,
        center_mm=(0.0, 0.0, 0.0),
    )


def test_a_component_at_the_threshold_is_flagged() -> None:
    verdict = decide(BOTH, [a_candidate(1, 500)], THRESHOLDS)
    assert verdict.is_flagged
    assert [gland.presence for gland in verdict.glands] == [Presence.PRESENT, Presence.ABSENT]


def test_two_small_components_never_add_up_to_a_mass() -> None:
    assert not decide(BOTH, [a_candidate(1, 499), a_candidate(2, 499)], THRESHOLDS).is_flagged


def test_only_components_above_the_threshold_are_named_largest_first() -> None:
    found = [a_candidate(1, 600), a_candidate(2, 900), a_candidate(3, 100)]
    assert decide(BOTH, found, THRESHOLDS).glands[0].candidate_numbers == (2, 1)


def test_a_gland_that_was_not_assessed_is_undetermined_and_says_why() -> None:
    verdict = decide((an_assessment(Side.RIGHT, is_assessed=False), BOTH[1]), [], THRESHOLDS)
    right, left = verdict.glands
    assert (right.presence, left.presence) == (Presence.UNDETERMINED, Presence.ABSENT)
    assert "the scan ends below the gland" in right.reason


def test_right_comes_before_left_whatever_the_order_given() -> None:
    sides = [gland.side for gland in decide(BOTH[::-1], [], THRESHOLDS).glands]
    assert sides == [Side.RIGHT, Side.LEFT]


def test_the_threshold_stands_in_every_sentence() -> None:
    verdict = decide(BOTH, [a_candidate(1, 500)], THRESHOLDS)
    assert all("500" in gland.reason for gland in verdict.glands)
