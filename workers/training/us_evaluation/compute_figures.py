"""The figures of an ultrasound evaluation, each within one source: organs and shares of malignant lesions differ."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from screener.study import Thresholds
from screener.us_study import Answer
from workers.training.evaluation.compute_figures import WARNING, Figures, median, quartiles, share_of
from workers.training.statistics.compare_aucs import auc_difference_interval, auc_interval, compare_aucs, estimate_auc
from workers.training.statistics.estimate_intervals import bootstrap_interval, clustered_interval, resample_patients
from workers.training.us_evaluation.case_result import UsResult
from workers.training.us_evaluation.judge_probabilities import judge_probabilities, weigh_thresholds
from workers.training.us_evaluation.rate_healthy import rate_healthy
from workers.training.us_read_cases import BENIGN, MALIGNANT, UNLABELED

Results = Sequence[UsResult]

RULES: Final = {
    "exams": "one picture each; several of one group (a patient, or pictures that look nearly the same) are not parted",
    "positive": "a lesion whose label is malignant",
    "found": "a quarter of the automatic outline lies in the true one, or covers a quarter of it; one lesion a picture",
    "dice": "on the picture's own grid, the automatic outline against the true one, over all outlined lesions; "
    "a lesion that was not found has 0, and so has one in a picture that the product refused",
    "auc_exam": "the probability that the product gives, on its own outline; where it finds no lesion the lowest score",
    "auc_found": "over the lesions alone that the product found, in the sense above",
    "auc_outlined": "over the outlined lesions, what decides on the true outline; auc_automatic is the product there",
    "fusion_less_image": "where a fusion decides: its AUC less the image model's on the same automatic outlines, over "
    "all rated lesions; one that the fusion cannot measure counts against it, and not against the image model",
    "malignant_not_assessed": "missed, with the lowest score",
    "benign_not_assessed": "a false alarm, with the highest score",
    "ppv": "in this mixture of cases, and npv likewise",
    "calibration": "over the lesions that have a probability",
    "decision_curve": "over all rated lesions; where no lesion was found the probability counts as 0",
    "whole_picture": "pictures without tumor, the classifier forced on the whole picture as if all of it were a lesion",
}
"""What the figures' names stand for."""


def summarize(
    results: Results, thresholds: Thresholds, parts: dict[str, str], *, is_by_fusion: bool = False
) -> Figures:
    """Return the figures; null where one cannot be computed. `is_by_fusion`: a fusion decides, not the classifier."""
    sources = sorted({result.row.source for result in results})
    by_source = {source: [result for result in results if result.row.source == source] for source in sources}
    return {
        "exams": len(results),
        "patients": len({(result.row.source, result.row.group) for result in results}),
        "sources": {
            source: summarize_source(members, parts[source], thresholds.min_malignancy)
            | {"fusion_less_image": compare_fusion(members) if is_by_fusion else None}
            for source, members in by_source.items()
        },
        "seconds_per_case_median": median([result.seconds for result in results if result.seconds is not None]),
        "use": WARNING,
        "not_assessed": {
            "positives": sum(not result.is_assessed for result in results if result.is_malignant),
            "negatives": sum(not result.is_assessed for result in results if not result.is_malignant),
            "cases": [_tell_unassessed(result) for result in results if not result.is_assessed],
        },
        "outlines_unusable": [
            {"name": result.row.name, "reason": result.outline_problem} for result in results if result.outline_problem
        ],
        "rules": RULES,
        "thresholds": {"min_malignancy": thresholds.min_malignancy},
        "decides": "fusion" if is_by_fusion else "image",
    }


