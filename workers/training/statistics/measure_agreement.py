"""How far ratings of the same targets agree: the six intraclass correlations (ICC).

Shrout & Fleiss, Psychological Bulletin 1979;86:420, with their F-based intervals.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import f as f_distribution

from workers.training.statistics.check_cases import Array
from workers.training.statistics.estimate_intervals import Interval

TAIL: Final = 0.975
ONE_WAY: Final = "ICC(1)"
RANDOM: Final = "ICC(2)"
FIXED: Final = "ICC(3)"
NO_SPREAD: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One kind of intraclass correlation: of a single rating and of the mean of all judges' ratings.

    ICC(1): each target has judges of its own. ICC(2): the judges are a sample of all judges, and how much higher one
    rates counts against them (absolute agreement). ICC(3): these very judges, and it does not (consistency).
    """

    kind: str
    single: float
    single_95: Interval
    average: float
    """Minus infinity where `single` is at its lowest, -1 / (judges - 1): the targets' means do not differ at all."""
    average_95: Interval
    f: float
    degrees: tuple[int, int]
    p: float
    """That there is no correlation, one-sided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanSquares:
    """The analysis of variance of `targets` targets, each rated once by each of `judges` judges."""

    targets: int
    judges: int
    between: float
    """Between targets."""
    within: float
    """Within targets: what judges and rest have together."""
    of_judges: float
    rest: float


def measure_agreement(ratings: Any) -> tuple[Agreement, Agreement, Agreement]:
    """Return ICC(1), ICC(2) and ICC(3) of `ratings`, (targets, judges), no rating missing.

    Raises ValueError for fewer than two targets or judges, a missing rating, and ratings without spread: where all are
    equal, or the judges agree on each target but for one constant each, F has no bound and no interval exists.
    """
    values = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError("Agreement needs ratings of at least two targets by at least two judges each.")
    if not np.isfinite(values).all():
        raise ValueError("A rating is missing or infinite; leave out its target.")
    squares = analyze_variance(values)
    if squares.rest <= NO_SPREAD * max(1.0, squares.between):
        raise ValueError("The ratings do not differ within the targets, so that no interval exists.")
    return _one_way(squares), _two_way_random(squares), _two_way_fixed(squares)


def analyze_variance(values: Array) -> MeanSquares:
    """Return the mean squares of `values`, (targets, judges)."""
    targets, judges = values.shape
    middle, of_targets, of_judges = values.mean(), values.mean(axis=1), values.mean(axis=0)
    within = ((values - of_targets[:, None]) ** 2).sum()
    judges_sum = targets * ((of_judges - middle) ** 2).sum()
    return MeanSquares(
        targets=targets,
        judges=judges,
        between=float(judges * ((of_targets - middle) ** 2).sum() / (targets - 1)),
        within=float(within / (targets * (judges - 1))),
        of_judges=float(judges_sum / (judges - 1)),
        rest=float((within - judges_sum) / ((targets - 1) * (judges - 1))),
    )


def _one_way(squares: MeanSquares) -> Agreement:
    degrees = (squares.targets - 1, squares.targets * (squares.judges - 1))
    single, bounds = _of_ratio(squares.between / squares.within, degrees, squares.judges)
    return _agreement(ONE_WAY, squares, single, bounds, squares.between / squares.within, degrees)


def _two_way_fixed(squares: MeanSquares) -> Agreement:
    degrees = (squares.targets - 1, (squares.targets - 1) * (squares.judges - 1))
    single, bounds = _of_ratio(squares.between / squares.rest, degrees, squares.judges)
    return _agreement(FIXED, squares, single, bounds, squares.between / squares.rest, degrees)


def _two_way_random(squares: MeanSquares) -> Agreement:
    """Return ICC(2), its interval by Satterthwaite's degrees of freedom (Shrout & Fleiss 1979)."""
    n, k = squares.targets, squares.judges
    between, judges, rest = squares.between, squares.of_judges, squares.rest
    single = (between - rest) / (between + (k - 1) * rest + k * (judges - rest) / n)
    share, ratio = single, judges / rest
    spread = n * (1 + (k - 1) * share) - k * share
    degrees = (k - 1) * (n - 1) * (k * share * ratio + spread) ** 2
    degrees /= (n - 1) * k**2 * share**2 * ratio**2 + spread**2
    below, above = f_distribution.ppf(TAIL, n - 1, degrees), f_distribution.ppf(TAIL, degrees, n - 1)
    weight = k * judges + (k * n - k - n) * rest
    low = n * (between - below * rest) / (below * weight + n * between)
    high = n * (above * between - rest) / (weight + n * above * between)
    bounds = (float(low), float(high))
    return _agreement(RANDOM, squares, single, bounds, between / rest, (n - 1, (n - 1) * (k - 1)))


def _of_ratio(ratio: float, degrees: tuple[int, int], judges: int) -> tuple[float, Interval]:
    """Return the correlation that belongs to a ratio of mean squares, and its bounds."""
    lower = ratio / f_distribution.ppf(TAIL, *degrees)
    upper = ratio * f_distribution.ppf(TAIL, degrees[1], degrees[0])
    single, low, high = ((value - 1) / (value + judges - 1) for value in (ratio, lower, upper))
    return single, (float(low), float(high))


def _agreement(
    kind: str, squares: MeanSquares, single: float, bounds: Interval, ratio: float, degrees: tuple[int, int]
) -> Agreement:
    return Agreement(
        kind=kind,
        single=single,
        single_95=bounds,
        average=step_up(single, squares.judges),
        average_95=(step_up(bounds[0], squares.judges), step_up(bounds[1], squares.judges)),
        f=ratio,
        degrees=degrees,
        p=float(f_distribution.sf(ratio, *degrees)),
    )


def step_up(single: float, judges: int) -> float:
    """Return the correlation of the mean of `judges` ratings (Spearman and Brown)."""
    below = 1 + (judges - 1) * single
    return judges * single / below if abs(below) > NO_SPREAD else float("-inf")
