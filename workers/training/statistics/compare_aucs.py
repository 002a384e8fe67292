"""Areas under the ROC curve: DeLong's variance and interval, and his test of two scores on the same cases.

DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837. The ranks of Sun & Xu, IEEE Signal Processing Letters
2014;21:1389, make it fast: no table of all pairs is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from scipy.stats import norm, rankdata

from workers.training.statistics.check_cases import Array, Bools, check_scores, check_truth
from workers.training.statistics.estimate_intervals import (
    Z_95,
    Indices,
    Interval,
    bootstrap_interval,
    resample_patients,
)

NO_VARIANCE: Final = 1e-12
"""Below it a variance is a rounding error of zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AucEstimate:
    """An area under the ROC curve."""

    auc: float
    standard_error: float | None
    """DeLong's; None where there are fewer than two cases of a kind."""
    interval_95: Interval | None
    """None without a standard error or where it is 0 (all told apart, or all scores equal): it says nothing then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AucComparison:
    """Two areas on the same cases; the difference is the second less the first."""

    first: float
    second: float
    difference: float
    standard_error: float
    interval_95: Interval
    """Plain: difference -/+ 1.96 standard errors."""
    z: float
    p: float
    """Two-sided. 1 where both scores rank the cases alike."""


def quick_auc(truth: Any, score: Any) -> float | None:
    """Return the AUC by ranks (Mann and Whitney), a tie counting half; None where only one kind is there.

    `truth` is an array of booleans. Nothing is checked: it is called for each of a thousand draws.
    """
    low, high = np.sort(score[~truth]), score[truth]
    if not len(low) or not len(high):
        return None
    below, upto = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
    return float((below + upto).sum() / 2 / len(low) / len(high))


def auc_interval(patients: Sequence[str], truths: Sequence[bool], scores: Sequence[float]) -> Interval | None:
    """Return the AUC's 95 % interval over resampled patients, where one has several cases; None without both kinds."""
    truth, score = np.asarray(truths, dtype=bool), np.asarray(scores, dtype=float)

    def figure(draw: Indices) -> float | None:
        return quick_auc(truth[draw], score[draw])

    return bootstrap_interval(resample_patients(patients), figure)


def auc_difference_interval(patients: Sequence[str], truth: Any, first: Any, second: Any) -> Interval | None:
    """Return the 95 % interval of the second AUC less the first over resampled patients, where one has several cases.

    DeLong's test would take the cases for independent. None without both kinds. Raises ValueError for odd input.
    """
    is_event = check_truth(truth, both_kinds=False)
    scores = check_scores(first, len(is_event)), check_scores(second, len(is_event))

    def figure(draw: Indices) -> float | None:
        before, after = (quick_auc(is_event[draw], score[draw]) for score in scores)
        return None if before is None or after is None else after - before

    return bootstrap_interval(resample_patients(patients), figure)


def estimate_auc(truth: Any, scores: Any, *, scale: Literal["logit", "plain"] = "logit") -> AucEstimate:
    """Return the AUC of `scores`, higher meaning an event, with DeLong's standard error and 95 % interval.

    The interval is built on the log odds of the AUC, which keeps it within 0 to 1 and covers better near 1 (Pepe
    2003); "plain" is AUC -/+ 1.96 standard errors, as R's pROC and SAS print it, cut off at 0 and 1.
    Raises ValueError where one kind of case is missing or a score is not finite.
    """
    is_event = check_truth(truth)
    events, others = place_cases(is_event, check_scores(scores, len(is_event))[None])
    auc = float(events.mean())
    if min(events.shape[1], others.shape[1]) < 2:
        return AucEstimate(auc=auc, standard_error=None, interval_95=None)
    variance = float(delong_covariance(events, others)[0, 0])
    if variance < NO_VARIANCE:
        return AucEstimate(auc=auc, standard_error=0.0, interval_95=None)
    error = variance**0.5
    bounds = _logit_interval(auc, error) if scale == "logit" else _plain_interval(auc, error)
    return AucEstimate(auc=auc, standard_error=error, interval_95=bounds)


def compare_aucs(truth: Any, first: Any, second: Any) -> AucComparison:
    """Test whether two scores of the same cases have the same AUC (DeLong 1988, two-sided).

    The test is for scores that were not fitted on these cases; for nested models fitted on them it is too timid.
    Raises ValueError as estimate_auc does, with fewer than two cases of a kind, and where the areas differ without any
    variance (one score tells all apart, the other all wrongly): the test has no answer then.
    """
    is_event = check_truth(truth)
    scores = np.stack([check_scores(first, len(is_event)), check_scores(second, len(is_event))])
    events, others = place_cases(is_event, scores)
    if min(events.shape[1], others.shape[1]) < 2:
        raise ValueError("DeLong's test needs at least two cases of each kind.")
    areas = events.mean(axis=1)
    contrast = np.array([-1.0, 1.0])
    difference, variance = float(contrast @ areas), float(contrast @ delong_covariance(events, others) @ contrast)
    has_variance = variance > NO_VARIANCE
    if not has_variance and abs(difference) > NO_VARIANCE:
        raise ValueError("The areas differ without any variance, so that DeLong's test has no answer.")
    error = variance**0.5 if has_variance else 0.0
    z = difference / error if has_variance else 0.0
    return AucComparison(
        first=float(areas[0]),
        second=float(areas[1]),
        difference=difference,
        standard_error=error,
        interval_95=(difference - Z_95 * error, difference + Z_95 * error),
        z=z,
        p=float(2 * norm.sf(abs(z))),
    )


def place_cases(is_event: Bools, scores: Array) -> tuple[Array, Array]:
    """Return, for each event, the share of the others that it outscores, and for each other the share above it.

    `scores` is (models, cases); the answers are (models, events) and (models, others). A tie counts half.
    """
    high, low = scores[:, is_event], scores[:, ~is_event]
    events, others = high.shape[1], low.shape[1]
    ranks = rankdata(np.concatenate([high, low], axis=1), axis=1)
    of_events = (ranks[:, :events] - rankdata(high, axis=1)) / others
    of_others = 1 - (ranks[:, events:] - rankdata(low, axis=1)) / events
    return of_events, of_others


def delong_covariance(events: Array, others: Array) -> Array:
    """Return the covariance of the areas, (models, models), from what place_cases returned."""
    spread: Array = np.atleast_2d(np.cov(events)) / events.shape[1] + np.atleast_2d(np.cov(others)) / others.shape[1]
    return spread


def _plain_interval(auc: float, error: float) -> Interval:
    return max(0.0, auc - Z_95 * error), min(1.0, auc + Z_95 * error)


def _logit_interval(auc: float, error: float) -> Interval:
    middle, half = np.log(auc / (1 - auc)), Z_95 * error / (auc * (1 - auc))
    low, high = 1 / (1 + np.exp(-(middle + np.array([-half, half]))))
    return float(low), float(high)
