"""What the parts of the store share: the engine and the writing of one step."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from screener.journey import Ending, Stage
from screener.store import tables as t
from screener.study import Thresholds

IN_FLIGHT = MappingProxyType({"ending": None, "ended_at": None, "code": "", "reason": ""})
"""What the row of a study says while its journey goes on."""
DISCARDED: Final = "discarded"
"""The code of a failed study that a person has set aside."""


IsSlow = Callable[[str, datetime], bool]
"""Given the owner of an expired lease and its end: True leaves the work with that owner for the time being."""


def nobody_is_slow(owner: str, lease_until: datetime) -> bool:  # noqa: ARG001 - the shape of IsSlow
    """Take every expired lease at its word."""
    return False


class LeaseLostError(Exception):
    """The run is no longer this worker's: its lease ran out or a newer run superseded it."""


class Base:
    """One engine; every operation is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def _begin(self) -> AbstractContextManager[sa.Connection]:
        return self.engine.begin()


def add_step(
    connection: sa.Connection,
    *,
    study_id: int,
    run_id: int | None,
    at: datetime,
    stage: str,
    sentence: str,
    seconds: float | None = None,
) -> None:
    """Append one line to a study's history."""
    connection.execute(
        t.steps.insert().values(
            study_id=study_id, run_id=run_id, at=at, stage=stage, seconds=seconds, sentence=sentence
        )
    )


def end_study(
    connection: sa.Connection, *, study_id: int, ending: Ending, code: str, reason: str, now: datetime
) -> None:
    """Give a study its ending, unless images that no run has seen keep it in flight."""
    connection.execute(
        t.studies.update()
        .where(t.studies.c.id == study_id, t.studies.c.news_since_at.is_(None))
        .values(ending=ending, ended_at=now, code=code, reason=reason)
    )


def thresholds_of(row: sa.Row[Any]) -> Thresholds:
    """The decision settings in a run's row."""
    return Thresholds(**{field.name: row._mapping[field.name] for field in fields(Thresholds)})


def lock_study(connection: sa.Connection, study_id: int) -> sa.Row[Any]:
    """Hold the study's row until the transaction ends, so that two writers never decide on the same state.

    Every transaction that changes more than one row of a study begins with
    this: what it reads next is the latest, and no two wait for each other.
    """
    return connection.execute(t.studies.select().where(t.studies.c.id == study_id).with_for_update()).one()


def settle(connection: sa.Connection, study_id: int, now: datetime) -> None:
    """End the study as done once its newest run is screened and nothing is owed any more; its row must be held.

    Results that a PACS has answered with Success and not yet confirmed are owed still.
    A study that was set aside since is not done by what is told or sent later, and
    one that a person has discarded does not fail by it either.
    """
    study = connection.execute(t.studies.select().where(t.studies.c.id == study_id)).one()
    if study.ending == Ending.SET_ASIDE and study.code == DISCARDED:
        return
    run = connection.execute(
        sa.select(t.runs).where(t.runs.c.study_id == study_id).order_by(t.runs.c.number.desc()).limit(1)
    ).one_or_none()
    if run is None or run.state != "ended" or run.ending != Ending.DONE:
        return
    states = {
        table.name: set(connection.execute(sa.select(table.c.state).where(table.c.study_id == study_id)).scalars())
        for table in (t.deliveries, t.notices)
    }
    if "given up" in states["deliveries"]:
        reason = (
            "results could not be delivered; see the deliveries below and `screener reprocess` once the PACS answers"
        )
        end_study(connection, study_id=study_id, ending=Ending.FAILED, code="delivery_given_up", reason=reason, now=now)
        return
    stage = Stage.ENCODED
    if not {"owed", "sent"} & states["deliveries"]:
        stage = Stage.SENT if "owed" in states["notices"] else Stage.NOTIFIED
    connection.execute(
        t.studies.update().where(t.studies.c.id == study_id, t.studies.c.news_since_at.is_(None)).values(stage=stage)
    )
    if stage is Stage.NOTIFIED and study.ending != Ending.SET_ASIDE:
        end_study(connection, study_id=study_id, ending=Ending.DONE, code=run.code, reason=run.reason, now=now)
