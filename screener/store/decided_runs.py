"""Stored rows as the values that a decision rests on."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from screener.store.base import thresholds_of
from screener.store.values import DecidedRun
from screener.study import Candidate, GlandAssessment, Presence, Side


def candidate_of(features: dict[str, object]) -> Candidate:
    """A stored candidate as the value it was; rows of versions without features and scores have none."""
    values = dict(features)
    values["side"] = Side(str(values["side"]))
    values["center_mm"] = tuple(values["center_mm"])  # type: ignore[arg-type]
    values["scores"] = tuple(values.get("scores", ()))  # type: ignore[arg-type]
    return Candidate(**values)  # type: ignore[arg-type]


def decided_run_of(run: sa.Row[Any], glands: Sequence[sa.Row[Any]], candidates: Sequence[sa.Row[Any]]) -> DecidedRun:
    """A finished CT run with all that its decision rests on; the rows of its glands and candidates in their order."""
    return DecidedRun(
        study_id=run.study_id,
        number=run.number,
        thresholds=thresholds_of(run),
        presences={Side(gland._mapping["side"]): Presence(gland._mapping["presence"]) for gland in glands},
        assessments=tuple(
            GlandAssessment(
                side=Side(gland["side"]),
                is_assessed=gland["is_assessed"],
                reason=gland["assessment_reason"],
                volume_mm3=gland["volume_mm3"],
                mean_hu=gland["mean_hu"],
                covered_share=gland["covered_share"],
                is_partial=gland["is_partial"],
            )
            for gland in (found._mapping for found in glands)
        ),
        candidates=tuple(candidate_of(found.features) for found in candidates),
    )
