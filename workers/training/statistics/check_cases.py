"""Turn truths and scores into arrays of one length, or say what is wrong with them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Array = NDArray[np.float64]


def check_truth(truth: Any, *, both_kinds: bool = True) -> Bools:
    """Return `truth` as (cases,) of booleans; 0 and 1 are taken for them.

    Raises ValueError where it is empty, holds anything else or, if `both_kinds`, one kind only.
    """
    values = np.asarray(truth)
    if values.ndim != 1 or not len(values):
        raise ValueError("The truth must be one row of cases, and hold at least one.")
    if values.dtype != np.bool_ and not np.isin(values, (0, 1)).all():
        raise ValueError("The truth must be 0 or 1 for each case.")
    is_event: Bools = values.astype(np.bool_)
    if both_kinds and (is_event.all() or not is_event.any()):
        raise ValueError("The truth holds one kind of case only; this figure needs both.")
    return is_event


def check_scores(scores: Any, count: int) -> Array:
    """Return `scores` as (cases,) of floats. Raises ValueError for another count than `count`, or one not finite."""
    values: Array = np.asarray(scores, dtype=np.float64)
    if values.shape != (count,):
        raise ValueError(f"There are {count} cases, but the scores have the shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("A score is missing or infinite; leave out the case or say why it has none.")
    return values


def check_probabilities(probabilities: Any, count: int) -> Array:
    """Return `probabilities` as (cases,) of floats. Raises ValueError as for scores, and outside 0 to 1."""
    values = check_scores(probabilities, count)
    if (values < 0).any() or (values > 1).any():
        raise ValueError("A probability lies outside 0 to 1.")
    return values
