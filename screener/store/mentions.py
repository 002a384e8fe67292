"""Whether radiology reports speak of a parotid mass: the answer and the sentence's number, never their text."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from screener.mentions import Mention, Verdict
from screener.sop_classes import WORKSHEETS
from screener.store import govern_tables as g
from screener.store import tables as t
from screener.store.base import Base, add_step, lock_study
from screener.store.values import Hold
from screener.study import Side
from screener.weigh_reports import Standing, Weighed, weigh_reports

NOT_READ: Final = "not read"
"""In place of a verdict: the document is no radiology report, or cannot be read."""
FILE: Final = "file"
DOCUMENT: Final = "document"
HL7: Final = "hl7"
STEP: Final = "report"
"""What a study's history says where a report was read."""
_WEIGHT: Final = {Verdict.MENTIONED: 2, Verdict.DENIED: 1, Verdict.NOT_MENTIONED: 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """What one report of a study says."""

    report_id: int
    mention: Mention
    source: str
    """FILE, DOCUMENT or HL7."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """A document of others that has not been read."""

    study_id: int
    path: str
    """Relative to the storage folder."""
    sha256: str
    sop_class_uid: str


class Mentions(Base):
    """Reports are read once; what they say adds up."""

    def add_mention(self, study_id: int, mention: Mention | None, *, source: str, sha256: str, now: datetime) -> bool:
        """Keep what a report says, None where it is none; False where this very text has been read before."""
        with self._begin() as connection:
            lock_study(connection, study_id)
            return keep_mention(connection, study_id, mention, source=source, sha256=sha256, now=now)

    def read_reports(self, study_id: int) -> Sequence[ReadReport]:
        """What each report of a study says, oldest first; none that a later one has replaced."""
        with self._begin() as connection:
            rows = connection.execute(_in_force([study_id])).all()
        return [ReadReport(report_id=row.id, mention=mention_of_row(row), source=row.source, at=row.at) for row in rows]

    def find_report(self, study_id: int, sha256: str) -> int | None:
        """The number of the report with that text; None where it has not been read."""
        with self._begin() as connection:
            return _find_same(connection, study_id, sha256)

    def remove_report(self, study_id: int, report_id: int, now: datetime) -> bool:
        """Take back what a report says that was given to the wrong study; False where none in force has that number.

        A file may be given anew after it; a document or a message is not read again.
        """
        with self._begin() as connection:
            lock_study(connection, study_id)
            row = next((row for row in connection.execute(_in_force([study_id])) if row.id == report_id), None)
            if row is None:
                return False
            here = g.mentions.c.id == report_id
            if row.source == FILE:
                connection.execute(g.mentions.delete().where(here))
            else:
                connection.execute(g.mentions.update().where(here).values(columns_of(None)))
            sentence = f"report {report_id} was taken back by hand"
            add_step(connection, study_id=study_id, run_id=None, at=now, stage=STEP, sentence=sentence)
            look_again(connection, study_id, now)
        return True

    def mentions_of(self, study_id: int) -> Sequence[Mention]:
        """What the reports in force of a study say, oldest first."""
        with self._begin() as connection:
            return list_mentions(connection, [study_id]).get(study_id, [])

    def mention_of(self, study_id: int) -> Mention | None:
        """What the reports of a study say together; None where none was read.

        A mention outweighs a denial, that one a report which says nothing; of equal ones the newest counts.
        """
        reports = self.read_reports(study_id)
        return max(reversed(reports), key=lambda each: _WEIGHT[each.mention.verdict]).mention if reports else None

    def new_documents(self, limit: int = 50) -> Sequence[NewDocument]:
        """Structured reports of others that have not been read and are still there, oldest first."""
        known = sa.exists().where(
            g.mentions.c.study_id == t.instances.c.study_id, g.mentions.c.sha256 == t.instances.c.sha256
        )
        query = (
            sa.select(t.instances.c.study_id, t.instances.c.path, t.instances.c.sha256, t.instances.c.sop_class_uid)
            .where(t.IS_DOCUMENT_HERE, t.instances.c.sop_class_uid.in_(list(WORKSHEETS)), ~known)
            .order_by(t.instances.c.id)
            .limit(limit)
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return [NewDocument(**row._mapping) for row in rows]


def describe_mention(mention: Mention) -> str:
    """Say it in words that name nobody."""
    sides = " and ".join(sorted(mention.sides, reverse=True))
    where = f" ({sides})" if sides else ""
    if mention.verdict is Verdict.NOT_MENTIONED:
        return "no mention of a parotid mass was found in the radiology report"
    said = "mentions" if mention.verdict is Verdict.MENTIONED else "denies"
    return f"the radiology report {said} a parotid mass{where}, sentence {mention.sentence_number}"


def keep_mention(
    connection: sa.Connection,
    study_id: int,
    mention: Mention | None,
    *,
    source: str,
    sha256: str,
    now: datetime,
    order_key: str = "",
) -> bool:
    """Keep what a report says, as `add_mention` does; the study's row must be held."""
    if _find_same(connection, study_id, sha256) is not None:
        return False
    connection.execute(
        g.mentions.insert().values(
            study_id=study_id,
            source=source,
            sha256=sha256,
            at=now,
            order_key=order_key,
            **columns_of(mention),
        )
    )
    if mention is not None:
        sentence = describe_mention(mention)
        add_step(connection, study_id=study_id, run_id=None, at=now, stage=STEP, sentence=sentence)
    look_again(connection, study_id, now)
    return True


def _find_same(connection: sa.Connection, study_id: int, sha256: str) -> int | None:
    same = sa.and_(g.mentions.c.study_id == study_id, g.mentions.c.sha256 == sha256)
    return connection.execute(sa.select(g.mentions.c.id).where(same)).scalar()


def columns_of(mention: Mention | None) -> dict[str, object]:
    """What a report says as three columns; None is a document that is no report, or one that was withdrawn."""
    if mention is None:
        return {"verdict": NOT_READ, "sentence_number": None, "sides": ""}
    sides = "+".join(sorted(mention.sides))
    return {"verdict": mention.verdict, "sentence_number": mention.sentence_number, "sides": sides}


def look_again(connection: sa.Connection, study_id: int, now: datetime) -> None:
    """Take a study's notices out of the digest where its reports no longer mention them; its row must be held.

    The next round tells those at once. What is still mentioned beyond doubt keeps its place in the digest, as does
    whatever is in one that was opened: it may be on its way, and says what the reports say when it goes out.
    """
    is_waiting = (t.notices.c.state == "owed", t.notices.c.hold == Hold.REPORTED, t.notices.c.digest_id.is_(None))
    waits = (t.notices.c.study_id == study_id, *is_waiting)
    run_ids = connection.execute(sa.select(t.notices.c.run_id).where(*waits).distinct()).scalars().all()
    doubted = [
        run_id for run_id in run_ids if weigh_run(connection, study_id, run_id).standing is not Standing.MENTIONED
    ]
    values = {"is_in_digest": False, "digest_id": None, "not_before": now}
    connection.execute(t.notices.update().where(*waits, t.notices.c.run_id.in_(doubted)).values(values))


def weigh_run(connection: sa.Connection, study_id: int, run_id: int) -> Weighed:
    """Weigh the reports in force of a study against what one of its runs flags."""
    reports = list_mentions(connection, [study_id]).get(study_id, [])
    return weigh_reports(reports, _list_places(connection, run_id))


def _list_places(connection: sa.Connection, run_id: int) -> list[Side | None]:
    """Give the side of each mass that a run flags; None for the lesion of an ultrasound run."""
    lesion = sa.select(t.lesions.c.id).where(t.lesions.c.run_id == run_id)
    if connection.execute(lesion).first() is not None:
        return [None]
    above = (t.candidates.c.run_id == run_id, t.candidates.c.is_above_threshold)
    return [Side(side) for side in connection.execute(sa.select(t.candidates.c.side).where(*above)).scalars()]


def list_mentions(connection: sa.Connection, study_ids: Collection[int]) -> dict[int, list[Mention]]:
    """What the reports in force of some studies say, by study and oldest first; a study without one is absent."""
    found: dict[int, list[Mention]] = {}
    for row in connection.execute(_in_force(study_ids)).all():
        found.setdefault(row.study_id, []).append(mention_of_row(row))
    return found


def _in_force(study_ids: Collection[int]) -> sa.Select[Any]:
    mine = (g.mentions.c.study_id.in_(study_ids), g.mentions.c.verdict != NOT_READ, g.mentions.c.replaced_at.is_(None))
    return g.mentions.select().where(*mine).order_by(g.mentions.c.id)


def mention_of_row(row: sa.Row[Any]) -> Mention:
    """The answer in the three columns of `columns_of`."""
    sides = frozenset(Side(side) for side in row.sides.split("+") if side)
    return Mention(verdict=Verdict(row.verdict), sentence_number=row.sentence_number, sides=sides)
