"""Fuse radiomics, deep features and the image model's score into one calibrated probability; plain arrays, no pickle.

What was selected is standardized, held within +-4 deviations and given to one
classifier: linear, kernel, layers or trees, fitted with scikit-learn
(workers/training/fusion) and evaluated here. Its margin, the log odds of
malignancy as the classifier sees them, becomes a probability by Platt's
scaling. Deep features are the pooled last maps of a MobileNetV2 that learned on
photographs alone, and their principal components.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import spatial

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import BUNDLES_DIR, INTENDED_USE, read_json
from workers.models.mobile_networks import MobileNetV2
from workers.models.us_image import US_PREPROCESSING_VERSION
from workers.models.us_weights import UsNetwork
from workers.models.weights import read_weights

KIND: Final = "us-fusion"
MOST_DEVIATIONS: Final = 4.0
LEAST_SHARE: Final = 0.005
"""A forest's share of votes is kept this far from 0 and 1, where its log odds have no end."""
GOLDEN_TOLERANCE: Final = 1e-6
IMAGE: Final = "image_log_odds"
"""Name of the feature that the image model gives."""
COMPONENT: Final = "deep_"
"""How the names of the principal components of the deep features begin."""

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Logistic regression."""

    weights: Array
    bias: float

    def decide(self, scaled: Array) -> Array:
        """Return the log odds of each row of `scaled` (samples, features)."""
        margin: Array = scaled @ self.weights + self.bias
        return margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A support vector machine with RBF kernel."""

    support: Array
    """(vectors, features), scaled."""
    weights: Array
    gamma: float
    bias: float

    def decide(self, scaled: Array) -> Array:
        """Return the decision value of each row, positive for malignant."""
        squares = spatial.distance.cdist(scaled, self.support, "sqeuclidean")
        margin: Array = np.exp(-self.gamma * squares) @ self.weights + self.bias
        return margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """A perceptron with rectified hidden layers and one output."""

    weights: tuple[Array, ...]
    """(inputs, outputs) of each layer."""
    biases: tuple[Array, ...]

    def decide(self, scaled: Array) -> Array:
        """Return the log odds of each row."""
        values = scaled
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = np.maximum(values @ weights + bias, 0)
        margin: Array = (values @ self.weights[-1] + self.biases[-1])[:, 0]
        return margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """A forest, whose trees vote, or a boosting, whose trees add up. Nodes of all trees stand in one row."""

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Array
    left: NDArray[np.int32]
    """Where a value is at most the threshold; -1 in a leaf."""
    right: NDArray[np.int32]
    value: Array
    """Of a leaf: the share of malignant lesions, or what a boosting adds to the log odds."""
    baseline: float
    """Of a boosting: its log odds before the first tree."""
    is_forest: bool
    """True: the mean of the trees is a share. False: their sum and the baseline are log odds."""

    def decide(self, scaled: Array) -> Array:
        """Return the log odds of each row."""
        values = np.zeros(len(scaled))
        for root in self.roots:
            values += self._drop(scaled, int(root))
        if not self.is_forest:
            return values + self.baseline
        share = np.clip(values / len(self.roots), LEAST_SHARE, 1 - LEAST_SHARE)
        return np.asarray(np.log(share / (1 - share)))

    def _drop(self, scaled: Array, root: int) -> Array:
        """Let every row fall to its leaf in one tree and return the leaves' values."""
        nodes = np.full(len(scaled), root)
        rows = np.arange(len(scaled))
        while (self.left[nodes] >= 0).any():
            goes_left = scaled[rows, self.feature[nodes]] <= self.threshold[nodes]
            next_nodes = np.where(goes_left, self.left[nodes], self.right[nodes])
            nodes = np.where(self.left[nodes] >= 0, next_nodes, nodes)
        leaves: Array = self.value[nodes]
        return leaves


