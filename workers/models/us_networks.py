"""The ultrasound networks that can be trained: five segmenters of a lesion and five classifiers.

Each takes one gray channel, -1 to 1 (`us_image.py`), and gives one logit: that
a pixel belongs to a lesion, or that a lesion is malignant.
"""

from collections.abc import Mapping
from typing import Any, Final

LESION_SEGMENTER: Final = "us_lesion_segmenter"
LESION_CLASSIFIER: Final = "us_lesion_classifier"
"""Names of the bundles."""

SIDE_MULTIPLE: Final = 32
"""The networks halve their picture up to five times."""
DEFAULT_SIDE_PX: Final = 128

_GRAY: Final = {"in_channels": 1, "out_channels": 1}
_UNET_FEATURES: Final = [16, 32, 64, 128, 256, 16]
"""Of the five depths, then of the last convolution: half of MONAI's at full resolution, where a channel is dear."""

DEEPLAB: Final[dict[str, Any]] = {"_target_": "DeepLabV3Plus", **_GRAY, "backbone": "resnet18", "width": 0.75}
"""(n, 1, side, side) to logits (n, 1, side, side). Three quarters of the width: 16 MB in half precision."""
DEEPLAB_MOBILE: Final[dict[str, Any]] = {"_target_": "DeepLabV3Plus", **_GRAY, "backbone": "mobilenetv2"}
"""As above; its backbone can start from weights that learned on photographs."""
UNET_MOBILE: Final[dict[str, Any]] = {"_target_": "MobileUNet", **_GRAY}
"""As above."""
UNET: Final[dict[str, Any]] = {
    "_target_": "BasicUNet",
    "spatial_dims": 2,
    **_GRAY,
    "features": _UNET_FEATURES,
    "norm": "batch",
    "bias": False,
}
"""Inputs and outputs as above; the convolutions need no bias before their normalization."""
UNET_PLUS_PLUS: Final[dict[str, Any]] = {"_target_": "UNetPlusPlus", **_GRAY, "features": _UNET_FEATURES}

_RESNET: Final[dict[str, Any]] = {
    "_target_": "ResNet",
    "block_inplanes": [64, 128, 256, 512],
    "spatial_dims": 2,
    "n_input_channels": 1,
    "conv1_t_stride": 2,
    "num_classes": 1,
    "bias_downsample": False,
}
RESNET18: Final = _RESNET | {"block": "basic", "layers": [2, 2, 2, 2]}
"""(n, 1, side, side) to logits (n, 1). The stride is that of He et al. 2016; MONAI's default of 1 costs twice."""
RESNET50: Final = _RESNET | {"block": "bottleneck", "layers": [3, 4, 6, 3]}
DENSENET121: Final[dict[str, Any]] = {"_target_": "DenseNet121", "spatial_dims": 2, **_GRAY}
EFFICIENTNET_B0: Final[dict[str, Any]] = {
    "_target_": "EfficientNetBN",
    "model_name": "efficientnet-b0",
    "spatial_dims": 2,
    "in_channels": 1,
    "num_classes": 1,
    "norm": ["batch", {"eps": 0.001, "momentum": 0.1}],
}
"""A tenth, not MONAI's hundredth: a training of some hundred steps would leave its statistics at their start."""
MOBILENETV2: Final[dict[str, Any]] = {"_target_": "MobileNetV2", **_GRAY}
"""Can start from weights that learned on photographs."""

US_NETWORKS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    LESION_SEGMENTER: {
        "deeplab": DEEPLAB,
        "deeplab-mobile": DEEPLAB_MOBILE,
        "unet": UNET,
        "unet++": UNET_PLUS_PLUS,
        "unet-mobile": UNET_MOBILE,
    },
    LESION_CLASSIFIER: {
        "resnet18": RESNET18,
        "resnet50": RESNET50,
        "densenet121": DENSENET121,
        "efficientnet-b0": EFFICIENTNET_B0,
        "mobilenetv2": MOBILENETV2,
    },
}
"""By bundle, the networks that can be trained for it."""
US_DEFAULTS: Final = {LESION_SEGMENTER: "deeplab", LESION_CLASSIFIER: "resnet18"}
"""By bundle, the network that is trained where none is named: those of the published studies."""


def is_for(name: str, definition: Mapping[str, Any]) -> bool:
    """Return whether a network of `definition` takes and gives what the ultrasound bundle `name` needs."""
    kinds = {other["_target_"] for other in US_NETWORKS[name].values()}
    given = definition.get("in_channels", definition.get("n_input_channels"))
    answers = definition.get("out_channels", definition.get("num_classes"))
    return definition.get("_target_") in kinds and (given, answers) == (1, 1)
