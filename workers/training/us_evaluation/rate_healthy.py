"""How pictures without a tumor end: with no lesion found, benign, malignant, or without an answer."""

from collections.abc import Iterator, Sequence

from screener.us_study import Answer
from workers.training.evaluation.compute_figures import Figures
from workers.training.statistics.estimate_intervals import clustered_interval
from workers.training.us_evaluation.case_result import UsResult

ALL_MACHINES = ""
ENDINGS = {
    "no_lesion": Answer.NO_LESION,
    "benign": Answer.BENIGN,
    "malignant": Answer.MALIGNANT,
    "not_assessed": Answer.NOT_ASSESSABLE,
}
"""Name in summary.json to the product's answer."""


def rate_healthy(results: Sequence[UsResult], min_malignancy: float) -> list[Figures]:
    """Return one row for each kind of healthy picture of a source, and below it one for each of its machines."""
    healthy = [result for result in results if not result.has_lesion]
    return [_rate(kind, machine, members, min_malignancy) for kind, machine, members in _group(healthy)]


def _group(healthy: Sequence[UsResult]) -> Iterator[tuple[str, str, list[UsResult]]]:
    for kind in sorted({_kind(result) for result in healthy}):
        members = [result for result in healthy if _kind(result) == kind]
        yield kind, ALL_MACHINES, members
        machines = sorted({result.row.machine for result in members})
        if len(machines) > 1:
            for machine in machines:
                yield kind, machine or "unknown", [result for result in members if result.row.machine == machine]


def _kind(result: UsResult) -> str:
    return f"{result.row.organ} {result.row.label}".strip().replace("_", " ")


def _rate(kind: str, machine: str, members: Sequence[UsResult], min_malignancy: float) -> Figures:
    groups = [result.row.group for result in members]
    forced = [result for result in members if result.whole_probability is not None]
    malignant = [(result.whole_probability or 0.0) >= min_malignancy for result in forced]
    return {
        "kind": kind,
        "machine": machine,
        "exams": len(members),
        "counts": {name: sum(result.answer is answer for result in members) for name, answer in ENDINGS.items()},
        "malignant": sum(result.answer is Answer.MALIGNANT for result in members) / len(members),
        "malignant_interval_95": clustered_interval([r.answer is Answer.MALIGNANT for r in members], groups),
        "lesion_found": sum(result.answer in (Answer.BENIGN, Answer.MALIGNANT) for result in members) / len(members),
        "whole_picture": {
            "exams": len(forced),
            "malignant_count": sum(malignant),
            "malignant": sum(malignant) / len(forced) if forced else None,
            "malignant_interval_95": clustered_interval(malignant, [result.row.group for result in forced]),
        },
    }
