"""The training loop that all networks share: AdamW, an averaged copy that ships, and checkpoints to go on from."""

import argparse
import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from screener.outcomes import NeedsPerson
from workers.models.device import choose_device
from workers.models.networks import build_network
from workers.training.digest_cases import digest_cases
from workers.training.keep_checkpoint import Averaged, Best, Run, load_checkpoint, save_checkpoint, set_learning_rate
from workers.training.show_progress import Progress, show_progress
from workers.training.us_pretrained import SLOWER, digest_file, load_pretrained
from workers.training.write_bundle import (
    ALL_NETWORKS,
    DEFAULT_NETWORKS,
    read_data_source,
    read_lessons,
    read_start,
    write_bundle,
)

logger = logging.getLogger(__name__)

REPORT_STEPS: Final = 50
REPORT_SECONDS: Final = 30.0
"""A report comes after whichever is first, so that a slow machine is not silent for long."""
CHECKPOINT_SECONDS: Final = 120.0
DEFAULT_STEPS: Final = 3000
COARSE_WEIGHT: Final = 0.5
"""What the loss at half the resolution counts beside the loss at full resolution."""
MOST_LOADERS: Final = 16

PRECISIONS: Final = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

_MORE_ORIGIN: Final = ("side", "healthy_share", "smoothing", "pretrained", "fixed", "harder", "mild", "tversky_beta")
"""Of the options that only some trainings have, those that a checkpoint must share to be gone on from."""

_HOW: Final = ("harder", "mild", "tversky_beta")
"""Of those, what the model card needs to know."""

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Channels (c, z, y, x) and classes (z, y, x); of ultrasound (1, y, x) and (y, x), or () for a whole picture."""
Draw = Callable[[np.random.Generator], Sample]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]
Figures = dict[str, float]
Judge = Callable[[torch.nn.Module], Figures]
"""Judges the averaged network, which is in evaluation mode and on its device, by cases that are not trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How a training chooses which of its steps ships."""

    judge: Judge
    score: str
    """Among the judge's figures, the one whose highest value ships."""
    every_steps: int


def add_options(
    parser: argparse.ArgumentParser, *, name: str, checkpoint: Path | None, batch: int, learning_rate: float = 3e-3
) -> None:
    """Add what every training command takes; the bundle, the checkpoint and the samples of a step are its own.

    Without a `checkpoint` the command trains several networks, each with one of its own below --out.
    """
    add = parser.add_argument
    add("--data", type=Path, required=True, action="append", help="a folder of cases; may be given several times")
    if checkpoint is None:
        add("--out", type=Path, required=True, help="folder of the networks' checkpoints and bundles")
    else:
        add("--out", type=Path, required=True, help="the bundle's folder; it is complete when training ends")
        add("--checkpoint", type=Path, default=checkpoint, help=f"training goes on from it; default {checkpoint}")
    default = DEFAULT_NETWORKS[name]
    add("--network", choices=sorted(ALL_NETWORKS[name]), help=f"default {default}, or what --init holds")
    add(
        "--init", type=Path, metavar="BUNDLE_DIR", help="start from this bundle's weights, unless there is a checkpoint"
    )
    add("--steps", type=int, help=f"default {DEFAULT_STEPS}, or no limit where --minutes is given")
    add("--minutes", type=float, help="stop after so many minutes, those before the last checkpoint included")
    add("--batch", type=int, default=batch, help=f"samples of one step; default {batch}")
    add("--learning-rate", type=float, default=learning_rate, help="the highest of the schedule; default %(default)s")
    add("--seed", type=int, default=7)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N; default auto")
    add("--precision", choices=["auto", *PRECISIONS], default="auto", help="auto: mixed on CUDA, float32 on the CPU")
    add("--compile", action="store_true", help="compile the network first")
    add("--threads", type=int, default=2, help="of the network on the CPU; default %(default)s")
    add("--loaders", type=int, help="processes that draw samples; default none on the CPU, one a core with CUDA")
    add("--log-dir", type=Path, help="folder of the TensorBoard log; default beside the checkpoint")
    add("--half", action="store_true", help="store the kernels in half precision; they are computed with in single")


