"""Radiology reports that were sent to us: kept as digests and answers until they find their study, then filed there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from screener.mentions import Mention
from screener.read_oru import Status
from screener.store import govern_tables as g
from screener.store import tables as t
from screener.store.base import Base, add_step
from screener.store.mentions import HL7, STEP, columns_of, keep_mention, mention_of_row
from screener.store.quality import list_unread_studies

AT_ONCE: Final = 200
_MESSAGE_DIGITS: Final = 56
"""How many digits of what a report is known by say which message it came by."""
WITHDRAWN: Final = "the radiology report was withdrawn by who sent it"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentReport:
    """What is kept of one report: no word of it, and nothing that says whose it is."""

    accession_key: str
    patient_keys: tuple[str, ...]
    """Of every ID that the sender gave the patient; empty where it gave none."""
    order_key: str
    """A corrected or withdrawn report takes the place of those with the same that came by another message."""
    status: Status
    mention: Mention | None
    """None of a withdrawn one."""
    sha256: str
    """As `name_report` makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReports:
    """What `screener reports waiting` tells."""

    kept: int
    waiting: int
    """Those that have found no study."""
    oldest_at: datetime | None
    """Of those that wait."""
    of_another_patient: int
    """Those whose accession number is a study's of which the images name another patient."""


def name_report(message_sha256: str, number: int) -> str:
    """What a report is known by: its message, and its place there."""
    return f"{message_sha256[:_MESSAGE_DIGITS]}{number:08x}"


class SentReports(Base):
    """Kept in one transaction, filed in others: what is kept is filed sooner or later."""

    def keep_reports(self, reports: Sequence[SentReport], now: datetime) -> int:
        """Keep the reports of one message, all or none; returns how many are new."""
        with self._begin() as connection:
            return sum(_keep(connection, report, now) for report in reports)

    def studies_without_order(self, since: datetime, limit: int) -> list[tuple[int, str]]:
        """(study number, path of an image that is still there) of studies whose order nobody has looked for."""
        with self._begin() as connection:
            return list_unread_studies(connection, g.orders, since, limit)

    def record_order(self, study_id: int, accession_key: str, patient_key: str) -> None:
        """Remember under which order a study was made, unless it is known by now or the study is gone."""
        with self._begin() as connection:
            is_here = sa.exists().where(t.studies.c.id == study_id)
            is_known = sa.exists().where(g.orders.c.study_id == study_id)
            if connection.execute(sa.select(sa.and_(is_here, ~is_known))).scalar_one():
                values = {"study_id": study_id, "accession_key": accession_key, "patient_key": patient_key}
                connection.execute(g.orders.insert().values(values))

    def file_reports(self, now: datetime, accession_keys: Collection[str] | None = None) -> int:
        """File what has found its study, oldest first, None: of every accession number; returns how many.

        May be called at any time and by several: a report is filed once with a study.
        """
        filed = 0
        while pairs := self._list_pairs(accession_keys):
            done = sum(self._file(report_id, study_id, now) for report_id, study_id in pairs)
            filed += done
            if not done:  # another was quicker, or the study is gone
                break
        return filed

    def count_waiting_reports(self) -> WaitingReports:
        """How many reports are kept, and how many of them have found no study."""
        is_waiting = g.sent_reports.c.sha256.not_in(sa.select(g.mentions.c.sha256))
        asked = sa.select(sa.func.count(), sa.func.min(g.sent_reports.c.at)).where(is_waiting)
        has_study = sa.exists().where(g.orders.c.accession_key == g.sent_reports.c.accession_key, ~_is_theirs())
        strange = sa.select(sa.func.count()).select_from(g.sent_reports).where(is_waiting, has_study)
        with self._begin() as connection:
            kept = connection.execute(sa.select(sa.func.count()).select_from(g.sent_reports)).scalar_one()
            waiting, oldest_at = connection.execute(asked).one()
            of_another_patient = connection.execute(strange).scalar_one()
        return WaitingReports(kept=kept, waiting=waiting, oldest_at=oldest_at, of_another_patient=of_another_patient)

    def forget_sent_reports(self, before: datetime) -> int:
        """Delete what came before then; what was filed with a study stays there."""
        with self._begin() as connection:
            return connection.execute(g.sent_reports.delete().where(g.sent_reports.c.at < before)).rowcount

    def _list_pairs(self, accession_keys: Collection[str] | None) -> list[tuple[int, int]]:
        """(report, study) that belong together and are not filed yet."""
        report, order = g.sent_reports.c, g.orders.c
        is_filed = sa.exists().where(g.mentions.c.study_id == order.study_id, g.mentions.c.sha256 == report.sha256)
        query = (
            sa.select(report.id, order.study_id)
            .join(g.orders, order.accession_key == report.accession_key)
            .where(_is_theirs(), ~is_filed)
            .order_by(report.id)
            .limit(AT_ONCE)
        )
        if accession_keys is not None:
            query = query.where(report.accession_key.in_(accession_keys))
        with self._begin() as connection:
            return [(row.id, row.study_id) for row in connection.execute(query).all()]

    def _file(self, report_id: int, study_id: int, now: datetime) -> bool:
        with self._begin() as connection:
            held = connection.execute(t.studies.select().where(t.studies.c.id == study_id).with_for_update()).first()
            row = connection.execute(g.sent_reports.select().where(g.sent_reports.c.id == report_id)).first()
            if held is None or row is None:
                return False
            return _file_row(connection, row, study_id, now)


