"""The figures of an evaluation: `summary.json`, headline first, counts and intervals below."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from sklearn.metrics import roc_auc_score

from screener.study import Thresholds
from workers.training.evaluation.case_result import SCREENED, CaseResult
from workers.training.evaluation.judge_case import Judgment, called_numbers, is_hit
from workers.training.statistics.compare_aucs import auc_interval
from workers.training.statistics.estimate_intervals import (
    bootstrap_interval,
    clustered_interval,
    ppv_at,
    resample_patients,
    wilson_interval,
)

WARNING: Final = "research use, not validated for clinical diagnosis"
MAIN_MM: Final = 10.0
MAIN_MM3: Final = 500.0
"""A mass of at least both is what the product is for; smaller ones have their own row."""
CROP_SHARE: Final = 0.95
PREVALENCES: Final = (0.002, 0.01, 0.05)
Figures = dict[str, Any]


def patient_of(name: str, separator: str) -> str:
    """Return the patient of a case: the part of its name before `separator`, which begins what was made of it."""
    return name.split(separator, 1)[0] if separator else name


def summarize(judged: Sequence[Judgment], thresholds: Thresholds, separator: str = "+") -> Figures:
    """Return the figures of all cases; null where one cannot be computed."""
    cases = [judgment.case for judgment in judged]
    patients = [patient_of(case.name, separator) for case in cases]
    positives = [judgment for judgment in judged if judgment.case.is_positive]
    negatives = [judgment for judgment in judged if not judgment.case.is_positive]
    main = [judgment for judgment in positives if is_main(judgment.case)]
    rates = count_rates(judged)
    exams, glands = exam_scores(judged), gland_scores(judged)
    without_smaller = leave_out_smaller(judged)
    dices = [judgment.dice for judgment in positives if judgment.dice is not None]
    volumes = [ratio for judgment in main if (ratio := volume_ratio(judgment.case)) is not None]
    centers = summarize_centers(cases)
    crops = [share >= CROP_SHARE for case in cases for share in case.crop_shares.values()]
    return {
        "exams": len(cases),
        "positives": len(positives),
        "auc_exam": auc(*exams),
        "auc_gland": auc(*glands),
        "sensitivity": rates["sensitivity"],
        "specificity": rates["specificity"],
        "ppv": rates["ppv"],
        "dice_median": median(dices),
        "dice_iqr": quartiles(dices),
        "centre_error_mm_median": centers["median"],
        "centre_error_mm_p95": centers["p95"],
        "crop_holds_95": share_of(crops),
        "seconds_per_case_median": median([case.seconds for case in cases if case.outcome == SCREENED]),
        "auc_exam_main": auc(*exam_scores(without_smaller)),
        "sensitivity_main": share_of([judgment.is_flagged for judgment in main]),
        "dice_median_main": median([judgment.dice for judgment in main if judgment.dice is not None]),
        "volume_ratio_median": median(volumes),
        "volume_ratio_iqr": quartiles(volumes),
        "volume_ratio_count": len(volumes),
        "use": WARNING,
        "patients": len(set(patients)),
        "negatives": len(negatives),
        "synthetic_masses": sum(case.is_synthetic for case in cases),
        "counts": rates["counts"],
        "accuracy": rates["accuracy"],
        "npv": rates["npv"],
        "sensitivity_by_overlap": share_of([is_overlapped(judgment) for judgment in positives]),
        "intervals_95": intervals(judged, patients, exams, glands, separator),
        "ppv_at_prevalence": [ppv_row(prevalence, rates["counts"]) for prevalence in PREVALENCES],
        "masses_by_size": rows_by_size(positives),
        "glands": gland_rates(judged),
        "dice_of_found_median": median([j.dice for j in positives if j.dice is not None and j.is_flagged]),
        "gland_dice_median": median([dice for case in cases for dice in case.gland_dice.values()]),
        "gland_dice_count": sum(len(case.gland_dice) for case in cases),
        "centre_errors": centers,
        "crop_holds_95_count": [sum(crops), len(crops)],
        "not_assessed": {
            "positives": sum(not judgment.is_assessed for judgment in positives),
            "negatives": sum(not judgment.is_assessed for judgment in negatives),
            "cases": [why_not_assessed(judgment) for judgment in judged if not judgment.is_assessed],
        },
        "rules": {
            "main": f"masses of at least {MAIN_MM:.0f} mm and {MAIN_MM3:.0f} mm^3",
            "auc_exam_main": "examinations whose mass is smaller are left out; the study had none below 10 mm",
            "positive_not_assessed": "missed, with the lowest score and Dice 0",
            "negative_not_assessed": "a false alarm, with the highest score",
            "found": "a gland that holds a mass is flagged; a flag on the wrong side alone is a miss",
            "dice": "on the scan's grid, everything called a mass against the truth, over all positives; a miss has 0",
            "volume_ratio": "the largest candidate that is the mass over the true one; of main masses, flagged or not",
            "centre_error": "null where the gland at that rank was not found; see centre_errors",
        },
        "thresholds": {
            "min_voxels": thresholds.min_voxels,
            "min_probability": thresholds.min_probability,
            "gamma": thresholds.gamma,
            "min_score": thresholds.min_score,
            "min_covered_share": thresholds.min_covered_share,
        },
    }


def is_main(case: CaseResult) -> bool:
    """Whether the case's mass is large enough for the main row; one that could not be read is taken to be."""
    is_large = case.mass_diameter_mm >= MAIN_MM and case.mass_mm3 >= MAIN_MM3
    return case.is_positive and (is_large or case.mass_voxels == 0)


