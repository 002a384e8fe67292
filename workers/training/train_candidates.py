"""Fit the machines that judge candidates: `python -m workers train ct-candidates --data CASES --out BUNDLE`.

The real localizer and segmenter run over every case; each candidate they find
is kept with its features and the truth. What was collected is cached by case,
its files, the networks and the stages' code, so that an interrupted run goes on
and fitting again costs nothing. A case that failed is tried again.
"""

import argparse
import csv
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from screener.outcomes import NeedsPerson, SetAside
from screener.study import Mass
from workers.ct.describe_candidate import FEATURES
from workers.models.bundle_files import INTENDED_USE
from workers.models.candidate_machines import check, save_machines
from workers.models.networks import PREPROCESSING_VERSION
from workers.training.describe_data import describe_cases
from workers.training.digest_cases import READING, digest_case, digest_code
from workers.training.fit_machines import Samples, fit_machines, print_table

logger = logging.getLogger(__name__)

Bools = NDArray[np.bool_]

VERSION: Final = "0.1.0"
MIN_OVERLAP: Final = 0.25
"""A candidate is true when this share of it lies in a mass, or it covers this share of one."""
COLLECTED_VERSION: Final = "1"
"""Raised when features change: what was cached before is collected anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one process needs to collect a case's candidates."""

    bundles: Path | None
    localizer: str
    segmenter: str
    min_probability: float
    device: str
    cache: Path
    code: str
    """Digest of what reads and screens a case."""


_networks: list[Any] = []
"""Localizer, segmenter and the digest of both, loaded once per process."""


def main(argv: Sequence[str] | None = None) -> int:
    """Collect, fit, print the table, write the bundle; 1 where nothing can be fitted."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = Options(
        bundles=args.bundles,
        localizer=args.localizer,
        segmenter=args.segmenter,
        min_probability=args.min_probability,
        device=args.device,
        cache=args.cache,
        code=digest_code(READING),
    )
    try:
        folders = list(_folders(args.data, args.limit))
    except NeedsPerson as outcome:
        logger.error("%s", outcome.reason)
        return 1
    if not folders:
        logger.error("no cases in %s", ", ".join(str(root) for root in args.data))
        return 1
    rows, collected = collect_all(folders, options, jobs=args.jobs)
    write_csv(rows, args.cache / "candidates.csv")
    samples = to_samples(rows)
    try:
        scaling, penalty, machines, figures = fit_machines(samples)
    except ValueError as problem:
        logger.error("nothing can be fitted: %s", problem)
        return 1
    table = print_table(samples, figures)
    print(table)
    middle = samples.features[samples.is_true].mean(axis=0)
    metadata = {
        "name": "Parotid candidates",
        "version": args.version,
        "description": "Support vector machines, one for each gamma 1 to 10, that tell masses from look-alikes.",
        "features": list(FEATURES),
        "gammas": [int(machine.gamma) for machine in machines],
        "penalty": penalty,
        "width": scaling.width,
        "min_probability": args.min_probability,
        "data_source": args.data_source or describe_cases(args.data, collected),
        "candidates": {
            "patients": len(set(samples.patients.tolist())),
            "cases": len(collected),
            "true": int(samples.is_true.sum()),
            "false": int((~samples.is_true).sum()),
        },
        "eval_metrics": [{name: round(value, 4) for name, value in asdict(row).items()} for row in figures],
    }
    golden = {name: round(float(value), 4) for name, value in zip(FEATURES, middle, strict=True)}
    save_machines(args.out, scaling, machines, metadata, golden)
    write_card(args.out, metadata, table)
    for sentence in check(args.out):
        logger.warning("%s: %s", args.out, sentence)
    return 0


def write_card(bundle: Path, metadata: dict[str, Any], table: str) -> None:
    """Write the model card, `docs/README.md`; one that is there already is of other machines, and is kept beside it."""
    path = bundle / "docs" / "README.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = metadata["candidates"]
    text = f"""# {metadata["name"]}

**{INTENDED_USE}**

{metadata["description"]} Version {metadata["version"]}.

## Data

{metadata["data_source"]}.

{counts["true"] + counts["false"]} candidates of {counts["patients"]} patients in {counts["cases"]} cases:
{counts["true"]} true, {counts["false"]} false. The networks' candidates were taken from a probability of
{metadata["min_probability"]:g}.

## Measured

