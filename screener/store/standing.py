"""What stands: found by an earlier run and not looked at again since, whatever a later run says of the rest."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from screener.store import tables as t
from screener.store.values import Kind
from screener.study import Presence
from screener.us_study import Answer

LESION: Final = "lesion"
"""The place of what an ultrasound run flags: the pictures do not say on which side it lies."""


def flagged_places(connection: sa.Connection, run_id: int) -> frozenset[str]:
    """What a run flags: sides, or an ultrasound lesion; empty where it flags none."""
    above = (t.candidates.c.run_id == run_id, t.candidates.c.is_above_threshold)
    places = set(connection.execute(sa.select(t.candidates.c.side).where(*above)).scalars())
    malignant = (t.lesions.c.run_id == run_id, t.lesions.c.answer == Answer.MALIGNANT)
    if connection.execute(sa.select(t.lesions.c.id).where(*malignant)).first() is not None:
        places.add(LESION)
    return frozenset(places)


def is_screened_by(run_id: int) -> sa.ColumnElement[bool]:
    """True for a row of `instances` whose series, or of ultrasound whose picture, a run has screened."""
    series = t.series_choices.c.series_instance_uid == t.instances.c.series_instance_uid
    picture = t.frame_choices.c.sop_instance_uid == t.instances.c.sop_instance_uid
    return sa.or_(
        sa.exists().where(t.series_choices.c.run_id == run_id, t.series_choices.c.is_chosen, series),
        sa.exists().where(t.frame_choices.c.run_id == run_id, t.frame_choices.c.is_taken, picture),
    )


def standing_runs(connection: sa.Connection, run_id: int) -> dict[str, int]:
    """Give each place where a finding stands beside a run, and the run that found it, both runs by their rows.

    It stands where neither the run nor one since the finding has looked at it again: a place not assessed is not
    without a finding, nor is one assessed while images of the finding were not at hand, a gland of which less was
    covered, or an ultrasound without the picture of the lesion. Runs of the other queue look at other images, and say
    nothing of it.
    """
    run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    return _by_todays_rows(connection, run) if run.standing is None else dict(run.standing)


def settle_standing(connection: sa.Connection, run_id: int) -> dict[str, int]:
    """Settle what `standing_runs` gives of a run that is being finished; the study's row must be held.

    It is settled once: which images were at hand is not to be seen any more when they have gone or come back since.
    """
    run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    in_force = runs_in_force(connection, run)
    looked = flagged_places(connection, run_id)
    looked |= {place for place, found_id in in_force.items() if _has_looked(connection, run, place, found_id)}
    standing = {place: found_id for place, found_id in sorted(in_force.items()) if place not in looked}
    connection.execute(t.runs.update().where(t.runs.c.id == run_id).values(standing=standing))
    return standing


def _has_looked(connection: sa.Connection, run: sa.Row[Any], place: str, found_id: int) -> bool:
    """Tell whether a run has looked again at what the run `found_id` has found at a place."""
    if place not in _assessed_places(connection, run.id) or not _are_at_hand(connection, run, found_id):
        return False
    if place == LESION:
        return _has_searched_its_picture(connection, run.id, found_id)
    return not _was_covered_further(connection, run.id, place, found_id)


def _has_searched_its_picture(connection: sa.Connection, run_id: int, found_id: int) -> bool:
    """Tell whether a run took the picture on which the run `found_id` has found its lesion: others may not show it."""
    lesion = sa.select(t.lesions.c.sop_instance_uid).where(t.lesions.c.run_id == found_id)
    taken = sa.select(t.frame_choices.c.id).where(
        t.frame_choices.c.run_id == run_id,
        t.frame_choices.c.is_taken,
        t.frame_choices.c.sop_instance_uid == lesion.scalar_subquery(),
    )
    return connection.execute(taken.limit(1)).first() is not None


def _was_covered_further(connection: sa.Connection, run_id: int, side: str, found_id: int) -> bool:
    """Tell whether the run `found_id` covered more of a gland than a run: what it found may lie in the other part."""
    now, then = t.glands.alias(), t.glands.alias()
    further = sa.select(then.c.id).where(
        now.c.run_id == run_id,
        then.c.run_id == found_id,
        *(gland.c.side == side for gland in (now, then)),
        now.c.is_partial,
        sa.or_(~then.c.is_partial, then.c.covered_share > now.c.covered_share),
    )
    return connection.execute(further.limit(1)).first() is not None


def _are_at_hand(connection: sa.Connection, run: sa.Row[Any], found_id: int) -> bool:
    """Tell whether the images that the run `found_id` has screened are all among those that `run` was opened for."""
    mine = (t.instances.c.study_id == run.study_id, t.instances.c.kind == Kind.IMAGE)
    at_hand = [*mine, t.instances.c.expired_at.is_(None)]
    if run.newest_instance_id is not None:  # what came later it has not read
        at_hand.append(t.instances.c.id <= run.newest_instance_id)
    taken = t.frame_choices.select().where(t.frame_choices.c.run_id == found_id, t.frame_choices.c.is_taken)
    pictures = sa.select(t.instances.c.sop_instance_uid).where(*at_hand)
    lacking = taken.where(t.frame_choices.c.sop_instance_uid.not_in(pictures))
    if connection.execute(lacking.limit(1)).first() is not None:
        return False
    chosen = t.series_choices.select().where(t.series_choices.c.run_id == found_id, t.series_choices.c.is_chosen)
    return all(_is_whole(connection, series, mine, at_hand) for series in connection.execute(chosen).all())


def _is_whole(
    connection: sa.Connection,
    series: sa.Row[Any],
    mine: Sequence[sa.ColumnElement[bool]],
    at_hand: Sequence[sa.ColumnElement[bool]],
) -> bool:
    """Tell whether no image of a series has gone: a late one may have come in its place, so counting is not enough."""
    is_of_series = t.instances.c.series_instance_uid == series.series_instance_uid
    gone = sa.select(t.instances.c.id).where(*mine, is_of_series, t.instances.c.expired_at.is_not(None))
    if connection.execute(gone.limit(1)).first() is not None:
        return False
    count = sa.select(sa.func.count(t.instances.c.id)).where(*at_hand, is_of_series)
    return connection.execute(count).scalar_one() >= int(series.instance_count)


def _by_todays_rows(connection: sa.Connection, run: sa.Row[Any]) -> dict[str, int]:
    """Work out what stands beside a run that was finished before this was settled with it."""
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
    assessed, flagged = {run.id: _assessed_places(connection, run.id)}, flagged_places(connection, run.id)
    standing: dict[str, int] = {}
    for before in connection.execute(earlier).all():
        found = flagged_places(connection, before.id)
        for place in sorted(found - flagged - standing.keys()):
            looked = [opened_at for run_id, opened_at in since.items() if place in assessed[run_id]]
            if all(_are_gone(connection, before, opened_at) for opened_at in looked):
                standing[place] = before.id
        flagged |= found
        since[before.id], assessed[before.id] = before.opened_at, _assessed_places(connection, before.id)
    return standing


def runs_in_force(connection: sa.Connection, run: sa.Row[Any]) -> dict[str, int]:
    """Give each place where runs of the study and the queue of `run` have found what is in force, and which run did."""
    decided = t.runs.select().where(t.runs.c.study_id == run.study_id, t.runs.c.is_flagged.is_not(None))
    newest = decided.where(t.runs.c.queue == run.queue).order_by(t.runs.c.number.desc()).limit(1)
    last = connection.execute(newest).one_or_none()
    if last is None:
        return {}
    return standing_runs(connection, last.id) | dict.fromkeys(flagged_places(connection, last.id), last.id)


def is_in_force(connection: sa.Connection, run_id: int) -> bool:
    """Tell whether all that a decided run says is in force.

    It is not where a later run has taken back something of what it flags, or has found something where it looked.
    """
    run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    in_force = runs_in_force(connection, run)
    found_later = {place for place, found_id in in_force.items() if found_id > run_id}
    if found_later & _assessed_places(connection, run_id):
        return False
    return all(in_force.get(place) == run_id for place in flagged_places(connection, run_id))


def withdrawn_places(connection: sa.Connection, run_id: int) -> list[str]:
    """What a run flags and a later one has taken back since, in order."""
    run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
    return sorted(flagged_places(connection, run_id) - runs_in_force(connection, run).keys())


def places_in_force(connection: sa.Connection, run_id: int) -> list[str]:
    """What a run flags and what stands beside it, in order."""
    return sorted({*standing_runs(connection, run_id), *flagged_places(connection, run_id)})


def _are_gone(connection: sa.Connection, run: sa.Row[Any], at: datetime) -> bool:
    """Tell whether an image that a run has screened was removed before `at` and has not come back."""
    of_study = (t.instances.c.study_id == run.study_id, t.instances.c.expired_at <= at)
    gone = sa.select(t.instances.c.id).where(*of_study, is_screened_by(run.id))
    return connection.execute(gone.limit(1)).first() is not None


def _assessed_places(connection: sa.Connection, run_id: int) -> frozenset[str]:
    is_seen = (t.glands.c.run_id == run_id, t.glands.c.presence != Presence.UNDETERMINED)
    places = set(connection.execute(sa.select(t.glands.c.side).where(*is_seen)).scalars())
    is_answered = (t.lesions.c.run_id == run_id, t.lesions.c.answer != Answer.NOT_ASSESSABLE)
    if connection.execute(sa.select(t.lesions.c.id).where(*is_answered)).first() is not None:
        places.add(LESION)
    return frozenset(places)