def fit(
    name: str,
    draw: Draw,
    loss_of: Loss,
    options: argparse.Namespace,
    *,
    cases: str | None = None,
    validation: Validation | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Train a network for the bundle `name` as `options` (see `add_options`) say, and write the bundle.

    `draw` makes one augmented sample. A step draws the same samples whether or
    not training was resumed before it, and whoever draws them. `cases` is the
    digest of what is trained on, where it is not folders of CT cases. With
    `validation` the best step ships, otherwise the last. `about` is what else
    the model card needs to know. Raises NeedsPerson where device, checkpoint
    and bundle do not fit the options, or the loss is no number any more.
    """
    device, why = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    torch.manual_seed(options.seed)
    run, first, spent_seconds = _prepare(name, options, device, precision, cases)
    forward = torch.compile(run.network) if options.compile else run.network
    clock = _Clock(options, spent_seconds)
    logger.info("device=%s (%s) precision=%s first_step=%d", device, why, precision or "float32", first)
    if first and clock.share_done(first) >= 1:
        logger.warning(
            "The checkpoint %s has done all that is asked for: no step is trained. More --steps or --minutes go on, "
            "another --checkpoint begins anew.",
            options.checkpoint,
        )
    steps = itertools.count(first) if clock.steps is None else range(first, clock.steps)
    last_saved = last_reported = time.monotonic()
    step_count, loss = first, torch.zeros((), device=device)
    run.network.train()
    with show_progress(options.log_dir or _log_folder(options.checkpoint), first, options.batch) as progress:
        for step, batch in enumerate(load_batches(draw, steps, options, device), start=first):
            if clock.share_done(step) >= 1:
                break
            set_learning_rate(run.optimizer, options.learning_rate, clock.share_done(step))
            torch.manual_seed(options.seed + step)  # what a network leaves out at random follows from the step alone
            step_loss = _take_step(run, forward, loss_of, batch, device, precision)
            loss.lerp_(step_loss, 1 / min(step - first + 1, REPORT_STEPS))
            step_count = step + 1
            progress.advance(clock.share_done(step_count))
            if validation is not None and step_count % validation.every_steps == 0:
                _validate(validation, run, step_count, progress)
            if step_count % REPORT_STEPS == 0 or time.monotonic() - last_reported > REPORT_SECONDS:
                _report(progress, step_count, loss, run, clock)
                last_reported = time.monotonic()
            if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                _report(progress, step_count, loss, run, clock)  # refuses a loss that is no number
                save_checkpoint(options.checkpoint, step_count, clock.spent_seconds(), run)
                last_saved = time.monotonic()
        if step_count > first:
            _report(progress, step_count, loss, run, clock)
        if validation is not None and run.best.judged_step != step_count:
            _validate(validation, run, step_count, progress)
    save_checkpoint(options.checkpoint, step_count, clock.spent_seconds(), run)
    write_bundle(
        name,
        options.out,
        run.definition,
        run.best.state or run.average.network.state_dict(),
        training=_describe_training(options, step_count, clock, device, precision)
        | run.best.describe()
        | dict(about or {}),
        is_half=options.half,
        side_px=getattr(options, "side", None),
    )
    logger.info("bundle=%s steps=%d seconds=%.0f", options.out, step_count, clock.spent_seconds())


def supervise(loss_of: Loss, outputs: torch.Tensor | tuple[torch.Tensor, ...], classes: torch.Tensor) -> torch.Tensor:
    """Return the loss of the full resolution plus half that of each coarser answer, against every n-th class voxel."""
    if isinstance(outputs, torch.Tensor):
        return loss_of(outputs.float(), classes)
    full, *coarser = outputs
    loss = loss_of(full.float(), classes)
    for answer in coarser:
        stride = classes.shape[-1] // answer.shape[-1]
        taken = classes[(slice(None), *[slice(None, None, stride)] * (classes.ndim - 1))]
        loss = loss + COARSE_WEIGHT * loss_of(answer.float(), taken)
    return loss


def choose_precision(setting: str, device: torch.device) -> torch.dtype | None:
    """Return the type of the mixed part of the computation; None for single precision throughout.

    Raises NeedsPerson where reduced precision is asked for on the CPU, which it slows down.
    """
    if setting == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if PRECISIONS[setting] is not None and device.type != "cuda":
        raise NeedsPerson(f"--precision {setting} needs CUDA; the CPU computes in float32.", code="no_such_device")
    return PRECISIONS[setting]


class _Steps(Dataset[Batch]):
    """The batch of each step, drawn from a generator of the step's own."""

    def __init__(self, draw: Draw, batch: int, seed: int) -> None:
        self.draw, self.batch, self.seed = draw, batch, seed

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        images, classes = zip(*[self.draw(rng) for _ in range(self.batch)], strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(classes))


def load_batches(
    draw: Draw, steps: Iterable[int], options: argparse.Namespace, device: torch.device
) -> Iterator[Batch]:
    """Yield the batch of each of `steps`; on CUDA other processes draw ahead, so that the accelerator does not wait."""
    loaders = options.loaders
    if loaders is None:
        loaders = min(MOST_LOADERS, os.cpu_count() or 1) if device.type == "cuda" else 0
    loader = DataLoader(
        _Steps(draw, options.batch, options.seed),
        batch_size=None,
        sampler=steps,
        num_workers=loaders,
        prefetch_factor=4 if loaders else None,
        multiprocessing_context="fork" if loaders else None,
        pin_memory=device.type == "cuda",
    )
    yield from loader


class _Clock:
    """How much of a training is done: by steps, by minutes, or by whichever is further."""

    def __init__(self, options: argparse.Namespace, spent_seconds: float) -> None:
        self.steps: int | None = options.steps
        if self.steps is None and options.minutes is None:
            self.steps = DEFAULT_STEPS
        self.total_seconds = math.inf if options.minutes is None else 60 * options.minutes
        self._before_seconds = spent_seconds
        self._started = time.monotonic()

    def spent_seconds(self) -> float:
        """Return the seconds of training, those before it was resumed included."""
        return self._before_seconds + time.monotonic() - self._started

    def share_done(self, step: int) -> float:
        """Return the share that is done before `step`, 0 to 1."""
        by_steps = 0.0 if self.steps is None else step / max(self.steps, 1)
        return min(1.0, max(by_steps, self.spent_seconds() / self.total_seconds if self.total_seconds else 1.0))


def _prepare(
    name: str, options: argparse.Namespace, device: torch.device, precision: torch.dtype | None, cases: str | None
) -> tuple[Run, int, float]:
    """Return the network with all that trains it, the first step and the seconds spent before it."""
    definition = ALL_NETWORKS[name][options.network or DEFAULT_NETWORKS[name]]
    start: dict[str, torch.Tensor] | None = None
    if options.init is not None:
        definition, start = read_start(name, options.init)
        if options.network is not None and definition != ALL_NETWORKS[name][options.network]:
            raise NeedsPerson(f"{options.init} holds another network than {options.network}.", code="bad_bundle")
    network = build_network(definition)
    known: set[str] = set()
    if start is not None:
        network.load_state_dict(start)
    elif getattr(options, "pretrained", None) is not None:
        known = load_pretrained(network, options.pretrained)
    memory_format = _choose_memory_format(network)
    network.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]  # a third faster
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every step has the same shapes
    run = Run(
        network=network,
        optimizer=torch.optim.AdamW(_group_parameters(network, known), lr=options.learning_rate, weight_decay=1e-4),
        average=Averaged(network),
        scaler=torch.amp.GradScaler(device.type, enabled=precision is torch.float16),
        definition=definition,
        origin=_name_origin(options),
        cases=cases or digest_cases(options.data),
        best=Best(),
    )
    first, spent_seconds = load_checkpoint(options.checkpoint, run)
    return run, first, spent_seconds


