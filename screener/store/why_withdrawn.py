"""Whether a finding is withdrawn for other settings alone: then the images hold what they held."""

from dataclasses import asdict
from math import dist
from typing import Any

import sqlalchemy as sa

from screener.decide import decide
from screener.decide_us import decide_again
from screener.store import tables as t
from screener.store.base import thresholds_of
from screener.store.decided_runs import candidate_of, decided_run_of
from screener.store.owe import WITHDRAWN
from screener.store.same_finding import MOST_SHIFT_MM
from screener.store.ultrasound import lesion_of
from screener.store.values import LesionLine
from screener.study import Candidate, Thresholds


def find_changed_settings(connection: sa.Connection, withdrawal: sa.Row[Any]) -> str:
    """Say which settings the run of a withdrawal was decided by otherwise than the finding that it takes back.

    Such as "min_voxels 1000 instead of 500". Empty where the run would not flag under the earlier ones what was told,
    so that they are not why. `withdrawal` is a row of `notices`.
    """
    told = _find_told_run(connection, withdrawal)
    if told is None:
        return ""
    run = connection.execute(t.runs.select().where(t.runs.c.id == withdrawal.run_id)).one()
    before, now = thresholds_of(told), thresholds_of(run)
    return _describe(before, now) if _would_flag(connection, run, told.id, before) else ""


def _find_told_run(connection: sa.Connection, withdrawal: sa.Row[Any]) -> sa.Row[Any] | None:
    """The run whose finding the recipient has heard last, or may have heard."""
    heard = (
        t.notices.c.study_id == withdrawal.study_id,
        t.notices.c.channel == withdrawal.channel,
        t.notices.c.recipient == withdrawal.recipient,
        t.notices.c.sent_at.is_not(None),
        ~t.notices.c.finding_key.startswith(WITHDRAWN),
    )
    alike = sa.select(t.runs.c.queue).where(t.runs.c.id == withdrawal.run_id).scalar_subquery()
    last = sa.select(t.notices.c.run_id).join(t.runs, t.runs.c.id == t.notices.c.run_id).where(*heard)
    last = last.where(t.runs.c.queue == alike).order_by(t.notices.c.sent_at.desc(), t.notices.c.id.desc())
    return connection.execute(t.runs.select().where(t.runs.c.id == last.limit(1).scalar_subquery())).one_or_none()


def _would_flag(connection: sa.Connection, run: sa.Row[Any], told_id: int, thresholds: Thresholds) -> bool:
    """Tell whether `run` would flag under these thresholds all that the run `told_id` flags."""
    lesion, told = lesion_of(connection, run.id), lesion_of(connection, told_id)
    if lesion is not None or told is not None:
        return lesion is not None and told is not None and _would_flag_lesion(lesion, told, thresholds)
    masses = _flag_again(connection, run, thresholds)
    above = (t.candidates.c.run_id == told_id, t.candidates.c.is_above_threshold)
    flagged = connection.execute(t.candidates.select().where(*above)).all()
    return bool(flagged) and all(
        any(_is_at_same_place(candidate_of(row.features), mass) for mass in masses) for row in flagged
    )


def _would_flag_lesion(lesion: LesionLine, told: LesionLine, thresholds: Thresholds) -> bool:
    """No picture says on which side it lies: only the same picture shows the same lesion for certain."""
    is_same_picture = (lesion.sop_instance_uid, lesion.frame_number) == (told.sop_instance_uid, told.frame_number)
    return is_same_picture and decide_again(lesion.probability, lesion.combined_probability, thresholds)


def _flag_again(connection: sa.Connection, run: sa.Row[Any], thresholds: Thresholds) -> list[Candidate]:
    """Give the candidates of a CT run that are masses under other thresholds."""
    rows = [
        connection.execute(table.select().where(table.c.run_id == run.id).order_by(table.c.id)).all()
        for table in (t.glands, t.candidates)
    ]
    decided = decided_run_of(run, *rows)
    glands = decide(decided.assessments, decided.candidates, thresholds).glands
    above = {(gland.side, number) for gland in glands for number in gland.candidate_numbers}
    return [candidate for candidate in decided.candidates if (candidate.side, candidate.number) in above]


def _is_at_same_place(before: Candidate, after: Candidate) -> bool:
    return before.side is after.side and dist(before.center_mm, after.center_mm) <= MOST_SHIFT_MM


def _describe(before: Thresholds, now: Thresholds) -> str:
    old = asdict(before)
    changed = {key: value for key, value in asdict(now).items() if value != old[key] and key != "config_revision"}
    return ", ".join(f"{key} {value} instead of {old[key]}" for key, value in changed.items())
