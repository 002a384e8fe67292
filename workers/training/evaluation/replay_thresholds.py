"""Decide again on stored candidates under other thresholds, and group the cases: tables without inference."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from screener.study import GAMMAS, Thresholds
from workers.training.evaluation.case_result import CaseResult
from workers.training.evaluation.compute_figures import auc, count_rates, exam_scores, is_main, median, share_of
from workers.training.evaluation.judge_case import Judgment, is_hit, judge_all, score_candidate

STUDY_DICE_BY_GAMMA: Final = (60.1, 63.8, 58.2, 64.6, 60.6, 64.5, 62.6, 61.0, 64.4, 65.5)
"""Percent, gamma 1 to 10: what the screening study reports of its own patients."""
VOXEL_STEPS: Final = tuple(range(100, 2001, 100))
SCORE_STEPS: Final = tuple(step / 20 for step in range(20))
Row = dict[str, Any]


def replay_voxels(cases: Sequence[CaseResult], thresholds: Thresholds) -> list[Row]:
    """Return one row per threshold of size, 100 to 2000 voxels."""
    return [_row("min_voxels", n, judge_all(cases, replace(thresholds, min_voxels=n))) for n in VOXEL_STEPS]


def replay_gamma(cases: Sequence[CaseResult], thresholds: Thresholds) -> list[Row]:
    """Return one row per gamma, with the study's own Dice beside ours; empty where no machine judged."""
    if not any(candidate.scores for case in cases for candidate in case.candidates):
        return []
    rows = [_row("gamma", gamma, judge_all(cases, replace(thresholds, gamma=gamma))) for gamma in GAMMAS]
    return [row | {"study_dice": dice / 100} for row, dice in zip(rows, STUDY_DICE_BY_GAMMA, strict=True)]


def replay_scores(cases: Sequence[CaseResult], thresholds: Thresholds) -> list[Row]:
    """Return one row per cut-off of the machine's score; empty where no machine judged."""
    if not any(candidate.scores for case in cases for candidate in case.candidates):
        return []
    return [_row("min_score", s, judge_all(cases, replace(thresholds, min_score=s))) for s in SCORE_STEPS]


def _row(name: str, value: float, judged: Sequence[Judgment]) -> Row:
    dices = [judgment.dice for judgment in judged if judgment.dice is not None]
    main = [judgment.is_flagged for judgment in judged if is_main(judgment.case)]
    rates = count_rates(judged)
    return {
        name: value,
        "sensitivity": rates["sensitivity"],
        "sensitivity_main": share_of(main),
        "specificity": rates["specificity"],
        "ppv": rates["ppv"],
        "dice_median": median(dices),
        "dice_mean": sum(dices) / len(dices) if dices else None,
    }


def group_cases(judged: Sequence[Judgment], kinds_of: Callable[[CaseResult], Sequence[str]]) -> list[Row]:
    """Return one row per kind that `kinds_of` names; a case of several kinds counts in each."""
    groups: dict[str, list[Judgment]] = {}
    for judgment in judged:
        for kind in kinds_of(judgment.case):
            groups.setdefault(kind, []).append(judgment)
    return [_group_row(kind, members) for kind, members in sorted(groups.items())]


def _group_row(kind: str, judged: Sequence[Judgment]) -> Row:
    rates = count_rates(judged)
    return {
        "kind": kind,
        "exams": len(judged),
        "positives": sum(judgment.case.is_positive for judgment in judged),
        "sensitivity": rates["sensitivity"],
        "specificity": rates["specificity"],
        "false_alarms": rates["counts"]["false_positives"],
        "ppv": rates["ppv"],
        "auc": auc(*exam_scores(judged)),
        "dice_median": median([judgment.dice for judgment in judged if judgment.dice is not None]),
    }


def spacing_kind(case: CaseResult) -> tuple[str, ...]:
    """Name the range of the voxel's size in plane and that of the slices."""
    if case.spacing_mm is None:
        return ("not read",)
    x, y, z = case.spacing_mm
    return (_range("in plane", max(x, y), (0.7, 1.2, 2.5)), _range("slices", z, (1.5, 2.6, 3.5)))


def _range(name: str, value_mm: float, edges: Sequence[float]) -> str:
    for number, edge in enumerate(edges):
        if value_mm < edge:
            low = f"{edges[number - 1]:g} to" if number else "under"
            return f"{name}: {low} {edge:g} mm"
    return f"{name}: {edges[-1]:g} mm and more"


def look_alike_kind(case: CaseResult) -> tuple[str, ...]:
    """Name the kinds of look-alikes, or that there is none."""
    return case.look_alikes or ("none",)


def mass_kind(case: CaseResult) -> tuple[str, ...]:
    """Name what case.json tells of the mass in words, such as its form."""
    mass = case.about.get("mass")
    if not case.is_positive or not isinstance(mass, dict):
        return ()
    return tuple(f"{key}: {value}" for key, value in sorted(mass.items()) if isinstance(value, str))


def source_kind(case: CaseResult) -> tuple[str, ...]:
    """Name source and contrast as case.json tells them."""
    return tuple(f"{key}: {case.about[key]}" for key in ("source", "contrast") if isinstance(case.about.get(key), str))


def trace_free_response(cases: Sequence[CaseResult], thresholds: Thresholds) -> list[tuple[float, float]]:
    """Return the free-response curve: false candidates per examination against the share of masses hit.

    Each candidate counts at its own score, from the most suspicious down; an examination's mass is hit once a
    candidate that overlaps it enough does. Masses that were never a candidate keep the curve below 1.
    """
    positives = sum(case.is_positive for case in cases)
    events: list[tuple[float, int, int]] = []
    for number, case in enumerate(cases):
        for candidate in case.candidates:
            hit = number if is_hit(case, candidate) else -1
            events.append((score_candidate(candidate, thresholds), hit, candidate.number))
    points, hits, false = [(0.0, 0.0)], set(), 0
    for _, hit, _ in sorted(events, key=lambda event: -event[0]):
        if hit >= 0:
            hits.add(hit)
        else:
            false += 1
        points.append((false / max(1, len(cases)), len(hits) / max(1, positives)))
    return points
