"""Whether the probabilities of malignancy come true, and what deciding by them is worth."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from workers.training.evaluation.compute_figures import Figures
from workers.training.statistics.estimate_intervals import bootstrap_interval, resample_patients
from workers.training.statistics.fit_logistic import Coefficient
from workers.training.statistics.judge_calibration import (
    BINS,
    brier_score,
    calibration_error,
    calibration_error_by_chance,
    fit_calibration,
    judge_fit,
    trace_calibration,
)
from workers.training.statistics.weigh_decisions import DecisionCurve, weigh_decisions
from workers.training.us_evaluation.case_result import UsResult

BINNING: Final = f"{BINS} bins with as many cases each as ties allow"
THRESHOLDS: Final = tuple(number / 10 for number in range(1, 10))


def pick_probabilities(rated: Sequence[UsResult]) -> tuple[list[UsResult], Any, Any]:
    """Return the cases that have a probability, whether each is malignant, and the probabilities."""
    members = [result for result in rated if result.probability is not None]
    truth = np.array([result.is_malignant for result in members], dtype=bool)
    return members, truth, np.array([result.probability for result in members], dtype=float)


def judge_probabilities(rated: Sequence[UsResult]) -> Figures | None:
    """Return calibration error, Hosmer and Lemeshow's test and the curve; None without both kinds of lesions."""
    members, truth, risks = pick_probabilities(rated)
    if len(set(truth.tolist())) < 2:
        return None
    draws = resample_patients([result.row.group for result in members])
    chance, chance_95 = calibration_error_by_chance(risks)
    return {
        "cases": len(members),
        "expected_error": calibration_error(truth, risks),
        "binning": BINNING,
        "interval_95": bootstrap_interval(draws, lambda draw: calibration_error(truth[draw], risks[draw])),
        "expected_error_by_chance": chance,
        "expected_error_by_chance_p95": chance_95,
        "expected_error_equal_width": calibration_error(truth, risks, kind="width"),
        "brier": brier_score(truth, risks),
        "mean_probability": float(risks.mean()),
        "share_malignant": float(truth.mean()),
        "hosmer_lemeshow": _or_none(lambda: _test_fit(truth, risks)),
        "line": _or_none(lambda: _fit_line(truth, risks)),
        "curve": [
            {
                "mean_probability": one.mean_probability,
                "malignant": one.observed.hits,
                "cases": one.observed.count,
                "share_malignant": one.observed.share,
                "interval_95": one.observed.interval_95,
            }
            for one in trace_calibration(truth, risks)
        ],
    }


def weigh_rated(rated: Sequence[UsResult], thresholds: Any = None) -> DecisionCurve | None:
    """Return the decision curve over all rated lesions, one without a lesion found having 0; None of one kind only."""
    truth = [result.is_malignant for result in rated]
    if len(set(truth)) < 2:
        return None
    return weigh_decisions(truth, [min(1.0, max(0.0, result.score)) for result in rated], thresholds)


def weigh_thresholds(rated: Sequence[UsResult]) -> list[Figures]:
    """Return the net benefit at each of THRESHOLDS, per picture."""
    curve = weigh_rated(rated, THRESHOLDS)
    if curve is None:
        return []
    rows = zip(curve.thresholds.tolist(), curve.model.tolist(), curve.treat_all.tolist(), strict=True)
    return [{"threshold": cut, "model": model, "call_all": every, "call_none": 0.0} for cut, model, every in rows]


def _test_fit(truth: Any, risks: Any) -> Figures:
    test = judge_fit(truth, risks, were_fitted_here=False)
    is_finite = math.isfinite(test.chi_square)
    return {
        "chi_square": test.chi_square if is_finite else None,
        "degrees": test.degrees,
        "p": test.p,
        "groups": test.groups,
    }


def _fit_line(truth: Any, risks: Any) -> Figures:
    line = fit_calibration(truth, risks)
    return {
        "intercept": _describe(line.intercept),
        "slope": _describe(line.slope),
        "shift": line.shift,
        "shift_95": line.shift_95,
    }


def _describe(coefficient: Coefficient) -> Figures:
    return {"value": coefficient.value, "interval_95": coefficient.interval_95}


def _or_none(figure: Callable[[], Figures]) -> Figures | None:
    """Return None where the cases cannot answer: too few, constant, or told apart without fail."""
    try:
        return figure()
    except ValueError:
        return None
