"""Decide all stored runs again under other settings: no inference, no writing.

Candidates, their features and scores are stored for every run, also those
that were called no mass; another threshold, gamma, cut-off or coverage is
therefore a query.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from screener.decide import decide
from screener.store.values import DecidedRun
from screener.study import Presence, Side, Thresholds

MOST_NAMED = 50
"""Study numbers in one line; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What other settings would have said of the studies."""

    thresholds: Thresholds
    studies: int
    flagged_before: int
    flagged_after: int
    undetermined_before: int
    """Studies with a gland that was not assessed."""
    undetermined_after: int
    newly_flagged: tuple[int, ...]
    """Study numbers, ascending; so are the others."""
    no_longer_flagged: tuple[int, ...]
    otherwise_changed: tuple[int, ...]
    """Flagged or not as before, with another answer for one of the glands."""
    without_scores: int
    """Studies whose candidates no machine judged: their size alone decides."""
    other_probability: int
    """Studies whose candidates were formed at another probability, which takes an inference to change."""


def replay(runs: Iterable[DecidedRun], thresholds: Thresholds) -> Replayed:
    """Decide `runs`, the newest of each study, under `thresholds` and compare with what was decided."""
    counts: dict[str, Any] = {"thresholds": thresholds}
    counts |= dict.fromkeys(("studies", "flagged_before", "flagged_after", "undetermined_before"), 0)
    counts |= dict.fromkeys(("undetermined_after", "without_scores", "other_probability"), 0)
    changes: dict[str, list[int]] = {"newly_flagged": [], "no_longer_flagged": [], "otherwise_changed": []}
    for run in runs:
        before = run.presences
        verdict = decide(run.assessments, run.candidates, thresholds)
        after = {gland.side: gland.presence for gland in verdict.glands}
        was_flagged, is_flagged = (Presence.PRESENT in answers.values() for answers in (before, after))
        counts["studies"] += 1
        counts["flagged_before"] += was_flagged
        counts["flagged_after"] += is_flagged
        counts["undetermined_before"] += Presence.UNDETERMINED in before.values()
        counts["undetermined_after"] += Presence.UNDETERMINED in after.values()
        counts["without_scores"] += any(not candidate.scores for candidate in run.candidates)
        counts["other_probability"] += run.thresholds.min_probability != thresholds.min_probability
        kind = _kind_of_change(before, after)
        if kind:
            changes[kind].append(run.study_id)
    counts |= {kind: tuple(sorted(numbers)) for kind, numbers in changes.items()}
    return Replayed(**counts)


def describe_replay(replayed: Replayed) -> str:
    """The counts, and the numbers of the studies that change."""
    limits = replayed.thresholds
    lines = [
        f"{replayed.studies} studies decided again: {limits.min_voxels} voxels of 1 mm^3, "
        f"score {limits.min_score:g} at gamma {limits.gamma}, "
        f"{limits.min_covered_share * 100:.0f} % of a gland covered",
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


def _kind_of_change(before: Mapping[Side, Presence], after: Mapping[Side, Presence]) -> str:
    """Return which of Replayed's lists a study belongs to; empty where nothing changes."""
    was_flagged, is_flagged = Presence.PRESENT in before.values(), Presence.PRESENT in after.values()
    if is_flagged and not was_flagged:
        return "newly_flagged"
    if was_flagged and not is_flagged:
        return "no_longer_flagged"
    return "" if dict(before) == dict(after) else "otherwise_changed"


def _name(what: str, numbers: tuple[int, ...]) -> str:
    if not numbers:
        return f"{what}: none"
    named = ", ".join(str(number) for number in numbers[:MOST_NAMED])
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
    return f"{what}: {len(numbers)} (study {named}{more})"
