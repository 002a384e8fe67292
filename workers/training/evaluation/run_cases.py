"""Screen every case, one result file each, so that an interrupted evaluation goes on where it stopped."""

import functools
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from screener.outcomes import Outcome
from screener.phantom import make_phantom
from screener.study import Side, Thresholds, Volume
from workers import ct, models
from workers.ct.mask_body import mask_body
from workers.models.candidate_machines import load_machines
from workers.models.device import choose_device
from workers.models.networks import PREPROCESSING_VERSION
from workers.models.weights import load_bundle
from workers.training.digest_cases import digest_readers
from workers.training.evaluation.case_result import FAILED, CaseResult, read_result, write_result
from workers.training.evaluation.draw_case import cut_slice, keep_slice
from workers.training.evaluation.screen_case import Models, Truth, screen_case
from workers.training.read_cases import is_positive, read_case

logger = logging.getLogger(__name__)

BY_SIZE_ALONE: Final = "none"
"""In place of a bundle's name: no machine judges the candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomOrder:
    """A phantom to be made and screened."""

    seed: int
    side: Side | None
    """Of its mass; None for a negative."""
    mass_mm: float

    @property
    def name(self) -> str:
        """Which names the case."""
        return f"phantom_{self.seed}"


Source = Path | PhantomOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one process needs to screen a case."""

    localizer: str
    segmenter: str
    candidates: str
    """Bundle of the machines, or BY_SIZE_ALONE."""
    bundles: Path | None
    device: str
    threads: int
    thresholds: Thresholds
    cases: Path
    """Folder of stored results."""
    keep: bool
    """True: take what is stored there, if the same models and code made it from the same files."""


@functools.cache
def load_models(settings: Settings) -> Models:
    """Load the bundles, once per process. Raises NeedsPerson."""
    torch.set_num_threads(settings.threads)
    device, _ = choose_device(settings.device)
    by_size = settings.candidates == BY_SIZE_ALONE
    return Models(
        localizer=load_bundle(settings.localizer, device, settings.bundles),
        segmenter=load_bundle(settings.segmenter, device, settings.bundles),
        machines=None if by_size else load_machines(settings.candidates, settings.bundles),
    )


def list_phantoms(count: int, first_seed: int, mass_mm: float) -> list[PhantomOrder]:
    """Return orders of phantoms, every other one with a mass, right and left by turns."""
    sides = (None, Side.RIGHT, None, Side.LEFT)
    return [PhantomOrder(seed=first_seed + n, side=sides[n % 4], mass_mm=mass_mm) for n in range(count)]


def run_cases(sources: Sequence[Source], settings: Settings, jobs: int) -> Iterator[CaseResult]:
    """Yield the results in the order of `sources`; each is stored before it is yielded."""
    settings.cases.mkdir(parents=True, exist_ok=True)
    work = functools.partial(run_case, settings=settings)
    if jobs == 1:
        yield from map(work, sources)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, sources)


def run_case(source: Source, settings: Settings) -> CaseResult:
    """Return one case's result, from the store where `keep` allows it. A case that cannot be read is an answer too."""
    models = load_models(settings)
    path = settings.cases / f"{store_name(source)}.json"
    key = make_key(source, models, settings.thresholds)
    stored = read_result(path, key) if settings.keep else None
    if stored is not None:
        return stored
    path.with_suffix(".npz").unlink(missing_ok=True)
    try:
        truth = make_phantom_truth(source) if isinstance(source, PhantomOrder) else read_truth(source)
    except Outcome as outcome:
        result = fail_case(source, outcome)
    else:
        result, answer = screen_case(truth, models, settings.thresholds)
        keep_slice(cut_slice(truth, result, answer, settings.thresholds), path.with_suffix(".npz"))
    write_result(result, path, key)
    return result


def read_truth(folder: Path) -> Truth:
    """Read a case folder and its case.json. Raises an Outcome."""
    case = read_case(folder)
    return Truth(
        name=case.name,
        volume=case.volume,
        glands=case.glands,
        mass=case.mass,
        mass_sides=case.mass_sides,
        about=read_about(folder),
    )


def read_about(folder: Path) -> dict[str, Any]:
    """Return what case.json tells; nothing where there is none or it cannot be read."""
    try:
        about = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def fail_case(source: Source, outcome: Outcome) -> CaseResult:
    """Return the result of a case that cannot be read: a positive where a mass is outlined, else a negative."""
    logger.warning("case=%s cannot be read: %s", source.name, outcome.reason)
    has_mass = isinstance(source, Path) and is_positive(source)
    about = read_about(source) if isinstance(source, Path) else {}
    return CaseResult(name=source.name, outcome=FAILED, reason=outcome.reason, is_positive=has_mass, about=about)


def make_phantom_truth(order: PhantomOrder) -> Truth:
    """Make the phantom and say what is in it."""
    mass_mm = None if order.side is None else order.mass_mm
    phantom = make_phantom(mass_mm=mass_mm, mass_side=order.side or Side.RIGHT, seed=order.seed)
    x, y, z = (float(length) for length in np.linalg.norm(phantom.affine[:3, :3], axis=0))
    volume = Volume(
        hu=phantom.hu,
        affine=phantom.affine,
        body=mask_body(phantom.hu, (x, y, z)),
        series_instance_uid="1.2",
        frame_of_reference_uid="1.3",
        sop_instance_uids=tuple(f"1.4.{number}" for number in range(len(phantom.hu))),
    )
    about: dict[str, Any] = {"source": "phantom"}
    if order.side is not None:
        about["mass"] = {"synthetic": True, "diameter_mm": order.mass_mm}
    return Truth(
        name=order.name,
        volume=volume,
        glands={Side.RIGHT: phantom.right_parotid, Side.LEFT: phantom.left_parotid},
        mass=phantom.mass,
        mass_sides=() if order.side is None else (order.side,),
        about=about,
    )


def store_name(source: Source) -> str:
    """Return a file name for the case that no other case has: a folder may be called anything."""
    place = str(source.resolve()) if isinstance(source, Path) else repr(source)
    plain = re.sub(r"[^A-Za-z0-9_+-]", "_", source.name)[:60]
    return f"{plain}.{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def make_key(source: Source, models: Models, thresholds: Thresholds) -> str:
    """Digest everything that the result rests on: the files, the weights, the stages' code, the voxels' threshold.

    The other thresholds are replayed on what is stored.
    """
    files = (
        [(str(p.relative_to(source)), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(source.rglob("*"))]
        if isinstance(source, Path)
        else repr(source)
    )
    parts = [
        files,
        models.digests,
        PREPROCESSING_VERSION,
        digest_code(),
        thresholds.min_probability,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@functools.cache
def digest_code() -> str:
    """Digest the stages' code, and what measures them: a result of other code is made anew."""
    digest = hashlib.sha256(digest_readers())
    here = Path(__file__).parent
    measuring = [here / f"{name}.py" for name in ("case_result", "screen_case", "run_cases")]
    read = [*Path(ct.__path__[0]).glob("*.py"), *Path(models.__path__[0]).glob("*.py"), *here.parent.glob("read_*.py")]
    for path in sorted([*read, *measuring]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
