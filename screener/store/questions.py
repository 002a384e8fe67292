"""Questions about the whole: the equation, and one study's history."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from screener.journey import Ending, Queue
from screener.store import tables as t
from screener.store.base import Base, thresholds_of
from screener.store.decided_runs import candidate_of, decided_run_of
from screener.store.reviews import reviewed_studies
from screener.store.ultrasound import frames_of, lesion_of
from screener.store.values import (
    Backlog,
    Counts,
    DecidedRun,
    DeliveryLine,
    GlandLine,
    Kind,
    LeaseLine,
    NoticeLine,
    OddityLine,
    Result,
    RunReport,
    SeriesLine,
    StepLine,
    StudyReport,
    WaitLine,
)
from screener.store.worklist import is_being_fetched
from screener.study import Presence, Side

RUNS_AT_ONCE = 200
Line = TypeVar("Line", Result, DeliveryLine, NoticeLine, OddityLine)


class Questions(Base):
    """Reading only."""

    def counts(self) -> Counts:
        """Studies by ending and stage, each counted from the rows: the equation is checked, not assumed."""
        total = sa.select(sa.func.count()).select_from(t.studies).scalar_subquery()
        by_ending = sa.select(t.studies.c.ending, sa.func.count(), total).group_by(t.studies.c.ending)
        with self._begin() as connection:
            # One statement: a study that arrives meanwhile is in both sides or in none.
            rows = connection.execute(by_ending).all()
            endings: dict[str | None, int] = {ending: count for ending, count, _ in rows}
            stages: dict[str, int] = dict(
                connection.execute(
                    sa.select(t.studies.c.stage, sa.func.count())
                    .where(t.studies.c.ending.is_(None))
                    .group_by(t.studies.c.stage)
                ).all()
            )
            flagged = sa.select(sa.func.count(t.runs.c.study_id.distinct())).where(
                t.runs.c.is_flagged, t.runs.c.state == "ended"
            )
            return Counts(
                received=rows[0][2] if rows else 0,
                done=endings.get(Ending.DONE, 0),
                set_aside=endings.get(Ending.SET_ASIDE, 0),
                failed=endings.get(Ending.FAILED, 0),
                in_flight=endings.get(None, 0),
                stages=stages,
                flagged=connection.execute(flagged).scalar_one(),
                deliveries_owed=_count(connection, t.deliveries, t.deliveries.c.state == "owed"),
                deliveries_unconfirmed=_count(connection, t.deliveries, t.deliveries.c.state == "sent"),
                notices_owed=_count(connection, t.notices, t.notices.c.state == "owed"),
                oddities=_count(connection, t.oddities),
            )

    def backlog(self) -> Backlog:
        """What waits on each queue, the oldest of it, and what is in hand."""
        with self._begin() as connection:
            waiting = t.runs.c.state == "waiting"
            counted = sa.select(t.runs.c.queue, sa.func.count()).where(waiting).group_by(t.runs.c.queue)
            queues: dict[str, int] = dict(connection.execute(counted).all())
            free = (t.deliveries.c.state.in_(["owed", "sent"]), t.deliveries.c.owner.is_(None))
            queues[Queue.RESULTS] = _count(connection, t.deliveries, *free)
            oldest = tuple(_oldest_waits(connection))
            held = connection.execute(
                sa.select(t.runs.c.study_id, t.runs.c.queue, t.runs.c.owner, t.runs.c.lease_until)
                .where(t.runs.c.state == "running")
                .order_by(t.runs.c.id)
            ).all()
            sending = connection.execute(
                sa.select(
                    t.deliveries.c.study_id,
                    sa.literal(Queue.RESULTS.value).label("queue"),
                    t.deliveries.c.owner,
                    t.deliveries.c.lease_until,
                )
                .where(t.deliveries.c.owner.is_not(None))
                .order_by(t.deliveries.c.id)
            ).all()
            rows: list[Any] = [*held, *sending]
        return Backlog(
            queues=queues,
            oldest=oldest,
            leases=tuple(
                LeaseLine(study_id=row.study_id, queue=row.queue, owner=row.owner, until=row.lease_until)
                for row in rows
                if row.owner is not None
            ),
        )

    def latest_ending(self, ending: Ending, limit: int = 20) -> list[tuple[int, str]]:
        """(study number, reason) of studies with this ending, newest first."""
        with self._begin() as connection:
            query = sa.select(t.studies.c.id, t.studies.c.reason).where(t.studies.c.ending == ending)
            rows = connection.execute(query.order_by(t.studies.c.id.desc()).limit(limit)).all()
        return [(row.id, row.reason) for row in rows]

    def find_study(self, reference: str) -> int | None:
        """Our study number for a Study Instance UID, or for the number itself; None when there is no such study."""
        is_number = reference.isascii() and reference.isdigit() and len(reference) < 10
        column = t.studies.c.id if is_number else t.studies.c.study_instance_uid
        with self._begin() as connection:
            query = sa.select(t.studies.c.id).where(column == (int(reference) if is_number else reference))
            return connection.execute(query).scalar()

    def has_images(self, study_id: int) -> bool:
        """True: the study has images whose files have not expired."""
        with self._begin() as connection:
            mine = (t.instances.c.study_id == study_id, t.instances.c.kind == Kind.IMAGE)
            return _count(connection, t.instances, *mine, t.instances.c.expired_at.is_(None)) > 0

    def knows_files(self) -> bool:
        """True: there are received files that have not expired."""
        with self._begin() as connection:
            query = sa.select(t.instances.c.id).where(t.instances.c.expired_at.is_(None)).limit(1)
            return connection.execute(query).scalar() is not None

    def study_numbers(self) -> list[int]:
        """Every study number, oldest first."""
        with self._begin() as connection:
            return list(connection.execute(sa.select(t.studies.c.id).order_by(t.studies.c.id)).scalars())

    def oddities_of(self, uid: str) -> list[OddityLine]:
        """What was refused or kept aside under a SOP or Study Instance UID."""
        with self._begin() as connection:
            is_of = sa.or_(t.oddities.c.sop_instance_uid == uid, t.oddities.c.study_instance_uid == uid)
            return _oddities(connection, is_of)

    def latest_oddities(self, limit: int = 20) -> list[OddityLine]:
        """What was last refused or kept aside, newest first."""
        with self._begin() as connection:
            return _oddities(connection, sa.true())[::-1][:limit]

    def decided_runs(self, since: datetime | None = None, *, is_reviewed: bool = False) -> Iterator[DecidedRun]:
        """Yield the newest finished CT run of each study with all that its decision rests on, by study number.

        `since` leaves out the runs that ended before, `is_reviewed` the studies that nobody has reviewed. Few are read
        at a time: a long list holds nothing up.
        """
        newest = (
            sa.select(sa.func.max(t.runs.c.id))
            .where(t.runs.c.queue == Queue.CT, t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
            .group_by(t.runs.c.study_id)
        )
        query = sa.select(t.runs).where(t.runs.c.id.in_(newest)).order_by(t.runs.c.study_id)
        if since is not None:
            query = query.where(t.runs.c.ended_at >= since)
        if is_reviewed:
            query = query.where(t.runs.c.study_id.in_(reviewed_studies()))
        with self._begin() as connection:
            rows = connection.execute(query).all()
        for begin in range(0, len(rows), RUNS_AT_ONCE):
            some = rows[begin : begin + RUNS_AT_ONCE]
            with self._begin() as connection:
                glands, candidates = (_rows_of_runs(connection, table, some) for table in (t.glands, t.candidates))
            for row in some:
                yield decided_run_of(row, glands.get(row.id, []), candidates.get(row.id, []))

    def study_report(self, study_id: int) -> StudyReport:
        """One study, whole; raises sqlalchemy.exc.NoResultFound when there is no such number."""
        with self._begin() as connection:
            study = connection.execute(t.studies.select().where(t.studies.c.id == study_id)).one()
            runs = connection.execute(
                t.runs.select().where(t.runs.c.study_id == study_id).order_by(t.runs.c.number)
            ).all()
            numbers = {run.id: run.number for run in runs}
            kinds: dict[str, int] = dict(
                connection.execute(
                    sa.select(t.instances.c.kind, sa.func.count())
                    .where(t.instances.c.study_id == study_id)
                    .group_by(t.instances.c.kind)
                ).all()
            )
            steps = connection.execute(
                t.steps.select().where(t.steps.c.study_id == study_id).order_by(t.steps.c.id)
            ).all()
            return StudyReport(
                study_id=study.id,
                study_instance_uid=study.study_instance_uid,
                stage=study.stage,
                ending=Ending(study.ending) if study.ending else None,
                code=study.code,
                reason=study.reason,
                received_at=study.received_at,
                images=kinds.get(Kind.IMAGE, 0),
                documents=kinds.get(Kind.DOCUMENT, 0),
                own=kinds.get(Kind.OWN, 0),
                expired=_count(
                    connection,
                    t.instances,
                    t.instances.c.study_id == study_id,
                    t.instances.c.expired_at.is_not(None),
                ),
                steps=tuple(
                    StepLine(
                        at=step.at,
                        run_number=numbers.get(step.run_id),
                        stage=step.stage,
                        seconds=step.seconds,
                        sentence=step.sentence,
                    )
                    for step in steps
                ),
                runs=tuple(_run_report(connection, run) for run in runs),
                oddities=tuple(_oddities(connection, t.oddities.c.study_instance_uid == study.study_instance_uid)),
                news_since_at=study.news_since_at,
                news_at=study.news_at,
                is_being_fetched=_count(connection, t.studies, t.studies.c.id == study.id, is_being_fetched()) > 0,
            )


def _count(connection: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one()


def _oldest_waits(connection: sa.Connection) -> Iterator[WaitLine]:
    """What has waited longest of each kind: where any stage stands still, one of these grows old."""
    studies, runs, deliveries, notices = t.studies.c, t.runs.c, t.deliveries.c, t.notices.c
    alone = notices.is_in_digest.is_(False)
    kinds: list[tuple[str, sa.Column[int], sa.Column[datetime], sa.ColumnElement[bool]]] = [
        ("not yet complete", studies.id, studies.news_since_at, studies.news_since_at.is_not(None)),
        ("waiting to be screened", runs.study_id, runs.opened_at, runs.state == "waiting"),
        ("delivery owed", deliveries.study_id, deliveries.owed_since, deliveries.state == "owed"),
        ("delivery not yet confirmed", deliveries.study_id, deliveries.owed_since, deliveries.state == "sent"),
        ("notice owed", notices.study_id, notices.owed_since, sa.and_(notices.state == "owed", alone)),
        (
            "finding to be told in a digest",
            notices.study_id,
            notices.owed_since,
            sa.and_(notices.state == "owed", ~alone),
        ),
    ]
    for what, study_id, since, is_waiting in kinds:
        row = connection.execute(
            sa.select(study_id, since).where(is_waiting).order_by(since, study_id).limit(1)
        ).first()
        if row is not None:
            yield WaitLine(what=what, study_id=row[0], since=row[1])


def _oddities(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[OddityLine]:
    rows = connection.execute(t.oddities.select().where(where).order_by(t.oddities.c.id)).all()
    return [_read(OddityLine, row) for row in rows]


def _read(kind: type[Line], row: sa.Row[Any]) -> Line:
    """A value whose fields are columns of the row."""
    return kind(**{field.name: row._mapping[field.name] for field in fields(kind)})


def _rows(connection: sa.Connection, table: sa.Table, run_id: int) -> list[sa.Row[tuple[object, ...]]]:
    return list(connection.execute(table.select().where(table.c.run_id == run_id).order_by(table.c.id)).all())


def _rows_of_runs(
    connection: sa.Connection, table: sa.Table, runs: Sequence[sa.Row[Any]]
) -> dict[int, list[sa.Row[Any]]]:
    """The rows of `table` by the run that they belong to, in their order."""
    found: dict[int, list[sa.Row[Any]]] = {}
    mine = table.c.run_id.in_([run.id for run in runs])
    for row in connection.execute(table.select().where(mine).order_by(table.c.id)):
        found.setdefault(row.run_id, []).append(row)
    return found


def _run_report(connection: sa.Connection, run: sa.Row[tuple[object, ...]]) -> RunReport:
    row = run._mapping
    run_id = row["id"]
    return RunReport(
        number=row["number"],
        queue=row["queue"],
        state=row["state"],
        ending=Ending(row["ending"]) if row["ending"] else None,
        reason=row["reason"],
        attempts=row["attempts"],
        is_flagged=row["is_flagged"],
        thresholds=thresholds_of(run),
        model_identity=row["model_identity"],
        series=tuple(
            SeriesLine(
                series_instance_uid=series["series_instance_uid"],
                modality=series["modality"],
                instance_count=series["instance_count"],
                score=series["score"],
                is_chosen=series["is_chosen"],
                reasons=tuple(series["reasons"]),
            )
            for series in (found._mapping for found in _rows(connection, t.series_choices, run_id))
        ),
        glands=tuple(
            GlandLine(
                side=Side(gland["side"]),
                is_assessed=gland["is_assessed"],
                volume_mm3=gland["volume_mm3"],
                mean_hu=gland["mean_hu"],
                covered_share=gland["covered_share"],
                is_partial=gland["is_partial"],
                presence=Presence(gland["presence"]),
                reason=gland["reason"],
            )
            for gland in (found._mapping for found in _rows(connection, t.glands, run_id))
        ),
        candidates=tuple(
            (candidate_of(found._mapping["features"]), found._mapping["is_above_threshold"])
            for found in _rows(connection, t.candidates, run_id)
        ),
        results=tuple(_read(Result, found) for found in _rows(connection, t.results, run_id)),
        deliveries=tuple(_read(DeliveryLine, found) for found in _rows(connection, t.deliveries, run_id)),
        notices=tuple(_read(NoticeLine, found) for found in _rows(connection, t.notices, run_id)),
        frames=frames_of(connection, run_id),
        lesion=lesion_of(connection, run_id),
    )
