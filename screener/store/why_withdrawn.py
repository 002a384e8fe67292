"""Whether a finding is withdrawn for other settings alone: then the images hold what they held."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from screener.decide import decide
from screener.decide_us import decide_again
from screener.store import tables as t
from screener.store.base import thresholds_of
from screener.store.decided_runs import decided_run_of
from screener.store.ultrasound import lesion_of
from screener.study import Thresholds


def find_changed_settings(connection: sa.Connection, study_id: int, run_id: int) -> str:
    """Say which settings a run that flags nothing was decided by otherwise than the last that flagged.

    Such as "min_voxels 1000 instead of 500". Empty where the run would flag nothing under the earlier ones either, so
    that they are not why.
    """
    run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    earlier = connection.execute(
        t.runs.select()
        .where(t.runs.c.study_id == study_id, t.runs.c.number < run.number, t.runs.c.is_flagged.is_(True))
        .order_by(t.runs.c.number.desc())
        .limit(1)
    ).one_or_none()
    if earlier is None:
        return ""
    before, now = thresholds_of(earlier), thresholds_of(run)
    return _describe(before, now) if _would_flag(connection, run, before) else ""


def _would_flag(connection: sa.Connection, run: sa.Row[Any], thresholds: Thresholds) -> bool:
    lesion = lesion_of(connection, run.id)
    if lesion is not None:
        return decide_again(lesion.probability, lesion.combined_probability, thresholds)
    rows = [
        connection.execute(table.select().where(table.c.run_id == run.id).order_by(table.c.id)).all()
        for table in (t.glands, t.candidates)
    ]
    decided = decided_run_of(run, *rows)
    return decide(decided.assessments, decided.candidates, thresholds).is_flagged


def _describe(before: Thresholds, now: Thresholds) -> str:
    old = asdict(before)
    changed = {key: value for key, value in asdict(now).items() if value != old[key] and key != "config_revision"}
    return ", ".join(f"{key} {value} instead of {old[key]}" for key, value in changed.items())
