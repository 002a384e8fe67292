"""Storage commitment, both ways: what a PACS has committed to, and the reports that we owe to a sender."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from screener.commitment_answer import CommitmentAnswer
from screener.store import tables as t
from screener.store.base import Base
from screener.store.values import OwedDelivery, OwedReport

_UIDS_PER_QUERY = 500


class Commitments(Base):
    """PS3.4 J: what was asked is a row before it is asked, and what is owed a row before it is told."""

    def commitment_asked(self, delivery: OwedDelivery, transaction_uid: str, now: datetime) -> None:
        """Remember a request that is about to be sent, so that an answer on whatever association finds its delivery."""
        with self._begin() as connection:
            connection.execute(
                t.commitments.insert().values(
                    delivery_id=delivery.delivery_id,
                    transaction_uid=transaction_uid,
                    asked_at=now,
                    committed=[],
                    failed={},
                )
            )

    def commitment_answered(self, transaction_uid: str, answer: CommitmentAnswer, now: datetime) -> bool:
        """Record a PACS's answer and let its delivery be looked at at once; False where nobody asked for it."""
        with self._begin() as connection:
            mine = t.commitments.c.transaction_uid == transaction_uid
            values = {"answered_at": now, "committed": sorted(answer.committed), "failed": dict(answer.failed)}
            if connection.execute(t.commitments.update().where(mine).values(values)).rowcount != 1:
                return False
            delivery_id = sa.select(t.commitments.c.delivery_id).where(mine).scalar_subquery()
            connection.execute(
                t.deliveries.update()
                .where(t.deliveries.c.id == delivery_id, t.deliveries.c.state == "sent")
                .values(not_before=now, hinted_at=None)
            )
        return True

    def commitment_answer(self, delivery: OwedDelivery) -> CommitmentAnswer | None:
        """The newest answer to what was asked since the delivery was last sent; None where there is none yet."""
        with self._begin() as connection:
            sent_at = (
                sa.select(t.deliveries.c.sent_at).where(t.deliveries.c.id == delivery.delivery_id).scalar_subquery()
            )
            row = connection.execute(
                t.commitments.select()
                .where(
                    t.commitments.c.delivery_id == delivery.delivery_id,
                    t.commitments.c.answered_at.is_not(None),
                    t.commitments.c.asked_at >= sent_at,
                )
                .order_by(t.commitments.c.answered_at.desc(), t.commitments.c.id.desc())
                .limit(1)
            ).one_or_none()
        return None if row is None else CommitmentAnswer(committed=frozenset(row.committed), failed=row.failed)

    def owe_commitment_report(self, report: OwedReport, now: datetime) -> None:
        """Commit to a report before the sender is told that it will come; one that is owed already is owed once."""
        with self._begin() as connection:
            same = sa.select(t.commitment_reports.c.id).where(
                t.commitment_reports.c.transaction_uid == report.transaction_uid,
                t.commitment_reports.c.ae_title == report.ae_title,
                t.commitment_reports.c.state == "owed",
            )
            if connection.execute(same).first() is None:
                connection.execute(
                    t.commitment_reports.insert().values(
                        transaction_uid=report.transaction_uid,
                        ae_title=report.ae_title,
                        host=report.host,
                        port=report.port,
                        instances=[list(pair) for pair in report.instances],
                        state="owed",
                        attempts=0,
                        owed_since=now,
                        not_before=now,
                        last_error="",
                    )
                )

    def owed_commitment_reports(self, now: datetime) -> list[OwedReport]:
        """Those that are due: least tried first, so that who is away holds nobody up, and then the oldest."""
        with self._begin() as connection:
            rows = connection.execute(
                t.commitment_reports.select()
                .where(t.commitment_reports.c.state == "owed", t.commitment_reports.c.not_before <= now)
                .order_by(t.commitment_reports.c.attempts, t.commitment_reports.c.id)
            ).all()
        return [
            OwedReport(
                report_id=row.id,
                transaction_uid=row.transaction_uid,
                ae_title=row.ae_title,
                host=row.host,
                port=row.port,
                instances=tuple((sop_class_uid, uid) for sop_class_uid, uid in row.instances),
                attempts=row.attempts,
                owed_since=row.owed_since,
            )
            for row in rows
        ]

    def commitment_reported(self, report: OwedReport) -> None:
        """Mark a report that its requester has taken."""
        self._report(report, {"state": "sent", "last_error": ""})

    def commitment_not_reported(self, report: OwedReport, error: str, not_before: datetime | None) -> None:
        """Put a report back until `not_before`; None gives it up, and the requester will ask again."""
        later: dict[str, object] = {"state": "given up"} if not_before is None else {"not_before": not_before}
        self._report(report, {"last_error": error} | later)

    def _report(self, report: OwedReport, values: Mapping[str, object]) -> None:
        with self._begin() as connection:
            connection.execute(
                t.commitment_reports.update()
                .where(t.commitment_reports.c.id == report.report_id)
                .values({"attempts": t.commitment_reports.c.attempts + 1, **values})
            )

    def held_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """(SOP Class UID, path) of those that were received and have not expired, by SOP Instance UID."""
        held: dict[str, tuple[str, str]] = {}
        with self._begin() as connection:
            for begin in range(0, len(sop_instance_uids), _UIDS_PER_QUERY):
                rows = connection.execute(
                    sa.select(t.instances.c.sop_instance_uid, t.instances.c.sop_class_uid, t.instances.c.path).where(
                        t.instances.c.sop_instance_uid.in_(sop_instance_uids[begin : begin + _UIDS_PER_QUERY]),
                        t.instances.c.expired_at.is_(None),
                    )
                )
                held |= {row.sop_instance_uid: (row.sop_class_uid, row.path) for row in rows}
        return held
