"""`bundle check` is content with a whole bundle and names what is wrong with any other."""

import json
import shutil

import numpy as np
import pytest
import torch

from workers.__main__ import main
from workers.models.networks import NETWORKS, build_network
from workers.models.weights import BUNDLES_DIR
from workers.training.check_bundle import CHECKS, check_bundle
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
