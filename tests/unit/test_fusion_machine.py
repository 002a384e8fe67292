"""The fusion ships as plain arrays that answer as the library that fitted them, and what does not fit is refused."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import INTENDED_USE
from workers.models.fusion_machine import (
    COMPONENT,
    IMAGE,
    Components,
    Fusion,
    Standard,
    Trees,
    build_backbone,
    check,
    load_fusion,
    pack_fusion,
    read_fusion,
    save_fusion,
    unpack_fusion,
)

pytest.importorskip("sklearn")
fit = pytest.importorskip("workers.training.fusion.fit_classifiers", exc_type=ImportError)

COUNT = 6
VERSION = "1"
NAMES = ("lesion_a", "ring_b", "shape_c", IMAGE, f"{COMPONENT}0", f"{COMPONENT}4")


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(2)
    truth = rng.random(90) < 0.4
    scaled = rng.normal(size=(90, COUNT)).clip(-4, 4).astype(np.float32).astype(np.float64)
    scaled[truth, 0] += 1
    return scaled, truth, np.where(truth, 1.4, 0.8)


def margins_of(model, scaled):
    """The library's own log odds."""
    if hasattr(model, "decision_function"):
        return model.decision_function(scaled)
    shares = np.clip(model.predict_proba(scaled)[:, 1], 0.005, 0.995)
    return np.log(shares / (1 - shares))


@pytest.mark.parametrize("name", fit.MODELS)
def test_every_classifier_answers_as_the_library_that_fitted_it(name, samples) -> None:
    scaled, truth, weights = samples
    model = fit.MODELS[name](COUNT).fit(scaled, truth, sample_weight=weights)
    others = np.random.default_rng(3).normal(size=(200, COUNT)).astype(np.float32).astype(np.float64)
    margins = fit.convert_model(model).decide(others)
    np.testing.assert_allclose(margins, margins_of(model, others), atol=1e-6)
    assert np.ptp(margins) > 0.1
    if hasattr(model, "predict_proba") and name not in {"random forest", "ExtraTrees"}:
        np.testing.assert_allclose(1 / (1 + np.exp(-margins)), model.predict_proba(others)[:, 1], atol=1e-6)


def test_a_model_that_is_not_known_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be turned into arrays"):
        fit.convert_model(object())


def a_fusion(name, samples):
    scaled, truth, weights = samples
    rng = np.random.default_rng(4)
    return Fusion(
        features=NAMES,
        components=Components(mean=rng.normal(size=1280), axes=rng.normal(size=(2, 1280)) / 6),
        standard=Standard(mean=np.arange(COUNT) * 1.0, deviation=np.full(COUNT, 2.0)),
        classifier=fit.fit_classifier(name, scaled, truth, weights),
        slope=1.2,
        intercept=-0.3,
    )


def write_bundle(folder, name, samples):
    metadata = {"version": "0.0.1", "radiomics_version": VERSION, "side_px": 64, "data_source": "random numbers"}
    save_fusion(folder, a_fusion(name, samples), build_backbone(), metadata, dict.fromkeys(NAMES, 1.5))
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text("# Model card\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def bundle(samples, tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundles") / "us_fusion", "ExtraTrees", samples)


def rewrite(folder, **changes):
    path = folder / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize("name", fit.MODELS)
def test_what_is_packed_comes_back_and_holds_no_pickle(name, samples, tmp_path) -> None:
    fusion = a_fusion(name, samples)
    np.savez_compressed(tmp_path / "machine.npz", **pack_fusion(fusion))
    with np.load(tmp_path / "machine.npz", allow_pickle=False) as stored:
        again = unpack_fusion(NAMES, type(fusion.classifier).__name__, dict(stored))
    deep = np.random.default_rng(6).normal(size=1280)
    radiomics = {"lesion_a": 2.0, "ring_b": -1.0, "shape_c": 0.5, "not selected": 9.0}
    answer = again.probability(radiomics, deep, 0.7)
    assert answer == fusion.probability(radiomics, deep, 0.7)
    assert 0 < answer < 1
    assert answer != fusion.probability(radiomics, -deep, 0.7)


def test_a_bundle_is_read_checked_and_identified(bundle) -> None:
    machine = read_fusion(bundle, VERSION)
    assert check(bundle, VERSION) == []
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["intended_use"] == INTENDED_USE
    assert machine.backbone is not None
    assert len(machine.digest) == 64


def test_another_backbone_or_another_side_is_another_machine(bundle, samples, tmp_path) -> None:
    other = write_bundle(tmp_path / "us_fusion", "ExtraTrees", samples)
    assert (other / "models" / "machine.npz").read_bytes() == (bundle / "models" / "machine.npz").read_bytes()
    digests = {read_fusion(bundle, VERSION).digest, read_fusion(other, VERSION).digest}
    rewrite(other, side_px=96)
    assert len(digests | {read_fusion(other, VERSION).digest}) == 3


def test_a_feature_that_is_missing_is_no_answer(bundle) -> None:
    with pytest.raises(KeyError):
        read_fusion(bundle, VERSION).fusion.probability({"lesion_a": 1.0}, np.zeros(1280), 0.0)


def test_radiomics_of_another_version_are_refused(bundle) -> None:
    with pytest.raises(NeedsPerson, match=r"radiomics of version 1, not 2|needs mirp"):
        load_fusion("us_fusion", "2", bundle.parent)


def test_what_was_changed_on_disk_is_refused(samples, tmp_path) -> None:
    folder = write_bundle(tmp_path / "us_fusion", "SVM", samples)
    path = folder / "models" / "machine.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="not the file that its metadata describes"):
        read_fusion(folder, VERSION)
    assert check(folder, VERSION)


def test_a_pickle_is_never_run(samples, tmp_path) -> None:
    import hashlib

    folder = write_bundle(tmp_path / "us_fusion", "SVM", samples)
    np.savez(folder / "models" / "machine.npz", platt=np.array([print], dtype=object))
    content = (folder / "models" / "machine.npz").read_bytes()
    rewrite(folder, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match="allow_pickle"):
        read_fusion(folder, VERSION)
    (folder / "models" / "machine.npz").write_bytes(pickle.dumps(print))
    assert check(folder, VERSION)


def test_another_golden_answer_is_told(samples, tmp_path) -> None:
    folder = write_bundle(tmp_path / "us_fusion", "MLP", samples)
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    rewrite(folder, golden=metadata["golden"] | {"probability": metadata["golden"]["probability"] + 1e-4})
    assert [sentence for sentence in check(folder, VERSION) if "golden" in sentence]


def spoil_tree(trees: Trees, how: str) -> Trees:
    if how == "a way without an end":
        left = trees.left.copy()
        left[trees.left >= 0] = 0
        return replace(trees, left=left)
    if how == "a feature that is not there":
        return replace(trees, feature=np.where(trees.left >= 0, COUNT, -1))
    return replace(trees, value=np.full(len(trees.value), np.nan))


@pytest.mark.parametrize("how", ["a way without an end", "a feature that is not there", "no numbers"])
def test_trees_that_do_not_fit_together_are_refused(how, samples) -> None:
    fusion = a_fusion("random forest", samples)
    spoiled = replace(fusion, classifier=spoil_tree(fusion.classifier, how))
    with pytest.raises(ValueError, match="do not fit together"):
        unpack_fusion(NAMES, "Trees", pack_fusion(spoiled))
