"""The two CT networks, and the scaling of Hounsfield units that both were trained with.

`build_network` makes those for ultrasound too; `us_networks.py` defines them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from monai.networks import nets
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.lesion_networks import DeepLabV3Plus, UNetPlusPlus
from workers.models.mobile_networks import MobileNetV2, MobileUNet
from workers.models.network_average import NetworkAverage
from workers.models.study_network import StudyNetwork

PREPROCESSING_VERSION: Final = "2"
"""Raised whenever resampling, scaling or masking changes what a network sees: it is part of the result identity."""

AIR_HU: Final = -1000.0
"""What stands outside the body; it scales to zero, so that zero padding inside a network looks like air."""

LOCALIZER_SPACING_MM: Final = 4.0
SEGMENTER_SPACING_MM: Final = 2.0

LOCALIZER_CLASSES: Final = ("background", "right_parotid", "left_parotid")

_NARROW_WINDOW_HU: Final = (-200.0, 250.0)
_WIDE_WINDOW_HU: Final = (-1000.0, 1500.0)


def scale_hu(hu: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
    """Scale `hu` (z, y, x) to (2, z, y, x): a soft-tissue window and the whole range, both 0 to 1 and air 0."""
    channels = []
    for low, high in (_NARROW_WINDOW_HU, _WIDE_WINDOW_HU):
        channels.append((np.clip(hu, low, high) - low) / (high - low))
    return np.stack(channels).astype(np.float32)


def smooth_gland(gland: NDArray[np.floating] | NDArray[np.bool_], spacing_mm: float) -> NDArray[np.float32]:
    """Return the gland's mask (z, y, x) softened by 2 mm: the segmenter's third channel."""
    return np.asarray(ndimage.gaussian_filter(gland.astype(np.float32), 2.0 / spacing_mm), dtype=np.float32)


def build_network(definition: Mapping[str, Any]) -> torch.nn.Module:
    """Return the untrained network that a bundle's `network_def` describes.

    Only those named in `ALLOWED_NETWORKS` are built: a bundle is data and may not run code of its own. Raises
    ValueError for any other.
    """
    arguments = dict(definition)
    target = str(arguments.pop("_target_", "")).removeprefix("monai.networks.nets.")
    if target not in ALLOWED_NETWORKS:
        message = f"the network {target!r} is not one of {', '.join(sorted(ALLOWED_NETWORKS))}"
        raise ValueError(message)
    if target == AVERAGE:
        return _build_average(**arguments)
    if target in _DOWNLOADING:
        arguments["pretrained"] = False
    network: torch.nn.Module = (_OWN_NETWORKS.get(target) or getattr(nets, target))(**arguments)
    return network


def average_definition(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `network_def` of the average of networks with the same inputs and outputs; ValueError if they differ.

    The members of an average count one by one.
    """
    flat = [part for member in members for part in (member.get("members") or [member])]
    shapes = {(part.get("in_channels"), part.get("out_channels")) for part in flat}
    if len(shapes) != 1:
        message = "networks of different inputs or outputs have no average"
        raise ValueError(message)
    ((in_channels, out_channels),) = shapes
    return {
        "_target_": AVERAGE,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "members": [dict(part) for part in flat],
    }


def _build_average(in_channels: int, out_channels: int, members: Sequence[Mapping[str, Any]]) -> torch.nn.Module:
    """Return the untrained average; ValueError where a member has other inputs or outputs, or is an average itself."""
    for member in members:
        if member.get("_target_") == AVERAGE:
            message = "an average of averages"
            raise ValueError(message)
        if (member.get("in_channels"), member.get("out_channels")) != (in_channels, out_channels):
            message = "a member of the average has other inputs or outputs"
            raise ValueError(message)
    return NetworkAverage([build_network(member) for member in members])


AVERAGE: Final = "NetworkAverage"
_OWN_NETWORKS: Final[dict[str, type[torch.nn.Module]]] = {
    "StudyNetwork": StudyNetwork,
    "DeepLabV3Plus": DeepLabV3Plus,
    "UNetPlusPlus": UNetPlusPlus,
    "MobileNetV2": MobileNetV2,
    "MobileUNet": MobileUNet,
}
_DOWNLOADING: Final = frozenset({"DenseNet121", "EfficientNetBN"})
"""These fetch weights from the network where `pretrained` is set, the latter by default: a bundle has its own."""
ALLOWED_NETWORKS: Final = frozenset(
    {"UNet", "BasicUNet", "SegResNet", "DynUNet", "AttentionUnet", "ResNet", *_DOWNLOADING, *_OWN_NETWORKS, AVERAGE}
)
"""Networks of MONAI, and our own: the screening study's, and those for ultrasound that MONAI lacks."""

# Batch normalization, not instance: its statistics do not depend on how much of the neck a scan covers.
LOCALIZER_DEFINITION: Final[dict[str, Any]] = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 2,
    "out_channels": len(LOCALIZER_CLASSES),
    "channels": [16, 32, 64, 96],
    "strides": [2, 2, 2],
    "num_res_units": 2,
    "norm": "batch",
}
"""(n, 2, z, y, x) at 4 mm to logits (n, 3, z, y, x) in the order of LOCALIZER_CLASSES."""

SEGMENTER_DEFINITION: Final[dict[str, Any]] = LOCALIZER_DEFINITION | {
    "in_channels": 3,
    "out_channels": 2,
    "channels": [24, 48, 96, 128],
}
"""(n, 3, z, y, x) at 2 mm, softened gland last, left turned to look right, to logits (n, 2, z, y, x)."""

STUDY_LOCALIZER_DEFINITION: Final[dict[str, Any]] = {
    "_target_": "StudyNetwork",
    "in_channels": 2,
    "out_channels": len(LOCALIZER_CLASSES),
}
STUDY_SEGMENTER_DEFINITION: Final[dict[str, Any]] = STUDY_LOCALIZER_DEFINITION | {"in_channels": 3, "out_channels": 2}
"""The same inputs and outputs as above, in the network of the screening study: the baseline."""

NETWORKS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "parotid_localizer": {"unet": LOCALIZER_DEFINITION, "study": STUDY_LOCALIZER_DEFINITION},
    "parotid_mass_segmenter": {"unet": SEGMENTER_DEFINITION, "study": STUDY_SEGMENTER_DEFINITION},
}
"""By bundle, the networks that can be trained for it."""

DEFINITIONS: Final = {name: choices["unet"] for name, choices in NETWORKS.items()}
"""By bundle, the network that ships."""
