"""The fusion is selected, fitted, chosen and calibrated on lesions of groups that are not judged, and ships whole."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from screener.outcomes import NeedsPerson
from tests.unit.us_cases import write_folder
from workers.models.fusion_machine import COMPONENT, IMAGE, read_fusion
from workers.models.mobile_networks import MobileNetV2
from workers.training.us_read_cases import CaseRow, UsCase, list_rows, read_cases
from workers.training.us_split_cases import Part, find_part
from workers.us.measure_radiomics import RADIOMICS_VERSION

pytest.importorskip("sklearn")
pytest.importorskip("mirp")
collect = pytest.importorskip("workers.training.fusion.collect_features", exc_type=ImportError)
compare = pytest.importorskip("workers.training.fusion.compare_machines", exc_type=ImportError)
select = pytest.importorskip("workers.training.fusion.select_features", exc_type=ImportError)
train = pytest.importorskip("workers.training.fusion.train_fusion", exc_type=ImportError)

QUICK = {"logistic regression": None, "SVM": None}


def a_row(number: int, source: str, label: str) -> CaseRow:
    return CaseRow(
        folder=Path(), name=f"{source}{number}", source=source, organ="", label=label, group=f"g{number // 2}",
        machine="", has_outline=True,
    )  # fmt: skip


def draw_samples(count: int = 160, shares: dict[str, float] | None = None, *, with_image: bool = False):
    """Feature 0 tells the kind, 1 is its copy, 2 tells the source alone, the rest is noise; so is the deep part."""
    rng = np.random.default_rng(1)
    rows, truth = [], []
    for source, share in (shares or {"ours": 0.4}).items():
        truth += (rng.random(count) < share).tolist()
        rows += [a_row(number, source, "malignant" if truth[-count + number] else "benign") for number in range(count)]
    kind, sources = np.array(truth), np.array([row.source for row in rows])
    radiomics = rng.normal(size=(len(rows), 12))
    radiomics[:, 0] += 2 * kind
    radiomics[:, 1] = -3 * radiomics[:, 0] + 0.01 * rng.normal(size=len(rows))
    radiomics[:, 2] = 4 * (sources == sources[0]) + 0.1 * rng.normal(size=len(rows))
    return collect.Samples(
        rows=tuple(rows), truth=kind, radiomics=radiomics, radiomics_names=tuple(f"f{n:02}" for n in range(12)),
        deep=rng.normal(size=(len(rows), 20)), image=rng.normal(size=len(rows)) + kind if with_image else None,
    )  # fmt: skip


def test_what_tells_the_kinds_apart_is_selected_once() -> None:
    samples = draw_samples()
    selection = select.select_features(samples, select.weigh_samples(samples), "radiomics")
    assert len({"f00", "f01"} & set(selection.names)) == 1
    assert "f02" not in selection.names
    assert selection.counts["all"] == 12 > selection.counts["t_test"] > selection.counts["redundancy"]
    scaled = selection(samples)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=0.02)


def test_a_feature_that_tells_the_organs_apart_is_not_selected() -> None:
    samples = draw_samples(shares={"breast": 0.3, "thyroid": 0.85})
    pooled = np.corrcoef(samples.radiomics[:, 2], samples.truth)[0, 1]
    assert abs(pooled) > 0.4, "pooled, the organ would pass for the kind"
    selection = select.select_features(samples, select.weigh_samples(samples), "fused")
    assert "f02" not in selection.names
    weights, sources = select.weigh_samples(samples), samples.sources
    for source in ("breast", "thyroid"):
        assert weights[(sources == source) & samples.truth].sum() == pytest.approx(len(weights) / 4)


def test_the_image_models_score_is_always_taken_where_there_is_one() -> None:
    samples = draw_samples(with_image=True)
    weights = select.weigh_samples(samples)
    assert IMAGE in select.select_features(samples, weights, "fused").names
    assert IMAGE not in select.select_features(samples, weights, "radiomics").names


def test_components_are_fewer_than_lesions_and_those_selected_are_the_ones_that_ship() -> None:
    samples = draw_samples(count=15)
    assert len(select.find_components(samples.deep).axes) == 14
    selection = select.select_features(draw_samples(), np.ones(160), "deep")
    assert all(name.startswith(COMPONENT) for name in selection.names)
    numbers = [int(name.removeprefix(COMPONENT)) for name in selection.names]
    np.testing.assert_array_equal(selection.components().axes, selection.pca.axes[numbers])


def test_noise_is_no_better_than_chance_in_cross_validation(monkeypatch) -> None:
    """Selection within each fold: were it done on all lesions before, noise would seem to tell the kinds apart."""
    monkeypatch.setattr(compare, "MODELS", QUICK)
    rng = np.random.default_rng(7)
    samples = draw_samples(count=120)
    noise = collect.Samples(
        rows=samples.rows, truth=samples.truth, radiomics=rng.normal(size=(120, 300)),
        radiomics_names=tuple(f"n{n:03}" for n in range(300)), deep=samples.deep, image=None,
    )  # fmt: skip
    margins = compare.cross_validate(noise, np.ones(120, dtype=bool), "radiomics")
    for name, values in margins.items():
        auc = compare.estimate_auc(noise.truth, values).auc
        assert 0.3 < auc < 0.68, name


def test_no_lesion_is_judged_by_what_has_seen_its_group(monkeypatch) -> None:
    samples = draw_samples(count=60)
    seen = []

    def watch(learned, kind):
        seen.append(set(learned.groups.tolist()))
        return fit_all(learned, kind)

    fit_all = compare.fit_all
    monkeypatch.setattr(compare, "MODELS", {"SVM": None})
    monkeypatch.setattr(compare, "fit_all", watch)
    margins = compare.cross_validate(samples, np.ones(60, dtype=bool), "radiomics")
    assert np.isfinite(margins["SVM"]).all()
    assert len(seen) == compare.FOLDS
    everything = set(samples.groups.tolist())
    left_out = [everything - learned for learned in seen]
    assert set.union(*left_out) == everything
    assert sum(map(len, left_out)) == len(everything)


def quick_radiomics(gray, mask):
    """Stands for radiomics, which take seconds: the lesion's size tells the kind of the made-up cases."""
    inside = gray[mask].astype(float)
    return {"lesion_mean": inside.mean(), "lesion_spread": inside.std(), "shape_share": float(mask.mean())}


