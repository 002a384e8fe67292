"""Weights that learned on color photographs answer the same in gray, and what does not fit is refused."""

import pickle

import pytest
import torch

from screener.outcomes import NeedsPerson
from workers.models.networks import build_network
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER, US_NETWORKS
from workers.training.fit import _group_parameters
from workers.training.keep_checkpoint import set_learning_rate
from workers.training.us_pretrained import MEAN, SLOWER, SPREAD, load_pretrained

GRAY = US_NETWORKS[LESION_CLASSIFIER]["mobilenetv2"]


@pytest.fixture
def color():
    """A network of three channels whose normalization has seen photographs."""
    torch.manual_seed(11)
    network = build_network(GRAY | {"in_channels": 3})
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture
def weights(color, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({name: values for name, values in color.state_dict().items() if name.startswith("features.")}, path)
    return path


def test_gray_gives_what_it_gave_in_color(color, weights):
    gray = torch.rand(2, 1, 96, 96)
    mean, spread = (torch.tensor(values)[None, :, None, None] for values in (MEAN, SPREAD))
    # Zero beyond the edges is another color before the normalization than behind it: the inside is compared.
    network = build_network(GRAY)
    load_pretrained(network, weights)
    with torch.inference_mode():
        expected = color.features[0]((gray.expand(-1, 3, -1, -1) - mean) / spread)
        answer = network.eval().features[0](2 * gray - 1)
    torch.testing.assert_close(answer[..., 1:, 1:], expected[..., 1:, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["deeplab-mobile", "unet-mobile"])
def test_a_segmenter_takes_its_backbone_from_the_same_weights(name, color, weights):
    network = build_network(US_NETWORKS[LESION_SEGMENTER][name])
    known = load_pretrained(network, weights)
    assert torch.equal(network.backbone.features[17].conv[0].weight, color.features[17].conv[0].weight)
    assert known == {name for name, _ in network.named_parameters() if name.startswith("backbone.")}


def test_what_is_known_learns_slower_than_what_is_new(weights):
    network = build_network(GRAY)
    known = load_pretrained(network, weights)
    optimizer = torch.optim.AdamW(_group_parameters(network, known), lr=1.0)
    set_learning_rate(optimizer, 1e-3, 0.1)
    new, old = (group["lr"] for group in optimizer.param_groups)
    assert old == pytest.approx(SLOWER * new)
    assert {id(one) for group in optimizer.param_groups for one in group["params"]} == set(
        map(id, network.parameters())
    )
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, len(known)]


def test_another_network_than_mobilenet_is_refused(weights):
    with pytest.raises(NeedsPerson, match="no MobileNetV2"):
        load_pretrained(build_network(US_NETWORKS[LESION_CLASSIFIER]["resnet18"]), weights)


class Code:
    def __reduce__(self):
        return print, ("never",)


def test_a_file_that_holds_code_or_nothing_is_refused(tmp_path, capsys):
    path = tmp_path / "code.pt"
    with path.open("wb") as file:
        pickle.dump({"features.0.0.weight": Code()}, file, protocol=2)
    for given in (path, tmp_path / "missing.pt", tmp_path):
        with pytest.raises(NeedsPerson, match="no weights of MobileNetV2"):
            load_pretrained(build_network(GRAY), given)
    torch.save({"layer1.weight": torch.zeros(2)}, path)
    with pytest.raises(NeedsPerson, match="no weights of MobileNetV2"):
        load_pretrained(build_network(GRAY), path)
    assert capsys.readouterr().out == ""
