"""SEGMENTED -> DECIDED: arithmetic on stored candidates against the thresholds in force.

Each candidate stands on its own: two small components never add up to a mass.
New thresholds are therefore a query on stored rows, not an inference; the
workers and the replay both call this.
"""

from collections.abc import Sequence

from screener.study import Candidate, GlandAssessment, GlandVerdict, Presence, Side, Thresholds, Verdict


def decide(assessments: Sequence[GlandAssessment], candidates: Sequence[Candidate], thresholds: Thresholds) -> Verdict:
    """Judge right and left gland; `assessments` holds one entry per side.

    `candidates` were formed at `thresholds.min_probability`; their `voxels`
    are 1 mm^3 each. A gland that was not assessed, or of which the scan covers
    too little, is undetermined whatever was found in or beside it.
    """
    by_side = {assessment.side: assessment for assessment in assessments}
    glands = tuple(_judge(by_side[side], candidates, thresholds) for side in (Side.RIGHT, Side.LEFT))
    return Verdict(is_flagged=any(gland.presence is Presence.PRESENT for gland in glands), glands=glands)


def is_mass(candidate: Candidate, thresholds: Thresholds) -> bool:
    """Tell whether the candidate is large enough and not judged to be something else.

    A candidate without scores, from a version that had none, is judged by its size alone.
    """
    return is_large(candidate, thresholds) and not is_rejected(candidate, thresholds)


def is_large(candidate: Candidate, thresholds: Thresholds) -> bool:
    """Tell whether the candidate reaches the threshold of size."""
    return candidate.voxels >= thresholds.min_voxels


def is_rejected(candidate: Candidate, thresholds: Thresholds) -> bool:
    """Tell whether the machine in force judged the candidate not to be a mass."""
    score = candidate.score(thresholds.gamma)
    return score is not None and score < thresholds.min_score


def covered_in_part(covered_share: float) -> str:
    """Say how much of a gland the scan covers, to the nearest ten percent: the estimate is no better."""
    return f"covered in part, about {max(10, round(covered_share * 10) * 10)} %"


def _judge(assessment: GlandAssessment, candidates: Sequence[Candidate], thresholds: Thresholds) -> GlandVerdict:
    mine = sorted((c for c in candidates if c.side is assessment.side), key=lambda c: (-c.voxels, c.number))
    why_not = _why_undetermined(assessment, mine, thresholds)
    above = [] if why_not else [c for c in mine if is_mass(c, thresholds)]
    if why_not:
        presence, reason = Presence.UNDETERMINED, why_not
    elif above:
        presence, reason = Presence.PRESENT, _describe_masses(assessment, above, thresholds)
    else:
        presence, reason = Presence.ABSENT, _describe_absence(assessment, mine, thresholds)
    return GlandVerdict(
        side=assessment.side,
        presence=presence,
        reason=reason,
        candidate_numbers=tuple(c.number for c in above),
        covered_share=assessment.covered_share,
        is_partial=assessment.is_partial,
    )


def _why_undetermined(assessment: GlandAssessment, mine: Sequence[Candidate], thresholds: Thresholds) -> str:
    """Return the sentence that says why there is no answer for the gland; empty where there is one."""
    name = f"{assessment.side.capitalize()} parotid"
    if not assessment.is_assessed:
        return f"{name} not assessed: {assessment.reason}.".replace("..", ".")
    if assessment.covered_share >= thresholds.min_covered_share:
        return ""
    seen = next((c for c in mine if is_mass(c, thresholds)), None)
    also = f" In that part a candidate of {seen.voxels} voxels (1 mm^3) was seen." if seen else ""
    return (
        f"{name} not assessed: {covered_in_part(assessment.covered_share)}, "
        f"less than the {thresholds.min_covered_share * 100:.0f} % required.{also}"
    )


def _describe_masses(assessment: GlandAssessment, above: Sequence[Candidate], thresholds: Thresholds) -> str:
    largest = above[0]
    found = f"{len(above)} masses, the largest" if len(above) > 1 else "mass"
    return (
        f"{_name(assessment)}: {found} of {largest.voxels} voxels (1 mm^3), longest diameter "
        f"{largest.longest_diameter_mm:.0f} mm, at or above the threshold of {thresholds.min_voxels} voxels."
    )


def _describe_absence(assessment: GlandAssessment, mine: Sequence[Candidate], thresholds: Thresholds) -> str:
    rejected = [c for c in mine if is_large(c, thresholds)]
    small = [c for c in mine if not is_large(c, thresholds)]
    where = "no mass found in the part covered: " if assessment.is_partial else ""
    below = f"largest candidate {small[0].voxels} voxels" if small else "no candidate"
    if rejected and small:
        below = f"largest other candidate {small[0].voxels} voxels"
    elif rejected:
        below = "no other candidate"
    sentence = f"{_name(assessment)}: {where}{below}, threshold {thresholds.min_voxels} voxels (1 mm^3)."
    return " ".join([sentence, *([_describe_rejected(rejected, thresholds)] if rejected else [])])


def _describe_rejected(rejected: Sequence[Candidate], thresholds: Thresholds) -> str:
    sizes = ", ".join(str(c.voxels) for c in rejected)
    scores = ", ".join(f"{c.score(thresholds.gamma) or 0.0:.2f}" for c in rejected)
    subject = f"{len(rejected)} candidate of" if len(rejected) == 1 else f"{len(rejected)} candidates of"
    verb = "was judged not to be a mass (score" if len(rejected) == 1 else "were judged not to be masses (scores"
    return f"{subject} {sizes} voxels {verb} {scores}, cut-off {thresholds.min_score:.2f} at gamma {thresholds.gamma})."


def _name(assessment: GlandAssessment) -> str:
    part = f" ({covered_in_part(assessment.covered_share)})" if assessment.is_partial else ""
    return f"{assessment.side.capitalize()} parotid{part}"
