"""ENCODED -> SENT: learn from a destination whether it holds the results that it answered with Success.

Success says that a C-STORE was understood; PACS lose objects after it, in
queues of their own. Only what can be found again, or is committed to, has
been delivered.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from screener.associate import make_ae
from screener.commitment_answer import CommitmentAnswer
from screener.config import Destination
from screener.outcomes import NeedsPerson, TryAgain
from screener.storage_commitment import (
    REQUEST_COMMITMENT,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    UnreadableCommitmentError,
    make_request,
    read_report,
)
from workers.results.reach_pacs import describe_destination, open_association

SUCCESS = 0x0000
INVALID_ARGUMENT = 0x0115  # PS3.7 C.5.10
PENDING = (0xFF00, 0xFF01)  # PS3.4 table C.4-1
COMMITMENT_WAIT_SECONDS = 3.0
"""How long the association stays open for a report; many providers send it on one of their own, later."""


class ResultIdentity(NamedTuple):
    """The UIDs under which a PACS files a result."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def find_results(
    files: Sequence[Path], destination: Destination, *, calling_ae_title: str, timeout_seconds: float = 30
) -> list[str]:
    """Ask by C-FIND at image level (PS3.4 C.6.2) for each of `files`.

    Returns the SOP Instance UIDs that the destination does not hold. Raises
    TryAgain where it cannot be asked, NeedsPerson where a file is gone.
    """
    results = [read_identity(path) for path in files]
    if not results:
        return []
    ae = make_ae(calling_ae_title, timeout_seconds=timeout_seconds)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    assoc = open_association(ae, destination)
    try:
        return [result.sop_instance_uid for result in results if not _is_found(assoc, result, destination)]
    finally:
        if assoc.is_established:
            assoc.release()


def ask_commitment(
    files: Sequence[Path],
    destination: Destination,
    *,
    calling_ae_title: str,
    transaction_uid: str,
    wait_seconds: float | None = None,
    timeout_seconds: float = 30,
) -> CommitmentAnswer | None:
    """Ask for storage commitment to `files` by N-ACTION (PS3.4 J.3.2).

    Returns the report where it comes on the same association, None where it
    may come later, on an association of the destination's own. Raises
    TryAgain where the request is not taken, NeedsPerson where a file is gone.
    """
    results = [read_identity(path) for path in files]
    answers: list[CommitmentAnswer] = []
    is_over = threading.Event()

    def take(event: evt.Event) -> tuple[int, None]:
        try:
            reported_uid, answer = read_report(event.event_information)
        except UnreadableCommitmentError:
            return INVALID_ARGUMENT, None
        if reported_uid != transaction_uid:
            return INVALID_ARGUMENT, None
        answers.append(answer)
        return SUCCESS, None

    def go_on(_: evt.Event) -> None:
        """Release only after our answer to the report is out: the library would break off between the two."""
        if answers:
            is_over.set()

    ae = make_ae(calling_ae_title, timeout_seconds=timeout_seconds)
    ae.add_requested_context(STORAGE_COMMITMENT)
    assoc = open_association(ae, destination, handlers=[(evt.EVT_N_EVENT_REPORT, take), (evt.EVT_PDU_SENT, go_on)])
    try:
        _request(assoc, results, transaction_uid, destination)
        is_over.wait(COMMITMENT_WAIT_SECONDS if wait_seconds is None else wait_seconds)
    finally:
        if assoc.is_established:
            assoc.release()
    return answers[0] if answers else None


def read_identity(path: Path) -> ResultIdentity:
    """Read the UIDs of a result file; NeedsPerson where it is gone."""
    try:
        ds = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
    except (OSError, InvalidDicomError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no DICOM file"
        raise NeedsPerson(f"the result file {path.name} cannot be read: {reason}", code="result_lost") from error
    meta = ds.file_meta
    return ResultIdentity(
        study_instance_uid=str(ds.StudyInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
    )


def _is_found(assoc: Association, result: ResultIdentity, destination: Destination) -> bool:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = result.study_instance_uid
    query.SeriesInstanceUID = result.series_instance_uid
    query.SOPInstanceUID = result.sop_instance_uid
    where = describe_destination(destination)
    is_found = False
    try:
        for answer, identifier in assoc.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
            status = answer.get("Status")
            if status is None:
                doubt = f"does it know {assoc.requestor.ae_title} (results.ae_title) at this address?"
                raise TryAgain(f"{where} did not answer or refused C-FIND: {doubt}", code="no_answer")
            if status in PENDING:
                is_found = is_found or _names(identifier, result.sop_instance_uid)
            elif status != SUCCESS:
                raise TryAgain(f"{where} answered C-FIND with status 0x{status:04X}", code="find_refused")
    except RuntimeError as error:  # the association ended since the last question
        raise TryAgain(f"{where} ended the association while it was asked", code="association_lost") from error
    return is_found


def _names(identifier: Dataset | None, sop_instance_uid: str) -> bool:
    return identifier is not None and str(identifier.get("SOPInstanceUID", "")) == sop_instance_uid


def _request(
    assoc: Association, results: Sequence[ResultIdentity], transaction_uid: str, destination: Destination
) -> None:
    where = describe_destination(destination)
    request = make_request(transaction_uid, [(result.sop_class_uid, result.sop_instance_uid) for result in results])
    try:
        answer, _ = assoc.send_n_action(request, REQUEST_COMMITMENT, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    except (RuntimeError, ValueError) as error:
        raise TryAgain(f"{where} ended the association before it was asked", code="association_lost") from error
    status = answer.get("Status")
    if status is None:
        raise TryAgain(f"{where} did not answer the request for storage commitment", code="no_answer")
    if status != SUCCESS:
        sentence = f"{where} answered the request for storage commitment with status 0x{status:04X}"
        raise TryAgain(sentence, code="commitment_refused")
