"""Keep and resume a training run, and write the averaged weights that ship."""

import copy
import math
from pathlib import Path
from typing import Any

import torch


class Averaged:
    """An exponential moving average of a network's weights: steadier than its last step (Polyak and Juditsky 1992)."""

    def __init__(self, network: torch.nn.Module, decay: float = 0.995) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: torch.nn.Module) -> None:
        """Move the average towards `network`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for kept, new in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Set the rate of `step`: a linear rise over the first tenth of `steps`, then half a cosine down to zero."""
    risen = min(1.0, (step + 1) / max(1, steps // 10))
    fallen = 0.5 * (1 + math.cos(math.pi * max(0.0, step / steps - 0.1) / 0.9))
    for group in optimizer.param_groups:
        group["lr"] = peak * risen * fallen


def save_checkpoint(
    path: Path,
    step: int,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Averaged,
) -> None:
    """Write everything needed to go on after `step`, so that `path` holds all of it or the previous one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.network.state_dict(),
        "updates": average.updates,
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(
    path: Path,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Averaged,
) -> int:
    """Load `path` into the given objects and return the next step; 0 where there is no such file."""
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    average.network.load_state_dict(state["average"])
    average.updates = state["updates"]
    return int(state["step"])


def save_weights(average: Averaged, bundle: Path) -> None:
    """Write the averaged weights as `models/model.pt` of `bundle`, whole or not at all."""
    path = bundle / "models" / "model.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(average.network.state_dict(), part)
    part.replace(path)
