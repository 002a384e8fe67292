"""The decision: each candidate on its own against the thresholds in force."""

from dataclasses import replace

from screener.decide import decide
from screener.study import GAMMAS, Candidate, GlandAssessment, Presence, Side, Thresholds
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


def judged(number: int, voxels: int, score: float) -> Candidate:
    return replace(a_candidate(number, voxels), scores=(score,) * len(GAMMAS))


def test_a_large_candidate_judged_not_to_be_a_mass_is_told_and_not_flagged() -> None:
    limits = replace(THRESHOLDS, min_score=0.3)
    right = decide(BOTH_ASSESSED, [judged(1, 812, 0.12)], limits).glands[0]
    assert right.presence is Presence.ABSENT
    assert "1 candidate of 812 voxels was judged not to be a mass (score 0.12, cut-off 0.30 at gamma 5)" in right.reason


def test_a_candidate_at_the_cut_off_is_a_mass() -> None:
    assert decide(BOTH_ASSESSED, [judged(1, 812, 0.3)], replace(THRESHOLDS, min_score=0.3)).is_flagged


def test_a_candidate_that_no_machine_judged_goes_by_its_size() -> None:
    assert decide(BOTH_ASSESSED, [a_candidate(1, 500)], replace(THRESHOLDS, min_score=1.0)).is_flagged


def test_gamma_chooses_the_machine() -> None:
    candidate = replace(a_candidate(1, 500), scores=tuple(gamma / 10 for gamma in GAMMAS))
    flagged = [
        gamma
        for gamma in GAMMAS
        if decide(BOTH_ASSESSED, [candidate], replace(THRESHOLDS, gamma=gamma, min_score=0.7)).is_flagged
    ]
    assert flagged == [7, 8, 9, 10]


def test_a_score_never_makes_a_small_candidate_a_mass() -> None:
    assert not decide(BOTH_ASSESSED, [judged(1, 499, 1.0)], THRESHOLDS).is_flagged


def covered(share: float) -> tuple[GlandAssessment, GlandAssessment]:
    return replace(BOTH_ASSESSED[0], covered_share=share, is_partial=True), BOTH_ASSESSED[1]


def test_a_negative_on_a_partly_covered_gland_says_so() -> None:
    right, left = decide(covered(0.6), [], THRESHOLDS).glands
    assert right.presence is Presence.ABSENT
    assert right.is_partial
    assert "covered in part, about 60 %" in right.reason
    assert "in the part covered" in right.reason
    assert "part" not in left.reason


def test_a_mass_in_a_partly_covered_gland_is_flagged_as_such() -> None:
    verdict = decide(covered(0.6), [a_candidate(1, 900)], THRESHOLDS)
    assert verdict.is_flagged
    assert "covered in part, about 60 %" in verdict.glands[0].reason


def test_too_little_covered_is_undetermined_whatever_was_found() -> None:
    verdict = decide(covered(0.3), [a_candidate(1, 900)], THRESHOLDS)
    assert not verdict.is_flagged
    assert verdict.glands[0].presence is Presence.UNDETERMINED
    assert "about 30 %, less than the 40 % required" in verdict.glands[0].reason
    assert "900 voxels" in verdict.glands[0].reason


def test_the_least_coverage_is_a_setting() -> None:
    limits = replace(THRESHOLDS, min_covered_share=0.25)
    assert decide(covered(0.3), [a_candidate(1, 900)], limits).is_flagged