def _group_parameters(network: torch.nn.Module, known: set[str]) -> list[dict[str, Any]]:
    """Return the network's parameters, those that are `known` from elsewhere apart: they learn slower."""
    named = list(network.named_parameters())
    groups = [
        {"params": [values for name, values in named if name not in known], "rate_share": 1.0},
        {"params": [values for name, values in named if name in known], "rate_share": SLOWER},
    ]
    return [group for group in groups if group["params"]]


def _take_step(
    run: Run,
    forward: Callable[[torch.Tensor], Any],
    loss_of: Loss,
    batch: Batch,
    device: torch.device,
    precision: torch.dtype | None,
) -> torch.Tensor:
    """Change the network by one batch and return its loss, still on the device."""
    images = batch[0].to(device, non_blocking=True, memory_format=_choose_memory_format(run.network))
    classes = batch[1].to(device, non_blocking=True)
    with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
        outputs = forward(images)
    loss = supervise(loss_of, outputs, classes)
    run.optimizer.zero_grad()
    run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), 5)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.average.update(run.network)
    return loss.detach()


def _report(progress: Progress, step: int, loss: torch.Tensor, run: Run, clock: _Clock) -> None:
    """Show where training stands; the loss is read here only, for reading it waits for the accelerator."""
    value = float(loss)
    if not math.isfinite(value):
        raise NeedsPerson(
            f"The loss is no number at step {step}; the checkpoint is from before. Try a lower --learning-rate.",
            code="diverged",
        )
    progress.show(step, value, float(run.optimizer.param_groups[0]["lr"]), clock.share_done(step))


