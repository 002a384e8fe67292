"""What holds for every set of candidates and thresholds."""

from hypothesis import given
from hypothesis import strategies as st

from screener.decide import decide
from screener.study import Candidate, GlandAssessment, Presence, Side, Thresholds

ASSESSED = tuple(
    GlandAssessment(side=side, is_assessed=True, reason="", volume_mm3=25000.0, mean_hu=-5.0) for side in Side
)


def a_candidate(number: int, side: Side, voxels: int) -> Candidate:
    return Candidate(
        side=side,
        number=number,
        voxels=voxels,
        volume_mm3=float(voxels),
        longest_diameter_mm=1.0,
        mean_hu=0.0,
        max_probability=1.0,
        mean_probability=1.0,
        center_mm=(0.0, 0.0, 0.0),
    )


found = st.lists(st.tuples(st.sampled_from(list(Side)), st.integers(1, 5000)), max_size=6).map(
    lambda pairs: [a_candidate(number, *pair) for number, pair in enumerate(pairs, start=1)]
)
thresholds = st.integers(1, 5000).map(lambda n: Thresholds(min_voxels=n, min_probability=0.5, config_revision=""))


@given(found, thresholds, st.integers(1, 5000))
def test_a_larger_mass_is_never_less_suspicious(candidates: list[Candidate], limit: Thresholds, growth: int) -> None:
    before = decide(ASSESSED, candidates, limit)
    grown = [a_candidate(c.number, c.side, c.voxels + growth) for c in candidates]
    after = decide(ASSESSED, grown, limit)
    for old, new in zip(before.glands, after.glands, strict=True):
        assert not (old.presence is Presence.PRESENT and new.presence is Presence.ABSENT)


@given(found, thresholds)
def test_mirroring_swaps_the_sides_and_nothing_else(candidates: list[Candidate], limit: Thresholds) -> None:
    other = {Side.RIGHT: Side.LEFT, Side.LEFT: Side.RIGHT}
    mirrored = decide(ASSESSED, [a_candidate(c.number, other[c.side], c.voxels) for c in candidates], limit)
    original = decide(ASSESSED, candidates, limit)
    assert [(g.presence, g.candidate_numbers) for g in mirrored.glands] == [
        (g.presence, g.candidate_numbers) for g in original.glands[::-1]
    ]


@given(found, thresholds)
def test_flagged_means_that_one_candidate_alone_reaches_the_threshold(
    candidates: list[Candidate], limit: Thresholds
) -> None:
    is_flagged = decide(ASSESSED, candidates, limit).is_flagged
    assert is_flagged == any(candidate.voxels >= limit.min_voxels for candidate in candidates)
