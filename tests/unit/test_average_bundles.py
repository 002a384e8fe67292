"""A bundle may hold several networks: it answers with the mean of their probabilities."""

import json

import numpy as np
import pytest
import torch

from screener.outcomes import NeedsPerson
from workers.__main__ import main
from workers.models.networks import NETWORKS, average_definition, build_network
from workers.models.weights import load_bundle, read_definition, read_weights
from workers.training.average_bundles import average_bundles, average_weights
from workers.training.calibrate_segmenter import main as calibrate
from workers.training.check_bundle import check_bundle
from workers.training.train_segmenter import dice_and_cross_entropy
from workers.training.write_bundle import write_bundle

NAME = "parotid_mass_segmenter"
CPU = torch.device("cpu")


def make(folder, network, seed, *, name=NAME, data="openkbp_train"):
    torch.manual_seed(seed)
    definition = NETWORKS[name][network]
    training = {"data": [data], "start": None}
    write_bundle(name, folder / name, definition, build_network(definition).state_dict(), training=training)
    return folder / name


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    return make(folder / "a", "study", 1), make(folder / "b", "unet", 2, data="our_cases")


@pytest.fixture(scope="module")
def averaged(members, tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged") / NAME
    assert average_bundles(members, folder) == 2
    return folder


def ask(bundle, image):
    return load_bundle(NAME, CPU, bundle.parent)(image)


def test_it_answers_with_the_mean_of_the_probabilities(members, averaged):
    image = np.random.default_rng(0).random((3, 16, 16, 16), dtype=np.float32)
    first, second = (ask(member, image) for member in members)
    assert np.abs(first - second).max() > 0.01
    assert ask(averaged, image) == pytest.approx((first + second) / 2, abs=1e-5)


def test_it_is_a_whole_bundle(averaged):
    assert [finding.problem for finding in check_bundle(averaged) if finding.problem] == []
    said = json.loads((averaged / "configs" / "metadata.json").read_text())
    assert said["data_source"].startswith("OpenKBP")
    assert said["data_source"].endswith("cases in the folder our_cases")
    assert len(said["training"]["members"]) == 2


def test_an_average_of_averages_counts_each_network_once(members, averaged, tmp_path):
    assert average_bundles([averaged, members[0]], tmp_path / NAME) == 3
    image = np.random.default_rng(1).random((3, 16, 16, 16), dtype=np.float32)
    first, second = (ask(member, image) for member in members)
    assert ask(tmp_path / NAME, image) == pytest.approx((2 * first + second) / 3, abs=1e-5)


def test_it_can_be_trained_on(averaged):
    network = build_network(read_definition(averaged))
    image = torch.randn(2, 3, 16, 16, 16)
    dice_and_cross_entropy(network(image), torch.randint(0, 2, (2, 16, 16, 16))).backward()
    reached = [member for member in network.members if any(values.grad is not None for values in member.parameters())]
    assert len(reached) == 2


@pytest.fixture(scope="module")
def relatives(tmp_path_factory):
    """Networks of one kind, as two trainings from the same weights leave them."""
    folder = tmp_path_factory.mktemp("relatives")
    return make(folder / "a", "unet", 1), make(folder / "b", "unet", 2, data="our_cases")


def test_the_mean_of_weights_is_one_network(relatives, tmp_path):
    assert average_weights(relatives, tmp_path / NAME) == 2
    first, second, mean = (read_weights(folder) for folder in (*relatives, tmp_path / NAME))
    assert list(mean) == list(first)
    kernels = [key for key, values in first.items() if values.ndim > 1]
    assert not torch.equal(first[kernels[0]], second[kernels[0]])
    for key in kernels:
        torch.testing.assert_close(mean[key], (first[key] + second[key]) / 2)
    assert [finding.problem for finding in check_bundle(tmp_path / NAME) if finding.problem] == []
    said = json.loads((tmp_path / NAME / "configs" / "metadata.json").read_text())
    assert said["data_source"].endswith("cases in the folder our_cases")
    assert (said["training"]["mean_of"], len(said["training"]["members"])) == ("weights", 2)


def test_the_mean_of_weights_is_stored_in_half_where_one_of_them_is(relatives, tmp_path):
    definition, state = read_definition(relatives[0]), read_weights(relatives[0])
    write_bundle(NAME, tmp_path / "half", definition, state, training={"data": []}, is_half=True)
    average_weights([tmp_path / "half", relatives[1]], tmp_path / NAME)
    assert {values.dtype for values in read_weights(tmp_path / NAME).values() if values.ndim > 1} == {torch.float16}


def test_the_weights_of_different_or_several_networks_have_no_mean(members, averaged, tmp_path):
    for folders in (members, [averaged, averaged]):
        with pytest.raises(NeedsPerson, match="the same network"):
            average_weights(folders, tmp_path / "out")
    with pytest.raises(NeedsPerson, match="two bundles"):
        average_weights(members[:1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_kinds_are_refused(members, tmp_path):
    localizer = make(tmp_path, "study", 3, name="parotid_localizer")
    with pytest.raises(NeedsPerson, match="localizer, segmenter"):
        average_bundles([members[0], localizer], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_bundle_is_refused(members, tmp_path):
    with pytest.raises(NeedsPerson, match="cannot be read"):
        average_bundles([members[0], tmp_path], tmp_path / "out")


@pytest.mark.parametrize(
    "member",
    [
        average_definition([NETWORKS[NAME]["study"]]),
        NETWORKS["parotid_localizer"]["study"],
        {"_target_": "torch.nn.Linear", "in_channels": 3, "out_channels": 2},
    ],
)
def test_a_definition_with_a_strange_member_is_refused(member):
    definition = average_definition([NETWORKS[NAME]["unet"]])
    definition["members"].append(member)
    with pytest.raises(ValueError, match=r"average|not one of"):
        build_network(definition)


def test_an_average_of_nothing_or_too_many_is_refused():
    definition = average_definition([NETWORKS[NAME]["study"]])
    for members in ([], definition["members"] * 9):
        with pytest.raises(ValueError, match="1 to 8"):
            build_network(definition | {"members": members})


def test_an_average_is_not_calibrated_by_one_of_its_members(averaged, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["calibrate_segmenter", str(averaged), "--probability", "0.6"])
    before = (averaged / "models" / "model.pt").read_bytes()
    with pytest.raises(SystemExit):
        calibrate()
    assert "calibrate each" in capsys.readouterr().err
    assert (averaged / "models" / "model.pt").read_bytes() == before


def test_the_command_says_what_it_wrote(members, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bundle", "average", str(tmp_path / "out"), *map(str, members)])
    assert stop.value.code == 0
    assert "2 networks" in capsys.readouterr().out
    assert len(read_definition(tmp_path / "out")["members"]) == 2


def test_the_command_takes_the_mean_of_weights(relatives, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bundle", "average", str(tmp_path / "out"), *map(str, relatives), "--weights"])
    assert stop.value.code == 0
    assert "2 networks" in capsys.readouterr().out
    assert "members" not in read_definition(tmp_path / "out")
