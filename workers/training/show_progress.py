"""Show where training stands: a bar on a terminal, lines in a log, curves in TensorBoard."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.logging import RichHandler
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class Progress:
    """Writes each report to the log folder and to whoever looks on."""

    def __init__(self, writer: SummaryWriter, first_step: int, batch: int, bar: Bar | None) -> None:
        self._writer, self._batch, self._bar = writer, batch, bar
        self._task: TaskID | None = None if bar is None else bar.add_task("", total=1.0)
        self._step, self._time = first_step, time.monotonic()

    def advance(self, done: float) -> None:
        """Move the bar to the share `done` of the training."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def show(self, step: int, loss: float, learning_rate: float, done: float) -> None:
        """Report that `step` steps and a share `done` of the training are done."""
        now = time.monotonic()
        speed = (step - self._step) * self._batch / max(now - self._time, 1e-9)
        if step > self._step:
            self._step, self._time = step, now
            for name, value in (("loss", loss), ("learning_rate", learning_rate), ("samples_per_second", speed)):
                self._writer.add_scalar(name, value, step)
        words = f"step={step} loss={loss:.3f} samples_per_second={speed:.1f}"
        if self._bar is None or self._task is None:
            logger.info("%s done=%.1f%%", words, 100 * done)
        else:
            self._bar.update(self._task, completed=done, description=words)

    def show_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Report what the network was judged to be worth after `step`."""
        for name, value in figures.items():
            self._writer.add_scalar(f"validation/{name}", value, step)
        logger.info("step=%d %s", step, " ".join(f"{name}={value:.3f}" for name, value in figures.items()))


@contextmanager
def show_progress(log_folder: Path, first_step: int, batch: int) -> Iterator[Progress]:
    """Open the TensorBoard log in `log_folder` and, where stdout is a terminal, a bar.

    What the log holds of `first_step` and later is hidden: it was of a run that was broken off after its checkpoint.
    """
    writer = SummaryWriter(str(log_folder), purge_step=first_step or None)
    try:
        if not sys.stdout.isatty():
            yield Progress(writer, first_step, batch, None)
            return
        with Bar(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as bar:
            yield Progress(writer, first_step, batch, bar)
    finally:
        writer.close()


def start_log() -> None:
    """Send log lines to stderr; on a terminal so that they do not tear the bar."""
    if sys.stdout.isatty():
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
