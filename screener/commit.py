"""Storage commitment at the door: promise what is durable here, and take what a PACS promises (PS3.4 J).

A sender that asks is told which of its instances are in the archive. It asks
on an association of its own and gets the report there, or, where its peers
entry names a port, on one that we open: then the report is a row before the
request is answered, and is sent until it is taken.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from pydicom import Dataset
from pynetdicom import build_role
from sqlalchemy.exc import SQLAlchemyError

from screener.archive import Archive
from screener.associate import make_ae
from screener.config import Listener as ListenerSettings
from screener.config import Results
from screener.delays import next_delay
from screener.logs import describe_error
from screener.storage_commitment import (
    ALL_COMMITTED,
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT,
    REQUEST_COMMITMENT,
    SOME_FAILED,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    UnreadableCommitmentError,
    make_report,
    read_report,
    read_request,
)
from screener.store import Store
from screener.store.values import OwedReport

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123

CONNECT_SECONDS = 5
REPORT_TIMEOUT_SECONDS = 30
ROUND_SECONDS = 30.0

logger = logging.getLogger(__name__)


class CommitmentService:
    """What the listener does with storage commitment; admission is the listener's business."""

    def __init__(
        self,
        settings: ListenerSettings,
        archive: Archive,
        store: Store,
        clock: Callable[[], datetime],
        sync: Callable[[], None] = lambda: None,
    ) -> None:
        """`sync` as for `RowWriter`: a report may have read what is not durable yet."""
        self._settings = settings
        self._archive = archive
        self._store = store
        self._clock = clock
        self._sync = sync

    def take_request(self, ae_title: str, host: str, action_type: int, ds: Dataset) -> tuple[int, OwedReport | None]:
        """Give the status that answers an N-ACTION, and the report where it is to follow on the same association."""
        if action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION, None
        try:
            transaction_uid, instances = read_request(ds)
            port = next((peer.port for peer in self._settings.peers if peer.port and peer.admits(ae_title, host)), 0)
            report = OwedReport(
                transaction_uid=transaction_uid, ae_title=ae_title, host=host, port=port, instances=instances
            )
            if port:
                self._store.owe_commitment_report(report, self._clock())
        except UnreadableCommitmentError as error:
            logger.warning("storage commitment refused calling_ae_title=%s: %s", ae_title, error)
            return INVALID_ARGUMENT, None
        except SQLAlchemyError as error:
            logger.error("storage commitment not taken calling_ae_title=%s: %s", ae_title, describe_error(error))
            return PROCESSING_FAILURE, None
        return SUCCESS, None if port else report

    def take_report(self, ds: Dataset) -> int:
        """Take a PACS's report on results of ours, on whatever association it comes; gives the status."""
        try:
            transaction_uid, answer = read_report(ds)
            is_known = self._store.commitment_answered(transaction_uid, answer, self._clock())
        except UnreadableCommitmentError:
            return INVALID_ARGUMENT
        except SQLAlchemyError as error:
            logger.error("a report on storage commitment is not kept: %s", describe_error(error))
            return PROCESSING_FAILURE
        if not is_known:
            logger.warning("a report on storage commitment names a transaction that was not asked for")
        return SUCCESS if is_known else INVALID_ARGUMENT

    def make_report(self, report: OwedReport) -> tuple[int, Dataset] | None:
        """Give event type and event information of a report that is due now; None: it cannot be made."""
        try:
            failed = judge_instances(self._archive, self._store, report.instances)
            self._sync()
        except (SQLAlchemyError, OSError) as error:
            self.not_taken(report, describe_error(error))
            return None
        return _make_report(report, failed)

    def report_answered(self, report: OwedReport, status: int | None) -> None:
        """The requester has answered, or has left without an answer (None)."""
        if status == SUCCESS:
            logger.info(
                "storage commitment reported calling_ae_title=%s instances=%d", report.ae_title, len(report.instances)
            )
        else:
            self.not_taken(report, _describe_status(status))

    def not_taken(self, report: OwedReport, reason: str) -> None:
        """Say so; the requester may ask again."""
        logger.warning(
            "storage commitment not reported calling_ae_title=%s: %s; it may ask again", report.ae_title, reason
        )


class ReportNotTakenError(Exception):
    """The requester has not taken the report; the message says what stood in the way."""


class RequesterAwayError(ReportNotTakenError):
    """The requester does not answer: no other report need be tried at once."""


