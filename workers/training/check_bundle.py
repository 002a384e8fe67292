"""Verify a model bundle: `python -m workers bundle check DIR`, one line per check.

`record` is record_figures.py's, `average` average_bundles.py's.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import read_json
from workers.models.networks import (
    LOCALIZER_CLASSES,
    LOCALIZER_SPACING_MM,
    SEGMENTER_SPACING_MM,
    build_network,
)
from workers.models.us_networks import LESION_SEGMENTER
from workers.models.us_weights import load_us_bundle
from workers.models.weights import bundle_digest, read_definition, read_weights
from workers.training.average_bundles import average_bundles, average_weights
from workers.training.golden_case import TOLERANCE, compare_golden
from workers.training.record_figures import record_figures
from workers.training.us_describe_bundle import US_KINDS

NEEDED_KEYS: Final = (
    "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
    "copyright", "data_type", "intended_use", "data_source", "network_data_format", "weights_sha256",
)  # fmt: skip
"""MONAI's metadata schema asks for all but the last, which is ours; see `GRID_KEYS` too."""
GRID_KEYS: Final = {
    "localizer": "spacing_mm", "segmenter": "spacing_mm", "us-segmenter": "side_px", "us-classifier": "side_px",
}  # fmt: skip
"""By kind, the key that says on which grid the network sees its image."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and how it ended."""

    what: str
    """A sentence without its verdict."""
    problem: str = ""
    """Empty where all is well."""


@dataclass(frozen=True, slots=True)
class _Contract:
    """What goes into a network and comes out of it."""

    in_channels: int
    out_channels: int
    spacing_mm: float


CONTRACTS: Final = {
    "localizer": _Contract(2, len(LOCALIZER_CLASSES), LOCALIZER_SPACING_MM),
    "segmenter": _Contract(3, 2, SEGMENTER_SPACING_MM),
}
_SHAPE: Final = (16, 24, 8)
"""Multiples of 8 and all different, so that swapped axes show."""


def check_bundle(folder: Path) -> list[Finding]:
    """Return what was checked of the bundle in `folder`, problems and all."""
    try:
        metadata = read_json(folder / "configs" / "metadata.json")
        kind = str(metadata.get("kind", ""))
    except (OSError, ValueError, TypeError) as problem:
        return [Finding("configs/metadata.json is read", str(problem))]
    check = CHECKS.get(kind)
    if check is None:
        return [Finding(f"kind {kind!r} is known", f"it is none of {', '.join(CHECKS)}")]
    return check(folder, metadata)


def _check_network(folder: Path, metadata: dict[str, Any]) -> list[Finding]:
    return [
        _check_keys(metadata),
        _check_weights(folder, metadata),
        _check_contract(folder, metadata),
        _check_golden(folder),
    ]


def _check_us_network(folder: Path, metadata: dict[str, Any]) -> list[Finding]:
    return [
        _check_keys(metadata),
        _check_weights(folder, metadata),
        _check_us_contract(folder, metadata),
        _check_golden(folder),
    ]


def _check_keys(metadata: dict[str, Any]) -> Finding:
    missing = [key for key in (*NEEDED_KEYS, GRID_KEYS[str(metadata["kind"])]) if not metadata.get(key)]
    return Finding("metadata has its keys", f"missing or empty: {', '.join(missing)}" if missing else "")


def _check_weights(folder: Path, metadata: dict[str, Any]) -> Finding:
    """Compare the weights with the digest that the metadata name."""
    try:
        found = hashlib.sha256((folder / "models" / "model.pt").read_bytes()).hexdigest()
        identity = bundle_digest(folder.name, folder.parent)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        return Finding("weights are identified", str(problem))
    named = metadata.get("weights_sha256")
    if found != named:
        return Finding(f"weights have SHA-256 {found}", f"configs/metadata.json names {named}")
    return Finding(f"weights have SHA-256 {found}; with network and preprocessing {identity}")


def _check_contract(folder: Path, metadata: dict[str, Any]) -> Finding:
    """Build the network, load it, and compare channels, spacing and the answer's shape with what the stages give."""
    contract = CONTRACTS[str(metadata["kind"])]
    what = (
        f"{contract.in_channels} channels at {contract.spacing_mm:g} mm, each side a multiple of 8, "
        f"give {contract.out_channels} classes on the same grid"
    )
    try:
        formats = metadata["network_data_format"]
        said = (
            formats["inputs"]["image"]["num_channels"],
            formats["outputs"]["pred"]["num_channels"],
            *map(float, metadata["spacing_mm"]),
        )
        wanted = (contract.in_channels, contract.out_channels, *[contract.spacing_mm] * 3)
        if said != wanted:
            return Finding(what, f"metadata say {said}, the stages need {wanted}")
        network = build_network(read_definition(folder))
        network.load_state_dict(read_weights(folder), strict=True)
        with torch.inference_mode():
            answer = network.eval()(torch.zeros(1, contract.in_channels, *_SHAPE))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        return Finding(what, str(problem))
    if tuple(answer.shape) != (1, contract.out_channels, *_SHAPE):
        return Finding(what, f"the answer to {_SHAPE} has the shape {tuple(answer.shape)}")
    if not torch.isfinite(answer).all():
        return Finding(what, "the answer to air is no number")
    return Finding(what)


