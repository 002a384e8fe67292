"""cases.csv: one row for each picture."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from workers.training.evaluation.compute_figures import WARNING
from workers.training.us_evaluation.case_result import UsResult

COLUMNS: Final = (
    "name", "source", "organ", "machine", "group", "truth", "answer", "flagged", "assessed", "probability",
    "image_probability", "score", "outline_probability", "whole_probability", "outlined", "dice", "found",
    "lesion_share", "longest_diameter_mm", "seconds", "reason",
)  # fmt: skip


def write_cases(results: Sequence[UsResult], data: str, path: Path) -> None:
    """Write the table; its first line, a comment, says what it is and what it is not."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {WARNING}; {data}\n")
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(_describe(result) for result in results)


def _describe(result: UsResult) -> dict[str, Any]:
    row = result.row
    values: dict[str, Any] = {
        "name": row.name,
        "source": row.source,
        "organ": row.organ,
        "machine": row.machine,
        "group": row.group,
        "truth": row.label,
        "answer": result.answer.value,
        "flagged": result.is_called,
        "assessed": result.is_assessed,
        "probability": result.probability,
        "image_probability": result.image_probability,
        "score": result.score,
        "outline_probability": result.outline_probability,
        "whole_probability": result.whole_probability,
        "outlined": result.is_outlined,
        "dice": result.dice,
        "found": result.is_hit,
        "lesion_share": result.lesion_share,
        "longest_diameter_mm": result.longest_diameter_mm,
        "seconds": result.seconds,
        "reason": " ".join(word for word in (result.reason, result.outline_problem) if word),
    }
    return {name: "" if value is None else value for name, value in values.items()}
