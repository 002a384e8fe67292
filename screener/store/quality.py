"""What made the images of each study, and what the quality figures are counted from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from screener.store import govern_tables as g
from screener.store import tables as t
from screener.store.base import Base
from screener.store.values import Kind
from screener.store.worklist import was_fetched_first
from screener.study import Presence
from screener.us_study import Answer

NO_NAME = "unnamed scanner"
"""What a study is counted under whose images do not say what made them, or are no longer there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """What made the images of a study, as the headers say; empty where they do not."""

    station: str = ""
    manufacturer: str = ""
    model: str = ""
    protocol: str = ""
    """Protocol Name (0018,1030) of one of its images."""

    @property
    def name(self) -> str:
        """The station's name, else maker and model."""
        return self.station or " ".join(part for part in (self.manufacturer, self.model) if part) or NO_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """One study, and its decision in force where there is one."""

    study_id: int
    scanner: str
    received_at: datetime
    ending: str | None
    decided_at: datetime | None
    """None where nothing was decided; the fields below then mean nothing."""
    queue: str
    is_flagged: bool
    is_assessed: bool
    """False: a gland, or the lesion on ultrasound, could not be judged."""
    is_first: bool
    """True: the first run of a study that a sender sent, so that its time is that of the screening."""
    is_past: bool = False
    """True: a backfill brought it here, at a time that says nothing of the scanner."""
    protocol: str = ""
    """Empty where the images name none."""


class Quality(Base):
    """Scanners are written once per study; the rest is reading."""

    def studies_without_scanner(self, since: datetime, limit: int) -> Sequence[tuple[int, str]]:
        """(study number, path of an image that is still there) of studies that came since and name no scanner yet."""
        with self._begin() as connection:
            return list_unread_studies(connection, g.scanners, since, limit)

    def record_scanner(self, study_id: int, scanner: Scanner) -> None:
        """Remember what made a study's images, unless it is known by now or the study is gone."""
        with self._begin() as connection:
            is_here = sa.exists().where(t.studies.c.id == study_id)
            is_known = sa.exists().where(g.scanners.c.study_id == study_id)
            if connection.execute(sa.select(sa.and_(is_here, ~is_known))).scalar_one():
                connection.execute(
                    g.scanners.insert().values(
                        study_id=study_id,
                        station=scanner.station[:64],
                        manufacturer=scanner.manufacturer[:64],
                        model=scanner.model[:64],
                        protocol=scanner.protocol[:64],
                    )
                )

    def quality_rows(self, since: datetime) -> Sequence[QualityRow]:
        """Every study that came since, by arrival."""
        studies = (
            sa.select(
                t.studies.c.id,
                t.studies.c.received_at,
                t.studies.c.ending,
                g.scanners.c.station,
                g.scanners.c.manufacturer,
                g.scanners.c.model,
                g.scanners.c.protocol,
                was_fetched_first().label("is_past"),
            )
            .outerjoin(g.scanners, g.scanners.c.study_id == t.studies.c.id)
            .where(t.studies.c.received_at >= since)
            .order_by(t.studies.c.received_at, t.studies.c.id)
        )
        decided = (
            sa.select(t.runs)
            .join(t.studies, t.studies.c.id == t.runs.c.study_id)
            .where(t.studies.c.received_at >= since)
            .where(t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
            .order_by(*in_force_last())
        )
        with self._begin() as connection:
            rows: Sequence[Any] = connection.execute(studies).all()
            runs = {run.study_id: run for run in connection.execute(decided)}
            not_assessed = set(connection.execute(unassessed_runs()).scalars())
        return [_quality_row(row, runs.get(row.id), not_assessed) for row in rows]


def in_force_last() -> tuple[sa.ColumnElement[Any], ...]:
    """Order decided runs that none has superseded so that of each study the one in force comes last.

    It is the newest that flags anything, else the newest, as `StudyReport.run_in_force` says.
    """
    return t.runs.c.is_flagged, t.runs.c.id


def unassessed_runs() -> sa.CompoundSelect[Any]:
    """Runs (their rows' ids) without a whole answer: a gland, or the lesion on ultrasound, could not be judged."""
    return sa.union(
        sa.select(t.glands.c.run_id).where(t.glands.c.presence == Presence.UNDETERMINED),
        sa.select(t.lesions.c.run_id).where(t.lesions.c.answer == Answer.NOT_ASSESSABLE),
    )


def list_unread_studies(
    connection: sa.Connection, known: sa.Table, since: datetime, limit: int
) -> list[tuple[int, str]]:
    """(study number, path of an image that is still there) of studies that came since and have no row in `known`."""
    mine = (t.instances.c.study_id == t.studies.c.id, t.instances.c.kind == Kind.IMAGE)
    first = sa.select(sa.func.min(t.instances.c.id)).where(*mine, t.instances.c.expired_at.is_(None)).scalar_subquery()
    unknown = (
        sa.select(first.label("id"))
        .select_from(t.studies)
        .where(t.studies.c.received_at >= since, first.is_not(None))
        .where(~sa.exists().where(known.c.study_id == t.studies.c.id))
        .order_by(t.studies.c.id)
        .limit(limit)
        .subquery()
    )
    query = sa.select(t.instances.c.study_id, t.instances.c.path).join(unknown, unknown.c.id == t.instances.c.id)
    return [(row.study_id, row.path) for row in connection.execute(query).all()]


def _quality_row(study: sa.Row[Any], run: sa.Row[Any] | None, not_assessed: Collection[int]) -> QualityRow:
    """One study with its decision in force, if there is one; `not_assessed` are runs without a whole answer."""
    scanner = Scanner(station=study.station or "", manufacturer=study.manufacturer or "", model=study.model or "")
    return QualityRow(
        study_id=study.id,
        scanner=scanner.name,
        received_at=study.received_at,
        ending=study.ending,
        decided_at=run.ended_at if run is not None else None,
        queue=run.queue if run is not None else "",
        is_flagged=run is not None and run.is_flagged,
        is_assessed=run is None or run.id not in not_assessed,
        is_first=run is not None and run.number == 1 and not study.is_past,
        is_past=study.is_past,
        protocol=study.protocol or "",
    )
