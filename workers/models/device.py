"""Choose where the networks run, and go on where its memory is too small."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from screener.outcomes import NeedsPerson

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def choose_device(setting: str) -> tuple[torch.device, str]:
    """Return the device that `setting` ("auto", "cpu", "cuda", "cuda:N") asks for, and why, for the log at start.

    Raises NeedsPerson where a device asked for by name is absent: a hospital that bought it should know.
    """
    if setting == "cpu":
        return torch.device("cpu"), 'device = "cpu" is set'
    if setting == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f'device = "auto" and CUDA sees {torch.cuda.get_device_name()}'
        built = "sees no accelerator" if torch.version.cuda else "is not in the installed torch"
        return torch.device("cpu"), f'device = "auto" and CUDA {built}'
    kind, _, number = setting.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        reason = f'device = "{setting}" is none of auto, cpu, cuda, cuda:N.'
        raise NeedsPerson(reason, code="unknown_device")
    if not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count():
        reason = f'device = "{setting}" is set, but CUDA sees {torch.cuda.device_count()} accelerators here.'
        raise NeedsPerson(reason, code="no_such_device")
    return torch.device(setting), f'device = "{setting}" is set'


def run_within_memory(
    run: Callable[[torch.device, int], Answer],
    device: torch.device,
    patches_voxels: Sequence[int],
    *,
    unit: str = "voxels a side",
) -> Answer:
    """Return `run(device, patch)` with the first patch size that fits, then with the CPU and the smallest.

    `patches_voxels` go from large to small, in `unit`. Raises NeedsPerson where even that does not fit.
    """
    last: BaseException | None = None
    for patch in patches_voxels:
        try:
            return run(device, patch)
        except (RuntimeError, MemoryError) as problem:
            if not _is_out_of_memory(problem):
                raise
            logger.warning("device=%s patch=%d (%s) out of memory", device, patch, unit)
            last = problem
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if device.type != "cpu":
        try:
            return run(torch.device("cpu"), patches_voxels[-1])
        except (RuntimeError, MemoryError) as problem:
            if not _is_out_of_memory(problem):
                raise
            last = problem
    tried = f"{device} with patches of {', '.join(map(str, patches_voxels))} {unit}"
    reason = f"There is too little memory to run the network: tried {tried}, then the CPU."
    raise NeedsPerson(reason, code="out_of_memory") from last


def _is_out_of_memory(problem: BaseException) -> bool:
    """Return whether `problem` means too little memory: on the CPU, torch says so only in a RuntimeError's words."""
    if isinstance(problem, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(problem).lower()
    return "out of memory" in words or "can't allocate memory" in words or "not enough memory" in words
