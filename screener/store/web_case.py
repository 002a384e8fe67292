"""What a case page needs beside the study's report: its images, its results, and earlier studies of the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from screener.store import review_tables as r
from screener.store import tables as t
from screener.store import web_tables as w
from screener.store.base import Base
from screener.store.patient_words import NOTHING, patient_words
from screener.store.standing import runs_in_force, withdrawn_places
from screener.store.values import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedNumber:
    """The run whose decision is in force."""

    run_id: int
    number: int
    is_flagged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One file of a run that a page may draw."""

    path: Path
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPatient:
    """Whose a study is, without saying who that is."""

    study_id: int
    patient_key: str
    """Keyed digest of the patient's ID; empty where no image could be read or names none."""
    study_date: date | None
    words: frozenset[str] = frozenset()
    """Keyed digests by which the study is found; only of one that is to be recorded."""


class WebCase(Base):
    """Reading, and the list of which studies are of the same patient."""

    def studies_without_patient(self, limit: int) -> list[tuple[int, str]]:
        """(study number, path of an image that is still there) of studies whose patient is not known yet."""
        first = (
            sa.select(sa.func.min(t.instances.c.id))
            .where(t.instances.c.kind == Kind.IMAGE, t.instances.c.expired_at.is_(None))
            .where(t.instances.c.study_id == t.studies.c.id)
            .scalar_subquery()
        )
        unknown = (
            sa.select(t.studies.c.id, first.label("instance_id"))
            .where(~sa.exists().where(patient_words.c.study_id == t.studies.c.id), first.is_not(None))
            .order_by(t.studies.c.id.desc())
            .limit(limit)
            .subquery()
        )
        query = sa.select(unknown.c.id, t.instances.c.path).join(t.instances, t.instances.c.id == unknown.c.instance_id)
        with self._begin() as connection:
            return [(row.id, row.path) for row in connection.execute(query).all()]

    def record_patients(self, patients: Sequence[KnownPatient]) -> None:
        """Remember whose these studies are; a study that is gone, or known by now, is passed over."""
        with self._begin() as connection:
            for patient in patients:
                if _lacks(connection, w.patients, patient.study_id):
                    values = {"study_id": patient.study_id, "patient_key": patient.patient_key}
                    connection.execute(w.patients.insert().values(**values, study_date=patient.study_date))
                if _lacks(connection, patient_words, patient.study_id):
                    words = [{"study_id": patient.study_id, "digest": word} for word in {NOTHING, *patient.words}]
                    connection.execute(patient_words.insert(), words)

    def studies_of_same_patient(self, study_id: int) -> list[KnownPatient]:
        """All studies of this study's patient, itself included, by date; none where the patient is not known."""
        mine = sa.select(w.patients.c.patient_key).where(w.patients.c.study_id == study_id).scalar_subquery()
        query = (
            w.patients.select()
            .where(w.patients.c.patient_key == mine, w.patients.c.patient_key != "")
            .order_by(w.patients.c.study_date, w.patients.c.study_id)
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return [
            KnownPatient(study_id=row.study_id, patient_key=row.patient_key, study_date=row.study_date) for row in rows
        ]

    def decided_number(self, study_id: int) -> DecidedNumber | None:
        """The run whose decision is in force; None where none has been made.

        Of several the newest finding that nobody has taken note of, else the newest finding, else the newest decision.
        """
        is_open = sa.and_(t.runs.c.is_flagged, ~sa.exists().where(r.acknowledgements.c.run_id == t.runs.c.id))
        with self._begin() as connection:
            row = connection.execute(
                sa.select(t.runs.c.id, t.runs.c.number, t.runs.c.is_flagged)
                .where(t.runs.c.study_id == study_id, t.runs.c.state == "ended", t.runs.c.is_flagged.is_not(None))
                .order_by(is_open.desc(), t.runs.c.is_flagged.desc(), t.runs.c.number.desc())
                .limit(1)
            ).one_or_none()
        return None if row is None else DecidedNumber(run_id=row.id, number=row.number, is_flagged=row.is_flagged)

    def withdrawn_places(self, run_id: int) -> list[str]:
        """What a run flags and a later one has taken back since, in order."""
        with self._begin() as connection:
            return withdrawn_places(connection, run_id)

    def numbers_in_force(self, study_id: int, run_number: int) -> dict[str, int]:
        """Give each place where a finding is in force by runs of the kind of this one, and the number of its run."""
        mine = t.runs.select().where(t.runs.c.study_id == study_id, t.runs.c.number == run_number)
        with self._begin() as connection:
            in_force = runs_in_force(connection, connection.execute(mine).one())
            found = sa.select(t.runs.c.id, t.runs.c.number).where(t.runs.c.id.in_(in_force.values()))
            numbers = {row.id: row.number for row in connection.execute(found)}
        return {place: numbers[run_id] for place, run_id in in_force.items()}

    def series_images(self, study_id: int, series_instance_uid: str, folder: Path) -> list[Picture]:
        """The images of a series whose files are still there, by SOP Instance UID; `folder` is the storage folder."""
        mine = (t.instances.c.study_id == study_id, t.instances.c.series_instance_uid == series_instance_uid)
        return self._images(sa.and_(*mine), folder)

    def image(self, study_id: int, sop_instance_uid: str, folder: Path) -> Picture | None:
        """One image of a study; None where it is not there any more."""
        mine = (t.instances.c.study_id == study_id, t.instances.c.sop_instance_uid == sop_instance_uid)
        return next(iter(self._images(sa.and_(*mine), folder)), None)

    def first_image(self, study_id: int, folder: Path) -> Picture | None:
        """An image of a study that tells whose it is; None where none is there any more."""
        return next(iter(self._images(t.instances.c.study_id == study_id, folder, limit=1)), None)

    def _images(self, condition: sa.ColumnElement[bool], folder: Path, limit: int | None = None) -> list[Picture]:
        query = (
            sa.select(t.instances.c.path, t.instances.c.sop_instance_uid)
            .where(condition, t.instances.c.kind == Kind.IMAGE, t.instances.c.expired_at.is_(None))
            .order_by(t.instances.c.sop_instance_uid if limit is None else t.instances.c.id)
            .limit(limit)
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return [Picture(path=folder / row.path, sop_instance_uid=row.sop_instance_uid) for row in rows]

    def result_file(self, study_id: int, run_number: int, role: str, folder: Path) -> Path | None:
        """A kept result of a run; None where there is none, or it has been removed."""
        query = (
            sa.select(t.results.c.path)
            .join(t.runs, t.runs.c.id == t.results.c.run_id)
            .where(t.runs.c.study_id == study_id, t.runs.c.number == run_number, t.results.c.role == role)
            .where(t.results.c.expired_at.is_(None))
        )
        with self._begin() as connection:
            path = connection.execute(query.limit(1)).scalar()
        return None if path is None else folder / path


def _lacks(connection: sa.Connection, table: sa.Table, study_id: int) -> bool:
    """True: the study is there, and the table holds nothing of it."""
    here = sa.exists().where(t.studies.c.id == study_id)
    known = sa.exists().where(table.c.study_id == study_id)
    is_lacking: bool = connection.execute(sa.select(sa.and_(here, ~known))).scalar_one()
    return is_lacking
