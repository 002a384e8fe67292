"""Fit the seven classifiers of the fusion with scikit-learn, and turn each into the arrays that ship.

Histogram gradient boosting stands for XGBoost, whose wheel brings GPU libraries, and gradient boosting with shallow
trees on half of the lesions each for LightGBM.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from workers.models.fusion_machine import Classifier, Kernel, Layers, Linear, Trees
from workers.training.fusion.collect_features import Array

SEED: Final = 1909
Bools = NDArray[np.bool_]

MODELS: Final[Mapping[str, Callable[[int], Any]]] = {
    "logistic regression": lambda _: LogisticRegression(C=0.1, max_iter=2000),
    "SVM": lambda count: SVC(kernel="rbf", gamma=0.5 / count, C=1.0),
    "random forest": lambda _: RandomForestClassifier(200, min_samples_leaf=4, random_state=SEED),
    "ExtraTrees": lambda _: ExtraTreesClassifier(200, min_samples_leaf=4, random_state=SEED),
    "histogram gradient boosting": lambda _: HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.06, max_leaf_nodes=7, min_samples_leaf=10, l2_regularization=1.0,
        early_stopping=False, random_state=SEED,
    ),
    "gradient boosting": lambda _: GradientBoostingClassifier(
        n_estimators=100, learning_rate=0.05, max_depth=2, subsample=0.5, min_samples_leaf=5, random_state=SEED
    ),
    "MLP": lambda _: MLPClassifier((16,), alpha=3.0, solver="lbfgs", max_iter=300, random_state=SEED),
}  # fmt: skip
"""By name, how each is made for so many features. Their settings were fixed before any was judged."""


def fit_classifier(name: str, scaled: Array, truth: Bools, weights: Array) -> Classifier:
    """Fit the classifier `name`, one of MODELS, on standardized features (lesions, features)."""
    model = MODELS[name](scaled.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaled, truth, sample_weight=weights)
    return convert_model(model)


def convert_model(model: Any) -> Classifier:
    """Return a fitted model of scikit-learn as arrays; raises TypeError for one that is not known."""
    if isinstance(model, LogisticRegression):
        return Linear(weights=model.coef_[0].astype(np.float64), bias=float(model.intercept_[0]))
    if isinstance(model, SVC):
        return Kernel(
            support=model.support_vectors_.astype(np.float64),
            weights=model.dual_coef_[0].astype(np.float64),
            gamma=float(model.gamma),
            bias=float(model.intercept_[0]),
        )
    if isinstance(model, MLPClassifier):
        return Layers(weights=tuple(model.coefs_), biases=tuple(model.intercepts_))
    if isinstance(model, RandomForestClassifier | ExtraTreesClassifier):
        parts = [_read_tree(tree.tree_, _share_of_malignant(tree.tree_.value)) for tree in model.estimators_]
        return _join_trees(parts, baseline=0.0, is_forest=True)
    if isinstance(model, GradientBoostingClassifier):
        trees = [estimator.tree_ for estimator in model.estimators_[:, 0]]
        share = float(model.init_.class_prior_[1])
        parts = [_read_tree(tree, model.learning_rate * tree.value[:, 0, 0]) for tree in trees]
        return _join_trees(parts, baseline=float(np.log(share / (1 - share))), is_forest=False)
    if isinstance(model, HistGradientBoostingClassifier):
        parts = [_read_predictor(predictors[0].nodes) for predictors in model._predictors]
        return _join_trees(parts, baseline=float(model._baseline_prediction[0, 0]), is_forest=False)
    message = f"{type(model).__name__} cannot be turned into arrays"
    raise TypeError(message)


Part = dict[str, NDArray[Any]]


def _share_of_malignant(value: Array) -> Array:
    """Return the share of the second class in each node, of (nodes, 1, classes)."""
    return np.asarray(value[:, 0, 1] / value[:, 0].sum(axis=1))


def _read_tree(tree: Any, value: Array) -> Part:
    return {
        "feature": tree.feature,
        "threshold": np.where(tree.children_left >= 0, tree.threshold, 0.0),
        "left": tree.children_left,
        "right": tree.children_right,
        "value": value,
    }


def _read_predictor(nodes: NDArray[Any]) -> Part:
    """Return one tree of a histogram gradient boosting; its features are numbers, none missing."""
    is_leaf = nodes["is_leaf"].astype(bool)
    return {
        "feature": np.where(is_leaf, -1, nodes["feature_idx"]),
        "threshold": np.where(is_leaf, 0.0, nodes["num_threshold"]),
        "left": np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        "right": np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        "value": nodes["value"],
    }


def _join_trees(parts: list[Part], *, baseline: float, is_forest: bool) -> Trees:
    """Put the nodes of all trees into one row; a child's place moves with its tree."""
    sizes = [len(part["value"]) for part in parts]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def move(name: str) -> NDArray[np.int32]:
        moved = [np.where(p[name] >= 0, p[name] + root, -1) for p, root in zip(parts, roots, strict=True)]
        return np.concatenate(moved).astype(np.int32)

    return Trees(
        roots=roots.astype(np.int32),
        feature=np.concatenate([part["feature"] for part in parts]).astype(np.int32),
        threshold=np.concatenate([part["threshold"] for part in parts]).astype(np.float64),
        left=move("left"),
        right=move("right"),
        value=np.concatenate([part["value"] for part in parts]).astype(np.float64),
        baseline=baseline,
        is_forest=is_forest,
    )
