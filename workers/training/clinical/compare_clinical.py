"""Judge the clinical models by group-wise cross-validation: each case by models that saw none of its patient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from screener.outcomes import NeedsPerson
from workers.training.clinical.read_clinical import ClinicalTable
from workers.training.statistics.check_cases import Array
from workers.training.statistics.compare_aucs import auc_interval, compare_aucs, estimate_auc
from workers.training.statistics.judge_calibration import (
    brier_score,
    calibration_error,
    calibration_error_by_chance,
    judge_fit,
    trace_calibration,
)
from workers.training.statistics.reclassify_risks import (
    Change,
    Reclassification,
    improve_discrimination,
    reclassify_by_category,
    reclassify_continuously,
)
from workers.us.nomogram import log_odds

SEED: Final = 1909
FOLDS: Final = 5
CUTOFF: Final = 0.5
"""Of the NRI in categories: called malignant or not."""
IMAGE: Final = "image alone"
LOGISTIC: Final = "logistic regression"
WITH_IMAGE: Final = " with the image"
MODELS: Final[Mapping[str, Callable[[], Any]]] = {
    LOGISTIC: lambda: LogisticRegression(C=np.inf, max_iter=2000),
    "random forest": lambda: RandomForestClassifier(100, min_samples_leaf=5, random_state=SEED),
    "gradient boosting": lambda: GradientBoostingClassifier(
        n_estimators=60, learning_rate=0.05, max_depth=2, subsample=0.5, min_samples_leaf=5, random_state=SEED
    ),
}
"""The settings were fixed before any was judged. Scikit-learn's gradient boosting stands for XGBoost."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalComparison:
    """What each model says of each case, and how good that is."""

    probabilities: Mapping[str, Array]
    """By model, (cases); the image's own first, where the table has it."""
    figures: Mapping[str, Figures]
    folds: int


def compare_clinical(table: ClinicalTable) -> ClinicalComparison:
    """Cross-validate every model on the findings, and with the image where the table has its probability.

    Raises NeedsPerson where a label has fewer than two patients.
    """
    folds = _count_folds(table)
    probabilities: dict[str, Array] = {} if table.image is None else {IMAGE: table.image}
    inputs = {"": table.values}
    if table.image is not None:
        odds = np.array([[log_odds(float(p))] for p in table.image])
        inputs[WITH_IMAGE] = np.column_stack([odds, table.values])
    for suffix, values in inputs.items():
        for name, make in MODELS.items():
            probabilities[name + suffix] = predict_unseen(make, values, table, folds)
    figures = {name: judge_model(table, risks, probabilities.get(IMAGE)) for name, risks in probabilities.items()}
    return ClinicalComparison(probabilities=probabilities, figures=figures, folds=folds)


def judge_model(table: ClinicalTable, risks: Array, image: Array | None) -> Figures:
    """Return AUC, calibration and, against the image's probabilities where given, DeLong's test, NRI and IDI."""
    truth = table.truth
    area = estimate_auc(truth, risks)
    chance, chance_95 = calibration_error_by_chance(risks)
    figures: Figures = {
        "auc": area.auc,
        "auc_95_delong": area.interval_95,
        "auc_95_over_patients": auc_interval(table.groups, truth.tolist(), risks.tolist()),
        "brier": brier_score(truth, risks),
        "calibration_error": calibration_error(truth, risks),
        "calibration_error_by_chance": chance,
        "calibration_error_by_chance_p95": chance_95,
        "hosmer_lemeshow_p": _or_none(lambda: judge_fit(truth, risks, were_fitted_here=False).p),
        "curve": [
            {"mean_probability": one.mean_probability, "share": one.observed.share, "cases": one.observed.count}
            for one in trace_calibration(truth, risks)
        ],
    }
    if image is not None and risks is not image:
        figures["against_the_image"] = _judge_gain(truth, image, risks)
    return figures


def _judge_gain(truth: Any, image: Array, risks: Array) -> Figures:
    compared = _or_none(lambda: compare_aucs(truth, image, risks))
    return {
        "auc_difference": None if compared is None else compared.difference,
        "auc_difference_95": None if compared is None else compared.interval_95,
        "delong_p": None if compared is None else compared.p,
        "nri_continuous": _tell_moves(reclassify_continuously(truth, image, risks)),
        f"nri_at_{CUTOFF:g}": _tell_moves(reclassify_by_category(truth, image, risks, [CUTOFF])),
        "idi": _tell_change(improve_discrimination(truth, image, risks)),
    }


def _tell_moves(moves: Reclassification) -> Figures:
    return {
        **_tell_change(moves.nri),
        "of_malignant": moves.of_events.value,
        "of_benign": moves.of_others.value,
    }


def _tell_change(change: Change) -> Figures:
    return {"value": change.value, "interval_95": change.interval_95, "p": change.p}


def _or_none(compute: Callable[[], Any]) -> Any:
    """Return what is computed, or None where the statistics say that these cases have no answer."""
    try:
        return compute()
    except ValueError:
        return None


def _count_folds(table: ClinicalTable) -> int:
    """Return FOLDS, or fewer where a label has fewer patients."""
    patients = [len({case.group for case in table.cases if case.is_malignant is kind}) for kind in (True, False)]
    if min(patients) < 2:
        raise NeedsPerson("The table needs two patients of each label.")
    return min(FOLDS, *patients)


def predict_unseen(make: Callable[[], Any], values: Array, table: ClinicalTable, folds: int) -> Array:
    """Return each case's probability by a model that was fitted on other patients."""
    probabilities = np.full(len(values), np.nan)
    truth = table.truth
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=SEED).split(values, truth, table.groups)
    for fitted, judged in splits:
        if len(set(truth[fitted].tolist())) < 2:
            raise NeedsPerson("A fold of the table is left with one label only: it needs more patients.")
        model = make().fit(values[fitted], truth[fitted])
        probabilities[judged] = model.predict_proba(values[judged])[:, 1]
    return probabilities
