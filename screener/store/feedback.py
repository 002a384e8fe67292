"""What people's opinions come to for each study, and the decisions on ultrasound: what a replay is judged by."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from screener.journey import Queue
from screener.store import review_tables as r
from screener.store import tables as t
from screener.store.base import Base, thresholds_of
from screener.store.quality import in_force_last, unassessed_runs
from screener.store.reviews import Opinion, reviewed_studies
from screener.store.same_finding import is_same_finding
from screener.store.ultrasound import lesion_of
from screener.store.values import Kind, LesionLine
from screener.study import Thresholds

SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP Class UID of Segmentation Storage (PS3.4 B.5)."""


class Judgment(StrEnum):
    """What the reviews of a study come to for its decision in force, of each person's the newest."""

    FINDING = "finding"
    """A flag was agreed with, or its absence disagreed with."""
    NO_FINDING = "no finding"
    """A flag was disagreed with, or its absence agreed with."""
    DISPUTED = "disputed"
    """People contradict each other: it counts as neither."""
    OTHER = "something else"
    """People spoke of another finding than that in force, or of what was not assessed: it counts as neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedLesion:
    """The newest finished ultrasound run of a study, and what its decision rests on."""

    study_id: int
    thresholds: Thresholds
    is_flagged: bool
    lesion: LesionLine


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedRun:
    """The newest finished CT run of a study that people have reviewed, or sent a segmentation of."""

    study_id: int
    number: int
    is_flagged: bool
    series_instance_uid: str
    """Of the series that was screened."""
    judgment: Judgment | None
    """None where nobody has reviewed the study, and somebody has sent a segmentation."""


class Feedback(Base):
    """Reading only."""

    def judgments(self, queue: Queue | None = None) -> dict[int, Judgment]:
        """Study number to what people say of its decision in force; studies without a review are absent.

        Of one queue's decisions alone where `queue` names it. An opinion on an
        earlier run says nothing of what the one in force alone flags. Where that
        flags nothing, it still tells whether that is right. None tells that of
        "not assessed", which is no answer.
        """
        query = (
            sa.select(r.reviews.c.study_id, r.reviews.c.by, r.reviews.c.kind, r.reviews.c.run_id)
            .add_columns(t.runs.c.queue, t.runs.c.is_flagged, _has_answered().label("has_answered"))
            .join(t.runs, t.runs.c.id == r.reviews.c.run_id)
            .where(r.reviews.c.kind.in_([Opinion.AGREE, Opinion.DISAGREE]))
            .order_by(r.reviews.c.id)
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
            decided = {run.study_id: run for run in connection.execute(_decided_and_reviewed(queue))}
        opinions = {(row.study_id, row.by): row for row in rows if row.has_answered}
        said: dict[int, set[bool]] = {row.study_id: set() for row in rows}
        for (study_id, _), opinion in opinions.items():
            if (run := decided.get(study_id)) is not None and self._holds(opinion, run):
                said[study_id].add(opinion.is_flagged == (opinion.kind == Opinion.AGREE))
        return {study_id: _judge(answers) for study_id, answers in said.items()}

    def _holds(self, opinion: sa.Row[Any], run: sa.Row[Any]) -> bool:
        """Tell whether an opinion says of `run`, whose decision is in force, whether it is right."""
        if opinion.run_id == run.id:
            return True
        if not run.is_flagged:
            return bool(opinion.queue == run.queue)
        with self._begin() as connection:  # each by itself: a long list holds nothing up
            return is_same_finding(connection, opinion.run_id, run.id)

    def reviewed_runs(self) -> list[ReviewedRun]:
        """The newest finished CT run of each study that somebody has judged or sent a segmentation of, by number."""
        judgments = self.judgments(Queue.CT)
        newest = (
            sa.select(sa.func.max(t.runs.c.id))
            .where(t.runs.c.queue == Queue.CT, t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
            .group_by(t.runs.c.study_id)
        )
        query = (
            sa.select(t.runs.c.study_id, t.runs.c.number, t.runs.c.is_flagged, t.series_choices.c.series_instance_uid)
            .join(t.series_choices, t.series_choices.c.run_id == t.runs.c.id)
            .where(t.runs.c.id.in_(newest), t.series_choices.c.is_chosen)
            .order_by(t.runs.c.study_id)
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
            outlined = set(connection.execute(_outlined_studies()).scalars())
        return [
            ReviewedRun(**row._mapping, judgment=judgments.get(row.study_id))
            for row in rows
            if row.study_id in judgments or row.study_id in outlined
        ]

    def decided_lesions(self, since: datetime | None = None, *, is_reviewed: bool = False) -> Iterator[DecidedLesion]:
        """Yield the newest finished ultrasound run of each study, as `decided_runs` does those of CT."""
        newest = (
            sa.select(sa.func.max(t.runs.c.id))
            .where(t.runs.c.queue == Queue.US, t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
            .group_by(t.runs.c.study_id)
        )
        query = sa.select(t.runs).where(t.runs.c.id.in_(newest)).order_by(t.runs.c.study_id)
        if since is not None:
            query = query.where(t.runs.c.ended_at >= since)
        if is_reviewed:
            query = query.where(t.runs.c.study_id.in_(reviewed_studies()))
        with self._begin() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            with self._begin() as connection:  # each by itself: a long list holds nothing up
                lesion = lesion_of(connection, row.id)
            if lesion is not None:
                yield DecidedLesion(
                    study_id=row.study_id,
                    thresholds=thresholds_of(row),
                    is_flagged=row.is_flagged,
                    lesion=lesion,
                )


def _outlined_studies() -> sa.Select[tuple[int]]:
    """Numbers of the studies of which somebody has sent a segmentation that is still there; our own may be among it."""
    mine = (t.instances.c.sop_class_uid == SEGMENTATION, t.instances.c.kind != Kind.IMAGE)
    return sa.select(t.instances.c.study_id).where(*mine, t.instances.c.expired_at.is_(None)).distinct()


def _decided_and_reviewed(queue: Queue | None) -> sa.Select[Any]:
    """The runs of reviewed studies that have answered and are not superseded, of `queue` or of both."""
    return (
        sa.select(t.runs.c.id, t.runs.c.study_id, t.runs.c.queue, t.runs.c.is_flagged)
        .where(t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
        .where(t.runs.c.study_id.in_(reviewed_studies()), _has_answered())
        .where(sa.true() if queue is None else t.runs.c.queue == queue)
        .order_by(*in_force_last())
    )


def _has_answered() -> sa.ColumnElement[bool]:
    """True: the run flags something, or has assessed all of it."""
    return sa.or_(t.runs.c.is_flagged, t.runs.c.id.not_in(unassessed_runs()))


def _judge(answers: set[bool]) -> Judgment:
    if not answers:
        return Judgment.OTHER
    if len(answers) > 1:
        return Judgment.DISPUTED
    return Judgment.FINDING if answers == {True} else Judgment.NO_FINDING
