"""What screening one case left behind, in numbers only: stored, so that other thresholds need no inference."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from screener.study import Candidate, GlandAssessment, Side

SCREENED = "screened"
SET_ASIDE = "set aside"
FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Voxels of the source grid that exactly these candidates hold."""

    numbers: tuple[int, ...]
    """Numbers of the candidates; two may share a voxel."""
    voxels: int
    mass_voxels: int
    """How many of them are true mass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case, the truth about it, and everything that its figures rest on."""

    name: str
    outcome: str
    """SCREENED, SET_ASIDE or FAILED."""
    reason: str = ""
    """Why it was not screened, a sentence; empty where it was."""
    spacing_mm: tuple[float, float, float] | None = None
    """Voxel size along (x, y, z); None where the case could not be read."""
    slices: int = 0
    mass_sides: tuple[Side, ...] = ()
    """Glands that hold a true mass; empty for a negative."""
    is_positive: bool = False
    mass_voxels: int = 0
    """On the source grid."""
    mass_mm3: float = 0.0
    """Of the mass's largest piece, as is the diameter."""
    mass_diameter_mm: float = 0.0
    """The larger of the ball of the same volume and of the distance of the mass's farthest voxels."""
    labelled_sides: tuple[Side, ...] = ()
    """Glands that the labels hold."""
    assessments: tuple[GlandAssessment, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    peak_probabilities: dict[Side, float] = field(default_factory=dict)
    """Per gland that was searched, the highest mass probability in it or near it."""
    regions: tuple[Region, ...] = ()
    center_errors_mm: dict[Side, float] = field(default_factory=dict)
    """Per labelled side, of assessed glands and of those found and refused; infinite where none was found."""
    crop_shares: dict[Side, float] = field(default_factory=dict)
    """Per labelled side, how much of the true gland the segmenter's crop holds; 0 where none was cut."""
    gland_dice: dict[Side, float] = field(default_factory=dict)
    """Per labelled side."""
    seconds: float = 0.0
    """From localizing to segmenting, reading not included."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the case's own case.json tells."""

    def overlap(self, numbers: Sequence[int]) -> tuple[int, int]:
        """Return how many voxels the union of these candidates has, and how many of them are true mass."""
        wanted = set(numbers)
        met = [region for region in self.regions if wanted.intersection(region.numbers)]
        return sum(region.voxels for region in met), sum(region.mass_voxels for region in met)

    @property
    def is_synthetic(self) -> bool:
        """Whether case.json says that the mass was put in."""
        mass = self.about.get("mass")
        return bool(self.is_positive and isinstance(mass, dict) and mass and mass.get("synthetic", True))

    @property
    def look_alikes(self) -> tuple[str, ...]:
        """Kinds of the look-alikes in the case, each once."""
        found = self.about.get("look_alikes") or ()
        kinds = [str(one.get("kind", "unnamed")) if isinstance(one, dict) else str(one) for one in found]
        return tuple(sorted(set(kinds)))


def write_result(result: CaseResult, path: Path, key: str) -> None:
    """Store a result with the `key` of what made it; the file is whole or absent."""
    content = {"key": key, "result": _to_json(asdict(result))}
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)


def read_result(path: Path, key: str) -> CaseResult | None:
    """Return the stored result, or None where there is none, or one that something else made."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _from_json(content["result"]) if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):  # an older or broken file is made anew
        return None


def _to_json(value: Any) -> Any:
    """JSON knows no infinity: it is written as null."""
    if isinstance(value, dict):
        return {str(key): _to_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _from_json(fields: dict[str, Any]) -> CaseResult:
    plain = dict(fields)
    for name in ("center_errors_mm", "crop_shares", "gland_dice"):
        plain[name] = {Side(side): math.inf if one is None else float(one) for side, one in plain[name].items()}
    plain["peak_probabilities"] = {Side(side): float(one) for side, one in plain["peak_probabilities"].items()}
    for name in ("mass_sides", "labelled_sides"):
        plain[name] = tuple(Side(side) for side in plain[name])
    plain["spacing_mm"] = None if plain["spacing_mm"] is None else tuple(plain["spacing_mm"])
    plain["assessments"] = tuple(GlandAssessment(**one | {"side": Side(one["side"])}) for one in plain["assessments"])
    plain["candidates"] = tuple(_candidate(one) for one in plain["candidates"])
    plain["regions"] = tuple(Region(**one | {"numbers": tuple(one["numbers"])}) for one in plain["regions"])
    return CaseResult(**plain)


def _candidate(fields: dict[str, Any]) -> Candidate:
    return Candidate(
        **fields
        | {
            "side": Side(fields["side"]),
            "center_mm": tuple(fields["center_mm"]),
            "scores": tuple(fields["scores"]),
        }
    )