def judge_instances(archive: Archive, store: Store, instances: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Give the failure reason of each instance that is not durable here; the others are committed to."""
    pairs = list(instances)
    held = store.held_instances([sop_instance_uid for _, sop_instance_uid in pairs])
    failed = {}
    for sop_class_uid, sop_instance_uid in pairs:
        held_class_uid, path = held.get(sop_instance_uid, ("", ""))
        if not path or not archive.path(path).is_file():
            failed[sop_instance_uid] = NO_SUCH_OBJECT
        elif held_class_uid != sop_class_uid:
            failed[sop_instance_uid] = CLASS_INSTANCE_CONFLICT
    return failed


def report_commitments(
    store: Store,
    archive: Archive,
    ae_title: str,
    settings: Results,
    now: datetime,
    *,
    is_stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Send the reports that are due to their requesters, over associations of our own; returns how many were taken.

    A requester that is away is called once for all its reports. What is left
    after `ROUND_SECONDS`, or where the daemon stops, is for the next round.
    """
    began = time.monotonic()
    away: dict[tuple[str, str, int], str] = {}
    taken = 0
    for report in store.owed_commitment_reports(now):
        if is_stopping() or time.monotonic() - began > ROUND_SECONDS:
            break
        requester = report.ae_title, report.host, report.port
        problem = away.get(requester) or _try_to_report(store, archive, report, ae_title, away)
        if not problem:
            store.commitment_reported(report)
            taken += 1
            continue
        at = now + timedelta(seconds=time.monotonic() - began)
        is_given_up = at - (report.owed_since or at) >= timedelta(hours=settings.give_up_hours)
        delay = next_delay(report.attempts + 1, settings.retry_seconds, settings.max_retry_seconds)
        store.commitment_not_reported(report, problem, None if is_given_up else at + delay)
        logger.warning("storage commitment not reported to %s: %s", report.ae_title, problem)
    return taken


def _try_to_report(
    store: Store, archive: Archive, report: OwedReport, ae_title: str, away: dict[tuple[str, str, int], str]
) -> str:
    """Send a report; what stood in the way, or "". A requester that does not answer is noted in `away`."""
    try:
        _report_there(report, judge_instances(archive, store, report.instances), ae_title)
    except RequesterAwayError as error:
        away[report.ae_title, report.host, report.port] = str(error)
        return str(error)
    except ReportNotTakenError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - the edge: whatever one requester is like, the others get their reports
        return describe_error(error)
    return ""


def _report_there(report: OwedReport, failed: dict[str, int], ae_title: str) -> None:
    ae = make_ae(ae_title, timeout_seconds=REPORT_TIMEOUT_SECONDS, connect_seconds=CONNECT_SECONDS)
    ae.add_requested_context(STORAGE_COMMITMENT)
    role = build_role(STORAGE_COMMITMENT, scp_role=True)
    assoc = ae.associate(report.host, report.port, ae_title=report.ae_title, ext_neg=[role])
    if not assoc.is_established:
        raise RequesterAwayError(f"no association with {report.host}:{report.port}")
    try:
        _send_report(assoc, report, failed)
    finally:
        if assoc.is_established:
            assoc.release()


def _send_report(assoc: Any, report: OwedReport, failed: dict[str, int]) -> None:
    """Send N-EVENT-REPORT (PS3.4 J.3.3) over `assoc`; ReportNotTakenError where it is not taken."""
    event_type, ds = _make_report(report, failed)
    try:
        answer: Dataset
        answer, _ = assoc.send_n_event_report(ds, event_type, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    except (RuntimeError, ValueError) as error:  # ended, or the class was not accepted
        raise RequesterAwayError("the requester has ended the association, or takes no reports") from error
    status = answer.get("Status")
    if status is None:
        raise RequesterAwayError(_describe_status(None))
    if status != SUCCESS:
        raise ReportNotTakenError(_describe_status(status))
    logger.info(
        "storage commitment reported calling_ae_title=%s committed=%d failed=%d",
        report.ae_title, len(report.instances) - len(failed), len(failed),
    )  # fmt: skip


def _make_report(report: OwedReport, failed: dict[str, int]) -> tuple[int, Dataset]:
    return SOME_FAILED if failed else ALL_COMMITTED, make_report(report.transaction_uid, report.instances, failed)


def _describe_status(status: int | None) -> str:
    return f"the requester gave {'no answer' if status is None else f'status 0x{status:04X}'}"
