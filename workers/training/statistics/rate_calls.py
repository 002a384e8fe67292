"""Sensitivity, specificity and predictive values of yes-or-no calls, with Wilson's intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.training.statistics.check_cases import check_truth
from workers.training.statistics.estimate_intervals import Interval, ppv_at, wilson_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share and what it was counted from."""

    hits: int
    count: int
    share: float | None
    """None where nothing was counted."""
    interval_95: Interval | None
    """Wilson's; None where nothing was counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRates:
    """How often calls are right; PPV and NPV hold for the share of events among these cases only."""

    sensitivity: Proportion
    specificity: Proportion
    ppv: Proportion
    npv: Proportion
    accuracy: Proportion


def count_share(hits: int, count: int) -> Proportion:
    """Return the share of `hits` in `count` with Wilson's 95 % interval."""
    share = hits / count if count else None
    return Proportion(hits=hits, count=count, share=share, interval_95=wilson_interval(hits, count))


def rate_calls(truth: Any, is_called: Any) -> CallRates:
    """Return the rates of the calls; a rate with nothing to count has no share. Raises ValueError for odd input.

    Wilson's interval takes the cases for independent: with several of one patient use clustered_interval.
    """
    is_event = check_truth(truth, both_kinds=False)
    called = check_truth(is_called, both_kinds=False)
    if called.shape != is_event.shape:
        raise ValueError(f"There are {len(is_event)} cases, but {len(called)} calls.")
    hits, passes = int((is_event & called).sum()), int((~is_event & ~called).sum())
    return CallRates(
        sensitivity=count_share(hits, int(is_event.sum())),
        specificity=count_share(passes, int((~is_event).sum())),
        ppv=count_share(hits, int(called.sum())),
        npv=count_share(passes, int((~called).sum())),
        accuracy=count_share(hits + passes, len(is_event)),
    )


def call_events(scores: Any, threshold: float) -> Any:
    """Return whether each score calls an event: `threshold` itself does."""
    return np.asarray(scores, dtype=float) >= threshold


def ppv_interval_at(prevalence: float, rates: CallRates) -> Interval | None:
    """Return the PPV at `prevalence` for both lower and both upper ends of sensitivity and specificity.

    Wider than a 95 % interval: both are at their ends at once. None where either was not counted.
    """
    ends = rates.sensitivity.interval_95, rates.specificity.interval_95
    if ends[0] is None or ends[1] is None:
        return None
    low, high = (ppv_at(prevalence, ends[0][end], ends[1][end]) for end in (0, 1))
    return None if low is None or high is None else (low, high)
