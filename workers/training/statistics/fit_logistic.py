"""Logistic regression by maximum likelihood, without penalty, with Wald's intervals."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import linprog
from scipy.special import expit
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from workers.training.statistics.check_cases import Array, Bools, check_truth
from workers.training.statistics.estimate_intervals import Z_95, Interval

INTERCEPT: Final = "intercept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """One term, in log odds for each unit of its variable."""

    name: str
    value: float
    standard_error: float
    interval_95: Interval
    p: float
    """Wald's, two-sided."""

    @property
    def odds_ratio(self) -> float:
        """Factor of the odds for one unit more."""
        return float(np.exp(self.value))

    @property
    def odds_ratio_95(self) -> Interval:
        """The interval of the odds ratio."""
        return float(np.exp(self.interval_95[0])), float(np.exp(self.interval_95[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticFit:
    """A fitted model: the intercept first, then the variables in their order."""

    coefficients: tuple[Coefficient, ...]
    covariance: Array
    """(terms, terms)"""
    cases: int
    events: int
    deviance: float
    """-2 times the log likelihood."""

    def predict(self, variables: Any) -> Array:
        """Return the probability of each row of `variables`, (cases, variables)."""
        values = np.asarray(variables, dtype=np.float64)
        weights = np.array([coefficient.value for coefficient in self.coefficients])
        probabilities: Array = expit(weights[0] + values @ weights[1:])
        return probabilities


def fit_logistic(variables: Any, truth: Any, names: Sequence[str]) -> LogisticFit:
    """Fit `truth` by `variables`, (cases, variables), with an intercept.

    Raises ValueError for missing values, a variable that is constant or follows from others, fewer cases than terms,
    and where a combination of the variables tells events from the others without fail: no finite fit exists then.
    """
    is_event = check_truth(truth)
    values = np.asarray(variables, dtype=np.float64)
    if values.shape != (len(is_event), len(names)):
        raise ValueError(f"Expected {len(is_event)} cases of {len(names)} variables, got the shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("A variable is missing or infinite in some case; leave the case out and say so.")
    design = np.column_stack([np.ones(len(values)), values])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError("A variable is constant or follows from the others, or there are too few cases.")
    if is_separated(design, is_event):
        raise ValueError("The variables tell events from the others without fail; no finite fit exists.")
    weights = _maximize_likelihood(values, is_event)
    return _describe_fit(design, is_event, weights, (INTERCEPT, *names))


def is_separated(design: Array, is_event: Bools) -> bool:
    """Whether some combination of the columns is never lower for an event than for another case, and not all equal.

    A linear program finds it (Konis 2007); the likelihood then has no maximum.
    """
    signed = np.where(is_event, 1.0, -1.0)[:, None] * design / np.maximum(np.abs(design).max(axis=0), 1e-12)
    best = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1, 1), method="highs")
    return bool(best.status == 0 and -best.fun > 1e-7)


def _maximize_likelihood(values: Array, is_event: Bools) -> Array:
    """Return the weights, the intercept first. Columns are scaled for the search and back after it."""
    middle, spread = values.mean(axis=0), values.std(axis=0)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    with warnings.catch_warnings():
        # Where the search begins at its end, Newton's steps are too small to be seen, and another solver goes on.
        warnings.filterwarnings("ignore", "Line search of Newton solver", ConvergenceWarning)
        model.fit((values - middle) / spread, is_event)
    slopes = model.coef_[0] / spread
    return np.concatenate([model.intercept_ - slopes @ middle, slopes])


def _describe_fit(design: Array, is_event: Bools, weights: Array, names: Sequence[str]) -> LogisticFit:
    linear = design @ weights
    probabilities = expit(linear)
    information = (design * (probabilities * (1 - probabilities))[:, None]).T @ design
    covariance = np.linalg.inv(information)
    errors = np.sqrt(np.diag(covariance))
    return LogisticFit(
        coefficients=tuple(
            Coefficient(
                name=name,
                value=float(weight),
                standard_error=float(error),
                interval_95=(float(weight - Z_95 * error), float(weight + Z_95 * error)),
                p=float(2 * norm.sf(abs(weight / error))),
            )
            for name, weight, error in zip(names, weights, errors, strict=True)
        ),
        covariance=covariance,
        cases=len(is_event),
        events=int(is_event.sum()),
        deviance=float(2 * np.logaddexp(0, np.where(is_event, -linear, linear)).sum()),
    )
