"""Judge candidates by support vector machines with RBF kernel, one for each gamma; plain arrays, no pickle.

`gamma` is the inverse radius of influence of the samples that a machine
selected: gamma 1 draws one smooth border, gamma 10 one around each sample.
A candidate's features are standardized, held within +-3 deviations, so that
one strange figure does not outweigh all others, and divided by the square
root of their number times a fixed width; `train_candidates.py` chooses the
width by cross-validation over patients.

The score is 1 / (1 + exp(-slope * (decision - bias))). Far from every sample
the kernel vanishes, the decision is the bias, and the score 0.5: what no
sample resembles, another scanner's image or another kind of mass, is never
rejected by a cut-off below that. The slope puts the default cut-off where
97 % of the true masses lie above it in cross-validation, at every gamma.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from screener.outcomes import NeedsPerson
from screener.study import GAMMAS
from workers.ct.describe_candidate import FEATURES
from workers.models.bundle_files import BUNDLES_DIR, INTENDED_USE, read_json

KIND: Final = "candidates"
MOST_DEVIATIONS: Final = 3.0
GOLDEN_TOLERANCE: Final = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """From features in their own units to the space in which the machines measure distance."""

    mean: Array
    """One per feature."""
    deviation: Array
    """One per feature, none zero."""
    width: float

    def __call__(self, features: Array) -> Array:
        """Return `features` (samples, features) scaled."""
        standard = (features - self.mean) / self.deviation
        held: Array = np.clip(standard, -MOST_DEVIATIONS, MOST_DEVIATIONS) / (np.sqrt(len(self.mean)) * self.width)
        return held


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One fitted support vector machine."""

    gamma: float
    support: Array
    """The samples it selected (samples, features), scaled."""
    weights: Array
    """One per selected sample: positive for masses, negative for all else."""
    bias: float
    slope: float
    """Greater than zero: from decision to score."""

    def decide(self, scaled: Array) -> Array:
        """Return the decision value of each row of `scaled`; positive means mass."""
        squares = spatial.distance.cdist(scaled, self.support, "sqeuclidean")
        decision: Array = np.exp(-self.gamma * squares) @ self.weights + self.bias
        return decision

    def score(self, scaled: Array) -> Array:
        """Return the score of each row, 0 to 1; 0.5 far from every sample."""
        exponent = np.clip(-self.slope * (self.decide(scaled) - self.bias), -50, 50)
        score: Array = 1 / (1 + np.exp(exponent))
        return score


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMachines:
    """The machines of one bundle, in the order of GAMMAS, and what identifies them."""

    name: str
    version: str
    digest: str
    """SHA-256, in hexadecimal, of the arrays and the features' names."""
    features: tuple[str, ...]
    scaling: Scaling
    machines: tuple[Machine, ...]

    def __call__(self, features: Mapping[str, float]) -> tuple[float, ...]:
        """Return the candidate's score by each machine."""
        scaled = self.scaling(np.array([[features[name] for name in self.features]]))
        return tuple(round(float(machine.score(scaled)[0]), 6) for machine in self.machines)


def load_machines(name: str, bundles_dir: Path | None = None) -> CandidateMachines:
    """Return the bundle `name` below `bundles_dir` (the shipped ones where None).

    Raises NeedsPerson where it is missing, does not fit together or needs features that are not measured.
    """
    folder = (bundles_dir or BUNDLES_DIR) / name
    try:
        return read_machines(folder)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        reason = f"The model bundle {folder} cannot be loaded: {problem}"
        raise NeedsPerson(reason, code="bad_bundle") from problem


