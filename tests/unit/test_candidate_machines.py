"""The machines that judge candidates: they answer as the library that fitted them and are safe far from samples."""

import json
import logging
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from screener.outcomes import NeedsPerson
from screener.study import DEFAULT_MIN_SCORE, GAMMAS, Candidate, Mass, Side
from workers.ct.describe_candidate import FEATURES
from workers.models.bundle_files import INTENDED_USE
from workers.models.candidate_machines import (
    MOST_DEVIATIONS,
    CandidateMachines,
    check,
    load_machines,
    read_machines,
    save_machines,
)

CARD = "# Model card\n"
METADATA = {"version": "0.0.1", "features": list(FEATURES), "data_source": "random numbers"}


@pytest.fixture(scope="module")
def samples():
    fit = pytest.importorskip("workers.training.fit_machines", exc_type=ImportError)
    rng = np.random.default_rng(3)
    is_true = np.arange(120) % 2 == 0
    features = rng.normal(size=(120, len(FEATURES))) * rng.uniform(0.5, 40, len(FEATURES))
    features[is_true, :4] += 1.5 * features.std(axis=0)[:4]
    patients = np.array([f"patient {number // 6}" for number in range(120)])
    return fit.Samples(features=features, is_true=is_true, voxels=np.full(120, 900), patients=patients)


@pytest.fixture(scope="module")
def fitted(samples):
    from workers.training.fit_machines import fit_machines

    return fit_machines(samples)


@pytest.fixture
def folder(fitted, tmp_path: Path) -> Path:
    scaling, _, machines, _ = fitted
    save_machines(tmp_path / "bundle", scaling, machines, METADATA, dict.fromkeys(FEATURES, 1.0))
    (tmp_path / "bundle" / "docs").mkdir()
    (tmp_path / "bundle" / "docs" / "README.md").write_text(CARD, encoding="utf-8")
    return tmp_path / "bundle"


def test_the_decision_is_the_one_of_scikit_learn(samples, fitted) -> None:
    svm = pytest.importorskip("sklearn.svm")
    scaling, penalty, machines, _ = fitted
    others = np.random.default_rng(4).normal(size=(50, len(FEATURES))) * samples.features.std(axis=0) * 2
    for machine, gamma in zip(machines, GAMMAS, strict=True):
        model = svm.SVC(kernel="rbf", gamma=gamma, C=penalty, class_weight="balanced")
        model.fit(scaling(samples.features), samples.is_true)
        theirs = model.decision_function(scaling(others))
        assert np.abs(machine.decide(scaling(others)) - theirs).max() < 1e-6


def test_what_is_stored_decides_as_what_was_fitted(folder: Path, samples, fitted) -> None:
    scaling, _, machines, _ = fitted
    stored = read_machines(folder)
    row = samples.features[7]
    expected = [machine.score(scaling(row[None]))[0] for machine in machines]
    assert stored(dict(zip(FEATURES, row, strict=True))) == pytest.approx(expected, abs=1e-6)


def test_what_resembles_no_sample_is_never_rejected(fitted) -> None:
    _, _, machines, _ = fitted
    far = np.full((1, len(FEATURES)), 100.0)
    for machine in machines:
        assert machine.score(far)[0] == pytest.approx(0.5)
        assert machine.score(far)[0] > DEFAULT_MIN_SCORE


def test_a_greater_decision_is_a_greater_score(samples, fitted) -> None:
    scaling, _, machines, _ = fitted
    rows = scaling(samples.features)
    for machine in machines:
        order = np.argsort(machine.decide(rows))
        assert (np.diff(machine.score(rows)[order]) >= 0).all()


def test_one_strange_figure_weighs_no_more_than_three_deviations(fitted) -> None:
    scaling, _, machines, _ = fitted
    strange, stranger = (scaling.mean.copy() for _ in range(2))
    strange[2] += MOST_DEVIATIONS * scaling.deviation[2]
    stranger[2] += 1000 * scaling.deviation[2]
    for machine in machines:
        assert machine.score(scaling(stranger[None])) == pytest.approx(machine.score(scaling(strange[None])))


def test_the_default_cut_off_keeps_the_large_true_ones_of_patients_not_seen(fitted) -> None:
    from workers.training.fit_machines import KEPT_SENSITIVITY

    _, _, _, figures = fitted
    assert [row.gamma for row in figures] == list(GAMMAS)
    for row in figures:
        assert row.sensitivity >= KEPT_SENSITIVITY - 0.05  # measured by slopes that other patients gave
        assert row.auc > 0.8


