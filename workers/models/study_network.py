"""The screening study's network rebuilt: contracting and expanding, 15 convolutional layers, deep supervision."""

from collections.abc import Sequence
from typing import Final

import torch
from monai.networks.blocks import Convolution

STUDY_LAYERS: Final = 15
STUDY_PARAMETERS: Final = 578_089
"""Both as the study reports them for each of its two networks."""

_CHANNELS: Final = (8, 24, 48, 172)
"""Thin at full resolution, where a channel is dear, and wide below; the last makes the study's count of parameters."""


class StudyNetwork(torch.nn.Module):
    """Six convolutions down, one at the bottom, three times up with one each, and two heads.

    (n, in_channels, z, y, x) to logits (n, out_channels, z, y, x), each side a
    multiple of 8. While training, the answer is a pair: those logits and the
    logits at half the resolution, for deep supervision (Lee et al. 2015). No
    layer has a bias, which its normalization would undo.
    """

    def __init__(self, in_channels: int, out_channels: int, channels: Sequence[int] = _CHANNELS) -> None:
        super().__init__()
        full, half, quarter, eighth = channels
        self.down = torch.nn.ModuleList(
            [
                torch.nn.Sequential(_convolve(before, width), _convolve(width, width))
                for before, width in ((in_channels, full), (full, half), (half, quarter))
            ]
        )
        self.shrink = torch.nn.MaxPool3d(2)
        self.bottom = _convolve(quarter, eighth)
        wide = ((eighth, quarter), (quarter, half), (half, full))
        self.rise = torch.nn.ModuleList([_rise(below, width) for below, width in wide])
        self.join = torch.nn.ModuleList([_convolve(2 * width, width) for _, width in wide])
        self.head = torch.nn.Conv3d(full, out_channels, 1)
        self.coarse_head = torch.nn.Conv3d(half, out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return the logits; while training, those of half the resolution beside them."""
        kept = []
        for level in self.down:
            image = level(image)
            kept.append(image)
            image = self.shrink(image)
        image = self.bottom(image)
        half = image
        for rise, join in zip(self.rise, self.join, strict=True):
            half = image  # at the last turn: what the full resolution is made from
            image = join(torch.cat((kept.pop(), rise(image)), dim=1))
        logits: torch.Tensor = self.head(image)
        if not self.training:
            return logits
        return logits, self.coarse_head(half)


def _convolve(before: int, after: int) -> torch.nn.Module:
    """A convolution of 3 x 3 x 3, normalized over the batch: its statistics do not depend on a scan's coverage."""
    return Convolution(3, before, after, act=("leakyrelu", {"negative_slope": 0.05}), norm="batch", bias=False)


def _rise(before: int, after: int) -> torch.nn.Module:
    """A transposed convolution that doubles the resolution."""
    return Convolution(
        3,
        before,
        after,
        strides=2,
        kernel_size=2,
        padding=0,
        output_padding=0,
        act=("leakyrelu", {"negative_slope": 0.05}),
        norm="batch",
        bias=False,
        is_transposed=True,
    )
