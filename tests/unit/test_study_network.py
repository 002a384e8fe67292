"""The study's network is what the study says of it, and drops in where the shipped one stands."""

import numpy as np
import pytest
import torch

from workers.models.networks import NETWORKS, STUDY_LOCALIZER_DEFINITION, STUDY_SEGMENTER_DEFINITION, build_network
from workers.models.study_network import STUDY_LAYERS, STUDY_PARAMETERS
from workers.models.weights import Bundle
from workers.training.fit import supervise
from workers.training.train_segmenter import dice_and_cross_entropy

DEFINITIONS = [STUDY_LOCALIZER_DEFINITION, STUDY_SEGMENTER_DEFINITION]


@pytest.fixture(params=DEFINITIONS, ids=["localizer", "segmenter"])
def definition(request):
    return request.param


@pytest.fixture
def network(definition):
    torch.manual_seed(3)
    return build_network(definition)


def test_it_has_the_studys_layers(network):
    layers = [m for m in network.modules() if isinstance(m, (torch.nn.Conv3d, torch.nn.ConvTranspose3d))]
    assert len(layers) == STUDY_LAYERS


def test_it_has_the_studys_parameters(network):
    count = sum(values.numel() for values in network.parameters())
    assert count == pytest.approx(STUDY_PARAMETERS, rel=0.01)


def test_every_parameter_learns_from_one_step(network, definition):
    image = torch.randn(2, definition["in_channels"], 16, 16, 16)
    classes = torch.randint(0, 2, (2, 16, 16, 16))
    supervise(dice_and_cross_entropy, network(image), classes).backward()
    untouched = [name for name, values in network.named_parameters() if values.grad is None or not values.grad.any()]
    assert untouched == []


def test_the_coarse_head_is_supervised_and_not_shown(network, definition):
    image = torch.randn(1, definition["in_channels"], 16, 24, 8)
    full, coarse = network(image)
    classes = definition["out_channels"]
    assert full.shape == (1, classes, 16, 24, 8)
    assert coarse.shape == (1, classes, 8, 12, 4)
    with torch.inference_mode():
        assert network.eval()(image).shape == full.shape


def test_a_coarse_head_that_is_wrong_costs_more(definition):
    classes = torch.zeros((1, 8, 8, 8), dtype=torch.int64)
    classes[:, 2:6, 2:6, 2:6] = 1
    right = torch.nn.functional.one_hot(classes, 2).movedim(-1, 1) * 20.0
    coarse = right[:, :, ::2, ::2, ::2]
    alone = float(supervise(dice_and_cross_entropy, right, classes))
    both = float(supervise(dice_and_cross_entropy, (right, coarse), classes))
    wrong = float(supervise(dice_and_cross_entropy, (right, -coarse), classes))
    assert alone <= both < wrong


def test_it_answers_as_a_bundle_on_any_grid(network, definition):
    bundle = Bundle(name="study", version="0", digest="", network=network.eval(), device=torch.device("cpu"))
    answer = bundle(np.zeros((definition["in_channels"], 9, 17, 12), dtype=np.float32))
    assert answer.shape == (definition["out_channels"], 9, 17, 12)
    assert answer.sum(axis=0) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_of_a_bundle_takes_and_gives_the_same(name):
    contracts = {(one["in_channels"], one["out_channels"]) for one in NETWORKS[name].values()}
    assert len(contracts) == 1
