"""What holds for every set of candidates and thresholds."""

from hypothesis import given
from hypothesis import strategies as st

from screener.decide import decide
from screener.study import Candidate, Presence, Side, Thresholds
from tests.peers.values import BOTH_ASSESSED, a_candidate

found = st.lists(st.tuples(st.integers(1, 5000), st.sampled_from(list(Side))), max_size=6).map(
    lambda pairs: [a_candidate(number, *pair) for number, pair in enumerate(pairs, start=1)]
)
thresholds = st.integers(1, 5000).map(lambda n: Thresholds(min_voxels=n, min_probability=0.5, config_revision=""))


@given(found, thresholds, st.integers(1, 5000))
def test_a_larger_mass_is_never_less_suspicious(candidates: list[Candidate], limit: Thresholds, growth: int) -> None:
    before = decide(BOTH_ASSESSED, candidates, limit)
    grown = [a_candidate(c.number, c.voxels + growth, c.side) for c in candidates]
    after = decide(BOTH_ASSESSED, grown, limit)
    for old, new in zip(before.glands, after.glands, strict=True):
        assert not (old.presence is Presence.PRESENT and new.presence is Presence.ABSENT)


@given(found, thresholds)
def test_mirroring_swaps_the_sides_and_nothing_else(candidates: list[Candidate], limit: Thresholds) -> None:
    other = {Side.RIGHT: Side.LEFT, Side.LEFT: Side.RIGHT}
    mirrored = decide(BOTH_ASSESSED, [a_candidate(c.number, c.voxels, other[c.side]) for c in candidates], limit)
    original = decide(BOTH_ASSESSED, candidates, limit)
    assert [(g.presence, g.candidate_numbers) for g in mirrored.glands] == [
        (g.presence, g.candidate_numbers) for g in original.glands[::-1]
    ]


@given(found, thresholds)
def test_flagged_means_that_one_candidate_alone_reaches_the_threshold(
    candidates: list[Candidate], limit: Thresholds
) -> None:
    is_flagged = decide(BOTH_ASSESSED, candidates, limit).is_flagged
    assert is_flagged == any(candidate.voxels >= limit.min_voxels for candidate in candidates)
