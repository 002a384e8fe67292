"""Write an evaluation's figures into a bundle: `python -m workers bundle record DIR SUMMARY_JSON`."""

import json
from pathlib import Path
from typing import Any, Final

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import read_json
from workers.models.weights import bundle_digest

FIGURES: Final = (
    "exams", "positives", "negatives", "patients", "synthetic_masses", "auc_exam", "auc_gland", "sensitivity_main",
    "sensitivity", "specificity", "ppv", "npv", "accuracy", "dice_median_main", "dice_median", "dice_of_found_median",
    "gland_dice_median", "centre_error_mm_median", "centre_error_mm_p95", "crop_holds_95", "thresholds", "data",
)  # fmt: skip
"""What is taken from `summary.json`, by its names there."""
DIGITS: Final = 4


def record_figures(bundle: Path, summary: Path) -> dict[str, Any]:
    """Write the figures of an evaluation's `summary` as `eval_metrics` of `bundle`; returns them.

    Raises NeedsPerson (`bad_bundle` or `bad_summary`) where one cannot be read or the evaluation was of other weights.
    """
    path = bundle / "configs" / "metadata.json"
    try:
        metadata = read_json(path)
        if metadata.get("kind") not in ("localizer", "segmenter"):
            raise NeedsPerson(
                f"{bundle} is no network: the candidates' machines hold figures of their own training.",
                code="bad_bundle",
            )
        digest = bundle_digest(bundle.name, bundle.parent)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise NeedsPerson(f"The model bundle {bundle} cannot be loaded: {problem}", code="bad_bundle") from problem
    try:
        found = read_json(summary)
    except (OSError, ValueError, TypeError) as problem:
        raise NeedsPerson(f"{summary} is no summary.json of an evaluation: {problem}", code="bad_summary") from problem
    figures: dict[str, Any] = {name: _round(found[name]) for name in FIGURES if name in found}
    if "exams" not in figures or not isinstance(found.get("bundles"), dict):
        raise NeedsPerson(f"{summary} is no summary.json of an evaluation.", code="bad_summary")
    if digest not in found["bundles"].values():
        raise NeedsPerson(
            f"{summary} is of other weights than those in {bundle}; evaluate this bundle first.", code="bad_summary"
        )
    part = path.with_suffix(".part")
    part.write_text(json.dumps(metadata | {"eval_metrics": figures}, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    return figures


def _round(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value
