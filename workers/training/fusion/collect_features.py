"""Collect what the fusion learns from: of every outlined lesion its radiomics, its deep features and its image score.

Radiomics take seconds a lesion. They are measured once and kept by the digest of the lesion's pixels, outline and
settings, one file each, so that an interrupted collection goes on.
"""

import csv
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from screener.outcomes import NeedsPerson
from workers.models.us_image import find_box, prepare_square, surround_lesion
from workers.training.us_judge_networks import is_rated
from workers.training.us_read_cases import MALIGNANT, CaseRow, UsCase, read_cases
from workers.us.measure_radiomics import RADIOMICS_VERSION, measure_region
from workers.us.segment_lesion import keep_largest

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
_TELL_EVERY: Final = 25
_BATCH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Lesions of known kind, one row each."""

    rows: tuple[CaseRow, ...]
    truth: NDArray[np.bool_]
    """True: malignant."""
    radiomics: Array
    """(lesions, features), in their own units."""
    radiomics_names: tuple[str, ...]
    deep: Array
    """(lesions, features), as pooled."""
    image: Array | None
    """Log odds of malignancy by the image model, (lesions,), each by a network that has not seen the lesion's group."""

    def take(self, chosen: NDArray[np.bool_]) -> "Samples":
        """Return the rows that are `chosen`."""
        return Samples(
            rows=tuple(row for row, is_in in zip(self.rows, chosen, strict=True) if is_in),
            truth=self.truth[chosen],
            radiomics=self.radiomics[chosen],
            radiomics_names=self.radiomics_names,
            deep=self.deep[chosen],
            image=None if self.image is None else self.image[chosen],
        )

    @property
    def sources(self) -> NDArray[np.str_]:
        """Of each row."""
        return np.array([row.source for row in self.rows])

    @property
    def groups(self) -> NDArray[np.str_]:
        """Of each row, told apart also between sources."""
        return np.array([f"{row.source}/{row.group}" for row in self.rows])


def collect_samples(rows: Iterable[CaseRow], cache: Path, backbone: torch.nn.Module, side_px: int) -> Samples:
    """Return the lesions of `rows` that are outlined, of known kind and measurable, without image scores.

    `backbone` turns (n, 1, side_px, side_px) into maps (n, channels, ...), which are pooled. Raises NeedsPerson
    (`no_cases`) where there is none.
    """
    cases = [keep_one_lesion(case) for case in read_cases(rows) if is_rated(case)]
    measured = collect_radiomics(cases, cache)
    pairs = [(case, features) for case, features in zip(cases, measured, strict=True) if features is not None]
    kept, found = [case for case, _ in pairs], [features for _, features in pairs]
    if not kept:
        raise NeedsPerson("No outlined lesion of known kind was found that can be measured.", code="no_cases")
    names = tuple(sorted(found[0]))
    return Samples(
        rows=tuple(case.row for case in kept),
        truth=np.array([case.row.label == MALIGNANT for case in kept]),
        radiomics=np.array([[features[name] for name in names] for features in found]),
        radiomics_names=names,
        deep=pool_features(kept, backbone, side_px),
        image=None,
    )


def keep_one_lesion(case: UsCase) -> UsCase:
    """Return the case with its largest lesion alone, as the product takes one of a frame."""
    return case if case.lesion is None else replace(case, lesion=keep_largest(case.lesion))


def collect_radiomics(cases: Sequence[UsCase], cache: Path) -> list[dict[str, float] | None]:
    """Return the radiomics of each case; a lesion that cannot be measured is logged and has None."""
    cache.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, float] | None] = []
    began = time.monotonic()
    for number, case in enumerate(cases, start=1):
        features = _measure_once(case, cache)
        if features is None:
            logger.warning("case=%s left out: its lesion cannot be measured", case.row.name)
        found.append(features)
        if number % _TELL_EVERY == 0:
            logger.info("radiomics=%d/%d seconds=%.0f", number, len(cases), time.monotonic() - began)
    return found


def _measure_once(case: UsCase, cache: Path) -> dict[str, float] | None:
    """Return the case's radiomics from the cache or, once, from its pixels."""
    if case.lesion is None:
        return None
    path = cache / f"{digest_lesion(case)}.json"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(json.dumps(measure_region(case.gray, case.lesion)), encoding="utf-8")
        part.replace(path)
    features: dict[str, float] | None = json.loads(path.read_text(encoding="utf-8"))
    return features


def digest_lesion(case: UsCase) -> str:
    """Digest pixels, outline and what measures them, in hexadecimal."""
    if case.lesion is None:
        raise ValueError("the lesion of this case is not outlined")
    settings = json.dumps([RADIOMICS_VERSION, version("mirp"), version("scikit-image"), case.gray.shape])
    content = settings.encode() + case.gray.tobytes() + np.packbits(case.lesion).tobytes()
    return hashlib.sha256(content).hexdigest()


def pool_features(cases: Sequence[UsCase], backbone: torch.nn.Module, side_px: int) -> Array:
    """Return the means of the backbone's last maps over what the classifier sees of each lesion, (cases, channels)."""
    views = [_view(case, side_px) for case in cases]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(views), _BATCH):
            maps = backbone(torch.from_numpy(np.stack(views[start : start + _BATCH])))
            parts.append(maps.mean((2, 3)).double().numpy())
    return np.concatenate(parts)


def read_scores(path: Path, rows: Sequence[CaseRow]) -> Array:
    """Return the log odds in a table with the columns `id` and `logit`, in the order of `rows`.

    Raises NeedsPerson (`bad_scores`) where it cannot be read or lacks one of them, or where two cases share an id, as
    those of two folders may: nobody could tell whose score it is.
    """
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise NeedsPerson(f"{len(twice)} ids belong to two cases each, {twice[0]} among them.", code="bad_scores")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            scores = {row["id"]: float(row["logit"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error) as problem:
        raise NeedsPerson(f"{path} is no table with the columns id and logit.", code="bad_scores") from problem
    missing = [row.name for row in rows if not np.isfinite(scores.get(row.name, np.nan))]
    if missing:
        raise NeedsPerson(f"{path} has no score for {len(missing)} cases, {missing[0]} among them.", code="bad_scores")
    return np.array([scores[row.name] for row in rows])


def _view(case: UsCase, side_px: int) -> NDArray[np.float32]:
    if case.lesion is None:
        raise ValueError("the lesion of this case is not outlined")
    return prepare_square(case.gray, surround_lesion(find_box(case.lesion)), side_px)
