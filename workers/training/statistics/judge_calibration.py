"""Whether probabilities come true: Hosmer and Lemeshow's test, calibration error, curve, intercept and slope."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import chi2

from workers.training.statistics.check_cases import Array, Bools, check_probabilities, check_truth
from workers.training.statistics.estimate_intervals import Z_95, Interval
from workers.training.statistics.fit_logistic import Coefficient, fit_logistic
from workers.training.statistics.rate_calls import Proportion, count_share

BINS: Final = 10
Kind = Literal["mass", "width"]
NEAREST: Final = 1e-6
"""A probability of 0 or 1 has no log odds: it is taken for this far from it."""
REPEATS: Final = 1000
FARTHEST: Final = 50.0
"""Log odds within which the shift of all probabilities is sought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Cases of like probability: one point of the calibration curve."""

    mean_probability: float
    observed: Proportion
    """Share of events, with Wilson's interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitTest:
    """Hosmer and Lemeshow's test; a small p says that the probabilities do not come true."""

    chi_square: float
    degrees: int
    p: float
    groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationLine:
    """The line of observed over predicted log odds (Cox 1958; Van Calster et al. 2016)."""

    intercept: Coefficient
    """Of the line with `slope`; 0 is calibrated."""
    slope: Coefficient
    """1 is calibrated, below it the probabilities are too extreme. Its p is that of no relation, not of 1."""
    shift: float
    """Calibration in the large: what must be added to all log odds for as many events as there are; 0 is calibrated."""
    shift_95: Interval


def bin_cases(probabilities: Array, bins: int = BINS, kind: Kind = "mass") -> NDArray[np.intp]:
    """Return the bin of each case, from 0.

    "mass": as many cases in each as ties allow; equal probabilities are never parted, so that bins may be empty. The
    cuts are the quantiles of SAS and Stata (the mean at a jump), and a case that equals one is below it. "width": bins
    of equal width over 0 to 1, a probability on an edge above it, and 1 in the last. Raises ValueError below one bin.
    """
    if bins < 1:
        raise ValueError("There must be at least one bin.")
    if kind == "width":
        return np.minimum((probabilities * bins).astype(np.intp), bins - 1)
    cuts = np.quantile(probabilities, np.arange(1, bins) / bins, method="averaged_inverted_cdf")
    return np.searchsorted(cuts, probabilities, "left")


def trace_calibration(
    truth: Any, probabilities: Any, bins: int = BINS, kind: Kind = "mass"
) -> tuple[CalibrationBin, ...]:
    """Return the calibration curve, lowest probability first; empty bins are left out. Raises ValueError."""
    is_event, risks = _check(truth, probabilities, both_kinds=False)
    return tuple(
        CalibrationBin(
            mean_probability=float(risks[members].mean()),
            observed=count_share(int(is_event[members].sum()), int(members.sum())),
        )
        for members in _each_bin(bin_cases(risks, bins, kind))
    )


def calibration_error(truth: Any, probabilities: Any, bins: int = BINS, kind: Kind = "mass") -> float:
    """Return the expected calibration error: |mean probability - share of events| of the bins, weighed by their cases.

    Naeini, Cooper & Hauskrecht, AAAI 2015. It is never negative, so that even true probabilities have some: compare it
    with calibration_error_by_chance. Raises ValueError for odd input.
    """
    is_event, risks = _check(truth, probabilities, both_kinds=False)
    return _error_of(is_event, risks, bin_cases(risks, bins, kind))


def calibration_error_by_chance(
    probabilities: Any, bins: int = BINS, kind: Kind = "mass", *, seed: int = 7, repeats: int = REPEATS
) -> Interval:
    """Return mean and 95th percentile of the error that these probabilities would have if they were true.

    Events are drawn by them `repeats` times. Raises ValueError for odd input.
    """
    risks = check_probabilities(probabilities, len(np.atleast_1d(probabilities)))
    places = bin_cases(risks, bins, kind)
    rng = np.random.default_rng(seed)
    errors = [_error_of(rng.random(len(risks)) < risks, risks, places) for _ in range(repeats)]
    return float(np.mean(errors)), float(np.percentile(errors, 95))


def brier_score(truth: Any, probabilities: Any) -> float:
    """Return the mean squared difference of probability and event (Brier 1950). Raises ValueError for odd input."""
    is_event, risks = _check(truth, probabilities, both_kinds=False)
    return float(np.mean((risks - is_event) ** 2))


def judge_fit(truth: Any, probabilities: Any, groups: int = BINS, *, were_fitted_here: bool) -> FitTest:
    """Return Hosmer and Lemeshow's test over groups of equal mass (deciles), as bin_cases forms them.

    Hosmer & Lemeshow, Communications in Statistics 1980;9:1043. `were_fitted_here`: the probabilities come from a
    logistic model fitted on these very cases, and two degrees of freedom are lost; otherwise none is (Hosmer, Lemeshow
    & Sturdivant 2013, on external validation). Degrees count the groups that hold cases. A group whose probabilities
    are all 0 or all 1 adds nothing where they came true, and makes chi-square infinite where one did not. Raises
    ValueError for odd input and where no degree is left.
    """
    is_event, risks = _check(truth, probabilities, both_kinds=True)
    members = list(_each_bin(bin_cases(risks, groups, "mass")))
    degrees = len(members) - 2 * were_fitted_here
    if degrees < 1:
        raise ValueError("The probabilities form too few groups for Hosmer and Lemeshow's test.")
    chi_square = sum(_part_of(is_event[group], risks[group]) for group in members)
    return FitTest(chi_square=chi_square, degrees=degrees, p=float(chi2.sf(chi_square, degrees)), groups=len(members))


def fit_calibration(truth: Any, probabilities: Any) -> CalibrationLine:
    """Return intercept and slope of the log odds, and calibration in the large.

    Probabilities of 0 and 1 are taken for NEAREST and 1 - NEAREST, which matters if there are many. Raises ValueError
    for odd input, constant probabilities, and those that tell all events from the others: no line exists then.
    """
    is_event, risks = _check(truth, probabilities, both_kinds=True)
    odds: Array = logit(np.clip(risks, NEAREST, 1 - NEAREST))
    fit = fit_logistic(odds[:, None], is_event, ["slope"])
    shift = float(brentq(lambda by: float(expit(odds + by).sum() - is_event.sum()), -FARTHEST, FARTHEST, xtol=1e-12))
    moved = expit(odds + shift)
    error = float((moved * (1 - moved)).sum()) ** -0.5
    return CalibrationLine(
        intercept=fit.coefficients[0],
        slope=fit.coefficients[1],
        shift=shift,
        shift_95=(shift - Z_95 * error, shift + Z_95 * error),
    )


def _check(truth: Any, probabilities: Any, *, both_kinds: bool) -> tuple[Bools, Array]:
    is_event = check_truth(truth, both_kinds=both_kinds)
    return is_event, check_probabilities(probabilities, len(is_event))


def _each_bin(places: NDArray[np.intp]) -> Iterator[Bools]:
    for place in np.unique(places):
        yield places == place


def _error_of(is_event: Bools, risks: Array, places: NDArray[np.intp]) -> float:
    gaps = np.bincount(places, weights=risks - is_event)
    return float(np.abs(gaps).sum() / len(risks))


def _part_of(is_event: Bools, risks: Array) -> float:
    """Return what one group adds to chi-square."""
    expected, seen = float(risks.sum()), int(is_event.sum())
    spread = expected * (1 - expected / len(risks))
    if spread <= 0:
        return 0.0 if abs(seen - expected) < NEAREST else float("inf")
    return (seen - expected) ** 2 / spread
