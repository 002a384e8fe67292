"""MobileNetV2, a classifier small enough to learn on a CPU, and the segmenter's backbone made of it.

Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, CVPR. MONAI has none. The parameters'
names are those of torchvision, so that weights published for it fit (workers/training/us_pretrained.py).
"""

from collections.abc import Collection
from typing import Final

import torch
from torch import nn

_BLOCKS: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repeats and first stride of each stage: table 2 of the paper."""
_FIRST_CHANNELS: Final = 32
_LAST_CHANNELS: Final = 1280

LOW_CHANNELS: Final = 24
DEEP_CHANNELS: Final = 320
"""What `MobileBackbone` gives at a quarter and at a sixteenth of each side."""
_LOW_END: Final = 3
_STRIDED_LAST: Final = 14
"""Layers: the last at a quarter, and the one that halves the picture for the fifth time."""
_SKIPS: Final = ((1, 16), (3, 24), (6, 32), (13, 96), (17, 320))
"""The last layer at each depth, a half to a thirty-second of each side, and its channels."""
_DECODER_CHANNELS: Final = (128, 96, 64, 32)
"""From a sixteenth to a half of each side."""


class MobileNetV2(nn.Module):
    """(n, in_channels, rows, columns), each side a multiple of 32, to logits (n, out_channels)."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(*_build_layers(in_channels))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_LAST_CHANNELS, out_channels))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.classifier(self.features(image).mean((2, 3)))
        return logits


class MobileBackbone(nn.Module):
    """MobileNetV2 without its last convolution; its last two stages are dilated instead of strided."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        layers = _build_layers(in_channels)[:-1]
        for place, layer in enumerate(layers[_STRIDED_LAST:]):
            for part in layer.modules():
                if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
                    part.stride = (1, 1)
                    part.dilation = part.padding = (2, 2) if place else (1, 1)
        self.features = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features at a quarter and at a sixteenth of each side."""
        low, deep = _keep_features(self.features, image, {_LOW_END, len(self.features) - 1})
        return low, deep


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow again; added to what came in where the shapes allow."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        widen = _convolve(before, wide, 1) if expansion != 1 else []
        self.conv = nn.Sequential(
            *widen,
            *_convolve(wide, wide, 3, stride, groups=wide),
            *_convolve(wide, after, 1)[:-1],
        )
        self.adds = stride == 1 and before == after

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (n, after, rows / stride, columns / stride) of (n, before, rows, columns)."""
        answer: torch.Tensor = self.conv(features)
        return features + answer if self.adds else answer


class MobileUNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) whose way down is MobileNetV2.

    (n, in_channels, rows, columns), each side a multiple of 32, to logits
    (n, out_channels, rows, columns), computed at half of each side.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.backbone = _WayDown(in_channels)
        *skips, before = [channels for _, channels in _SKIPS]
        steps = []
        for skip, after in zip(reversed(skips), _DECODER_CHANNELS, strict=True):
            steps.append(nn.Sequential(*_convolve(before + skip, after, 3), *_convolve(after, after, 3)))
            before = after
        self.way_up = nn.ModuleList(steps)
        self.head = nn.Conv2d(before, out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        *skips, features = self.backbone(image)
        for step, skip in zip(self.way_up, reversed(skips), strict=True):
            features = step(torch.cat((resize_like(features, skip), skip), dim=1))
        return resize_like(self.head(features), image)


class _WayDown(nn.Module):
    """MobileNetV2 without its last convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_build_layers(in_channels)[:-1])

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each depth, the finest first."""
        return _keep_features(self.features, image, {place for place, _ in _SKIPS})


def _keep_features(layers: nn.Sequential, image: torch.Tensor, places: Collection[int]) -> list[torch.Tensor]:
    """Return what the layers at `places` make of the image, the first of them first."""
    kept = []
    features = image
    for place, layer in enumerate(layers):
        features = layer(features)
        if place in places:
            kept.append(features)
    return kept


def resize_like(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return `values` (n, channels, rows, columns), interpolated to the rows and columns of `like`."""
    return nn.functional.interpolate(values, like.shape[2:], mode="bilinear", align_corners=False)


def _build_layers(in_channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Sequential(*_convolve(in_channels, _FIRST_CHANNELS, 3, 2))]
    before = _FIRST_CHANNELS
    for expansion, channels, repeats, stride in _BLOCKS:
        for place in range(repeats):
            layers.append(InvertedResidual(before, channels, 1 if place else stride, expansion))
            before = channels
    layers.append(nn.Sequential(*_convolve(before, _LAST_CHANNELS, 1)))
    return layers


def _convolve(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU6(inplace=True)]