def test_a_slope_is_measured_on_other_patients_than_it_was_set_on(samples) -> None:
    from workers.training.fit_machines import Samples, fit_machine, measure, scale, split_folds

    all_true = Samples(
        features=samples.features,
        is_true=samples.is_true | (samples.voxels > 0),
        voxels=samples.voxels,
        patients=samples.patients,
    )
    _, strange = split_folds(all_true)[0]
    margins = np.full(len(samples.is_true), -0.36)
    margins[strange] = -3.0  # a fold that nothing in the others foretells
    machine = fit_machine(samples, scale(samples, 2.0), 5, 1.0, margins)
    kept = 1 / (1 + np.exp(-machine.slope * margins)) >= DEFAULT_MIN_SCORE
    assert kept.all()
    assert measure(all_true, margins, machine).sensitivity == pytest.approx(1 - len(strange) / len(margins))


def test_a_sound_bundle_has_no_problems(folder: Path) -> None:
    assert check(folder) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("kind", "networks", "kind"),
        ("intended_use", "Diagnosis.", "intended_use"),
        ("data_source", "", "data_source"),
        ("weights_sha256", "0" * 64, "not the file"),
        ("features", ["age"], "age"),
    ],
)
def test_what_is_wrong_with_a_bundle_is_named(folder: Path, key: str, value: object, said: str) -> None:
    path = folder / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}), encoding="utf-8")
    (problem,) = check(folder)
    assert said in problem


def test_a_changed_golden_score_is_noticed(folder: Path) -> None:
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["golden"]["scores"][4] += 0.01
    path.write_text(json.dumps(metadata), encoding="utf-8")
    (problem,) = check(folder)
    assert "golden" in problem