def _check_us_contract(folder: Path, metadata: dict[str, Any]) -> Finding:
    """Load the network and compare its side and the answer's shape with what the stages give."""
    kind = str(metadata["kind"])
    name = next(name for name, known in US_KINDS.items() if known == kind)
    what = "a square of gray gives " + (
        "the probability of each pixel" if name == LESION_SEGMENTER else "one probability"
    )
    try:
        network = load_us_bundle(folder.name, torch.device("cpu"), folder.parent, kind=name)
        if metadata.get("side_px") != network.side_px:
            return Finding(what, f"metadata say a side of {metadata.get('side_px')}, the network {network.side_px}")
        answer = network(np.full((2, 1, network.side_px, network.side_px), -1, np.float32))
    except NeedsPerson as outcome:
        return Finding(what, outcome.reason)
    wanted = (2, network.side_px, network.side_px) if name == LESION_SEGMENTER else (2,)
    return Finding(what, "" if answer.shape == wanted else f"the answer has the shape {answer.shape}")


def _check_golden(folder: Path) -> Finding:
    what = f"the golden case is answered as expected, within {TOLERANCE:g}"
    try:
        difference = compare_golden(folder)
    except NeedsPerson as outcome:
        return Finding(what, outcome.reason)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        return Finding(what, str(problem))
    return Finding(what, "" if difference <= TOLERANCE else f"it differs by {difference:.4f}")


def _check_candidates(folder: Path, _metadata: dict[str, Any]) -> list[Finding]:
    from workers.models.candidate_machines import check

    problems = check(folder)
    return [Finding("the candidates' machines are whole", problem) for problem in problems] or [
        Finding("the candidates' machines are whole")
    ]


def _check_fusion(folder: Path, _metadata: dict[str, Any]) -> list[Finding]:
    from workers.models.fusion_machine import check
    from workers.us.measure_radiomics import RADIOMICS_VERSION

    what = "the fusion is whole"
    return [Finding(what, problem) for problem in check(folder, RADIOMICS_VERSION)] or [Finding(what)]


Check = Callable[[Path, dict[str, Any]], list[Finding]]
CHECKS: Final[dict[str, Check]] = {
    "localizer": _check_network,
    "segmenter": _check_network,
    "candidates": _check_candidates,
    "us-segmenter": _check_us_network,
    "us-classifier": _check_us_network,
    "us-fusion": _check_fusion,
}
"""By the metadata's `kind`."""


def flatten(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every figure with its name, those of a source as `source.name`."""
    for name, value in figures.items():
        if before.startswith("sources.") or name != "sources":
            yield f"{before}{name}", value
        else:
            for source, inner in value.items():
                yield from flatten(inner, f"sources.{source}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, check, record or average, print; 0 where all is well, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m workers bundle", description=__doc__)
    verbs = parser.add_subparsers(required=True, dest="verb", metavar="check|record|average")
    check = verbs.add_parser("check", help="verify metadata, digest, input contract and golden case")
    check.add_argument("folder", type=Path, metavar="DIR", help="the bundle's folder")
    record = verbs.add_parser("record", help="write the figures of an evaluation into the bundle's metadata")
    record.add_argument("folder", type=Path, metavar="DIR", help="the bundle's folder")
    record.add_argument("summary", type=Path, metavar="SUMMARY_JSON", help="as `python -m workers evaluate` wrote it")
    average = verbs.add_parser("average", help="write a bundle that answers with the mean of several CT networks")
    average.add_argument("folder", type=Path, metavar="OUT", help="the folder to write")
    average.add_argument(
        "--weights",
        action="store_true",
        help="one network with the mean of their weights instead; they must have been trained on from the same weights",
    )
    average.add_argument("members", type=Path, metavar="DIR", nargs="+", help="the bundles' folders")
    options = parser.parse_args(argv)
    folder = options.folder.resolve()
    if options.verb == "average":
        put_together = average_weights if options.weights else average_bundles
        print(f"{put_together(options.members, folder)} networks: {folder}")
        return 0
    if options.verb == "record":
        for name, value in flatten(record_figures(folder, options.summary)):
            print(f"{name}: {value}")
        return 0
    findings = check_bundle(folder)
    for finding in findings:
        line = f"failed  {finding.what}: {finding.problem}" if finding.problem else f"good    {finding.what}"
        print(line, file=sys.stderr if finding.problem else sys.stdout)
    return 1 if any(finding.problem for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
