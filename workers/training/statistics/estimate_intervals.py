"""How sure a figure is: Wilson's interval for a proportion, resampled patients where one has several."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from screener import proportion

Z_95: Final = proportion.Z_95
Interval = proportion.Interval
wilson_interval = proportion.wilson_interval
REPEATS: Final = 1000
Indices = NDArray[np.intp]


def clustered_interval(hits: Sequence[bool], patients: Sequence[str]) -> Interval | None:
    """Return the 95 % interval of the share of `hits`, of which several may be of one of `patients`.

    The wider of Wilson's, which takes them for independent, and that of resampled patients, which is a point where
    all or none hit. None where nothing was counted.
    """
    plain = wilson_interval(sum(hits), len(hits))
    values = np.asarray(hits, dtype=float)
    drawn = bootstrap_interval(resample_patients(patients), lambda draw: float(values[draw].mean()))
    if plain is None or drawn is None:
        return plain
    return min(plain[0], drawn[0]), max(plain[1], drawn[1])


def ppv_at(prevalence: float, sensitivity: float, specificity: float) -> float | None:
    """Return the positive predictive value where `prevalence` of the examinations hold a mass (Bayes)."""
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return true / (true + false) if true + false > 0 else None


def resample_patients(patients: Sequence[str], seed: int = 7, repeats: int = REPEATS) -> list[Indices]:
    """Return `repeats` draws of whole patients with replacement, each as indices into `patients`.

    `patients` names the patient of each examination or gland. Several of one patient are no independent trials:
    they are drawn or left together.
    """
    rng = np.random.default_rng(seed)
    names, which = np.unique(np.asarray(patients), return_inverse=True)
    members = [np.flatnonzero(which == number) for number in range(len(names))]
    if not members:
        return []
    return [
        np.concatenate([members[number] for number in rng.integers(0, len(members), len(members))])
        for _ in range(repeats)
    ]


def bootstrap_interval(draws: Sequence[Indices], figure: Callable[[Indices], float | None]) -> Interval | None:
    """Return the 2.5th and 97.5th percentile of `figure` over the draws; None where it could not be computed."""
    values = [value for value in (figure(draw) for draw in draws) if value is not None]
    if not values:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