def leave_out_smaller(judged: Sequence[Judgment]) -> list[Judgment]:
    """Return the examinations without a mass and those of the main row."""
    return [judgment for judgment in judged if not judgment.case.is_positive or is_main(judgment.case)]


def is_overlapped(judgment: Judgment) -> bool:
    """Whether a candidate that was called a mass is the true one: stricter than that its gland is flagged."""
    called = set(called_numbers(judgment.verdict))
    return any(c.number in called and is_hit(judgment.case, c) for c in judgment.case.candidates)


def volume_ratio(case: CaseResult) -> float | None:
    """Return the volume of the largest candidate that is the true mass over the truth's; None where none is.

    Whether it was flagged does not matter: what is flagged is large, so that its volume says more than the truth's.
    """
    volumes_mm3 = [candidate.volume_mm3 for candidate in case.candidates if is_hit(case, candidate)]
    return max(volumes_mm3) / case.mass_mm3 if volumes_mm3 else None


def count_rates(judged: Sequence[Judgment]) -> Figures:
    """Return sensitivity, specificity, PPV, NPV and accuracy of the examinations, and the four counts."""
    positive = [judgment.is_flagged for judgment in judged if judgment.case.is_positive]
    negative = [judgment.is_flagged for judgment in judged if not judgment.case.is_positive]
    return _rates(sum(positive), len(positive), sum(negative), len(negative))


def gland_rates(judged: Sequence[Judgment]) -> Figures:
    """Return the same figures for glands: labelled ones, and those with a mass."""
    calls: dict[bool, list[bool]] = {True: [], False: []}
    for judgment in judged:
        flagged = {
            gland.side for gland in (judgment.verdict.glands if judgment.verdict else ()) if gland.candidate_numbers
        }
        for side, score in judgment.gland_scores.items():
            truth = judgment.is_gland_positive(side)
            unanswered_alarm = not truth and score > 1
            calls[truth].append(side in flagged or unanswered_alarm)
    return _rates(sum(calls[True]), len(calls[True]), sum(calls[False]), len(calls[False]))


