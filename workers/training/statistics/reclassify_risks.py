"""What a second model adds to a first one: net reclassification (NRI) and integrated discrimination (IDI).

Pencina, D'Agostino, D'Agostino & Vasan, Statistics in Medicine 2008;27:157 (IDI, NRI with categories and the tests)
and Pencina, D'Agostino & Steyerberg, Statistics in Medicine 2011;30:11 (NRI without categories, the variance).

Read them with care: a second model that is only more extreme, or was fitted on the same cases, can gain NRI and IDI
without knowing more (Hilden & Gerds, Statistics in Medicine 2014;33:3405). Report them beside the AUCs and the
calibration of both models, on cases that fitted neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from workers.training.statistics.check_cases import Array, Bools, check_probabilities, check_truth
from workers.training.statistics.estimate_intervals import Z_95, Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A gain of the second model over the first, above 0 where it is the better one."""

    value: float
    standard_error: float
    interval_95: Interval
    """value -/+ 1.96 standard errors."""
    z: float | None
    """Of the test that nothing was gained; None where nothing varied, which no test can judge."""
    p: float | None
    """Two-sided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclassification:
    """Who moved up and down from the first model to the second; a case whose risk stayed equal moved nowhere."""

    events: int
    events_up: int
    events_down: int
    others: int
    others_up: int
    others_down: int
    of_events: Change
    """Share of the events that moved up, less the share that moved down."""
    of_others: Change
    """Share of the others that moved down, less the share that moved up."""
    nri: Change
    """The sum of both, from -2 to 2: no percentage of anything."""


def reclassify_by_category(truth: Any, first: Any, second: Any, cutoffs: Sequence[float]) -> Reclassification:
    """Return the NRI of risks in categories; a risk that equals a cut-off is in the category above it.

    Raises ValueError for cut-offs that do not rise strictly within 0 to 1, and for odd input.
    """
    edges = np.asarray(cutoffs, dtype=np.float64)
    if edges.ndim != 1 or not len(edges) or (np.diff(edges) <= 0).any() or edges[0] <= 0 or edges[-1] >= 1:
        raise ValueError("The cut-offs must rise strictly, between 0 and 1.")
    is_event, before, after = _check_risks(truth, first, second)
    places = np.searchsorted(edges, after, "right") - np.searchsorted(edges, before, "right")
    return _count_moves(is_event, np.asarray(places, dtype=np.float64))


def reclassify_continuously(truth: Any, first: Any, second: Any) -> Reclassification:
    """Return the NRI without categories, NRI(>0): every rise of a risk counts, however small.

    Raises ValueError for odd input.
    """
    is_event, before, after = _check_risks(truth, first, second)
    return _count_moves(is_event, after - before)


def improve_discrimination(truth: Any, first: Any, second: Any) -> Change:
    """Return the IDI: the mean rise of the risk among events, less that among the others.

    Its variance is that of both means of paired differences. Raises ValueError for odd input, and with fewer than two
    cases of a kind.
    """
    is_event, before, after = _check_risks(truth, first, second)
    of_events, of_others = (after - before)[is_event], (after - before)[~is_event]
    if min(len(of_events), len(of_others)) < 2:
        raise ValueError("The IDI needs at least two cases of each kind.")
    variance = of_events.var(ddof=1) / len(of_events) + of_others.var(ddof=1) / len(of_others)
    return _change(float(of_events.mean() - of_others.mean()), float(variance), float(variance))


def judge_moves(
    events: int, events_up: int, events_down: int, others: int, others_up: int, others_down: int
) -> Reclassification:
    """Return the Reclassification of counted moves, as from a published table.

    Raises ValueError without both kinds and where more moved than there are.
    """
    if min(events, others) < 1:
        raise ValueError("The NRI needs cases of both kinds.")
    if events_up + events_down > events or others_up + others_down > others:
        raise ValueError("More cases moved than there are.")
    gain, variance, null = _gain(events_up, events_down, events)
    other_gain, other_variance, other_null = _gain(others_down, others_up, others)
    return Reclassification(
        events=events,
        events_up=events_up,
        events_down=events_down,
        others=others,
        others_up=others_up,
        others_down=others_down,
        of_events=_change(gain, variance, null),
        of_others=_change(other_gain, other_variance, other_null),
        nri=_change(gain + other_gain, variance + other_variance, null + other_null),
    )


def _check_risks(truth: Any, first: Any, second: Any) -> tuple[Bools, Array, Array]:
    is_event = check_truth(truth)
    return is_event, check_probabilities(first, len(is_event)), check_probabilities(second, len(is_event))


def _count_moves(is_event: Bools, moves: Array) -> Reclassification:
    up, down = moves > 0, moves < 0
    return judge_moves(
        int(is_event.sum()),
        int((up & is_event).sum()),
        int((down & is_event).sum()),
        int((~is_event).sum()),
        int((up & ~is_event).sum()),
        int((down & ~is_event).sum()),
    )


def _gain(better: int, worse: int, count: int) -> tuple[float, float, float]:
    """Return the gain, its multinomial variance (2011, for the interval) and that under no gain (2008, for z)."""
    gain, moved = (better - worse) / count, (better + worse) / count
    return gain, (moved - gain**2) / count, moved / count


def _change(value: float, variance: float, null_variance: float) -> Change:
    error, has_variance = max(0.0, variance) ** 0.5, null_variance > 0
    z = value / null_variance**0.5 if has_variance else None
    return Change(
        value=value,
        standard_error=error,
        interval_95=(value - Z_95 * error, value + Z_95 * error),
        z=z,
        p=None if z is None else float(2 * norm.sf(abs(z))),
    )
