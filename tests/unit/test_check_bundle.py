"""`bundle check` is content with a whole bundle and names what is wrong with any other."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from workers.__main__ import main
from workers.models.networks import NETWORKS, build_network
from workers.models.weights import BUNDLES_DIR, bundle_digest, read_definition, read_weights
from workers.training.calibrate_segmenter import main as calibrate
from workers.training.check_bundle import CHECKS, check_bundle
from workers.training.describe_data import describe_folders
from workers.training.sample_segmenter import PATCH_VOXELS
from workers.training.write_bundle import KINDS, write_bundle

SHIPPED = sorted(path.parent.parent for path in BUNDLES_DIR.glob("*/configs/metadata.json"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "any_name"
    torch.manual_seed(0)
    definition = NETWORKS["parotid_mass_segmenter"]["study"]
    write_bundle("parotid_mass_segmenter", folder, definition, build_network(definition).state_dict(), is_half=True)
    return folder


@pytest.fixture
def bundle(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "bundle")


def change(path, **values):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


def run(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bundle", "check", str(folder)])
    said = capsys.readouterr()
    return stop.value.code, said.out, said.err


def problems(folder):
    return [f"{finding.what}: {finding.problem}" for finding in check_bundle(folder) if finding.problem]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_bundle_is_whole(folder):
    assert problems(folder) == []


def test_a_whole_bundle_is_told_line_by_line(bundle, capsys):
    code, out, err = run(bundle, capsys)
    assert code == 0
    assert err == ""
    assert len(out.splitlines()) == 4
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["weights_sha256"] in out


def test_every_kind_that_is_written_has_its_check():
    assert set(KINDS.values()) < set(CHECKS)


def test_changed_weights_are_noticed_twice(bundle, capsys):
    path = bundle / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    state["head.bias"][1] += 1
    torch.save(state, path)
    code, _, err = run(bundle, capsys)
    assert code == 1
    assert "configs/metadata.json names" in err
    assert "it differs by" in err


def test_a_network_that_computes_something_else_is_noticed(bundle):
    with np.load(bundle / "golden" / "expected.npz") as stored:
        expected = stored["probability"]
    expected[0, 3, 4, 5] += 0.01
    np.savez_compressed(bundle / "golden" / "expected.npz", probability=expected)
    [problem] = problems(bundle)
    assert problem.startswith("the golden case")


def test_a_missing_key_is_named(bundle):
    change(bundle / "configs" / "metadata.json", intended_use="")
    assert problems(bundle) == ["metadata has its keys: missing or empty: intended_use"]


@pytest.mark.parametrize(("key", "value"), [("spacing_mm", [1.0, 1.0, 1.0]), ("kind", "localizer")])
def test_a_bundle_that_the_stages_cannot_use_is_noticed(bundle, key, value):
    change(bundle / "configs" / "metadata.json", **{key: value})
    assert any("the stages need" in problem for problem in problems(bundle))


@pytest.mark.parametrize(
    "gone", ["golden/input.npz", "golden/expected.npz", "models/model.pt", "configs/inference.json"]
)
def test_a_missing_file_is_a_problem_and_no_crash(bundle, gone):
    (bundle / gone).unlink()
    assert problems(bundle)


def test_a_pickle_in_the_golden_case_is_never_opened(bundle):
    np.savez_compressed(bundle / "golden" / "input.npz", hu=np.array([print], dtype=object))
    assert any("golden" in problem for problem in problems(bundle))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "oracle"}'])
def test_metadata_that_say_nothing_are_a_problem_and_no_crash(bundle, content):
    (bundle / "configs" / "metadata.json").write_text(content)
    assert problems(bundle)


def test_a_folder_without_a_bundle_is_a_problem(tmp_path, capsys):
    code, _, err = run(tmp_path, capsys)
    assert code == 1
    assert "metadata.json" in err


def read_metadata(folder):
    return json.loads((folder / "configs" / "metadata.json").read_text())


@pytest.fixture
def summary(bundle, tmp_path):
    """What an evaluation of `bundle` leaves, in part."""
    path = tmp_path / "summary.json"
    figures = {"exams": 124, "positives": 93, "auc_exam": 0.8394034, "specificity": 0.9, "centre_error_mm_p95": None}
    bundles = {"any_name": bundle_digest(bundle.name, bundle.parent)}
    path.write_text(json.dumps(figures | {"data": "Data: val2.", "bundles": bundles, "by_gamma": []}))
    return path


def record(folder, summary):
    with pytest.raises(SystemExit) as stop:
        main(["bundle", "record", str(folder), str(summary)])
    return stop.value.code


def test_the_figures_of_an_evaluation_are_recorded_by_their_names(bundle, summary, capsys):
    before = read_metadata(bundle)
    assert record(bundle, summary) == 0
    assert "auc_exam: 0.8394\n" in capsys.readouterr().out
    assert read_metadata(bundle) == before | {
        "eval_metrics": {
            "exams": 124,
            "positives": 93,
            "auc_exam": 0.8394,
            "specificity": 0.9,
            "centre_error_mm_p95": None,
            "data": "Data: val2.",
        }
    }
    assert problems(bundle) == []


def test_the_figures_of_other_weights_are_refused(bundle, summary, capsys):
    change(summary, bundles={"any_name": "0" * 64})
    assert record(bundle, summary) == 1
    assert "is of other weights" in capsys.readouterr().err
    assert read_metadata(bundle)["eval_metrics"] == {}


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_what_is_no_summary_is_refused(bundle, summary, content, capsys):
    summary.write_text(content)
    assert record(bundle, summary) == 1
    assert "no summary.json" in capsys.readouterr().err


def test_figures_are_kept_with_their_weights_and_with_no_others(bundle, summary, monkeypatch):
    record(bundle, summary)
    name, definition = "parotid_mass_segmenter", read_definition(bundle)
    write_bundle(name, bundle, definition, read_weights(bundle))
    assert read_metadata(bundle)["eval_metrics"]["exams"] == 124
    monkeypatch.setattr(sys, "argv", ["calibrate", str(bundle), "--probability", "0.6"])
    calibrate()
    assert read_metadata(bundle)["eval_metrics"] == {}
    assert problems(bundle) == []


def test_metadata_name_the_patch_that_training_takes(bundle):
    shape = read_metadata(bundle)["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert shape == [f"8*n ({PATCH_VOXELS} in training)"] * 3


def test_data_are_named_for_what_they_are(bundle):
    assert "not recorded" in read_metadata(bundle)["data_source"]
    assert describe_folders(["openkbp_train"]).startswith("OpenKBP (")
    assert "label maps" not in describe_folders(["openkbp_train"])
    assert "label maps" in describe_folders(["head_neck_labels_rendered"])
    assert describe_folders(["openkbp_train", "ours"]).endswith("; cases in the folder ours")
    assert describe_folders(["a", "b", "a"]) == "cases in the folders a, b"
