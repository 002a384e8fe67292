"""Make one bundle of several networks of one kind: `python -m workers bundle average`.

Either it holds all and answers with the mean of their probabilities, or it
holds one, whose weights are the mean of theirs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import read_json
from workers.models.networks import NETWORKS, average_definition
from workers.training.write_bundle import KINDS, is_stored_in_half, read_start, write_bundle

Start = tuple[dict[str, Any], dict[str, torch.Tensor]]
"""A network's definition and its weights."""


def average_bundles(folders: Sequence[Path], out: Path) -> int:
    """Write the average of the CT bundles in `folders` to `out`; the number of networks in it.

    Kernels that one of them stores in half precision are stored so by all. Raises NeedsPerson (`bad_bundle`) where one
    cannot be read, or they are not of one kind.
    """
    name, starts, training = _read_bundles(folders)
    try:
        definition = average_definition([definition for definition, _ in starts])
    except ValueError as problem:
        raise NeedsPerson(f"The bundles cannot be averaged: {problem}.", code="bad_bundle") from problem
    states = [part for start in starts for part in _split(*start)]
    write_bundle(
        name,
        out,
        definition,
        {f"members.{number}.{key}": values for number, state in enumerate(states) for key, values in state.items()},
        training=training,
        is_half=any(is_stored_in_half(state) for _, state in starts),
    )
    return len(states)


def average_weights(folders: Sequence[Path], out: Path) -> int:
    """Write one network with the mean of the weights of the CT bundles in `folders` to `out`; how many they are.

    It answers in the time of one. For networks that were trained on from the same weights, which is not checked:
    those of others have nothing in common (Wortsman et al. 2022, Model soups, ICML). Half precision is kept as by
    `average_bundles`. Raises NeedsPerson (`bad_bundle`) where one cannot be read, there is only one, or they are not
    one and the same network.
    """
    if len(folders) < 2:
        raise NeedsPerson("The mean of weights is that of two bundles or more.", code="bad_bundle")
    name, starts, training = _read_bundles(folders)
    definition = starts[0][0]
    if "members" in definition or any(other != definition for other, _ in starts):
        reason = "Only weights of one and the same network have a mean; these bundles hold different ones or several."
        raise NeedsPerson(reason, code="bad_bundle")
    states = [state for _, state in starts]
    write_bundle(
        name,
        out,
        definition,
        {key: _mean([state[key] for state in states]) for key in states[0]},
        training=training | {"mean_of": "weights"},
        is_half=any(is_stored_in_half(state) for state in states),
    )
    return len(states)


def _read_bundles(folders: Sequence[Path]) -> tuple[str, list[Start], dict[str, Any]]:
    """Return the name of the bundle of which all are a kind, the network of each, and how they were trained."""
    described = [_read_metadata(folder) for folder in folders]
    name = _find_name({str(metadata.get("kind")) for metadata in described})
    starts = [read_start(name, folder) for folder in folders]
    return name, starts, _describe([metadata.get("training") or {} for metadata in described])


def _mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean, in single precision, or the first where they are counts."""
    if not values[0].is_floating_point():
        return values[0]
    return torch.stack([value.float() for value in values]).mean(0)


def _read_metadata(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "configs" / "metadata.json")
    except (OSError, ValueError, TypeError) as problem:
        raise NeedsPerson(f"The model bundle {folder} cannot be read: {problem}", code="bad_bundle") from problem


def _find_name(kinds: set[str]) -> str:
    """Return the name of the bundle of which all are a kind."""
    names = [name for name in NETWORKS if {KINDS[name]} == kinds]
    if not names:
        reason = f"Only localizers or only segmenters of CT have an average, not {', '.join(sorted(kinds))}."
        raise NeedsPerson(reason, code="bad_bundle")
    return names[0]


def _split(definition: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Return the weights of each network: an average's members are taken apart."""
    count = len(definition.get("members") or ())
    if not count:
        return [dict(state)]
    starts = [f"members.{number}." for number in range(count)]
    return [{key.removeprefix(start): state[key] for key in state if key.startswith(start)} for start in starts]


def _describe(trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the model card needs to know: the folders of all, and each training by itself."""
    data = dict.fromkeys(folder for training in trainings for folder in training.get("data", ()))
    return {"data": list(data), "members": [dict(training) for training in trainings]}
