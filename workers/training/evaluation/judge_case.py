"""Hold one case's answer under some thresholds against its truth.

What was not assessed is never left out: a mass that could not be looked for
is a missed mass, and a healthy patient without an answer is a false alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from screener.decide import decide, is_large
from screener.study import Candidate, Presence, Side, Thresholds, Verdict
from workers.training.evaluation.case_result import SCREENED, CaseResult

CALLED: Final = 0.5
"""A candidate scores this or more exactly when it is called a mass."""
BELOW_CALLED: Final = 0.499
"""What a gland that is not flagged scores at most."""
MASS_NOT_ASSESSED: Final = -1.0
"""Below every other score, so that it counts as missed at any cut-off."""
NEGATIVE_NOT_ASSESSED: Final = 2.0
"""Above every other score, so that it counts as a false alarm at any cut-off."""
HIT_SHARE: Final = 0.25
"""A candidate hits the mass when this share of it lies in the mass, or when it covers this share of the mass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """One case under one set of thresholds."""

    case: CaseResult
    verdict: Verdict | None
    """None where the case was set aside or failed."""
    is_assessed: bool
    """See `judge_case`."""
    is_flagged: bool
    """The answer's part that counts: for a positive, that a gland with a mass was flagged; for a negative, that any
    gland was, or that there was no answer."""
    score: float
    """Of the examination; see `judge_case`."""
    gland_scores: dict[Side, float]
    """Per labelled gland and per gland with a mass."""
    dice: float | None
    """Of what was called a mass, against the true mass; None for a negative."""

    @property
    def is_right(self) -> bool:
        """Whether a positive was found, or a negative left alone."""
        return self.is_flagged == self.case.is_positive

    def is_gland_positive(self, side: Side) -> bool:
        """Whether the gland holds a true mass."""
        return side in self.case.mass_sides


def judge_case(case: CaseResult, thresholds: Thresholds) -> Judgment:
    """Decide on the stored candidates, and compare.

    - A positive is assessed when a gland that holds a mass has an answer. It is found when such a gland is flagged:
      a flag on the wrong side alone is a miss.
    - A negative is assessed when every labelled gland has an answer and at least one gland has. Otherwise it counts
      as flagged.
    - An examination scores as its highest gland; a gland as `score_gland` says. A positive that was not assessed
      scores MASS_NOT_ASSESSED, a negative NEGATIVE_NOT_ASSESSED; likewise each gland.
    - Dice is taken over the union of everything that was called a mass in a flagged gland; a miss has 0.
    """
    verdict = decide(case.assessments, case.candidates, thresholds) if case.outcome == SCREENED else None
    answers = {gland.side: gland.presence for gland in verdict.glands} if verdict else {}
    answered = {side for side, presence in answers.items() if presence is not Presence.UNDETERMINED}
    flagged = {side for side, presence in answers.items() if presence is Presence.PRESENT}
    sides = sorted({*case.labelled_sides, *case.mass_sides})
    scores = {side: _score_gland(case, side, thresholds, is_answered=side in answered) for side in sides}
    if case.is_positive:
        is_assessed = bool(answered.intersection(case.mass_sides))
        is_flagged = bool(flagged.intersection(case.mass_sides))
        missing = MASS_NOT_ASSESSED
    else:
        is_assessed = bool(answered) and answered.issuperset(case.labelled_sides)
        is_flagged = bool(flagged) or not is_assessed
        missing = NEGATIVE_NOT_ASSESSED
    return Judgment(
        case=case,
        verdict=verdict,
        is_assessed=is_assessed,
        is_flagged=is_flagged,
        score=max(score_gland(case, side, thresholds) for side in answered) if is_assessed else missing,
        gland_scores=scores,
        dice=_dice(case, verdict) if case.is_positive else None,
    )


def score_candidate(candidate: Candidate, thresholds: Thresholds) -> float:
    """Return 0 to 1, CALLED or more exactly where the candidate is called a mass; larger is more suspicious.

    `s` is the machine's score at the gamma in force, `c` its cut-off, `v` the voxels and `m` the least voxels of a
    mass. Large and accepted: 1/2 + (s - c) / (1 - c) / 2. Large and rejected: s / c / 2. Too small: v / m * s / 2,
    which grows with size as with the machine's score. Without a machine: 1 - m / v / 2 where large, v / m / 2 where
    too small.
    """
    score = candidate.score(thresholds.gamma)
    if not is_large(candidate, thresholds):
        return CALLED * candidate.voxels / thresholds.min_voxels * (1.0 if score is None else score)
    if score is None:
        return 1.0 - CALLED * thresholds.min_voxels / candidate.voxels
    if score < thresholds.min_score:
        return CALLED * score / thresholds.min_score
    if thresholds.min_score >= 1.0:
        return 1.0
    return CALLED + (1.0 - CALLED) * (score - thresholds.min_score) / (1.0 - thresholds.min_score)


def score_gland(case: CaseResult, side: Side, thresholds: Thresholds) -> float:
    """Return 0 to 1, CALLED or more exactly where the gland is flagged; larger is more suspicious.

    A gland with candidates that are large enough scores as the highest of them. Any other, whether it holds small
    candidates or none, scores half the highest mass probability in it: how near it came to a candidate.
    """
    large = [c for c in case.candidates if c.side is side and is_large(c, thresholds)]
    if large:
        return max(score_candidate(candidate, thresholds) for candidate in large)
    return min(CALLED * case.peak_probabilities.get(side, 0.0), BELOW_CALLED)


def is_hit(case: CaseResult, candidate: Candidate) -> bool:
    """Whether the candidate is the true mass; see HIT_SHARE."""
    voxels, of_mass = case.overlap([candidate.number])
    return of_mass > 0 and (of_mass >= HIT_SHARE * voxels or of_mass >= HIT_SHARE * case.mass_voxels)


def called_numbers(verdict: Verdict | None) -> tuple[int, ...]:
    """Numbers of the candidates that were called masses."""
    return tuple(number for gland in verdict.glands for number in gland.candidate_numbers) if verdict else ()


def judge_all(cases: Sequence[CaseResult], thresholds: Thresholds) -> list[Judgment]:
    """Judge every case under the same thresholds."""
    return [judge_case(case, thresholds) for case in cases]


def _score_gland(case: CaseResult, side: Side, thresholds: Thresholds, *, is_answered: bool) -> float:
    if is_answered:
        return score_gland(case, side, thresholds)
    return MASS_NOT_ASSESSED if side in case.mass_sides else NEGATIVE_NOT_ASSESSED


def _dice(case: CaseResult, verdict: Verdict | None) -> float:
    voxels, of_mass = case.overlap(called_numbers(verdict))
    return 2 * of_mass / (voxels + case.mass_voxels) if of_mass else 0.0
