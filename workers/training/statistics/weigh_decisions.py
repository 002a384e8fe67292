"""Decision curves: what calling events by a model is worth, against calling all or none.

Vickers & Elkin, Medical Decision Making 2006;26:565. A threshold of 10 % says that nine false calls are as bad as one
missed event.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.training.statistics.check_cases import Array, check_probabilities, check_truth


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCurve:
    """Net benefit at each threshold, in true calls per case; all arrays are (thresholds,)."""

    thresholds: Array
    model: Array
    treat_all: Array
    treat_none: Array
    """0 throughout."""
    prevalence: float
    """Share of events that the benefit holds for."""


def weigh_decisions(
    truth: Any, probabilities: Any, thresholds: Any = None, *, prevalence: float | None = None
) -> DecisionCurve:
    """Return the decision curve of calibrated `probabilities`; one that equals the threshold calls an event.

    `thresholds` are 0.01 to 0.99 where not given. `prevalence` weighs sensitivity and specificity for another share of
    events than these cases hold; it cannot calibrate the probabilities anew. Raises ValueError for odd input and for
    a threshold or prevalence that is not between 0 and 1.
    """
    is_event = check_truth(truth)
    risks = check_probabilities(probabilities, len(is_event))
    cuts: Array = np.linspace(0.01, 0.99, 99) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    share = float(is_event.mean()) if prevalence is None else prevalence
    if cuts.ndim != 1 or not ((cuts > 0) & (cuts < 1)).all() or not 0 < share < 1:
        raise ValueError("Thresholds and prevalence must lie between 0 and 1, and be neither.")
    sensitivity = np.array([(risks[is_event] >= cut).mean() for cut in cuts])
    alarms = np.array([(risks[~is_event] >= cut).mean() for cut in cuts])
    odds = cuts / (1 - cuts)
    return DecisionCurve(
        thresholds=cuts,
        model=share * sensitivity - (1 - share) * alarms * odds,
        treat_all=share - (1 - share) * odds,
        treat_none=np.zeros(len(cuts)),
        prevalence=share,
    )
