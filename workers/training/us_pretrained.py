"""Start a MobileNetV2, or a segmenter's backbone of it, from weights that learned on photographs (ImageNet).

The weights are a file of tensors with torchvision's names, of three color channels. Photographs normalized by
ImageNet's mean and spread went in; what goes in here is one gray channel, -1 to 1: the same shift and scale are
folded into the first convolution, so that gray gives what it gave in color.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Final

import torch

from screener.outcomes import NeedsPerson

MEAN: Final = (0.485, 0.456, 0.406)
SPREAD: Final = (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, as torchvision normalizes them: 0 to 1."""

SLOWER: Final = 0.3
"""The learning rate of what is known already, as a share of what is learned from the start."""

_FIRST: Final = "features.0.0.weight"
_SHIFTED: Final = "features.0.1.running_mean"


def load_pretrained(network: torch.nn.Module, path: Path) -> set[str]:
    """Load what `network` shares with the weights in `path`; returns the names of those parameters.

    Raises NeedsPerson (`bad_weights`) where the file is no file of weights alone, or does not fit the network.
    """
    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
        known = _fold_color({name: given[name] for name in given if name.startswith("features.")})
    except (OSError, pickle.UnpicklingError, EOFError, LookupError, RuntimeError, TypeError, AttributeError) as problem:
        reason = f"{path} holds no weights of MobileNetV2: {type(problem).__name__}."
        raise NeedsPerson(reason, code="bad_weights") from problem
    own = network.state_dict()
    prefix = "backbone." if any(name.startswith("backbone.") for name in own) else ""
    fitting = {
        f"{prefix}{name}": values
        for name, values in known.items()
        if own.get(f"{prefix}{name}", torch.empty(0)).shape == values.shape
    }
    wanted = {name for name in own if name.startswith(f"{prefix}features.")}
    if not wanted or wanted - fitting.keys():
        raise NeedsPerson(f"The weights in {path} do not fit the network: it is no MobileNetV2.", code="bad_weights")
    network.load_state_dict(own | fitting)
    return fitting.keys() & {name for name, _ in network.named_parameters()}


def digest_file(path: Path) -> str:
    """Return the SHA-256 of the file in hexadecimal; raises NeedsPerson (`bad_weights`) where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        reason = f"The weights {path} cannot be read: {problem.strerror}."
        raise NeedsPerson(reason, code="bad_weights") from problem


def _fold_color(known: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights for one channel from -1 to 1 instead of three that are normalized."""
    kernel = known[_FIRST]
    mean, spread = torch.tensor(MEAN), torch.tensor(SPREAD)
    # (x / 2 + 1/2 - mean) / spread for each color: the factors go into the kernel, the rest is a constant, which
    # the normalization behind it takes off again.
    constant = (kernel.sum((2, 3)) * ((0.5 - mean) / spread)).sum(1)
    return known | {
        _FIRST: (kernel / (2 * spread)[None, :, None, None]).sum(1, keepdim=True),
        _SHIFTED: known[_SHIFTED] - constant,
    }
