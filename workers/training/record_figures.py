"""Write an evaluation's figures into a bundle: `python -m workers bundle record DIR SUMMARY_JSON`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import read_json
from workers.models.weights import bundle_digest
from workers.training.us_describe_bundle import US_KINDS

FIGURES: Final = (
    "exams", "positives", "negatives", "patients", "synthetic_masses", "auc_exam", "auc_exam_main", "auc_gland",
    "sensitivity_main", "sensitivity", "specificity", "ppv", "npv", "accuracy", "dice_median_main", "dice_median",
    "dice_of_found_median", "volume_ratio_median", "volume_ratio_iqr", "gland_dice_median",
    "centre_error_mm_median", "centre_error_mm_p95", "crop_holds_95",
    "thresholds", "data",
)  # fmt: skip
"""What is taken from a CT evaluation's `summary.json`, by its names there."""
US_FIGURES: Final = ("exams", "patients", "part", "sources", "thresholds", "data", "bundles", "decides")
"""The same for ultrasound, where every figure is of one source; they rest on both bundles, which are named."""
US_SOURCE_FIGURES: Final = (
    "part", "organs", "exams", "patients", "lesions", "outlined", "positives", "negatives", "dice_median", "dice_mean",
    "dice_iqr", "lesions_found", "not_found", "auc_exam", "auc_found", "auc_outlined", "sensitivity", "specificity",
    "ppv", "npv", "accuracy", "calibration_error", "intervals_95", "without_tumor",
)  # fmt: skip
"""What is taken of each source."""
KINDS: Final = {"localizer": FIGURES, "segmenter": FIGURES, **dict.fromkeys(US_KINDS.values(), US_FIGURES)}
"""By the kind of bundle, the figures that it keeps."""
DIGITS: Final = 4


def record_figures(bundle: Path, summary: Path) -> dict[str, Any]:
    """Write the figures of an evaluation's `summary` as `eval_metrics` of `bundle`; returns them.

    Raises NeedsPerson (`bad_bundle` or `bad_summary`) where one cannot be read or the evaluation was of other weights.
    """
    path = bundle / "configs" / "metadata.json"
    try:
        metadata = read_json(path)
        kind = str(metadata.get("kind"))
        if kind not in KINDS:
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
    is_for_ultrasound = KINDS[kind] is US_FIGURES
    if not isinstance(found.get("bundles"), dict) or isinstance(found.get("sources"), dict) != is_for_ultrasound:
        raise NeedsPerson(f"{summary} is no summary.json of an evaluation of such a bundle.", code="bad_summary")
    if is_for_ultrasound:
        found["sources"] = {source: _pick(US_SOURCE_FIGURES, figures) for source, figures in found["sources"].items()}
    figures = _pick(KINDS[kind], found)
    if "exams" not in figures:
        raise NeedsPerson(f"{summary} is no summary.json of an evaluation.", code="bad_summary")
    if digest not in found["bundles"].values():
        raise NeedsPerson(
            f"{summary} is of other weights than those in {bundle}; evaluate this bundle first.", code="bad_summary"
        )
    part = path.with_suffix(".part")
    part.write_text(json.dumps(metadata | {"eval_metrics": figures}, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    return figures


def _pick(names: Iterable[str], found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _round(found[name]) for name in names if name in found}


def _round(value: Any) -> Any:
    """Return `value` with every number in it rounded."""
    if isinstance(value, dict):
        return {name: _round(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_round(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value
