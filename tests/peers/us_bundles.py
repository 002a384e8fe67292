"""Ultrasound bundles that need no training: a segmenter that takes what is bright, a classifier that always warns."""

from pathlib import Path

import torch
from torch import nn

from screener.config import BUNDLES_FOLDER
from workers.models.networks import build_network
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER, RESNET18, UNET
from workers.training.write_bundle import write_bundle

SIDE_PX = 64
FINDER = UNET | {"features": [4] * 6}
WARNER = RESNET18 | {"layers": [1, 1, 1, 1], "block_inplanes": [4, 8, 8, 8]}
DARK = 1.0
"""Of gray values from 0 to 2: what is darker is left out, and so is what lies beyond the picture."""
STEEPNESS = 20.0
ALARM = 2.0
"""The classifier's logit: a probability of 0.88."""


def write_stand_ins(folder: Path) -> dict[str, str]:
    """Write both bundles into `folder`, beside those for CT that ship; gives the settings of `models`."""
    folder.mkdir(parents=True, exist_ok=True)
    for shipped in BUNDLES_FOLDER.glob("parotid_*"):
        (folder / shipped.name).symlink_to(shipped)
    for name, definition, network in (
        (LESION_SEGMENTER, FINDER, _make_finder()),
        (LESION_CLASSIFIER, WARNER, _make_warner()),
    ):
        write_bundle(name, folder / name, definition, network.state_dict(), side_px=SIDE_PX)
    return {"folder": str(folder), "us_segmenter": LESION_SEGMENTER, "us_classifier": LESION_CLASSIFIER}


def are_shipped() -> bool:
    """Whether ultrasound networks that have learned something ship."""
    names = (LESION_SEGMENTER, LESION_CLASSIFIER)
    return all((BUNDLES_FOLDER / name / "configs" / "metadata.json").is_file() for name in names)


def _make_finder() -> nn.Module:
    """A U-Net that only smooths: its shallowest level passes one channel on, the others are silent."""
    network = build_network(FINDER).eval()
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()
        shallow = [*network.conv_0.children(), *network.upcat_1.convs.children()]
        for layer in shallow:
            layer.conv.weight[0, 0] = 1 / 9
            layer.adn.N.weight[0] = 1
        shallow[0].adn.N.bias[0] = 1  # -1 to 1 becomes 0 to 2, which the activations leave as it is
        network.final_conv.weight[0, 0] = STEEPNESS
        network.final_conv.bias[0] = -STEEPNESS * DARK
    return network


def _make_warner() -> nn.Module:
    """A ResNet with weights by chance and a bias that drowns them."""
    torch.manual_seed(1)
    network = build_network(WARNER).eval()
    with torch.no_grad():
        network.fc.weight.mul_(0.01)
        network.fc.bias.fill_(ALARM)
    return network
