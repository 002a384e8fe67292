"""Fit the support vector machines that judge candidates, and measure them by cross-validation over patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.svm import SVC

from screener.study import DEFAULT_MIN_SCORE, GAMMAS
from workers.models.candidate_machines import Array, Machine, Scaling

Bools = NDArray[np.bool_]

WIDTHS: Final = (1.0, 1.5, 2.0, 3.0)
PENALTIES: Final = (0.3, 1.0, 3.0)
TRIED_GAMMAS: Final = (1, 5, 10)
"""Width and penalty are chosen by these alone: the smoothest, the default and the most local machine."""
FOLDS: Final = 5
KEPT_SENSITIVITY: Final = 0.97
"""Share of the large true candidates whose score reaches the default cut-off in cross-validation."""
LARGE_VOXELS: Final = 500
STEEPEST: Final = 4.0
"""A steeper slope would reject what resembles a false sample only faintly: at this one the default cut-off takes a
margin of -0.35, a third of the way from the unknown to a sample that was no mass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """All candidates that were collected."""

    features: Array
    """(candidates, features), in their own units."""
    is_true: Bools
    voxels: NDArray[np.int64]
    patients: NDArray[np.str_]
    """Who each is of: no patient is in two folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one gamma did in cross-validation, at the default cut-off, each fold by the slope of the others."""

    gamma: int
    auc: float
    auc_large: float
    """Among candidates of at least LARGE_VOXELS; not a number where one kind is missing."""
    sensitivity: float
    """Share of the true candidates of at least LARGE_VOXELS that are kept."""
    removed: float
    """Share of the false candidates of at least LARGE_VOXELS that are rejected."""
    supports: int


def choose_scaling(samples: Samples) -> tuple[Scaling, float]:
    """Return the scaling and the penalty with the best mean AUC over patients not seen."""
    tried = []
    for width in WIDTHS:
        scaling = scale(samples, width)
        for penalty in PENALTIES:
            aucs = [_auc(cross_validate(samples, width, gamma, penalty), samples.is_true) for gamma in TRIED_GAMMAS]
            tried.append((float(np.mean(aucs)), scaling, penalty))
    _, scaling, penalty = max(tried, key=lambda row: row[0])
    return scaling, penalty


def scale(samples: Samples, width: float) -> Scaling:
    """Return the scaling that the samples' mean and deviation give."""
    deviation = np.maximum(samples.features.std(axis=0), 1e-3)
    return Scaling(mean=samples.features.mean(axis=0), deviation=deviation, width=width)


def fit_machine(samples: Samples, scaling: Scaling, gamma: int, penalty: float, margins: Array) -> Machine:
    """Fit one machine on all samples; `margins` are those of cross-validation, which give the slope."""
    support, weights, bias = _fit(samples, scaling, gamma, penalty)
    slope = slope_of(margins[samples.is_true & (samples.voxels >= LARGE_VOXELS)])
    return Machine(gamma=float(gamma), support=support, weights=weights, bias=bias, slope=slope)


def slope_of(margins: Array) -> float:
    """Return the slope at which KEPT_SENSITIVITY of the `margins` reach the default cut-off.

    A margin is a decision less its bias, so that 0 scores 0.5. Where that many
    already lie above 0, or just below, any slope keeps them, and it is STEEPEST.
    """
    if not len(margins):
        return 1.0
    lowest = float(np.quantile(margins, 1 - KEPT_SENSITIVITY, method="lower"))
    wanted = float(np.log(1 / DEFAULT_MIN_SCORE - 1))
    if lowest >= -wanted / STEEPEST:
        return STEEPEST
    return wanted / -lowest * (1 - 1e-6)


def split_folds(samples: Samples) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return, for each fold, the indices of the samples that are seen and of those left out; always the same."""
    folds = min(FOLDS, len(set(samples.patients.tolist())))
    return list(GroupKFold(folds).split(samples.features, samples.is_true, samples.patients))


def cross_validate(samples: Samples, width: float, gamma: int, penalty: float) -> Array:
    """Return each candidate's margin by a machine that saw nothing of its patient."""
    margins = np.zeros(len(samples.is_true))
    for seen, left_out in split_folds(samples):
        part = Samples(
            features=samples.features[seen],
            is_true=samples.is_true[seen],
            voxels=samples.voxels[seen],
            patients=samples.patients[seen],
        )
        if part.is_true.all() or not part.is_true.any():
            continue
        scaling = scale(part, width)
        support, weights, _ = _fit(part, scaling, gamma, penalty)
        machine = Machine(gamma=float(gamma), support=support, weights=weights, bias=0.0, slope=1.0)
        margins[left_out] = machine.decide(scaling(samples.features[left_out]))
    return margins


