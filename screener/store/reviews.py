"""What people say of a finding: that they have seen it, and what they think of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from screener.store import review_tables as r
from screener.store import tables as t
from screener.store.base import Base, lock_study
from screener.store.same_finding import is_same_finding
from screener.store.standing import flagged_places
from screener.store.told import newest_of_its_kind


class Opinion(StrEnum):
    """What a person says of a run's decision."""

    AGREE = "agree"
    DISAGREE = "disagree"
    """The decision is wrong; the text says why."""
    REPORTED = "reported"
    """The finding stands in the radiology report already."""
    COMMENT = "comment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Who has taken note of a finding, and when."""

    run_number: int
    by: str
    """An account's name, or the address of a recipient."""
    how: str
    """web, mail or, where a later run has found the same again, earlier run."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One opinion on a run's decision."""

    run_number: int
    opinion: Opinion
    by: str
    text: str
    """May name the patient, as people do: never for a log."""
    at: datetime


class Reviews(Base):
    """Acknowledgements and opinions."""

    def flagged_run(self, study_id: int) -> int | None:
        """The newest run (its row's id) whose finding is in force; None where none is."""
        with self._begin() as connection:
            return connection.execute(
                sa.select(t.runs.c.id)
                .where(t.runs.c.study_id == study_id, t.runs.c.state == "ended", t.runs.c.is_flagged)
                .order_by(t.runs.c.number.desc())
                .limit(1)
            ).scalar()

    def acknowledge(self, run_id: int, *, by: str, how: str, now: datetime) -> Acknowledgement | None:
        """Take note of a run's finding; the first to do so counts, and is returned to all who come later.

        None where there is no such run, or it flags nothing. A run that was
        superseded can still be acknowledged: the mail about it may be read late.
        Where the newest run finds the same, and nobody has taken note of that,
        it is acknowledged too.
        """
        with self._begin() as connection:
            run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one_or_none()
            if run is None or not run.is_flagged:
                return None
            lock_study(connection, run.study_id)
            earlier = _acknowledgement(connection, run_id)
            if earlier is None:
                _insert(connection, run, by=by, how=how, now=now)
            in_force = newest_of_its_kind(run_id).where(t.runs.c.is_flagged)
            newest = connection.execute(in_force).one_or_none() or run
            is_news = newest.id != run_id and _acknowledgement(connection, newest.id) is None
            is_asked_alike = newest.reprocess_number == run.reprocess_number
            if is_news and is_asked_alike and is_same_finding(connection, run_id, newest.id):
                _insert(connection, newest, by=by, how=how, now=now)
            return _acknowledgement(connection, run_id)

    def acknowledgement_of(self, run_id: int) -> Acknowledgement | None:
        """Who has taken note of the run's finding; None while nobody has."""
        with self._begin() as connection:
            return _acknowledgement(connection, run_id)

    def acknowledgements_of(self, study_id: int) -> list[Acknowledgement]:
        """Those of all runs of a study, by run."""
        with self._begin() as connection:
            rows = connection.execute(_with_numbers(r.acknowledgements).where(t.runs.c.study_id == study_id)).all()
        return [_read_acknowledgement(row) for row in rows]

    def add_review(self, run_id: int, opinion: Opinion, *, by: str, text: str, now: datetime) -> bool:
        """Keep a person's opinion on a run's decision; False where there is no such run, or it has not decided."""
        with self._begin() as connection:
            run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one_or_none()
            if run is None or run.is_flagged is None:
                return False
            values = {"study_id": run.study_id, "run_id": run_id, "kind": opinion, "by": by, "text": text, "at": now}
            connection.execute(r.reviews.insert().values(values))
        return True

    def reviews_of(self, study_id: int) -> list[Review]:
        """What people said of a study's decisions, oldest first."""
        with self._begin() as connection:
            rows = connection.execute(
                sa.select(r.reviews, t.runs.c.number)
                .join(t.runs, t.runs.c.id == r.reviews.c.run_id)
                .where(r.reviews.c.study_id == study_id)
                .order_by(r.reviews.c.id)
            ).all()
        return [
            Review(run_number=row.number, opinion=Opinion(row.kind), by=row.by, text=row.text, at=row.at)
            for row in rows
        ]


def reviewed_studies() -> sa.Select[tuple[int]]:
    """Numbers of the studies that somebody has agreed or disagreed with."""
    return sa.select(r.reviews.c.study_id).where(r.reviews.c.kind.in_([Opinion.AGREE, Opinion.DISAGREE]))


def _insert(connection: sa.Connection, run: sa.Row[Any], *, by: str, how: str, now: datetime) -> None:
    values = {"study_id": run.study_id, "run_id": run.id, "by": by, "how": how, "at": now}
    finding = "+".join(sorted(flagged_places(connection, run.id)))
    connection.execute(r.acknowledgements.insert().values(finding=finding, **values))


def _with_numbers(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table, t.runs.c.number).join(t.runs, t.runs.c.id == table.c.run_id).order_by(t.runs.c.number)


def _acknowledgement(connection: sa.Connection, run_id: int) -> Acknowledgement | None:
    row = connection.execute(_with_numbers(r.acknowledgements).where(t.runs.c.id == run_id)).one_or_none()
    return None if row is None else _read_acknowledgement(row)


def _read_acknowledgement(row: sa.Row[Any]) -> Acknowledgement:
    return Acknowledgement(run_number=row.number, by=row.by, how=row.how, at=row.at)
