"""Compare what the fusion can be made of: three sets of features, seven classifiers, with and without other sources.

Every figure comes from lesions of groups that neither selection nor fit has
seen, and stands for one source: shares of malignant lesions differ by organ.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.models.fusion_machine import Classifier, Fusion
from workers.training.fusion.collect_features import Array, Samples
from workers.training.fusion.fit_classifiers import MODELS, fit_classifier
from workers.training.fusion.select_features import SETS, Selection, select_features, weigh_samples
from workers.training.statistics.compare_aucs import AucEstimate, compare_aucs, estimate_auc
from workers.training.statistics.fit_logistic import fit_logistic
from workers.training.us_split_cases import find_fold

logger = logging.getLogger(__name__)

FOLDS: Final = 5
Bools = NDArray[np.bool_]
Choice = tuple[str, str, str]
"""Which lesions it learned from (one of `name_trainings`), which features (one of SETS), which classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A selection, and all classifiers fitted on it."""

    selection: Selection
    classifiers: Mapping[str, Classifier]

    def decide(self, samples: Samples) -> dict[str, Array]:
        """Return the margins of `samples` by each classifier."""
        scaled = self.selection(samples)
        return {name: classifier.decide(scaled) for name, classifier in self.classifiers.items()}


def name_trainings(samples: Samples, decides: str) -> dict[str, Bools]:
    """Return, by name, which lesions to learn from: those of the source that decides, and those of all sources."""
    own = samples.sources == decides
    return {decides: own} if own.all() else {decides: own, "all sources": np.ones(len(own), dtype=bool)}


def fit_all(samples: Samples, kind: str) -> Fitted:
    """Select among the features of `kind` and fit every classifier on `samples`."""
    weights = weigh_samples(samples)
    selection = select_features(samples, weights, kind)
    scaled = selection(samples)
    classifiers = {name: fit_classifier(name, scaled, samples.truth, weights) for name in MODELS}
    return Fitted(selection=selection, classifiers=classifiers)


def cross_validate(samples: Samples, learns: Bools, kind: str) -> dict[str, Array]:
    """Return every lesion's margin by each classifier, selected and fitted without its fold, on those that it `learns`.

    The folds are those by which the image model rates lesions that it has not seen.
    """
    folds = np.array([find_fold(row.source, row.group, FOLDS) for row in samples.rows])
    margins = {name: np.full(len(samples.rows), np.nan) for name in MODELS}
    for fold in range(1, FOLDS + 1):
        held = folds == fold
        if not held.any():
            continue
        fitted = fit_all(samples.take(learns & ~held), kind)
        for name, values in fitted.decide(samples.take(held)).items():
            margins[name][held] = values
    return margins


def compare_all(samples: Samples, decides: str) -> dict[Choice, Array]:
    """Return the margins of cross-validation for everything that can be chosen."""
    found: dict[Choice, Array] = {}
    for training, learns in name_trainings(samples, decides).items():
        for kind in SETS:
            for name, margins in cross_validate(samples, learns, kind).items():
                found[training, kind, name] = margins
            logger.info("compared training=%s features=%s", training, kind)
    return found


def choose(margins: Mapping[Choice, Array], samples: Samples, decides: str) -> Choice:
    """Return the fusion with the best AUC of cross-validation within the source that decides."""
    of_source = samples.sources == decides
    truth = samples.truth[of_source]
    fused = [choice for choice in margins if choice[1] == "fused"]
    return max(fused, key=lambda choice: estimate_auc(truth, margins[choice][of_source]).auc)


def scale_margins(margins: Array, truth: Bools) -> tuple[float, float]:
    """Return slope and intercept of Platt's scaling, from margins of lesions that were not learned from."""
    fit = fit_logistic(margins[:, None], truth, ["margin"])
    intercept, slope = (coefficient.value for coefficient in fit.coefficients)
    return float(slope), float(intercept)


def build_fusion(fitted: Fitted, name: str, slope: float, intercept: float) -> Fusion:
    """Return what ships: the selection, the classifier `name` and its calibration."""
    return Fusion(
        features=fitted.selection.names,
        components=fitted.selection.components(),
        standard=fitted.selection.standard,
        classifier=fitted.classifiers[name],
        slope=slope,
        intercept=intercept,
    )


def judge(samples: Samples, margins: Mapping[Choice, Array]) -> list[dict[str, Any]]:
    """Return a row for each choice and source: AUC with DeLong's interval, and against the image model where it is."""
    rows = []
    for source in sorted(set(samples.sources.tolist())):
        of_source = samples.sources == source
        truth = samples.truth[of_source]
        if truth.all() or not truth.any():
            continue
        image = None if samples.image is None else samples.image[of_source]
        counts = {"source": source, "benign": int((~truth).sum()), "malignant": int(truth.sum())}
        if image is not None:
            words = {"training": "", "features": "image", "classifier": "image model"}
            rows.append(counts | words | _tell(estimate_auc(truth, image)))
        for (training, kind, name), values in margins.items():
            words = {"training": training, "features": kind, "classifier": name}
            row = counts | words | _tell(estimate_auc(truth, values[of_source]))
            if image is not None:
                row["p_against_image"] = round(compare_aucs(truth, image, values[of_source]).p, 4)
            rows.append(row)
    return rows


def _tell(estimate: AucEstimate) -> dict[str, Any]:
    interval = estimate.interval_95
    return {"auc": round(estimate.auc, 4), "interval_95": None if interval is None else [round(v, 4) for v in interval]}