def test_radiomics_are_measured_once(tmp_path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(collect, "measure_region", lambda *given: calls.append(1) or quick_radiomics(*given))
    folder = write_folder(tmp_path / "cases", count=12)
    cases = [case for case in read_cases(list_rows(folder)) if collect.is_rated(case)]
    first = collect.collect_radiomics(cases, tmp_path / "cache")
    assert collect.collect_radiomics(cases, tmp_path / "cache") == first
    assert len(calls) == len(cases) == 8
    assert len({collect.digest_lesion(case) for case in cases}) == 8


def test_lesions_of_two_folders_that_share_their_ids_keep_their_own_radiomics(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(collect, "measure_region", quick_radiomics)
    folders = [write_folder(tmp_path / name, count=6, seed=seed) for seed, name in enumerate(("one", "other"))]
    each = [[case for case in read_cases(list_rows(folder)) if collect.is_rated(case)] for folder in folders]
    assert [case.row.name for case in each[0]] == [case.row.name for case in each[1]]
    apart = [collect.collect_radiomics(cases, tmp_path / "cache") for cases in each]
    assert apart[0] != apart[1]
    assert collect.collect_radiomics([*each[0], *each[1]], tmp_path / "cache") == [*apart[0], *apart[1]]


def test_a_lesion_that_cannot_be_measured_is_left_out_and_said(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(collect, "measure_region", lambda *_: None)
    cases = [case for case in read_cases(list_rows(write_folder(tmp_path, count=3))) if collect.is_rated(case)]
    assert collect.collect_radiomics(cases, tmp_path / "cache") == [None] * len(cases)
    assert "cannot be measured" in caplog.text


def test_of_two_lesions_the_larger_is_taken_as_the_product_does() -> None:
    lesion = np.zeros((40, 60), bool)
    lesion[5:15, 5:15] = True
    lesion[20:22, 40:42] = True
    case = UsCase(row=a_row(0, "ours", "benign"), gray=np.zeros(lesion.shape, np.uint8), lesion=lesion)
    assert collect.keep_one_lesion(case).lesion.sum() == 100


def test_scores_that_are_missing_are_named(tmp_path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text("id,logit\nours0,0.5\n", encoding="utf-8")
    assert collect.read_scores(path, [a_row(0, "ours", "benign")]).tolist() == [0.5]
    with pytest.raises(NeedsPerson, match="no score for 1 cases, ours1 among them"):
        collect.read_scores(path, [a_row(0, "ours", "benign"), a_row(1, "ours", "benign")])
    with pytest.raises(NeedsPerson, match="1 ids belong to two cases each, ours0 among them"):
        collect.read_scores(path, [a_row(0, "ours", "benign")] * 2)
    with pytest.raises(NeedsPerson, match="no table"):
        collect.read_scores(tmp_path / "none.csv", [])


@pytest.fixture
def pretrained(tmp_path):
    torch.manual_seed(0)
    network = MobileNetV2(in_channels=3, out_channels=1)
    torch.save(network.state_dict(), tmp_path / "photographs.pt")
    return tmp_path / "photographs.pt"


def test_the_command_writes_a_bundle_that_checks_and_a_report(tmp_path, pretrained, monkeypatch, capsys) -> None:
    monkeypatch.setattr(collect, "measure_region", quick_radiomics)
    monkeypatch.setattr(train, "DEEP_SIDE_PX", 32)
    monkeypatch.setattr(select, "LASSO_FOLDS", 3)
    monkeypatch.setattr(compare, "FOLDS", 2)
    for module in (compare, pytest.importorskip("workers.training.fusion.fit_classifiers")):
        monkeypatch.setattr(module, "MODELS", {name: module.MODELS[name] for name in QUICK})
    folder = write_folder(tmp_path / "cases", count=150)
    swap_some(folder)
    out, report = tmp_path / "us_fusion", tmp_path / "report"
    words = ["--data", folder, "--out", out, "--pretrained", pretrained, "--cache", tmp_path / "cache", "--judge"]
    assert train.main([str(word) for word in [*words, "--report", report]]) == 0
    machine = read_fusion(out, RADIOMICS_VERSION)
    assert any(name.startswith(("lesion_", "shape_")) for name in machine.fusion.features)
    told = json.loads((report / "fusion.json").read_text(encoding="utf-8"))
    assert {row["features"] for row in told["test"]} == {"radiomics", "deep", "fused"}
    judged = sum(told["test"][0][kind] for kind in ("benign", "malignant"))
    rated = [row for row in list_rows(folder) if row.label in ("benign", "malignant")]
    assert judged == sum(find_part(row.source, row.group) is Part.TEST for row in rated)
    assert sum(told["lesions"]["ours"].values()) == len(rated) - judged
    best = max(row["auc"] for row in told["test"] if row["features"] == "fused")
    assert best > 0.7
    card = (out / "docs" / "README.md").read_text(encoding="utf-8")
    assert "not validated for clinical diagnosis" in card
    assert "test part" in capsys.readouterr().out


def swap_some(folder) -> None:
    """Let some labels be wrong, so that nothing tells the kinds apart without fail, and each case be a group."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    swapped = {"benign": "malignant", "malignant": "benign"}
    for number, row in enumerate(rows):
        row["group"] = row["id"]
        if number % 7 == 0:
            row["label"] = swapped.get(row["label"], row["label"])
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_scores_without_the_bundle_that_they_are_of_are_refused(tmp_path, pretrained) -> None:
    words = ["--data", tmp_path, "--out", tmp_path / "out", "--pretrained", pretrained, "--image-scores", tmp_path]
    with pytest.raises(NeedsPerson, match="belong together"):
        train.main([str(word) for word in words])
