"""What stands: found by an earlier run and not looked at again since, whatever a later run says of the rest."""

from typing import Final

import sqlalchemy as sa

from screener.journey import Queue
from screener.store import tables as t
from screener.study import Presence, Side
from screener.us_study import Answer

LESION: Final = "lesion"
"""The place of what an ultrasound run flags: the pictures do not say on which side it lies."""
_PLACES: Final = {Queue.CT: frozenset(side.value for side in Side), Queue.US: frozenset({LESION})}


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

    It stands where neither the run nor one since the finding has assessed the place: not assessed is not absent.
    Runs of the other queue look at other images, and say nothing of it.
    """
    run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    unseen = _PLACES[Queue(run.queue)] - _assessed_places(connection, run_id)
    of_study = (t.runs.c.study_id == run.study_id, t.runs.c.queue == run.queue)
    earlier = (
        sa.select(t.runs.c.id)
        .where(*of_study, t.runs.c.number < run.number, t.runs.c.is_flagged.is_not(None))
        .order_by(t.runs.c.number.desc())
    )
    standing: dict[str, int] = {}
    for before in connection.execute(earlier).scalars().all() if unseen else ():
        found = unseen.intersection(flagged_places(connection, before).split("+"))
        standing |= dict.fromkeys(sorted(found), before)
        unseen -= _assessed_places(connection, before)
    return standing


def places_in_force(connection: sa.Connection, run_id: int) -> list[str]:
    """What a run flags and what stands beside it, in order."""
    flagged = flagged_places(connection, run_id)
    return sorted({*standing_runs(connection, run_id), *filter(None, flagged.split("+"))})


def _assessed_places(connection: sa.Connection, run_id: int) -> frozenset[str]:
    is_seen = (t.glands.c.run_id == run_id, t.glands.c.presence != Presence.UNDETERMINED)
    places = set(connection.execute(sa.select(t.glands.c.side).where(*is_seen)).scalars())
    is_answered = (t.lesions.c.run_id == run_id, t.lesions.c.answer != Answer.NOT_ASSESSABLE)
    if connection.execute(sa.select(t.lesions.c.id).where(*is_answered)).first() is not None:
        places.add(LESION)
    return frozenset(places)