```
{table}
```
"""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        before = path.with_name("README.before.md")
        path.replace(before)
        logger.warning("the model card that was in %s is now %s", path.parent, before.name)
    path.write_text(text, encoding="utf-8")


def collect_all(folders: Sequence[Path], options: Options, *, jobs: int = 1) -> tuple[list[dict[str, Any]], list[Path]]:
    """Return the candidates of all cases, from the cache where they are there, and the cases that did not fail.

    One row each, in the cases' order.
    """
    options.cache.mkdir(parents=True, exist_ok=True)
    there = set(options.cache.glob("*.json"))
    kept: dict[Path, Path | None] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(collect_case, folder, options): folder for folder in folders}
        for number, future in enumerate(as_completed(running), start=1):
            kept[running[future]] = future.result()
            logger.info("case %d/%d %s", number, len(folders), running[future].name)
    files = [path for folder in folders if (path := kept[folder]) is not None]
    logger.info(
        "cache=%s cases=%d from_cache=%d collected=%d failed=%d; %d other files there are not used",
        options.cache,
        len(folders),
        len(there.intersection(files)),
        len(set(files) - there),
        len(folders) - len(files),
        len(there.difference(files)),
    )
    rows = [row for path in files for row in json.loads(path.read_text(encoding="utf-8"))]
    return rows, [folder for folder in folders if kept[folder] is not None]


def collect_case(folder: Path, options: Options) -> Path | None:
    """Write one case's candidates into the cache, unless they are there; None where the case failed."""
    from workers.training.read_cases import read_case

    localizer, segmenter, digest = _load_networks(options)
    made_of = json.dumps(
        [
            digest_case(folder),
            digest,
            options.min_probability,
            options.code,
            PREPROCESSING_VERSION,
            COLLECTED_VERSION,
        ]
    )
    path = options.cache / f"{folder.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.json"
    if path.exists():
        return path
    from workers.ct.localize_parotids import localize_parotids
    from workers.ct.segment_masses import segment_masses

    try:
        case = read_case(folder)
        parotids = localize_parotids(case.volume, localizer)
        masses = segment_masses(case.volume, parotids, segmenter, min_probability=options.min_probability)
    except (SetAside, NeedsPerson) as outcome:
        logger.warning("%s: %s", folder.name, outcome.reason)
        return None
    rows = [
        {
            "case": folder.name,
            "patient": folder.name.partition("+")[0],
            "side": str(mass.candidate.side),
            "number": mass.candidate.number,
            "voxels": mass.candidate.voxels,
            "is_true": is_true(mass, case.mass),
            **mass.candidate.features,
        }
        for mass in masses
    ]
    part = path.with_suffix(".part")
    part.write_text(json.dumps(rows), encoding="utf-8")
    part.replace(path)
    return path


def is_true(mass: Mass, truth: Bools | None) -> bool:
    """Tell whether a candidate is a mass of the case: enough of it lies in the mass, or it covers enough of one."""
    if truth is None or not truth.any():
        return False
    overlap = int((mass.mask & truth).sum())
    if overlap >= MIN_OVERLAP * int(mass.mask.sum()):
        return True
    labels, count = ndimage.label(truth)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    covered = np.bincount(labels[mass.mask], minlength=count + 1)[1:]
    return bool((covered >= MIN_OVERLAP * sizes).any())


def to_samples(rows: Sequence[dict[str, Any]]) -> Samples:
    """Return the collected rows as arrays."""
    return Samples(
        features=np.array([[row[name] for name in FEATURES] for row in rows], dtype=float).reshape(-1, len(FEATURES)),
        is_true=np.array([row["is_true"] for row in rows], dtype=bool),
        voxels=np.array([row["voxels"] for row in rows], dtype=np.int64),
        patients=np.array([row["patient"] for row in rows], dtype=np.str_),
    )


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write all candidates into one table, for reading."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["case", "patient", "side", "number", "voxels", "is_true", *FEATURES])
        writer.writeheader()
        writer.writerows(rows)


def _folders(roots: Sequence[Path], limit: int | None) -> Iterator[Path]:
    from workers.training.read_cases import list_cases

    for root in roots:
        yield from list(list_cases(root))[:limit]


def _load_networks(options: Options) -> tuple[Any, Any, str]:
    if not _networks:
        import torch

        from workers.models.device import choose_device
        from workers.models.weights import load_bundle

        torch.set_num_threads(1)
        device, _ = choose_device(options.device)
        localizer, segmenter = (
            load_bundle(name, device, options.bundles) for name in (options.localizer, options.segmenter)
        )
        _networks.extend([localizer, segmenter, localizer.digest + segmenter.digest])
    localizer, segmenter, digest = _networks
    return localizer, segmenter, digest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers train ct-candidates", description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of cases; may be repeated")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--bundles", type=Path, help="folder with localizer and segmenter (default: the shipped ones)")
    parser.add_argument("--localizer", default="parotid_localizer")
    parser.add_argument("--segmenter", default="parotid_mass_segmenter")
    parser.add_argument("--cache", type=Path, default=Path("cache/candidates"), help="what was collected, by case")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time, one thread each")
    parser.add_argument("--limit", type=int, help="cases of each folder")
    parser.add_argument("--min-probability", type=float, default=0.5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--version", default=VERSION)
    parser.add_argument(
        "--data-source",
        help="where the cases come from: stands in the metadata and the card; default the folders of --data",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
