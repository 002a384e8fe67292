"""Whether two runs of a study have found the same: what was said of one holds for the other only then."""

from math import dist
from typing import Any, Final

import sqlalchemy as sa

from screener.store import tables as t
from screener.us_study import Answer

MOST_SHIFT_MM: Final = 10.0
"""Between the centers of a mass in two runs, in LPS: the size from which a mass is told at all."""
MOST_GROWTH: Final = 1.5
"""Of voxels on CT, of the outlined area on ultrasound."""
MOST_RISE: Final = 0.1
"""Of the probability of malignancy that decides on ultrasound."""


def is_same_finding(connection: sa.Connection, earlier_id: int, later_id: int) -> bool:
    """Tell whether run `later_id` flags what run `earlier_id` flags: as many masses, at the same places, no larger.

    False where either flags nothing. In doubt it is another finding: to hear
    twice of one mass is a nuisance, never to hear of a second is harm.
    """
    if earlier_id == later_id:
        return bool(_masses(connection, later_id)) or _lesion(connection, later_id) is not None
    before, after = _lesion(connection, earlier_id), _lesion(connection, later_id)
    if before is not None or after is not None:
        return before is not None and after is not None and _is_same_lesion(before, after)
    return _are_same_masses(_masses(connection, earlier_id), _masses(connection, later_id))


def _are_same_masses(before: list[sa.Row[Any]], after: list[sa.Row[Any]]) -> bool:
    left = list(before)
    for mass in after:
        fitting = [earlier for earlier in left if _is_same_mass(earlier, mass)]
        if not fitting:
            return False
        left.remove(min(fitting, key=lambda earlier: _shift_mm(earlier, mass)))
    return bool(after) and not left


def _is_same_mass(before: sa.Row[Any], after: sa.Row[Any]) -> bool:
    is_as_large = after.voxels <= before.voxels * MOST_GROWTH
    return before.side == after.side and is_as_large and _shift_mm(before, after) <= MOST_SHIFT_MM


def _shift_mm(before: sa.Row[Any], after: sa.Row[Any]) -> float:
    return dist(before.features["center_mm"], after.features["center_mm"])


def _is_same_lesion(before: sa.Row[Any], after: sa.Row[Any]) -> bool:
    """No picture says on which side it lies: only the same picture shows the same lesion for certain."""
    is_same_picture = (before.sop_instance_uid, before.frame_number) == (after.sop_instance_uid, after.frame_number)
    is_as_large = after.area_px <= before.area_px * MOST_GROWTH
    return is_same_picture and is_as_large and _deciding(after) <= _deciding(before) + MOST_RISE


def _deciding(lesion: sa.Row[Any]) -> float:
    return float((lesion.combined_probability if lesion.is_by_findings else lesion.probability) or 0)


def _masses(connection: sa.Connection, run_id: int) -> list[sa.Row[Any]]:
    above = (t.candidates.c.run_id == run_id, t.candidates.c.is_above_threshold)
    return list(connection.execute(t.candidates.select().where(*above).order_by(t.candidates.c.number)))


def _lesion(connection: sa.Connection, run_id: int) -> sa.Row[Any] | None:
    malignant = (t.lesions.c.run_id == run_id, t.lesions.c.answer == Answer.MALIGNANT)
    return connection.execute(t.lesions.select().where(*malignant)).one_or_none()
