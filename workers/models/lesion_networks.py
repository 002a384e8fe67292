"""The ultrasound segmenters that MONAI does not have as we need them: DeepLabv3+, and U-Net++ with its four answers."""

from collections.abc import Sequence
from typing import Final

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import BasicUNetPlusPlus, ResNet

from workers.models.mobile_networks import DEEP_CHANNELS, LOW_CHANNELS, MobileBackbone, resize_like

MOBILE: Final = "mobilenetv2"
_LAYERS: Final = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
_CHANNELS: Final = (64, 128, 256, 512)
"""Of a residual network's four stages."""
_LOW_LEVEL_CHANNELS: Final = 48
"""As Chen et al. 2018 found best for the skip from the backbone's first stage."""


class DeepLabV3Plus(torch.nn.Module):
    """Chen et al. 2018, Encoder-decoder with atrous separable convolution for semantic image segmentation.

    (n, in_channels, rows, columns) to logits (n, out_channels, rows, columns),
    each side a multiple of 16. The backbone, a residual network of MONAI or
    MobileNetV2, halves the picture four times; what would halve it again is
    dilated instead. The published rates of 6, 12 and 18 belong to the 33 x 33
    grid of a picture of 513 pixels; ours is 8 x 8 to 16 x 16. `width` scales the
    channels of a residual backbone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        backbone: str = "resnet18",
        width: float = 1.0,
        channels: int = 128,
        rates: Sequence[int] = (2, 4, 6),
    ) -> None:
        super().__init__()
        if backbone not in (MOBILE, *_LAYERS):
            message = f"the backbone {backbone!r} is not one of {', '.join((MOBILE, *_LAYERS))}"
            raise ValueError(message)
        self.backbone: torch.nn.Module
        if backbone == MOBILE:
            low, deep = LOW_CHANNELS, DEEP_CHANNELS
            self.backbone = MobileBackbone(in_channels)
        else:
            stages = [int(count * width) for count in _CHANNELS]
            low, deep = stages[0], stages[-1]
            self.backbone = ResidualBackbone(in_channels, _LAYERS[backbone], stages)
        self.pyramid = AtrousPyramid(deep, channels, rates)
        self.reduce_low = _convolve(low, _LOW_LEVEL_CHANNELS, 1)
        self.decode = torch.nn.Sequential(
            _convolve(channels + _LOW_LEVEL_CHANNELS, channels, 3), _convolve(channels, channels, 3)
        )
        self.head = torch.nn.Conv2d(channels, out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        low, deep = self.backbone(image)
        rich = resize_like(self.pyramid(deep), low)
        answer = self.decode(torch.cat((rich, self.reduce_low(low)), dim=1))
        logits: torch.Tensor = resize_like(self.head(answer), image)
        return logits


class ResidualBackbone(torch.nn.Module):
    """MONAI's residual network as far as it is needed, its last stage dilated instead of strided."""

    def __init__(self, in_channels: int, layers: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        whole = ResNet(
            "basic",
            list(layers),
            list(channels),
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        self.first = torch.nn.Sequential(whole.conv1, whole.bn1, whole.act, whole.maxpool, whole.layer1)
        self.rest = torch.nn.Sequential(whole.layer2, whole.layer3, _dilate(whole.layer4))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features at a quarter and at a sixteenth of each side."""
        low = self.first(image)
        return low, self.rest(low)


class AtrousPyramid(torch.nn.Module):
    """Look at the same place from several distances, and at the whole picture (ASPP of Chen et al. 2017)."""

    def __init__(self, before: int, after: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.near = torch.nn.ModuleList(
            [_convolve(before, after, 1), *[_convolve(before, after, 3, dilation=rate) for rate in rates]]
        )
        # Not normalized: one value a picture has no spread where a batch holds one picture.
        self.whole = Convolution(2, before, after, kernel_size=1, act="relu", norm=None)
        self.join = _convolve(after * (len(rates) + 2), after, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (n, after, rows, columns) of `features` (n, before, rows, columns)."""
        whole = self.whole(features.mean((2, 3), keepdim=True)).expand(-1, -1, *features.shape[2:])
        joined: torch.Tensor = self.join(torch.cat((*[look(features) for look in self.near], whole), dim=1))
        return joined


class UNetPlusPlus(torch.nn.Module):
    """Zhou et al. 2018, MONAI's, with the answers of its four nested U-Nets while training (deep supervision).

    (n, in_channels, rows, columns) to logits (n, out_channels, rows, columns),
    each side a multiple of 16. While training, a tuple of four such: the
    deepest U-Net's first, which is the one that answers later.
    """

    def __init__(self, in_channels: int, out_channels: int, features: Sequence[int]) -> None:
        super().__init__()
        self.network = BasicUNetPlusPlus(
            2, in_channels, out_channels, features=features, deep_supervision=True, norm="batch", bias=False
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the logits; while training, those of the shallower U-Nets behind them."""
        answers: list[torch.Tensor] = self.network(image)
        if not self.training:
            return answers[-1]
        return tuple(reversed(answers))


def _dilate(stage: torch.nn.Module) -> torch.nn.Module:
    """Return the stage with holes in its kernels where it skipped every other pixel."""
    for layer in stage.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.stride = (1, 1)
            if layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (2, 2)
    return stage


def _convolve(before: int, after: int, size: int, dilation: int = 1) -> torch.nn.Module:
    """A convolution, normalized over the batch, then a rectifier; the picture keeps its size."""
    return Convolution(2, before, after, kernel_size=size, dilation=dilation, act="relu", norm="batch", bias=False)
