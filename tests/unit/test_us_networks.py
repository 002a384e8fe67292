"""Every ultrasound network gives one logit, learns with all of its parameters, and learns eight pictures by heart."""

import numpy as np
import pytest
import torch

from workers.models.networks import ALLOWED_NETWORKS, build_network
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER, US_DEFAULTS, US_NETWORKS, is_for
from workers.models.us_weights import answer_in_batches

SEGMENTERS = US_NETWORKS[LESION_SEGMENTER]
CLASSIFIERS = US_NETWORKS[LESION_CLASSIFIER]
EVERY = [(name, network) for name, networks in US_NETWORKS.items() for network in networks]
SIDE_PX = 32


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name, network):
    torch.manual_seed(3)
    return build_network(US_NETWORKS[name][network])


def draw_pictures():
    """Eight pictures of speckle, each with a dark disk of its own; half of the disks are larger."""
    rng = np.random.default_rng(5)
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    images, masks = [], []
    for number in range(8):
        row, column = rng.uniform(10, 22, 2)
        mask = (rows - row) ** 2 + (columns - column) ** 2 < (4 if number % 2 else 8) ** 2
        images.append(np.where(mask, -0.8, 0.4) + rng.normal(0, 0.15, mask.shape))
        masks.append(mask)
    classes = torch.arange(8) % 2
    return torch.tensor(np.stack(images)[:, None], dtype=torch.float32), torch.tensor(np.stack(masks)), classes


def teach(network, images, truth, *, steps, learning_rate):
    """Train on the same batch, then settle what normalization knows of it, which lags behind by some dozen steps."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    network.train()
    for _ in range(steps):
        torch.manual_seed(7)
        answer = network(images)
        answers = answer if isinstance(answer, tuple) else (answer,)
        loss = sum(torch.nn.functional.binary_cross_entropy_with_logits(one, truth.float()) for one in answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
            layer.reset_running_stats()
    with torch.inference_mode():
        network(images)
        return network.eval()(images)[:, 0]


@pytest.mark.parametrize("network", SEGMENTERS)
def test_a_segmenter_learns_eight_pictures_by_heart(network):
    images, masks, _ = draw_pictures()
    found = teach(build(LESION_SEGMENTER, network), images, masks[:, None], steps=25, learning_rate=2e-3) > 0
    assert 2 * (found & masks).sum() / (found.sum() + masks.sum()) > 0.9


@pytest.mark.parametrize("network", CLASSIFIERS)
def test_a_classifier_learns_eight_pictures_by_heart(network):
    images, _, classes = draw_pictures()
    logits = teach(build(LESION_CLASSIFIER, network), images, classes[:, None], steps=9, learning_rate=1e-3)
    assert ((logits > 0) == (classes > 0)).all()


@pytest.mark.parametrize(("name", "network"), EVERY)
def test_every_parameter_gets_a_gradient(name, network):
    built = build(name, network).train()
    answer = built(torch.randn(2, 1, 64, 64))
    total = sum(one.square().sum() for one in (answer if isinstance(answer, tuple) else (answer,)))
    total.backward()
    without = [key for key, values in built.named_parameters() if values.grad is None or not values.grad.abs().any()]
    assert without == []


@pytest.mark.parametrize(("name", "network"), EVERY)
@pytest.mark.parametrize("side_px", [64, 96])
def test_one_logit_for_each_pixel_or_picture(name, network, side_px):
    built = build(name, network).eval()
    with torch.inference_mode():
        answer = built(torch.zeros(2, 1, side_px, side_px))
    assert answer.shape == ((2, 1, side_px, side_px) if name == LESION_SEGMENTER else (2, 1))


@pytest.mark.parametrize("network", SEGMENTERS)
def test_a_segmenter_takes_batches_of_one_in_training(network):
    answer = build(LESION_SEGMENTER, network).train()(torch.randn(1, 1, 64, 64))
    assert (answer[0] if isinstance(answer, tuple) else answer).shape[-2:] == (64, 64)


def test_deeplab_looks_at_a_sixteenth_with_holes_and_at_a_quarter():
    built = build(LESION_SEGMENTER, "deeplab").eval()
    with torch.inference_mode():
        low, deep = built.backbone(torch.zeros(1, 1, 128, 128))
    assert low.shape[2:] == (32, 32)
    assert deep.shape[2:] == (8, 8)
    rates = [look.conv.dilation for look in built.pyramid.near]
    assert rates == [(1, 1), (2, 2), (4, 4), (6, 6)]


def test_the_image_pooling_tells_every_place_of_the_whole_picture():
    pyramid = build(LESION_SEGMENTER, "deeplab").eval().pyramid
    features = torch.zeros(1, 384, 16, 16)
    with torch.inference_mode():
        before = pyramid(features)
        features[0, :, 0, 0] = 100.0
        after = pyramid(features)
    assert not torch.equal(before[..., -1, -1], after[..., -1, -1])


def test_a_network_is_known_by_what_it_takes_and_gives():
    for name, networks in US_NETWORKS.items():
        assert all(is_for(name, definition) for definition in networks.values())
        assert US_DEFAULTS[name] in networks
    assert not is_for(LESION_SEGMENTER, CLASSIFIERS["resnet18"])
    assert not is_for(LESION_SEGMENTER, SEGMENTERS["deeplab"] | {"out_channels": 2})
    assert not is_for(LESION_CLASSIFIER, {})


@pytest.mark.parametrize("network", ["densenet121", "efficientnet-b0"])
def test_a_bundle_cannot_make_a_network_fetch_weights(network, monkeypatch):
    def fetch(*_args, **_kwargs):
        raise AssertionError("weights were fetched")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetch)
    monkeypatch.setattr("monai.networks.nets.efficientnet.model_zoo.load_url", fetch)
    monkeypatch.setattr("monai.networks.nets.densenet.load_state_dict_from_url", fetch, raising=False)
    build_network(CLASSIFIERS[network] | {"pretrained": True})


def test_another_network_is_refused():
    assert "TorchVisionFCModel" not in ALLOWED_NETWORKS
    with pytest.raises(ValueError, match="not one of"):
        build_network({"_target_": "TorchVisionFCModel"})


def test_a_picture_and_its_mirror_image_are_answered_alike():
    """Both networks here look at the left half only."""
    images = np.random.default_rng(2).uniform(-1, 1, (3, 1, 8, 8)).astype(np.float32)
    halves = torch.cat([torch.ones(4), torch.zeros(4)])
    for network in (lambda image: image * halves, lambda image: (image * halves).mean((2, 3))):
        answer = answer_in_batches(network, images, torch.device("cpu"), 2)
        mirrored = answer_in_batches(network, np.ascontiguousarray(images[..., ::-1]), torch.device("cpu"), 2)
        np.testing.assert_allclose(answer, mirrored[..., ::-1] if mirrored.ndim == 3 else mirrored, atol=1e-6)
        alone = network(torch.from_numpy(images)).sigmoid()[:, 0].numpy()
        assert answer.shape == alone.shape
        assert np.abs(answer - alone).max() > 1e-3
