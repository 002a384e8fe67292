"""The two CT networks, and the scaling of Hounsfield units that both were trained with."""

from typing import Final

import numpy as np
import torch
from monai.networks.nets import UNet
from numpy.typing import NDArray

PREPROCESSING_VERSION: Final = "1"
"""Raised whenever resampling, scaling or masking changes what a network sees: it is part of the result identity."""

AIR_HU: Final = -1000.0
"""What stands outside the body; it scales to zero, so that zero padding inside a network looks like air."""

LOCALIZER_SPACING_MM: Final = 4.0
SEGMENTER_SPACING_MM: Final = 2.0

LOCALIZER_CLASSES: Final = ("background", "right_parotid", "left_parotid")

_NARROW_WINDOW_HU: Final = (-200.0, 250.0)
_WIDE_WINDOW_HU: Final = (-1000.0, 1500.0)


def scale_hu(hu: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
    """Scale `hu` of shape (z, y, x) to (2, z, y, x): a soft-tissue window and the whole range, both 0 to 1 and air 0."""
    channels = []
    for low, high in (_NARROW_WINDOW_HU, _WIDE_WINDOW_HU):
        channels.append((np.clip(hu, low, high) - low) / (high - low))
    return np.stack(channels).astype(np.float32)


def build_localizer() -> torch.nn.Module:
    """Return the untrained localizer: (n, 2, z, y, x) at 4 mm to logits (n, 3, z, y, x).

    Batch normalization, not instance: its statistics do not depend on how much of the neck the scan covers.
    """
    return UNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=len(LOCALIZER_CLASSES),
        channels=(16, 32, 64, 96),
        strides=(2, 2, 2),
        num_res_units=2,
        norm="batch",
    )


def build_segmenter() -> torch.nn.Module:
    """Return the untrained segmenter: (n, 3, z, y, x) at 2 mm, gland probability last, to logits (n, 2, z, y, x)."""
    return UNet(
        spatial_dims=3,
        in_channels=3,
        out_channels=2,
        channels=(16, 32, 64, 96),
        strides=(2, 2, 2),
        num_res_units=2,
        norm="batch",
    )


BUILDERS: Final = {"parotid_localizer": build_localizer, "parotid_mass_segmenter": build_segmenter}
