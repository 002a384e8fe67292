"""Keep and resume a training run."""

import copy
import logging
import math
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from screener.outcomes import NeedsPerson

logger = logging.getLogger(__name__)


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


@dataclass(slots=True, kw_only=True)
class Best:
    """The best step of a training so far, by cases that are not trained on."""

    score: float = -math.inf
    step: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    """Of that step."""
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    """The averaged weights after that step; empty where nothing was judged yet."""
    judged_step: int = -1
    """The last step that was judged."""

    def offer(self, step: int, score: float, figures: dict[str, float], network: torch.nn.Module) -> None:
        """Keep the weights of `network` where its `score` is the highest so far; what is no number never is."""
        self.judged_step = step
        if score > self.score:
            self.score, self.step, self.figures = score, step, dict(figures)
            self.state = {name: values.detach().cpu().clone() for name, values in network.state_dict().items()}

    def describe(self) -> dict[str, Any]:
        """Return what the model card needs to know; nothing where nothing was judged."""
        return {"best_step": self.step, "validation": self.figures} if self.state else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A network in training and all that trains it."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: Averaged
    scaler: torch.amp.GradScaler
    """Keeps small gradients of half precision from vanishing; does nothing in other precisions."""
    definition: dict[str, Any]
    """As the bundle's `network_def`."""
    origin: dict[str, Any]
    """By option, `data`, `init`, `seed` and `batch`: what the weights follow from. Only the same goes on."""
    cases: str
    """Digest of the files in `data`; they may change, but not unsaid."""
    best: Best


def set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, done: float) -> None:
    """Set the rate where a share `done` of training is: a linear rise over the first tenth, then half a cosine to 0.

    A group of parameters with a `rate_share` has that share of it.
    """
    risen = min(1.0, 10 * done + 0.001)
    fallen = 0.5 * (1 + math.cos(math.pi * max(0.0, done - 0.1) / 0.9))
    for group in optimizer.param_groups:
        group["lr"] = peak * risen * fallen * group.get("rate_share", 1.0)


def save_checkpoint(path: Path, step: int, seconds: float, run: Run) -> None:
    """Write everything needed to go on after `step`, so that `path` holds all of it or the previous one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "seconds": seconds,
        "definition": run.definition,
        "origin": run.origin,
        "cases": run.cases,
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": run.average.network.state_dict(),
        "updates": run.average.updates,
        "scaler": run.scaler.state_dict(),
        "best": asdict(run.best) if run.best.state else {},
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(path: Path, run: Run) -> tuple[int, float]:
    """Load `path` into `run` and return the next step and the seconds spent so far; zeros where there is no such file.

    The first checkpoints held neither seconds, definition, scaler nor origin; one without origin is taken with a
    warning. Raises NeedsPerson (`bad_checkpoint`) where the file is damaged, of another network or of another origin.
    """
    if not path.exists():
        return 0, 0.0
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("definition", run.definition) != run.definition:
            raise NeedsPerson(
                f"The checkpoint {path} is of another network; name another file with --checkpoint.",
                code="bad_checkpoint",
            )
        _must_share_origin(path, state, run)
        run.network.load_state_dict(state["network"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.average.network.load_state_dict(state["average"])
        run.average.updates = state["updates"]
        if state.get("scaler") and run.scaler.is_enabled():
            run.scaler.load_state_dict(state["scaler"])
        for name, value in (state.get("best") or {}).items():
            setattr(run.best, name, value)
        return int(state["step"]), float(state.get("seconds", 0.0))
    except (pickle.UnpicklingError, EOFError, LookupError, RuntimeError, ValueError, TypeError) as problem:
        raise NeedsPerson(
            f"Training cannot go on from the checkpoint {path}: it is damaged or of another network.",
            code="bad_checkpoint",
        ) from problem


def _must_share_origin(path: Path, state: dict[str, Any], run: Run) -> None:
    """Refuse a checkpoint that other options began: its weights would be written as those of this training."""
    origin = state.get("origin")
    if origin is None:
        logger.warning(
            "The checkpoint %s does not say which data, --init, --seed and --batch it was made with; it is gone on "
            "from as if with this training's. Name another file with --checkpoint to begin anew.",
            path,
        )
        return
    differences = [
        f"--{option.replace('_', '-')} was {_say(origin.get(option))} and is {_say(value)} now"
        for option, value in run.origin.items()
        if origin.get(option) != value
    ]
    if differences:
        raise NeedsPerson(
            f"The checkpoint {path} is of another training: {'; '.join(differences)}. Give the same options to go on, "
            "or name another file with --checkpoint to begin anew, with --init BUNDLE_DIR from weights that are there.",
            code="bad_checkpoint",
        )
    if state.get("cases") != run.cases:
        logger.warning(
            "The cases in --data have changed since the checkpoint %s was begun. "
            "Name another file with --checkpoint to begin anew.",
            path,
        )


def _say(value: Any) -> str:
    """Return an option's value as it may be typed."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "not given" if value is None else str(value)
