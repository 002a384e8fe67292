"""cases.csv: one row per examination, and one below it for each of its glands."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from screener.study import Candidate, Side, Thresholds
from workers.training.evaluation.case_result import CaseResult
from workers.training.evaluation.compute_figures import WARNING, why_not_assessed
from workers.training.evaluation.judge_case import Judgment, score_candidate

COLUMNS: Final = (
    "name",
    "row",
    "patient",
    "outcome",
    "spacing_x_mm",
    "spacing_y_mm",
    "spacing_z_mm",
    "slices",
    "truth",
    "synthetic",
    "look_alikes",
    "mass_diameter_mm",
    "mass_mm3",
    "flagged",
    "assessed",
    "right",
    "score",
    "mass_dice",
    "seconds",
    "reason",
    "center_error_mm",
    "crop_share",
    "gland_dice",
    "candidates",
    "voxels",
    "longest_diameter_mm",
    "mean_probability",
    "machine_score",
)
Row = dict[str, Any]


def write_cases(
    judged: Sequence[Judgment], patients: Sequence[str], thresholds: Thresholds, data: str, path: Path
) -> None:
    """Write the table; its first line, a comment, says what it is and what it is not."""
    features = sorted({name for j in judged for candidate in j.case.candidates for name in candidate.features})
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {WARNING}; {data}\n")
        writer = csv.DictWriter(file, [*COLUMNS, *(f"feature_{name}" for name in features)])
        writer.writeheader()
        for judgment, patient in zip(judged, patients, strict=True):
            writer.writerow(_exam_row(judgment, patient))
            for side in Side:
                writer.writerow(_gland_row(judgment, patient, side, thresholds))


def _exam_row(judgment: Judgment, patient: str) -> Row:
    case = judgment.case
    x, y, z = case.spacing_mm or ("", "", "")
    return {
        "name": case.name,
        "row": "exam",
        "patient": patient,
        "outcome": case.outcome,
        "spacing_x_mm": x,
        "spacing_y_mm": y,
        "spacing_z_mm": z,
        "slices": case.slices,
        "truth": "mass" if case.is_positive else "no mass",
        "synthetic": case.is_synthetic,
        "look_alikes": " ".join(case.look_alikes),
        "mass_diameter_mm": case.mass_diameter_mm or "",
        "mass_mm3": case.mass_mm3 or "",
        "flagged": judgment.is_flagged,
        "assessed": judgment.is_assessed,
        "right": judgment.is_right,
        "score": judgment.score,
        "mass_dice": "" if judgment.dice is None else judgment.dice,
        "seconds": case.seconds,
        "reason": "" if judgment.is_assessed else why_not_assessed(judgment)["reason"],
        "candidates": len(case.candidates),
    }


def _gland_row(judgment: Judgment, patient: str, side: Side, thresholds: Thresholds) -> Row:
    case = judgment.case
    gland = next((one for one in judgment.verdict.glands if one.side is side), None) if judgment.verdict else None
    best = best_candidate(case, side, thresholds)
    row: Row = {
        "name": case.name,
        "row": str(side),
        "patient": patient,
        "outcome": str(gland.presence) if gland else case.outcome,
        "truth": "mass" if side in case.mass_sides else "no mass" if side in case.labelled_sides else "no labels",
        "flagged": bool(gland and gland.candidate_numbers),
        "score": judgment.gland_scores.get(side, ""),
        "reason": gland.reason if gland else case.reason,
        "center_error_mm": case.center_errors_mm.get(side, ""),
        "crop_share": case.crop_shares.get(side, ""),
        "gland_dice": case.gland_dice.get(side, ""),
        "candidates": sum(candidate.side is side for candidate in case.candidates),
    }
    if best is None:
        return row
    score = best.score(thresholds.gamma)
    return (
        row
        | {
            "voxels": best.voxels,
            "longest_diameter_mm": best.longest_diameter_mm,
            "mean_probability": best.mean_probability,
            "machine_score": "" if score is None else score,
        }
        | {f"feature_{name}": value for name, value in best.features.items()}
    )


def best_candidate(case: CaseResult, side: Side, thresholds: Thresholds) -> Candidate | None:
    """Return the gland's most suspicious candidate."""
    mine = [candidate for candidate in case.candidates if candidate.side is side]
    return max(mine, key=lambda candidate: score_candidate(candidate, thresholds), default=None)
