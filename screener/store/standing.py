"""What stands: found by an earlier run and not looked at again since, whatever a later run says of the rest."""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from screener.store import tables as t
from screener.study import Presence
from screener.us_study import Answer

LESION: Final = "lesion"
"""The place of what an ultrasound run flags: the pictures do not say on which side it lies."""


def flagged_places(connection: sa.Connection, run_id: int) -> str:
    """What a run flags, as a finding key begins: sides, or an ultrasound lesion; empty where it flags none."""
    above = (t.candidates.c.run_id == run_id, t.candidates.c.is_above_threshold)
    places = set(connection.execute(sa.select(t.candidates.c.side).where(*above)).scalars())
    malignant = (t.lesions.c.run_id == run_id, t.lesions.c.answer == Answer.MALIGNANT)
    if connection.execute(sa.select(t.lesions.c.id).where(*malignant)).first() is not None:
        places.add(LESION)
    return "+".join(sorted(places))


def standing_runs(connection: sa.Connection, run_id: int) -> dict[str, int]:
    """Give each place where a finding stands beside a run, and the run that found it, both runs by their rows.

    It stands where neither the run nor one since the finding has looked at it again: a place not assessed is not
    without a finding, nor is one assessed on other images after those of the finding had been removed. Runs of the
    other queue look at other images, and say nothing of it.
    """
    run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    earlier = (
        t.runs.select()
        .where(
            t.runs.c.study_id == run.study_id,
            t.runs.c.queue == run.queue,
            t.runs.c.number < run.number,
            t.runs.c.is_flagged.is_not(None),
        )
        .order_by(t.runs.c.number.desc())
    )
    since = {run.id: run.opened_at}
    assessed, flagged = {run.id: _assessed_places(connection, run.id)}, _flagged_set(connection, run.id)
    standing: dict[str, int] = {}
    for before in connection.execute(earlier).all():
        found = _flagged_set(connection, before.id)
        for place in sorted(found - flagged - standing.keys()):
            looked = [opened_at for run_id, opened_at in since.items() if place in assessed[run_id]]
            if all(_are_gone(connection, before, opened_at) for opened_at in looked):
                standing[place] = before.id
        flagged |= found
        since[before.id], assessed[before.id] = before.opened_at, _assessed_places(connection, before.id)
    return standing


def places_in_force(connection: sa.Connection, run_id: int) -> list[str]:
    """What a run flags and what stands beside it, in order."""
    return sorted({*standing_runs(connection, run_id), *_flagged_set(connection, run_id)})


def _flagged_set(connection: sa.Connection, run_id: int) -> frozenset[str]:
    return frozenset(filter(None, flagged_places(connection, run_id).split("+")))


def _are_gone(connection: sa.Connection, run: sa.Row[Any], at: datetime) -> bool:
    """Tell whether an image that a run has screened was removed before `at` and has not come back."""
    series = t.series_choices.c.series_instance_uid == t.instances.c.series_instance_uid
    picture = t.frame_choices.c.sop_instance_uid == t.instances.c.sop_instance_uid
    gone = sa.select(t.instances.c.id).where(
        t.instances.c.study_id == run.study_id,
        t.instances.c.expired_at <= at,
        sa.or_(
            sa.exists().where(t.series_choices.c.run_id == run.id, t.series_choices.c.is_chosen, series),
            sa.exists().where(t.frame_choices.c.run_id == run.id, t.frame_choices.c.is_taken, picture),
        ),
    )
    return connection.execute(gone.limit(1)).first() is not None


def _assessed_places(connection: sa.Connection, run_id: int) -> frozenset[str]:
    is_seen = (t.glands.c.run_id == run_id, t.glands.c.presence != Presence.UNDETERMINED)
    places = set(connection.execute(sa.select(t.glands.c.side).where(*is_seen)).scalars())
    is_answered = (t.lesions.c.run_id == run_id, t.lesions.c.answer != Answer.NOT_ASSESSABLE)
    if connection.execute(sa.select(t.lesions.c.id).where(*is_answered)).first() is not None:
        places.add(LESION)
    return frozenset(places)