def measure(samples: Samples, margins: Array, machine: Machine) -> Figures:
    """Return the figures of one gamma, from the margins of cross-validation.

    A slope keeps KEPT_SENSITIVITY of the margins that it was set on by
    construction. Each fold is therefore judged by the slope that the margins of
    the other folds give, not by the machine's own, which all of them gave.
    """
    large = samples.voxels >= LARGE_VOXELS
    scores = np.zeros(len(margins))
    for seen, left_out in split_folds(samples):
        slope = slope_of(margins[seen][(samples.is_true & large)[seen]])
        scores[left_out] = 1 / (1 + np.exp(-slope * margins[left_out]))
    kept = scores >= DEFAULT_MIN_SCORE
    return Figures(
        gamma=int(machine.gamma),
        auc=_auc(margins, samples.is_true),
        auc_large=_auc(margins[large], samples.is_true[large]),
        sensitivity=_share(kept[large & samples.is_true]),
        removed=_share(~kept[large & ~samples.is_true]),
        supports=len(machine.weights),
    )


def fit_machines(samples: Samples) -> tuple[Scaling, float, tuple[Machine, ...], tuple[Figures, ...]]:
    """Fit a machine for each gamma; returns scaling, penalty, machines and their figures.

    Raises ValueError where the samples are all of one kind or of one patient.
    """
    if samples.is_true.all() or not samples.is_true.any() or len(set(samples.patients.tolist())) < 2:
        message = "candidates of both kinds and of two patients at least are needed"
        raise ValueError(message)
    scaling, penalty = choose_scaling(samples)
    machines, figures = [], []
    for gamma in GAMMAS:
        margins = cross_validate(samples, scaling.width, gamma, penalty)
        machines.append(fit_machine(samples, scaling, gamma, penalty, margins))
        figures.append(measure(samples, margins, machines[-1]))
    return scaling, penalty, tuple(machines), tuple(figures)


def print_table(samples: Samples, figures: Sequence[Figures]) -> str:
    """Return the figures as a table to read."""
    large = samples.voxels >= LARGE_VOXELS
    lines = [
        f"{len(samples.is_true)} candidates of {len(set(samples.patients.tolist()))} patients: "
        f"{int(samples.is_true.sum())} true, {int((~samples.is_true).sum())} false; of at least {LARGE_VOXELS} voxels "
        f"{int((large & samples.is_true).sum())} true, {int((large & ~samples.is_true).sum())} false",
        f"cut-off {DEFAULT_MIN_SCORE}, the slope set on other patients; cross-validated over patients; "
        f"shares are of {LARGE_VOXELS} voxels up",
        "gamma    AUC  AUC large  sensitivity  false removed  samples selected",
    ]
    lines += [
        f"{row.gamma:5d}  {row.auc:.3f}      {row.auc_large:.3f}        {row.sensitivity:.3f}          "
        f"{row.removed:.3f}  {row.supports:16d}"
        for row in figures
    ]
    return "\n".join(lines)


def _fit(samples: Samples, scaling: Scaling, gamma: int, penalty: float) -> tuple[Array, Array, float]:
    """Return support vectors, their weights and the bias; the rarer kind weighs as much as the other in all."""
    model = SVC(kernel="rbf", gamma=gamma, C=penalty, class_weight="balanced")
    model.fit(scaling(samples.features), samples.is_true)
    return model.support_vectors_.astype(np.float64), model.dual_coef_[0].astype(np.float64), float(model.intercept_[0])


def _auc(margins: Array, is_true: Bools) -> float:
    if is_true.all() or not is_true.any():
        return float("nan")
    return float(roc_auc_score(is_true, margins))


def _share(kept: Bools) -> float:
    return float(kept.mean()) if len(kept) else float("nan")
