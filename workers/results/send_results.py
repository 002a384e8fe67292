"""ENCODED -> SENT: store the results of a run in one destination.

The files leave as they were encoded, so that a second sending is the same
bytes under the same UIDs and a PACS has nothing to choose between.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from screener.associate import make_ae
from screener.config import Destination
from screener.outcomes import NeedsPerson, TryAgain
from workers.results.reach_pacs import describe_destination, open_association

SUCCESS = 0x0000
WARNING = 0xB000  # PS3.4 table B.2-1: Bxxx says that the instance is stored, with a remark

log = logging.getLogger(__name__)

# The library's documented switch for sending a file's data set as it lies on disk instead of decoding and encoding it.
_config.STORE_SEND_CHUNKED_DATASET = True


@dataclass(frozen=True, slots=True)
class _ResultFile:
    """A result file and what its meta information says of it."""

    path: Path
    sop_class_uid: UID
    transfer_syntax_uid: UID


def send_results(
    files: Sequence[Path], destination: Destination, *, calling_ae_title: str, timeout_seconds: float = 30
) -> None:
    """Store every one of `files` in `destination`, in order, over one association; may be called twice.

    Returns once the destination has answered Success (0x0000) or a warning
    for each (PS3.4 B.2.3). Raises TryAgain where it did not, after having
    offered it every file it takes, and NeedsPerson where a file is gone.
    """
    results = [_read_meta(path) for path in files]
    if not results:
        return
    ae = make_ae(calling_ae_title, timeout_seconds=timeout_seconds)
    for result in results:
        ae.add_requested_context(result.sop_class_uid, result.transfer_syntax_uid)
        if result.transfer_syntax_uid == ExplicitVRLittleEndian:
            # PS3.5 10.1: the default transfer syntax is offered too; some archives take no other
            ae.add_requested_context(result.sop_class_uid, ImplicitVRLittleEndian)
    assoc = open_association(ae, destination)
    try:
        refusals = [sentence for result in results if (sentence := _store(assoc, result, destination))]
    finally:
        if assoc.is_established:
            assoc.release()
    if refusals:
        raise TryAgain(". ".join(refusals), code="results_refused")


def _read_meta(path: Path) -> _ResultFile:
    try:
        meta = read_file_meta_info(path)
    except (OSError, InvalidDicomError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no DICOM file"
        raise NeedsPerson(f"the result file {path.name} cannot be read: {reason}", code="result_lost") from error
    return _ResultFile(path, meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)


def _store(assoc: Association, result: _ResultFile, destination: Destination) -> str:
    """Store one file; give the sentence that says why the destination does not hold it, or nothing.

    Raises TryAgain where the association is lost, for then nothing more can be sent.
    """
    where, what = describe_destination(destination), result.sop_class_uid.name
    syntaxes = {
        syntax
        for context in assoc.accepted_contexts
        if context.abstract_syntax == result.sop_class_uid
        for syntax in context.transfer_syntax
    }
    if not syntaxes:
        return f"{where} does not accept {what}"
    is_as_encoded = result.transfer_syntax_uid in syntaxes
    try:
        answer = assoc.send_c_store(result.path if is_as_encoded else pydicom.dcmread(result.path))
    except RuntimeError as error:  # the association ended since the last file
        raise TryAgain(f"{where} ended the association while results were sent", code="association_lost") from error
    status = answer.get("Status")
    if status is None:
        raise TryAgain(f"{where} did not answer the storage of {what}", code="no_answer")
    if status == SUCCESS:
        return ""
    if status & 0xF000 == WARNING:
        log.warning("destination=%s stage=sent status=0x%04X: %s stored with a warning", destination.name, status, what)
        return ""
    return f"{where} answered the storage of {what} with status 0x{status:04X} ({code_to_category(status)})"
