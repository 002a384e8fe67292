"""Select what the fusion is given: principal components, t-test, redundancy, LASSO; all on training lesions alone.

The order is that of the published fusion of radiomics and deep features: z-score, t-test, one of each pair with
|r| > 0.9, LASSO by 10-fold cross-validation. Folds are of groups.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LassoCV
from sklearn.model_selection import StratifiedGroupKFold

from workers.models.fusion_machine import COMPONENT, IMAGE, Components, Standard
from workers.training.fusion.collect_features import Array, Samples

SETS: Final = ("radiomics", "deep", "fused")
"""What a classifier may be given: one kind of features, or all, with the image model's log odds where there are any."""
MOST_COMPONENTS: Final = 512
MAX_P: Final = 0.05
"""Of Welch's t-test, within one source at least."""
MAX_R: Final = 0.9
LASSO_FOLDS: Final = 10
LEAST_DEVIATION: Final = 1e-9
LEAST_FEATURES: Final = 3
"""Where LASSO keeps fewer, the most significant so many are taken."""
SEED: Final = 1909

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which features are taken, and how they come to be."""

    names: tuple[str, ...]
    pca: Components
    """All components; those that were selected stand among `names` by their number."""
    standard: Standard
    """Of the selected ones."""
    counts: dict[str, int]
    """Features left after each step."""

    def __call__(self, samples: Samples) -> Array:
        """Return the selected features of `samples`, standardized, (lesions, features)."""
        values, names = list_features(samples, self.pca, "fused")
        return self.standard(values[:, [names.index(name) for name in self.names]])

    def components(self) -> Components:
        """Return the selected components alone, in the order of their names."""
        chosen = [int(name.removeprefix(COMPONENT)) for name in self.names if name.startswith(COMPONENT)]
        return Components(mean=self.pca.mean, axes=self.pca.axes[chosen])


def select_features(samples: Samples, weights: Array, kind: str) -> Selection:
    """Select among the features of `kind`, one of SETS; `weights` say how much each lesion counts in the LASSO."""
    pca = find_components(samples.deep)
    values, names = list_features(samples, pca, kind)
    counts = {"all": len(names)}
    varying = np.flatnonzero(values.std(axis=0) > LEAST_DEVIATION * (1 + np.abs(values.mean(axis=0))))
    p = np.ones(len(names))
    p[varying] = test_means(values[:, varying], samples)
    kept = [int(index) for index in np.argsort(p, kind="stable") if p[index] < MAX_P]
    counts["t_test"] = len(kept)
    kept = drop_redundant(values, kept or [int(np.argmin(p))])
    counts["redundancy"] = len(kept)
    chosen = _take_lasso(values[:, kept], samples, weights)
    chosen = chosen if len(chosen) >= LEAST_FEATURES else np.arange(min(LEAST_FEATURES, len(kept)))
    kept = [kept[index] for index in chosen]
    kept += [names.index(IMAGE)] if IMAGE in names and names.index(IMAGE) not in kept else []
    # The image model's score is always taken: leaving it out is what the comparison with it is there for.
    counts["lasso"] = len(kept)
    ordered = sorted(kept, key=lambda index: (names[index].startswith(COMPONENT), index))
    taken = values[:, ordered]
    return Selection(
        names=tuple(names[index] for index in ordered),
        pca=pca,
        standard=Standard(mean=taken.mean(axis=0), deviation=taken.std(axis=0)),
        counts=counts,
    )


def find_components(deep: Array) -> Components:
    """Return the principal components: as many as the lesions bear, fewer than lesions, and MOST_COMPONENTS at most."""
    count = min(MOST_COMPONENTS, len(deep) - 1, deep.shape[1])
    pca = PCA(n_components=count, svd_solver="full").fit(deep)
    return Components(mean=pca.mean_.astype(np.float64), axes=pca.components_.astype(np.float64))


def list_features(samples: Samples, pca: Components, kind: str) -> tuple[Array, list[str]]:
    """Return the features of `kind`, (lesions, features), and their names."""
    parts: list[Array] = []
    names: list[str] = []
    if kind in ("radiomics", "fused"):
        parts.append(samples.radiomics)
        names += samples.radiomics_names
    if kind in ("deep", "fused"):
        parts.append(pca(samples.deep))
        names += [f"{COMPONENT}{number}" for number in range(len(pca.axes))]
    if kind == "fused" and samples.image is not None:
        parts.append(samples.image[:, None])
        names.append(IMAGE)
    return np.concatenate(parts, axis=1), names


def test_means(values: Array, samples: Samples) -> Array:
    """Return each feature's smallest p of Welch's t-test, benign against malignant, of any source that has both.

    Never over sources together: their shares of malignant lesions differ, and an organ would pass for a kind.
    """
    smallest = np.ones(values.shape[1])
    for source in sorted(set(samples.sources.tolist())):
        of_source = samples.sources == source
        malignant, benign = values[of_source & samples.truth], values[of_source & ~samples.truth]
        if min(len(malignant), len(benign)) < 3:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a feature that is even within one source gives no number
            p = stats.ttest_ind(malignant, benign, equal_var=False).pvalue
        smallest = np.fmin(smallest, np.nan_to_num(p, nan=1.0))
    return smallest


test_means.__test__ = False  # type: ignore[attr-defined]


def drop_redundant(values: Array, order: Sequence[int]) -> list[int]:
    """Return the indices in `order` without those that correlate by more than MAX_R with one before them."""
    standard = (values[:, order] - values[:, order].mean(axis=0)) / values[:, order].std(axis=0)
    r = np.abs(standard.T @ standard) / len(values)
    kept: list[int] = []
    for place in range(len(order)):
        if not kept or r[place, kept].max() <= MAX_R:
            kept.append(place)
    return [order[place] for place in kept]


def weigh_samples(samples: Samples) -> Array:
    """Return a weight for each lesion, 1 in the mean: each source, and each kind within it, weighs as much in all.

    Else a classifier could learn the organ, of which one has more malignant lesions, instead of the lesion.
    """
    keys = np.char.add(np.char.add(samples.sources, "/"), samples.truth.astype(str))
    kinds, index, counts = np.unique(keys, return_inverse=True, return_counts=True)
    weights = len(keys) / len(kinds) / counts[index]
    return np.asarray(weights, dtype=np.float64)


def _take_lasso(values: Array, samples: Samples, weights: Array) -> Indices:
    """Return the places of the features to which LASSO gives a weight, the penalty chosen by cross-validation."""
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    count = min(LASSO_FOLDS, len(set(samples.groups.tolist())))
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=SEED)
    splits = list(folds.split(scaled, samples.truth, samples.groups))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the smallest penalties, which are not chosen
        model = LassoCV(cv=splits, alphas=60, eps=0.01, max_iter=3000)
        model.fit(scaled, samples.truth.astype(float), sample_weight=weights)
    return np.flatnonzero(model.coef_)