def read_machines(folder: Path) -> CandidateMachines:
    """Read a bundle; raises OSError, ValueError, KeyError or TypeError where something is wrong with it."""
    metadata = read_json(folder / "configs" / "metadata.json")
    features = tuple(str(name) for name in metadata["features"])
    unknown = set(features) - set(FEATURES)
    if unknown or not features:
        message = f"it judges by features that are not measured: {', '.join(sorted(unknown)) or 'none'}"
        raise ValueError(message)
    path = folder / "models" / "machines.npz"
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != metadata["weights_sha256"]:
        message = f"{path} is not the file that its metadata describes"
        raise ValueError(message)
    with np.load(path, allow_pickle=False) as arrays:
        scaling = Scaling(mean=arrays["mean"], deviation=arrays["deviation"], width=float(arrays["width"]))
        machines = tuple(
            Machine(
                gamma=float(gamma),
                support=arrays[f"support_{gamma}"].astype(np.float64),
                weights=arrays[f"weights_{gamma}"].astype(np.float64),
                bias=float(arrays[f"bias_{gamma}"]),
                slope=float(arrays[f"slope_{gamma}"]),
            )
            for gamma in GAMMAS
        )
    _must_fit(scaling, machines, len(features))
    return CandidateMachines(
        name=folder.name,
        version=str(metadata["version"]),
        digest=hashlib.sha256(content + json.dumps(features).encode()).hexdigest(),
        features=features,
        scaling=scaling,
        machines=machines,
    )


def save_machines(
    folder: Path,
    scaling: Scaling,
    machines: tuple[Machine, ...],
    metadata: Mapping[str, Any],
    golden: Mapping[str, float],
) -> None:
    """Write a bundle: arrays, and metadata with their digest and the scores of the candidate `golden`."""
    arrays: dict[str, Array] = {
        "mean": scaling.mean,
        "deviation": scaling.deviation,
        "width": np.array(scaling.width),
    }
    for machine, gamma in zip(machines, GAMMAS, strict=True):
        arrays[f"support_{gamma}"] = machine.support
        arrays[f"weights_{gamma}"] = machine.weights
        arrays[f"bias_{gamma}"] = np.array(machine.bias)
        arrays[f"slope_{gamma}"] = np.array(machine.slope)
    for part in ("models", "configs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    path = folder / "models" / "machines.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    scaled = scaling(np.array([[golden[name] for name in metadata["features"]]]))
    whole = {
        **metadata,
        "kind": KIND,
        "intended_use": INTENDED_USE,
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "golden": {
            "features": dict(golden),
            "scores": [round(float(machine.score(scaled)[0]), 6) for machine in machines],
        },
    }
    text = json.dumps(whole, indent=2) + "\n"
    (folder / "configs" / "metadata.json").write_text(text, encoding="utf-8")


def check(folder: Path) -> list[str]:
    """Return what is wrong with the bundle in `folder`, a sentence each; empty where nothing is."""
    try:
        machines = read_machines(folder)
        metadata = read_json(folder / "configs" / "metadata.json")
        golden = metadata["golden"]
        scores = machines({name: float(value) for name, value in golden["features"].items()})
        apart = float(np.abs(np.array(scores) - np.array(golden["scores"], dtype=float)).max())
    except (OSError, ValueError, KeyError, TypeError) as problem:
        return [f"{type(problem).__name__}: {problem}"]
    problems = []
    if metadata.get("kind") != KIND:
        problems.append(f"configs/metadata.json: kind is not {KIND!r}")
    if metadata.get("intended_use") != INTENDED_USE:
        problems.append(f"configs/metadata.json: intended_use is not {INTENDED_USE!r}")
    if not metadata.get("data_source"):
        problems.append("configs/metadata.json: data_source is missing")
    if not (folder / "docs" / "README.md").is_file():
        problems.append("docs/README.md, the model card, is missing")
    if apart > GOLDEN_TOLERANCE:
        problems.append(f"the golden candidate's scores differ by {apart:.2g} from those in configs/metadata.json")
    return problems


def _must_fit(scaling: Scaling, machines: tuple[Machine, ...], count: int) -> None:
    shapes = {scaling.mean.shape, scaling.deviation.shape}
    is_good = shapes == {(count,)} and scaling.width > 0 and bool((scaling.deviation > 0).all())
    for machine in machines:
        is_good &= machine.support.shape == (len(machine.weights), count) and machine.slope > 0
        is_good &= bool(np.isfinite(machine.support).all() and np.isfinite(machine.weights).all())
        is_good &= bool(np.isfinite(machine.bias))
    if not is_good:
        message = "its arrays do not fit together"
        raise ValueError(message)
