"""What made the images of each study, and what the quality figures are counted from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from screener.store import govern_tables as g
from screener.store import tables as t
from screener.store.base import Base
from screener.store.values import Kind
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

    @property
    def name(self) -> str:
        """The station's name, else maker and model."""
        return self.station or " ".join(part for part in (self.manufacturer, self.model) if part) or NO_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """One study, and its newest decision where there is one."""

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
    """True: a backfill fetched it, at a time that says nothing of the scanner."""


class Quality(Base):
    """Scanners are written once per study; the rest is reading."""

    def studies_without_scanner(self, since: datetime, limit: int) -> Sequence[tuple[int, str]]:
        """(study number, path of an image that is still there) of studies that came since and name no scanner yet."""
        mine = (t.instances.c.study_id == t.studies.c.id, t.instances.c.kind == Kind.IMAGE)
        first = (
            sa.select(sa.func.min(t.instances.c.id)).where(*mine, t.instances.c.expired_at.is_(None)).scalar_subquery()
        )
        unknown = (
            sa.select(first.label("id"))
            .select_from(t.studies)
            .where(t.studies.c.received_at >= since, first.is_not(None))
            .where(~sa.exists().where(g.scanners.c.study_id == t.studies.c.id))
            .order_by(t.studies.c.id)
            .limit(limit)
            .subquery()
        )
        query = sa.select(t.instances.c.study_id, t.instances.c.path).join(unknown, unknown.c.id == t.instances.c.id)
        with self._begin() as connection:
            return [(row.study_id, row.path) for row in connection.execute(query).all()]

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
                    )
                )

    def quality_rows(self, since: datetime) -> Sequence[QualityRow]:
        """Every study that came since, by arrival."""
        newest = (
            sa.select(sa.func.max(t.runs.c.id).label("id"))
            .where(t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
            .group_by(t.runs.c.study_id)
            .subquery()
        )
        runs = sa.select(t.runs).join(newest, newest.c.id == t.runs.c.id).subquery()
        query = (
            sa.select(
                t.studies.c.id,
                t.studies.c.received_at,
                t.studies.c.ending.label("study_ending"),
                g.scanners.c.station,
                g.scanners.c.manufacturer,
                g.scanners.c.model,
                runs.c.id.label("run_id"),
                runs.c.queue,
                runs.c.number,
                runs.c.backfill_id,
                runs.c.is_flagged,
                runs.c.ended_at,
            )
            .select_from(t.studies)
            .outerjoin(g.scanners, g.scanners.c.study_id == t.studies.c.id)
            .outerjoin(runs, runs.c.study_id == t.studies.c.id)
            .where(t.studies.c.received_at >= since)
            .order_by(t.studies.c.received_at, t.studies.c.id)
        )
        unassessed = sa.union(
            sa.select(t.glands.c.run_id).where(t.glands.c.presence == Presence.UNDETERMINED),
            sa.select(t.lesions.c.run_id).where(t.lesions.c.answer == Answer.NOT_ASSESSABLE),
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
            not_assessed = set(connection.execute(unassessed).scalars())
        return [
            QualityRow(
                study_id=row.id,
                scanner=Scanner(
                    station=row.station or "", manufacturer=row.manufacturer or "", model=row.model or ""
                ).name,
                received_at=row.received_at,
                ending=row.study_ending,
                decided_at=row.ended_at,
                queue=row.queue or "",
                is_flagged=bool(row.is_flagged),
                is_assessed=row.run_id not in not_assessed,
                is_first=row.number == 1 and row.backfill_id is None,
                is_past=row.backfill_id is not None,
            )
            for row in rows
        ]
