"""Decide all stored runs again under other settings: no inference, no writing.

Candidates, their features and scores are stored for every run, also those
that were called no mass, and so is an ultrasound lesion's probability;
another threshold, gamma, cut-off or coverage is therefore a query. What
people said of a study tells whether a flag on it would have been right.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from screener.decide import decide
from screener.decide_us import decide_again
from screener.proportion import describe_share
from screener.store.feedback import DecidedLesion, Judgment
from screener.store.values import DecidedRun
from screener.study import Presence, Side, Thresholds

MOST_NAMED = 50
"""Study numbers in one line; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What other settings would have said of the studies."""

    thresholds: Thresholds
    studies: int = 0
    ultrasound: int = 0
    """Of the studies, those of ultrasound."""
    flagged_before: int = 0
    """As decided then, under the settings of the time; so are the others named so."""
    flagged_after: int = 0
    undetermined_before: int = 0
    """Studies with a gland that was not assessed."""
    undetermined_after: int = 0
    newly_flagged: tuple[int, ...] = ()
    """Study numbers, ascending; so are the others."""
    no_longer_flagged: tuple[int, ...] = ()
    otherwise_changed: tuple[int, ...] = ()
    """Flagged or not as before, with another answer for one of the glands."""
    without_scores: int = 0
    """Studies whose candidates no machine judged: their size alone decides."""
    other_probability: int = 0
    """Studies whose candidates were formed at another probability, which takes an inference to change."""
    flagged: frozenset[int] = frozenset()
    """The numbers of all studies that would be flagged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """What people said of the studies that some settings flag."""

    flagged: int
    agreed: int
    disagreed: int
    disputed: int
    """People contradict each other: neither agreed nor disagreed."""

    @property
    def unreviewed(self) -> int:
        """Flagged studies of whose finding nobody has said anything."""
        return self.flagged - self.agreed - self.disagreed - self.disputed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """One study decided again."""

    study_id: int
    was_flagged: bool
    is_flagged: bool
    is_otherwise_changed: bool
    was_undetermined: bool
    is_undetermined: bool
    is_without_scores: bool = False
    is_of_other_probability: bool = False
    is_ultrasound: bool = False


def replay(runs: Iterable[DecidedRun], thresholds: Thresholds, lesions: Iterable[DecidedLesion] = ()) -> Replayed:
    """Decide `runs` and `lesions`, the newest of each study, under `thresholds`; compare with what was decided."""
    studies = [_decide_run(run, thresholds) for run in runs]
    studies += [_decide_lesion(lesion, thresholds) for lesion in lesions]
    changed = [each for each in studies if each.was_flagged == each.is_flagged and each.is_otherwise_changed]
    return Replayed(
        thresholds=thresholds,
        studies=len(studies),
        ultrasound=sum(each.is_ultrasound for each in studies),
        flagged_before=sum(each.was_flagged for each in studies),
        flagged_after=sum(each.is_flagged for each in studies),
        undetermined_before=sum(each.was_undetermined for each in studies),
        undetermined_after=sum(each.is_undetermined for each in studies),
        newly_flagged=_number(each for each in studies if each.is_flagged and not each.was_flagged),
        no_longer_flagged=_number(each for each in studies if each.was_flagged and not each.is_flagged),
        otherwise_changed=_number(changed),
        without_scores=sum(each.is_without_scores for each in studies),
        other_probability=sum(each.is_of_other_probability for each in studies),
        flagged=frozenset(each.study_id for each in studies if each.is_flagged),
    )


def count_reviews(flagged: Iterable[int], judgments: Mapping[int, Judgment]) -> Reviewed:
    """Count what people said of the studies of these numbers."""
    said = [judgments.get(study_id) for study_id in flagged]
    return Reviewed(
        flagged=len(said),
        agreed=said.count(Judgment.FINDING),
        disagreed=said.count(Judgment.NO_FINDING),
        disputed=said.count(Judgment.DISPUTED),
    )


def describe_replay(replayed: Replayed) -> str:
    """The counts, and the numbers of the studies that change."""
    limits = replayed.thresholds
    ct = replayed.studies - replayed.ultrasound
    lines = [
        f"{ct} studies of CT decided again: {limits.min_voxels} voxels of 1 mm^3, "
        f"score {limits.min_score:g} at gamma {limits.gamma}, "
        f"{limits.min_covered_share * 100:.0f} % of a gland covered"
    ]
    if replayed.ultrasound:
        lines.append(f"{replayed.ultrasound} of ultrasound: malignant from {limits.min_malignancy:g} on")
    lines += [
        f"flagged: {replayed.flagged_before} before, {replayed.flagged_after} after",
        f"with a gland not assessed: {replayed.undetermined_before} before, {replayed.undetermined_after} after",
        _name("newly flagged", replayed.newly_flagged),
        _name("no longer flagged", replayed.no_longer_flagged),
        _name("another answer for a gland, flagged or not as before", replayed.otherwise_changed),
    ]
    if replayed.without_scores:
        lines.append(f"{replayed.without_scores} of an earlier version without scores: judged by size alone")
    if replayed.other_probability:
        lines.append(
            f"{replayed.other_probability} with candidates formed at another probability than the "
            f"{limits.min_probability:g} in force: `screener reprocess` forms them anew"
        )
    lines.append("nothing was written, sent or told")
    return "\n".join(lines)