def summarize_source(results: Results, part: str, min_malignancy: float) -> Figures:
    """Return the figures of one source's cases."""
    rated = [result for result in results if result.is_rated]
    outlined = [result for result in results if result.dice is not None]
    rates = count_rates(rated)
    dices = [result.dice for result in outlined if result.dice is not None]
    found = [result.dice for result in outlined if result.dice is not None and result.is_hit]
    calibration = judge_probabilities(rated)
    return {
        "part": part,
        "organs": sorted({result.row.organ for result in results if result.row.organ}),
        "exams": len(results),
        "patients": len(set(groups_of(results))),
        "lesions": sum(result.has_lesion for result in results),
        "outlined": len(outlined),
        "positives": sum(result.is_malignant for result in rated),
        "negatives": sum(not result.is_malignant for result in rated),
        "dice_median": median(dices),
        "dice_mean": float(np.mean(dices)) if dices else None,
        "dice_iqr": quartiles(dices),
        "lesions_found": share_of([bool(result.is_hit) for result in outlined]),
        **rate_ranking(rated),
        "sensitivity": rates["sensitivity"],
        "specificity": rates["specificity"],
        "ppv": rates["ppv"],
        "npv": rates["npv"],
        "accuracy": rates["accuracy"],
        "counts": rates["counts"],
        "not_found": {
            label: sum(result.answer is Answer.NO_LESION for result in results if result.row.label == label)
            for label in (BENIGN, MALIGNANT, UNLABELED)
        },
        "dice_of_found_median": median(found),
        "dice_by_label": [row for label in (BENIGN, MALIGNANT, UNLABELED) if (row := _dice_row(label, outlined))],
        "calibration_error": calibration["expected_error"] if calibration else None,
        "calibration": calibration,
        "decision_curve": weigh_thresholds(rated),
        "without_tumor": rate_healthy(results, min_malignancy),
        "intervals_95": find_intervals(outlined, rated),
        "seconds_per_case_median": median([result.seconds for result in results if result.seconds is not None]),
    }


def groups_of(results: Results) -> list[str]:
    """Return the group of each case."""
    return [result.row.group for result in results]


def truths_of(results: Results) -> list[bool]:
    """Return whether each case is malignant."""
    return [result.is_malignant for result in results]


def has_both_kinds(results: Results) -> bool:
    """Return whether there are malignant and benign lesions."""
    return len(set(truths_of(results))) == 2


def count_rates(rated: Results) -> Figures:
    """Return the rates of the calls at the threshold in force, and the four counts."""
    true = sum(result.is_called for result in rated if result.is_malignant)
    alarms = sum(result.is_called for result in rated if not result.is_malignant)
    missed = sum(result.is_malignant for result in rated) - true
    left = len(rated) - true - missed - alarms
    return {
        "sensitivity": _ratio(true, true + missed),
        "specificity": _ratio(left, left + alarms),
        "ppv": _ratio(true, true + alarms),
        "npv": _ratio(left, left + missed),
        "accuracy": _ratio(true + left, len(rated)),
        "counts": {
            "true_positives": true,
            "false_negatives": missed,
            "false_positives": alarms,
            "true_negatives": left,
        },
    }


def rate_ranking(rated: Results) -> Figures:
    """Return the AUC of the product, over found lesions alone, and beside it that of the true outlines."""
    found = [result for result in rated if result.is_hit]
    outlined = [result for result in rated if result.outline_probability is not None]
    return {
        "auc_exam": _auc(rated, lambda result: result.score),
        "auc_found": _auc(found, lambda result: result.score),
        "auc_found_count": [sum(truths_of(found)), len(found)],
        "auc_outlined": _auc(outlined, _outline_score),
        "auc_automatic": _auc(outlined, lambda result: result.score),
        "auc_outlined_count": [sum(truths_of(outlined)), len(outlined)],
        "auc_outlined_less_automatic": _compare_outlines(outlined),
    }


def _outline_score(result: UsResult) -> float:
    return float("nan") if result.outline_probability is None else result.outline_probability


def _auc(results: Results, score: Callable[[UsResult], float]) -> float | None:
    if not has_both_kinds(results):
        return None
    return estimate_auc(truths_of(results), [score(result) for result in results]).auc


def _compare_outlines(outlined: Results) -> Figures | None:
    """Return DeLong's test of the true outline against the automatic one, and the interval over resampled groups."""
    return _compare(outlined, lambda result: result.score, _outline_score)


