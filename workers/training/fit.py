"""The training loop that both networks share: AdamW, an averaged copy that ships, and checkpoints to go on from."""

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.models.networks import build_network
from workers.training.keep_checkpoint import (
    Averaged,
    load_checkpoint,
    save_checkpoint,
    save_weights,
    set_learning_rate,
)

logger = logging.getLogger(__name__)

REPORT_STEPS = 50
CHECKPOINT_STEPS = 250

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Channels (c, z, y, x) and classes (z, y, x)."""
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def add_options(parser: argparse.ArgumentParser, *, checkpoint: Path, batch: int) -> None:
    """Add what every training command takes; the checkpoint and the samples of a step are the network's own."""
    parser.add_argument("--data", type=Path, required=True, help="folder of patients, such as openkbp_train")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint, help="training goes on from it where it exists")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=batch, help="samples of one step")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="the highest of the schedule")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)


def fit(
    definition: dict[str, Any],
    draw: Callable[[np.random.Generator], Sample],
    loss_of: Loss,
    options: argparse.Namespace,
) -> None:
    """Train as `options` (see `add_options`) say; the averaged weights go to `models` of the bundle's folder.

    `draw` makes one augmented sample. A step draws the same samples whether or
    not training was resumed before it.
    """
    torch.manual_seed(options.seed)
    network = build_network(definition)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-4)
    average = Averaged(network)
    first = load_checkpoint(options.checkpoint, network, optimizer, average)
    logger.info("first_step=%d steps=%d", first, options.steps)
    started, running = time.monotonic(), 0.0
    network.train()
    for step in range(first, options.steps):
        rng = np.random.default_rng((options.seed, step))
        images, classes = zip(*[draw(rng) for _ in range(options.batch)], strict=True)
        loss = loss_of(network(torch.from_numpy(np.stack(images))), torch.from_numpy(np.stack(classes)))
        set_learning_rate(optimizer, options.learning_rate, step, options.steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()
        average.update(network)
        running += (loss.item() - running) / min(step - first + 1, REPORT_STEPS)
        if (step + 1) % REPORT_STEPS == 0:
            logger.info("step=%d loss=%.3f seconds=%.0f", step + 1, running, time.monotonic() - started)
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == options.steps:
            save_checkpoint(options.checkpoint, step + 1, network, optimizer, average)
            save_weights(average, options.out)