def _rates(found: int, positives: int, alarms: int, negatives: int) -> Figures:
    called, left = found + alarms, positives - found + negatives - alarms
    return {
        "sensitivity": _ratio(found, positives),
        "specificity": _ratio(negatives - alarms, negatives),
        "ppv": _ratio(found, called),
        "npv": _ratio(negatives - alarms, left),
        "accuracy": _ratio(found + negatives - alarms, positives + negatives),
        "counts": {
            "true_positives": found,
            "false_negatives": positives - found,
            "false_positives": alarms,
            "true_negatives": negatives - alarms,
        },
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def exam_scores(judged: Sequence[Judgment]) -> tuple[list[bool], list[float]]:
    """Return truth and score of each examination."""
    return [judgment.case.is_positive for judgment in judged], [judgment.score for judgment in judged]


def gland_scores(judged: Sequence[Judgment]) -> tuple[list[bool], list[float]]:
    """Return truth and score of each gland, in the order of the cases."""
    pairs = [
        (judgment.is_gland_positive(side), score)
        for judgment in judged
        for side, score in judgment.gland_scores.items()
    ]
    return [truth for truth, _ in pairs], [score for _, score in pairs]


def auc(truths: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the area under the ROC curve; None where only one kind is there."""
    if len(set(truths)) < 2:
        return None
    return float(roc_auc_score(truths, scores))


def median(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return float(np.median(values)) if len(values) else None


def quartiles(values: Sequence[float]) -> list[float] | None:
    """Return the first and the third quartile, None of nothing."""
    return [float(value) for value in np.percentile(values, [25, 75])] if len(values) else None


def share_of(answers: Sequence[bool]) -> float | None:
    """Return the share of yes, None of nothing."""
    return sum(answers) / len(answers) if len(answers) else None


def summarize_centers(cases: Sequence[CaseResult]) -> Figures:
    """Return median and 95th percentile of the distance of found from true centers, over all labelled glands.

    A gland that was not found is infinitely far; a percentile that falls on one is null.
    """
    errors = np.sort([error for case in cases for error in case.center_errors_mm.values()])
    found = errors[np.isfinite(errors)]

    def at(percent: float) -> float | None:
        if not len(errors):
            return None
        value = float(np.percentile(errors, percent, method="higher"))
        return value if math.isfinite(value) else None

    return {
        "median": at(50),
        "p95": at(95),
        "glands": len(errors),
        "not_found": len(errors) - len(found),
        "largest_found": float(found[-1]) if len(found) else None,
    }


def why_not_assessed(judgment: Judgment) -> Figures:
    """Return a case without an answer and the reason, for reading."""
    case, reasons = judgment.case, [judgment.case.reason] if judgment.case.reason else []
    if judgment.verdict is not None:
        reasons += [gland.reason for gland in judgment.verdict.glands if "not assessed" in gland.reason]
    return {"name": case.name, "is_positive": case.is_positive, "outcome": case.outcome, "reason": " ".join(reasons)}


def ppv_row(prevalence: float, counts: Figures) -> Figures:
    """Return the PPV at a prevalence; the interval joins both lower and both upper ends of Wilson's intervals."""
    positives = counts["true_positives"] + counts["false_negatives"]
    negatives = counts["true_negatives"] + counts["false_positives"]
    sensitivity = wilson_interval(counts["true_positives"], positives)
    specificity = wilson_interval(counts["true_negatives"], negatives)
    if sensitivity is None or specificity is None:
        return {"prevalence": prevalence, "ppv": None, "interval_95": None}
    value = ppv_at(prevalence, counts["true_positives"] / positives, counts["true_negatives"] / negatives)
    ends = [ppv_at(prevalence, sensitivity[end], specificity[end]) for end in (0, 1)]
    return {"prevalence": prevalence, "ppv": value, "interval_95": ends}


def rows_by_size(positives: Sequence[Judgment]) -> list[Figures]:
    """Return count, sensitivity and Dice of the main masses, the smaller ones, and each range of diameters.

    A mass that could not be read is in no range: its size is not known.
    """
    edges = (0.0, 10.0, 15.0, 20.0, 30.0, 45.0, math.inf)
    rows = [
        _size_row("main", [j for j in positives if is_main(j.case)]),
        _size_row("smaller", [j for j in positives if not is_main(j.case)]),
    ]
    measured = [j for j in positives if j.case.mass_voxels]
    for low, high in itertools.pairwise(edges):
        name = f"{low:.0f} to {high:.0f} mm" if math.isfinite(high) else f"{low:.0f} mm and more"
        rows.append(_size_row(name, [j for j in measured if low <= j.case.mass_diameter_mm < high]))
    return rows


def _size_row(name: str, judged: Sequence[Judgment]) -> Figures:
    found = sum(judgment.is_flagged for judgment in judged)
    dices = [judgment.dice for judgment in judged if judgment.dice is not None]
    return {
        "size": name,
        "masses": len(judged),
        "found": found,
        "sensitivity": _ratio(found, len(judged)),
        "interval_95": wilson_interval(found, len(judged)),
        "dice_median": median(dices),
        "dice_iqr": quartiles(dices),
    }


def intervals(
    judged: Sequence[Judgment],
    patients: Sequence[str],
    exams: tuple[list[bool], list[float]],
    glands: tuple[list[bool], list[float]],
    separator: str,
) -> Figures:
    """Return 95 % intervals that allow for several examinations and glands of one patient."""

    def share(hits: Iterable[tuple[Judgment, bool]]) -> Any:
        pairs = [(patient_of(judgment.case.name, separator), hit) for judgment, hit in hits]
        return clustered_interval([hit for _, hit in pairs], [patient for patient, _ in pairs])

    gland_patients = [patient_of(j.case.name, separator) for j in judged for _ in j.gland_scores]
    without_smaller = leave_out_smaller(judged)
    main_patients = [patient_of(judgment.case.name, separator) for judgment in without_smaller]
    positives = [judgment for judgment in judged if judgment.dice is not None]
    dices = np.array([judgment.dice for judgment in positives], dtype=float)
    dice_draws = resample_patients([patient_of(judgment.case.name, separator) for judgment in positives])
    return {
        "auc_exam": auc_interval(patients, *exams),
        "auc_exam_main": auc_interval(main_patients, *exam_scores(without_smaller)),
        "auc_gland": auc_interval(gland_patients, *glands),
        "sensitivity": share((j, j.is_flagged) for j in judged if j.case.is_positive),
        "specificity": share((j, not j.is_flagged) for j in judged if not j.case.is_positive),
        "ppv": share((j, j.case.is_positive) for j in judged if j.is_flagged),
        "npv": share((j, not j.case.is_positive) for j in judged if not j.is_flagged),
        "dice_median": bootstrap_interval(dice_draws, lambda draw: float(np.median(dices[draw]))),
        "crop_holds_95": share((j, held >= CROP_SHARE) for j in judged for held in j.case.crop_shares.values()),
        "sensitivity_main": share((j, j.is_flagged) for j in judged if is_main(j.case)),
    }