def compare_fusion(results: Results) -> Figures | None:
    """Return DeLong's test of the fusion against the image model over the rated lesions, with both AUCs."""
    rated = [result for result in results if result.is_rated]
    compared = _compare(rated, lambda result: result.image_score, lambda result: result.score)
    if compared is None:
        return None
    return compared | {
        "auc_image": _auc(rated, lambda result: result.image_score),
        "auc_image_interval_95": _delong(rated, lambda result: result.image_score),
        "auc_fusion": _auc(rated, lambda result: result.score),
        "not_measured": sum(result.probability is None and result.image_probability is not None for result in rated),
        "count": [sum(truths_of(rated)), len(rated)],
    }


def _compare(
    results: Results, first: Callable[[UsResult], float], second: Callable[[UsResult], float]
) -> Figures | None:
    """Return DeLong's test of the second score against the first, and the interval over resampled groups."""
    truth = truths_of(results)
    before, after = [first(result) for result in results], [second(result) for result in results]
    try:
        compared = compare_aucs(truth, before, after)
    except ValueError:  # too few cases of a kind, or no variance: no test exists
        return None
    drawn = auc_difference_interval(groups_of(results), truth, before, after)
    return {
        "difference": compared.difference,
        "interval_95": list(compared.interval_95),
        "p": compared.p,
        "interval_95_resampled": None if drawn is None else list(drawn),
    }


def find_intervals(outlined: Results, rated: Results) -> Figures:
    """Return the 95 % intervals: DeLong's of AUCs, Wilson's or wider of shares, resampled groups elsewhere."""
    found = [result for result in rated if result.is_hit]
    with_outline = [result for result in rated if result.outline_probability is not None]
    malignant = [result for result in rated if result.is_malignant]
    benign = [result for result in rated if not result.is_malignant]
    called = [result for result in rated if result.is_called]
    left = [result for result in rated if not result.is_called]
    return {
        "dice_median": _drawn(outlined, lambda dices: float(np.median(dices))),
        "dice_mean": _drawn(outlined, lambda dices: float(dices.mean())),
        "lesions_found": _share(outlined, lambda result: bool(result.is_hit)),
        "auc_exam": _delong(rated, lambda result: result.score),
        "auc_exam_resampled": auc_interval(groups_of(rated), truths_of(rated), [result.score for result in rated]),
        "auc_found": _delong(found, lambda result: result.score),
        "auc_outlined": _delong(with_outline, _outline_score),
        "auc_automatic": _delong(with_outline, lambda result: result.score),
        "sensitivity": _share(malignant, lambda result: result.is_called),
        "specificity": _share(benign, lambda result: not result.is_called),
        "ppv": _share(called, lambda result: result.is_malignant),
        "npv": _share(left, lambda result: not result.is_malignant),
        "accuracy": _share(rated, lambda result: result.is_called == result.is_malignant),
    }


def _delong(results: Results, score: Callable[[UsResult], float]) -> Any:
    if not has_both_kinds(results):
        return None
    return estimate_auc(truths_of(results), [score(result) for result in results]).interval_95


def _share(results: Results, is_hit: Callable[[UsResult], bool]) -> Any:
    return clustered_interval([is_hit(result) for result in results], groups_of(results))


def _drawn(outlined: Results, figure: Callable[[Any], float]) -> Any:
    dices = np.array([result.dice for result in outlined], dtype=float)
    return bootstrap_interval(resample_patients(groups_of(outlined)), lambda draw: figure(dices[draw]))


def _dice_row(label: str, outlined: Results) -> Figures | None:
    members = [result for result in outlined if result.row.label == label]
    dices = [result.dice for result in members if result.dice is not None]
    if not dices:
        return None
    hits = sum(bool(result.is_hit) for result in members)
    return {
        "label": label,
        "lesions": len(dices),
        "found": hits,
        "dice_median": median(dices),
        "dice_mean": float(np.mean(dices)),
        "dice_iqr": quartiles(dices),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _tell_unassessed(result: UsResult) -> Figures:
    return {"name": result.row.name, "label": result.row.label, "reason": result.reason}