def describe_effect(
    changes: Sequence[str], period: str, now: Replayed, then: Replayed, judgments: Mapping[int, Judgment]
) -> str:
    """Say what other settings would have done, beside those in force.

    `now` is the replay under the settings in force and `then` that under the others, which `changes` says, such as
    "300 instead of 500 voxels". Both are of the same studies, those of the `period`.
    """
    before, after = count_reviews(now.flagged, judgments), count_reviews(then.flagged, judgments)
    lines = [
        f"with {', '.join(changes)}, {period} would have sent {_count_notices(after.flagged)} "
        f"instead of {before.flagged}; of the reviewed ones {_more(after.agreed - before.agreed)} agreed, "
        f"{_more(after.disagreed - before.disagreed)} disagreed",
        f"decided again: {now.studies} studies, of them {now.ultrasound} of ultrasound; "
        "a flagged study counts as one notice, to however many people it goes",
    ]
    if now.flagged_before != now.flagged_after:
        lines.append(f"under the settings of the time {now.flagged_before} were flagged")
    for name, reviewed in (("in force", before), ("with the change", after)):
        judged = reviewed.agreed + reviewed.disagreed
        disputed = f", {reviewed.disputed} disputed" if reviewed.disputed else ""
        lines.append(
            f"PPV of the reviewed, {name}: {describe_share(reviewed.agreed, judged)}; "
            f"{reviewed.unreviewed} flagged and not reviewed{disputed}"
        )
    lines.append(_describe_new(now, then, judgments))
    lines.append(_name("flagged in addition", tuple(sorted(then.flagged - now.flagged))))
    lines.append(_name("no longer flagged", tuple(sorted(now.flagged - then.flagged))))
    if then.other_probability:
        lines.append(f"{then.other_probability} with candidates formed at another probability than the one in force")
    lines.append("nothing was written, sent or told")
    return "\n".join(lines)


def _describe_new(now: Replayed, then: Replayed, judgments: Mapping[int, Judgment]) -> str:
    """Say how little may be known of what the change would add: people review what was flagged."""
    added = count_reviews(then.flagged - now.flagged, judgments)
    if not added.flagged:
        return "no study would be flagged in addition"
    seen = added.flagged - added.unreviewed
    return (
        f"of {added.flagged} flagged in addition {seen} were reviewed: of the others nobody knows whether it is right"
    )


def _count_notices(count: int) -> str:
    return "1 notice" if count == 1 else f"{count} notices"


def _more(difference: int) -> str:
    return f"{abs(difference)} {'fewer' if difference < 0 else 'more'}"


def _decide_run(run: DecidedRun, thresholds: Thresholds) -> _Again:
    before = dict(run.presences)
    verdict = decide(run.assessments, run.candidates, thresholds)
    after: dict[Side, Presence] = {gland.side: gland.presence for gland in verdict.glands}
    return _Again(
        study_id=run.study_id,
        was_flagged=Presence.PRESENT in before.values(),
        is_flagged=Presence.PRESENT in after.values(),
        is_otherwise_changed=before != after,
        was_undetermined=Presence.UNDETERMINED in before.values(),
        is_undetermined=Presence.UNDETERMINED in after.values(),
        is_without_scores=any(not candidate.scores for candidate in run.candidates),
        is_of_other_probability=run.thresholds.min_probability != thresholds.min_probability,
    )


def _decide_lesion(decided: DecidedLesion, thresholds: Thresholds) -> _Again:
    """Hold the stored probabilities against the thresholds; without one the answer stays what it was."""
    lesion = decided.lesion
    is_flagged = decided.is_flagged
    if lesion.probability is not None:
        is_flagged = decide_again(lesion.probability, lesion.combined_probability, thresholds)
    return _Again(
        study_id=decided.study_id,
        was_flagged=decided.is_flagged,
        is_flagged=is_flagged,
        is_otherwise_changed=False,
        was_undetermined=False,
        is_undetermined=False,
        is_ultrasound=True,
    )


def _number(studies: Iterable[_Again]) -> tuple[int, ...]:
    return tuple(sorted(each.study_id for each in studies))


def _name(what: str, numbers: tuple[int, ...]) -> str:
    if not numbers:
        return f"{what}: none"
    named = ", ".join(str(number) for number in numbers[:MOST_NAMED])
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
    return f"{what}: {len(numbers)} (study {named}{more})"