def _validate(validation: Validation, run: Run, step: int, progress: Progress) -> None:
    """Judge the averaged network and keep it where it is the best so far; the first of equals stays."""
    figures = validation.judge(run.average.network)
    run.average.network.eval()
    progress.show_figures(step, figures)
    run.best.offer(step, figures[validation.score], figures, run.average.network)


def _choose_memory_format(network: torch.nn.Module) -> torch.memory_format:
    """Return the order of the axes in memory that suits the network's kernels, of two or three axes."""
    is_flat = all(values.ndim != 5 for values in network.parameters())
    return torch.channels_last if is_flat else torch.channels_last_3d


def _log_folder(checkpoint: Path) -> Path:
    return checkpoint.parent / f"{checkpoint.stem}_log"


def _name_origin(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that a checkpoint must share to be gone on from."""
    return {
        "data": [str(folder.resolve()) for folder in options.data],
        "init": None if options.init is None else str(options.init.resolve()),
        "seed": options.seed,
        "batch": options.batch,
    } | {name: _plain(getattr(options, name)) for name in _MORE_ORIGIN if hasattr(options, name)}


def _plain(value: Any) -> Any:
    """Return what a checkpoint may hold of an option: a file's digest instead of its path, nothing of what is off."""
    if isinstance(value, Path):
        return digest_file(value)
    return None if value is False else value


def _describe_training(
    options: argparse.Namespace, steps: int, clock: _Clock, device: torch.device, precision: torch.dtype | None
) -> dict[str, Any]:
    """Return what the model card needs to know of this training."""
    return {
        "data": [folder.resolve().name for folder in options.data],
        "start": None if options.init is None else options.init.resolve().name,
        "pretrained": _plain(getattr(options, "pretrained", None)),
        "start_data_source": None if options.init is None else read_data_source(options.init),
        "start_learned_from": None if options.init is None else read_lessons(options.init),
        "steps": steps,
        "seconds": round(clock.spent_seconds()),
        "batch": options.batch,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "device": device.type,
        "precision": str(precision or torch.float32).removeprefix("torch."),
    } | {name: getattr(options, name) for name in _HOW if getattr(options, name, None)}