def _is_theirs() -> sa.ColumnElement[bool]:
    """True of a report and an order: they name the same patient, or the images name none.

    A report that names none belongs to every order of its accession number where all say the same of the patient,
    and to nobody where they do not: images that name none may be those of another.
    """
    report, order, other = g.sent_reports.c, g.orders.c, g.orders.alias("other")
    has_others = sa.exists().where(
        other.c.accession_key == order.accession_key, other.c.patient_key != order.patient_key
    )
    is_named = sa.or_(order.patient_key == "", report.patient_keys.contains(order.patient_key))
    return sa.case((report.patient_keys == "", ~has_others), else_=is_named)


def _keep(connection: sa.Connection, report: SentReport, now: datetime) -> bool:
    same = g.sent_reports.c.sha256 == report.sha256
    if connection.execute(sa.select(g.sent_reports.c.id).where(same)).first() is not None:
        return False
    connection.execute(
        g.sent_reports.insert().values(
            accession_key=report.accession_key,
            patient_keys="+".join(report.patient_keys),
            order_key=report.order_key,
            status=report.status,
            sha256=report.sha256,
            at=now,
            **columns_of(report.mention),
        )
    )
    return True


def _file_row(connection: sa.Connection, row: sa.Row[Any], study_id: int, now: datetime) -> bool:
    """Let a corrected or withdrawn report take the place of those before it, then keep what it says.

    Reports of one message stand beside each other, also those of one order: each holds a part of what is corrected.
    """
    mine = (g.mentions.c.study_id == study_id, g.mentions.c.sha256 == row.sha256)
    if connection.execute(sa.select(g.mentions.c.id).where(*mine)).first() is not None:
        return False
    if row.status != Status.FINAL:
        earlier = (g.mentions.c.study_id == study_id, g.mentions.c.order_key == row.order_key)
        is_in_force = (g.mentions.c.source == HL7, g.mentions.c.replaced_at.is_(None))
        is_beside = g.mentions.c.sha256.startswith(row.sha256[:_MESSAGE_DIGITS])
        connection.execute(g.mentions.update().where(*earlier, *is_in_force, ~is_beside).values(replaced_at=now))
    is_withdrawn = row.status == Status.WITHDRAWN
    mention = None if is_withdrawn else mention_of_row(row)
    keep_mention(connection, study_id, mention, source=HL7, sha256=row.sha256, now=now, order_key=row.order_key)
    if is_withdrawn:
        add_step(connection, study_id=study_id, run_id=None, at=now, stage=STEP, sentence=WITHDRAWN)
    return True