def test_a_pickle_is_refused(folder: Path) -> None:
    import hashlib

    path = folder / "models" / "machines.npz"
    path.write_bytes(pickle.dumps({"mean": 0}))
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    metadata["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(NeedsPerson, match="cannot be loaded"):
        load_machines(folder.name, folder.parent)


def test_a_missing_bundle_needs_a_person(tmp_path: Path) -> None:
    with pytest.raises(NeedsPerson) as raised:
        load_machines("absent", tmp_path)
    assert raised.value.code == "bad_bundle"


def test_the_shipped_machines_are_sound_and_need_only_what_is_measured() -> None:
    machines = load_machines("parotid_candidates")
    assert isinstance(machines, CandidateMachines)
    assert machines.features == FEATURES
    scores = machines(dict.fromkeys(FEATURES, 0.0))
    assert len(scores) == len(GAMMAS)
    assert all(0 <= score <= 1 for score in scores)
    assert check(Path(__file__).resolve().parents[2] / "workers" / "models" / "bundles" / "parotid_candidates") == []


def a_mass(mask: np.ndarray) -> Mass:
    candidate = Candidate(
        side=Side.RIGHT,
        number=1,
        voxels=int(mask.sum()),
        volume_mm3=float(mask.sum()),
        longest_diameter_mm=10.0,
        mean_hu=40.0,
        max_probability=0.9,
        mean_probability=0.8,
        center_mm=(0.0, 0.0, 0.0),
    )
    return Mass(candidate=candidate, mask=mask)


@pytest.mark.parametrize(
    ("candidate", "truth", "expected"),
    [
        (slice(0, 10), slice(8, 40), False),  # a fifth of it lies in the mass, and it covers less of it
        (slice(0, 10), slice(7, 40), True),  # three tenths of it lie in the mass
        (slice(0, 40), slice(30, 40), True),  # it covers the whole mass
        (slice(0, 100), slice(96, 112), True),  # it covers a quarter of the mass
    ],
)
def test_a_candidate_is_true_when_a_quarter_of_it_or_of_the_mass_is_shared(candidate, truth, expected) -> None:
    train = pytest.importorskip("workers.training.train_candidates", exc_type=ImportError)
    mask, mass = np.zeros((2, 1, 1, 120), dtype=bool)
    mask[..., candidate], mass[..., truth] = True, True
    assert train.is_true(a_mass(mask), mass) is expected
    assert not train.is_true(a_mass(mask), None)


@pytest.fixture
def train(monkeypatch):
    """The command's module; no network runs, and what they find is one mass of one voxel."""
    module = pytest.importorskip("workers.training.train_candidates", exc_type=ImportError)
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[2, 2, 2] = True
    found = a_mass(mask)
    found = replace(found, candidate=replace(found.candidate, features=dict.fromkeys(FEATURES, 1.0)))
    monkeypatch.setattr(module, "_load_networks", lambda _: (None, None, "digest"))
    monkeypatch.setattr("workers.training.read_cases.read_case", lambda _: SimpleNamespace(volume=None, mass=mask))
    monkeypatch.setattr("workers.ct.localize_parotids.localize_parotids", lambda *_: ())
    monkeypatch.setattr("workers.ct.segment_masses.segment_masses", lambda *_, **__: (found,))
    return module


@pytest.fixture
def collect(train, tmp_path: Path):
    folder, cache = tmp_path / "pt_1", tmp_path / "cache"
    folder.mkdir()
    cache.mkdir()
    (folder / "image.nii.gz").write_bytes(b"image")

    def run(code: str = "code") -> Path | None:
        options = train.Options(
            bundles=None,
            localizer="",
            segmenter="",
            min_probability=0.5,
            device="cpu",
            cache=cache,
            code=code,
        )
        return train.collect_case(folder, options)

    return run


def test_what_was_collected_is_used_again_for_the_same_files_and_code_alone(collect, tmp_path: Path) -> None:
    first = collect()
    assert collect() == first
    (tmp_path / "pt_1" / "mass.nii.gz").write_bytes(b"outlined since")
    second = collect()
    assert second != first
    assert collect(code="other") != second
    assert json.loads(second.read_text())[0]["is_true"]


def test_a_case_that_failed_once_is_tried_again(collect, monkeypatch, tmp_path: Path) -> None:
    def fail(*args: object, **options: object) -> None:
        raise NeedsPerson("too little memory", code="no_memory")

    with monkeypatch.context() as broken:
        broken.setattr("workers.ct.localize_parotids.localize_parotids", fail)
        assert collect() is None
    assert list((tmp_path / "cache").iterdir()) == []
    assert collect() is not None


def test_a_case_that_fails_is_neither_cached_nor_counted(tmp_path: Path, caplog) -> None:
    module = pytest.importorskip("workers.training.train_candidates", exc_type=ImportError)
    folder = tmp_path / "pt_1"
    folder.mkdir()
    (folder / "image.nii.gz").write_bytes(b"no image")
    options = module.Options(
        bundles=None,
        localizer="parotid_localizer",
        segmenter="parotid_mass_segmenter",
        min_probability=0.5,
        device="cpu",
        cache=tmp_path / "cache",
        code="code",
    )
    with caplog.at_level(logging.INFO):
        assert module.collect_all([folder], options) == ([], [])
    assert list((tmp_path / "cache").iterdir()) == []
    assert "cases=1 from_cache=0 collected=0 failed=1" in caplog.text


def rows_of(samples) -> list[dict[str, object]]:
    return [
        {"case": str(patient), "patient": str(patient), "side": "right", "number": 1, "voxels": int(voxels)}
        | {"is_true": bool(is_true)}
        | {name: float(value) for name, value in zip(FEATURES, features, strict=True)}
        for patient, voxels, is_true, features in zip(
            samples.patients, samples.voxels, samples.is_true, samples.features, strict=True
        )
    ]


def run_training(train, samples, fitted, monkeypatch, tmp_path: Path, data: str) -> Path:
    folders = [tmp_path / data / "pt_1", tmp_path / data / "pt_2"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "image.nii.gz").write_bytes(b"image")
    monkeypatch.setattr(train, "collect_all", lambda *_, **__: (rows_of(samples), folders[:1]))
    monkeypatch.setattr(train, "fit_machines", lambda _: fitted)
    out = tmp_path / "trained"
    (tmp_path / "cache").mkdir(exist_ok=True)
    words = ["--data", str(tmp_path / data), "--out", str(out), "--cache", str(tmp_path / "cache")]
    assert train.main(words) == 0
    return out


def test_machines_that_were_just_trained_are_a_whole_bundle(train, samples, fitted, monkeypatch, tmp_path) -> None:
    from workers.training.check_bundle import check_bundle

    out = run_training(train, samples, fitted, monkeypatch, tmp_path, "our_clinic")
    assert [finding.problem for finding in check_bundle(out)] == [""]
    metadata = json.loads((out / "configs" / "metadata.json").read_text())
    assert metadata["data_source"] == "cases in the folder our_clinic"
    assert metadata["candidates"]["cases"] == 1
    card = (out / "docs" / "README.md").read_text()
    assert INTENDED_USE in card
    assert "our_clinic" in card
    assert "60 true, 60 false" in card
    assert "gamma    AUC" in card


def test_the_origin_of_made_cases_is_told(train, samples, fitted, monkeypatch, tmp_path) -> None:
    case = tmp_path / "made" / "pt_1"
    case.mkdir(parents=True)
    (case / "case.json").write_text(json.dumps({"source": "openkbp_train", "patient": "pt_1"}))
    out = run_training(train, samples, fitted, monkeypatch, tmp_path, "made")
    said = json.loads((out / "configs" / "metadata.json").read_text())["data_source"]
    assert said.startswith("cases in the folder made, made from OpenKBP (")
    assert "label maps" not in said


def test_a_model_card_that_a_person_wrote_is_kept_beside_the_new_one(
    train, samples, fitted, monkeypatch, tmp_path, caplog
) -> None:
    (tmp_path / "trained" / "docs").mkdir(parents=True)
    (tmp_path / "trained" / "docs" / "README.md").write_text(CARD)
    with caplog.at_level(logging.WARNING):
        out = run_training(train, samples, fitted, monkeypatch, tmp_path, "our_clinic")
    assert (out / "docs" / "README.before.md").read_text() == CARD
    assert "README.before.md" in caplog.text