Classifier = Linear | Kernel | Layers | Trees


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """From features in their own units to what the classifier is given."""

    mean: Array
    deviation: Array
    """None zero."""

    def __call__(self, features: Array) -> Array:
        """Return `features` (samples, features) standardized, in single precision, as scikit-learn's trees see them."""
        held = np.clip((features - self.mean) / self.deviation, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        return held.astype(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Those principal components of the deep features that were selected."""

    mean: Array
    """(channels,)."""
    axes: Array
    """(components, channels)."""

    def __call__(self, deep: Array) -> Array:
        """Return (samples, components) of pooled features (samples, channels)."""
        return np.asarray((deep - self.mean) @ self.axes.T)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """All that turns what was measured of a lesion into a probability."""

    features: tuple[str, ...]
    """In the classifier's order: radiomics by name, COMPONENT and a number, IMAGE."""
    components: Components
    """In the order of their names among `features`."""
    standard: Standard
    classifier: Classifier
    slope: float
    intercept: float
    """Platt's: probability = 1 / (1 + exp(-(slope * margin + intercept)))."""

    @property
    def has_components(self) -> bool:
        """Whether any deep feature was selected."""
        return bool(len(self.components.axes))

    def probability(self, radiomics: Mapping[str, float], deep: Array | None, image_log_odds: float) -> float:
        """Return the calibrated probability of malignancy, 0 to 1.

        `deep` are the pooled features (channels,), None where no component was selected. Raises KeyError where a
        feature is missing.
        """
        named = dict(radiomics) | {IMAGE: image_log_odds}
        if self.has_components and deep is not None:
            names = [name for name in self.features if name.startswith(COMPONENT)]
            named |= dict(zip(names, self.components(deep[None])[0].tolist(), strict=True))
        scaled = self.standard(np.array([[named[name] for name in self.features]], dtype=float))
        return float(self.calibrate(self.classifier.decide(scaled))[0])

    def calibrate(self, margin: Array) -> Array:
        """Return the probabilities of classifier's margins."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * margin + self.intercept, -30, 30))))


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionMachine:
    """A fusion bundle ready to answer, and what identifies it."""

    name: str
    version: str
    digest: str
    """SHA-256, in hexadecimal, of the arrays, the backbone's weights, the features' names and how they are measured."""
    fusion: Fusion
    backbone: torch.nn.Module | None
    """(n, 1, side_px, side_px) to maps (n, channels, rows, columns); None where no deep feature was selected."""
    side_px: int
    image_model_digest: str
    """Of the classifier beside which it was fitted; empty where it hears none."""
    learned_from: str = ""
    """What it was fitted on, as a noun phrase; empty where the bundle does not say."""

    def must_fit(self, classifier: UsNetwork) -> None:
        """Raise NeedsPerson (`bad_bundle`) where it hears the score of another network than `classifier`."""
        if IMAGE in self.fusion.features and self.image_model_digest != classifier.digest:
            reason = (
                f"The fusion {self.name} was fitted beside another classifier than {classifier.name}: "
                "name its own in models.us_classifier, or fit it anew."
            )
            raise NeedsPerson(reason, code="bad_bundle")


def load_fusion(name: str, radiomics_version: str, bundles_dir: Path | None = None) -> FusionMachine:
    """Return the bundle `name` below `bundles_dir` (the shipped ones where None).

    Raises NeedsPerson where it is missing, does not fit together or was fitted on radiomics of another version, or
    where the packages that measure radiomics are not installed.
    """
    missing = [package for package in ("mirp", "skimage") if find_spec(package) is None]
    if missing:
        reason = f"models.us_fusion needs {', '.join(missing)}: pip install '.[fusion]' -c constraints.txt"
        raise NeedsPerson(reason, code="bad_bundle")
    folder = (bundles_dir or BUNDLES_DIR) / name
    try:
        return read_fusion(folder, radiomics_version)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        reason = f"The model bundle {folder} cannot be loaded: {problem}"
        raise NeedsPerson(reason, code="bad_bundle") from problem


def read_fusion(folder: Path, radiomics_version: str) -> FusionMachine:
    """Read a bundle; raises OSError, ValueError, KeyError, TypeError or RuntimeError where something is wrong."""
    metadata = read_json(folder / "configs" / "metadata.json")
    if str(metadata["radiomics_version"]) != radiomics_version:
        message = f"it was fitted on radiomics of version {metadata['radiomics_version']}, not {radiomics_version}"
        raise ValueError(message)
    path = folder / "models" / "machine.npz"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != metadata["weights_sha256"]:
        message = f"{path} is not the file that its metadata describes"
        raise ValueError(message)
    features = tuple(str(name) for name in metadata["features"])
    with np.load(path, allow_pickle=False) as stored:
        fusion = unpack_fusion(features, str(metadata["classifier"]), dict(stored))
    backbone, weights_digest = _read_backbone(folder) if fusion.has_components else (None, "")
    side_px = int(metadata["side_px"])
    made_of = [features, radiomics_version, US_PREPROCESSING_VERSION, side_px, weights_digest]
    return FusionMachine(
        name=folder.name,
        version=str(metadata["version"]),
        digest=hashlib.sha256(content + json.dumps(made_of).encode()).hexdigest(),
        fusion=fusion,
        backbone=backbone,
        side_px=side_px,
        image_model_digest=str(metadata.get("image_model_digest", "")),
        learned_from=str(metadata.get("learned_from") or ""),
    )


def save_fusion(
    folder: Path, fusion: Fusion, backbone: torch.nn.Module, metadata: Mapping[str, Any], golden: Mapping[str, float]
) -> None:
    """Write a bundle: arrays, the backbone in half precision, and metadata with the probability of the case `golden`.

    `golden` holds a value for each feature of the classifier, in its own units.
    """
    for part in ("models", "configs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    path = folder / "models" / "machine.npz"
    np.savez_compressed(path, **pack_fusion(fusion))  # type: ignore[arg-type]
    if fusion.has_components:
        state = {name: values.half() if values.is_floating_point() else values
                 for name, values in backbone.state_dict().items()}  # fmt: skip
        torch.save(state, folder / "models" / "model.pt")
    whole = {
        **metadata,
        "kind": KIND,
        "intended_use": INTENDED_USE,
        "features": list(fusion.features),
        "classifier": type(fusion.classifier).__name__,
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "golden": {"features": dict(golden), "probability": round(_answer_golden(fusion, golden), 9)},
    }
    text = json.dumps(whole, indent=2) + "\n"
    (folder / "configs" / "metadata.json").write_text(text, encoding="utf-8")


def pack_fusion(fusion: Fusion) -> dict[str, NDArray[Any]]:
    """Return the arrays that `unpack_fusion` takes."""
    arrays: dict[str, NDArray[Any]] = {
        "mean": fusion.standard.mean,
        "deviation": fusion.standard.deviation,
        "component_mean": fusion.components.mean,
        "component_axes": fusion.components.axes,
        "platt": np.array([fusion.slope, fusion.intercept]),
    }
    classifier = fusion.classifier
    if isinstance(classifier, Layers):
        for number, (weights, bias) in enumerate(zip(classifier.weights, classifier.biases, strict=True)):
            arrays |= {f"weights_{number}": weights, f"bias_{number}": bias}
        return arrays
    fields = classifier.__dataclass_fields__
    return arrays | {name: np.asarray(getattr(classifier, name)) for name in fields}


def unpack_fusion(features: tuple[str, ...], kind: str, arrays: Arrays) -> Fusion:
    """Return what `pack_fusion` packed; raises ValueError or KeyError where the arrays do not fit together."""
    slope, intercept = (float(value) for value in arrays["platt"])
    fusion = Fusion(
        features=features,
        components=Components(
            mean=arrays["component_mean"].astype(np.float64), axes=arrays["component_axes"].astype(np.float64)
        ),
        standard=Standard(mean=arrays["mean"], deviation=arrays["deviation"]),
        classifier=_unpack_classifier(kind, arrays),
        slope=slope,
        intercept=intercept,
    )
    _must_fit(fusion)
    return fusion


def _unpack_classifier(kind: str, arrays: Arrays) -> Classifier:
    if kind == "Linear":
        return Linear(weights=arrays["weights"], bias=float(arrays["bias"]))
    if kind == "Kernel":
        return Kernel(
            support=arrays["support"],
            weights=arrays["weights"],
            gamma=float(arrays["gamma"]),
            bias=float(arrays["bias"]),
        )
    if kind == "Layers":
        count = sum(name.startswith("weights_") for name in arrays)
        return Layers(
            weights=tuple(arrays[f"weights_{number}"] for number in range(count)),
            biases=tuple(arrays[f"bias_{number}"] for number in range(count)),
        )
    if kind == "Trees":
        return Trees(
            roots=arrays["roots"],
            feature=arrays["feature"],
            threshold=arrays["threshold"],
            left=arrays["left"],
            right=arrays["right"],
            value=arrays["value"],
            baseline=float(arrays["baseline"]),
            is_forest=bool(arrays["is_forest"]),
        )
    message = f"{kind!r} is no classifier that is known"
    raise ValueError(message)


def _must_fit(fusion: Fusion) -> None:
    """Raise ValueError where arrays do not fit together, hold what is no number, or a tree would never end."""
    count = len(fusion.features)
    components = sum(name.startswith(COMPONENT) for name in fusion.features)
    standard = fusion.standard
    is_good = count > 0 and standard.mean.shape == standard.deviation.shape == (count,)
    is_good &= bool((standard.deviation > 0).all())
    is_good &= fusion.components.axes.shape == (components, len(fusion.components.mean))
    is_good &= fusion.slope > 0 and _fits(fusion.classifier, count)
    is_good &= all(bool(np.isfinite(values).all()) for values in pack_fusion(fusion).values())
    if not is_good:
        raise ValueError("its arrays do not fit together")


def _fits(classifier: Classifier, count: int) -> bool:
    if isinstance(classifier, Linear):
        return classifier.weights.shape == (count,)
    if isinstance(classifier, Kernel):
        return classifier.support.shape == (len(classifier.weights), count)
    if isinstance(classifier, Layers):
        sizes = [count, *(len(bias) for bias in classifier.biases)]
        shapes = list(pairwise(sizes))
        return [weights.shape for weights in classifier.weights] == shapes and sizes[-1] == 1
    nodes = np.arange(len(classifier.feature))
    inner = classifier.left >= 0
    children = np.stack([classifier.left[inner], classifier.right[inner]])
    return bool(
        len(nodes) == len(classifier.threshold) == len(classifier.left) == len(classifier.right)
        and len(nodes) == len(classifier.value)
        and len(classifier.roots) > 0
        and (classifier.roots >= 0).all()
        and (classifier.roots < len(nodes)).all()
        and (children > nodes[inner]).all()  # a child stands behind its parent: every way ends
        and (children < len(nodes)).all()
        and (classifier.feature[inner] >= 0).all()
        and (classifier.feature[inner] < count).all()
    )


def build_backbone() -> torch.nn.Module:
    """Return a MobileNetV2's layers for one gray channel, without its classifier; what it gives is pooled."""
    layers: torch.nn.Module = MobileNetV2(in_channels=1, out_channels=1).features
    return layers


def _read_backbone(folder: Path) -> tuple[torch.nn.Module, str]:
    backbone = build_backbone()
    backbone.load_state_dict(read_weights(folder), strict=True)
    return backbone.eval(), hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()


def _answer_golden(fusion: Fusion, golden: Mapping[str, float]) -> float:
    scaled = fusion.standard(np.array([[golden[name] for name in fusion.features]], dtype=float))
    return float(fusion.calibrate(fusion.classifier.decide(scaled))[0])


def check(folder: Path, radiomics_version: str) -> list[str]:
    """Return what is wrong with the bundle in `folder`, a sentence each; empty where nothing is."""
    try:
        machine = read_fusion(folder, radiomics_version)
        metadata = read_json(folder / "configs" / "metadata.json")
        golden = metadata["golden"]
        answer = _answer_golden(machine.fusion, {name: float(value) for name, value in golden["features"].items()})
        apart = abs(answer - float(golden["probability"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        return [f"{type(problem).__name__}: {problem}"]
    problems = []
    for key, wanted in (("kind", KIND), ("intended_use", INTENDED_USE)):
        if metadata.get(key) != wanted:
            problems.append(f"configs/metadata.json: {key} is not {wanted!r}")
    if not metadata.get("data_source"):
        problems.append("configs/metadata.json: data_source is missing")
    if not (folder / "docs" / "README.md").is_file():
        problems.append("docs/README.md, the model card, is missing")
    if apart > GOLDEN_TOLERANCE:
        problems.append(f"the golden case's probability differs by {apart:.2g} from that in configs/metadata.json")
    return problems
