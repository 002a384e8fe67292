"""SEGMENTED -> DECIDED: arithmetic on stored candidates against the thresholds in force.

Each candidate stands on its own: two small components never add up to a mass.
A new threshold is therefore a query on stored rows, not an inference; the
workers and the replay both call this.
"""

from collections.abc import Sequence

from screener.study import Candidate, GlandAssessment, GlandVerdict, Presence, Side, Thresholds, Verdict


def decide(assessments: Sequence[GlandAssessment], candidates: Sequence[Candidate], thresholds: Thresholds) -> Verdict:
    """Judge right and left gland; `assessments` holds one entry per side.

    `candidates` were formed at `thresholds.min_probability`; their `voxels`
    are 1 mm^3 each. A gland that was not assessed is undetermined whatever
    was found beside it.
    """
    by_side = {assessment.side: assessment for assessment in assessments}
    glands = tuple(_judge(by_side[side], candidates, thresholds) for side in (Side.RIGHT, Side.LEFT))
    return Verdict(is_flagged=any(gland.presence is Presence.PRESENT for gland in glands), glands=glands)


def _judge(assessment: GlandAssessment, candidates: Sequence[Candidate], thresholds: Thresholds) -> GlandVerdict:
    side = assessment.side
    if not assessment.is_assessed:
        return GlandVerdict(
            side=side,
            presence=Presence.UNDETERMINED,
            reason=f"{side.capitalize()} parotid not assessed: {assessment.reason}.".replace("..", "."),
            candidate_numbers=(),
        )
    mine = sorted((c for c in candidates if c.side is side), key=lambda c: (-c.voxels, c.number))
    above = [c for c in mine if c.voxels >= thresholds.min_voxels]
    if above:
        largest = above[0]
        found = f"{len(above)} masses, the largest" if len(above) > 1 else "mass"
        reason = (
            f"{side.capitalize()} parotid: {found} of {largest.voxels} voxels (1 mm^3), longest diameter "
            f"{largest.longest_diameter_mm:.0f} mm, at or above the threshold of {thresholds.min_voxels} voxels."
        )
        presence = Presence.PRESENT
    else:
        below = f"largest candidate {mine[0].voxels} voxels" if mine else "no candidate"
        reason = f"{side.capitalize()} parotid: {below}, threshold {thresholds.min_voxels} voxels (1 mm^3)."
        presence = Presence.ABSENT
    return GlandVerdict(side=side, presence=presence, reason=reason, candidate_numbers=tuple(c.number for c in above))
