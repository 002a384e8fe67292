"""The data sets of the Storage Commitment Push Model, made and read; no input or output (PS3.4 J.3)."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

from pydicom import Dataset, Sequence
from pydicom.uid import UID

from screener.commitment_answer import CommitmentAnswer
from screener.read_header import is_uid, read_text
from screener.walk_elements import CutShortError, ElementWalker, MalformedError

STORAGE_COMMITMENT = UID("1.2.840.10008.1.20.1")
"""Storage Commitment Push Model SOP Class."""
WELL_KNOWN_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""Its one instance, which every request and report names."""

REQUEST_COMMITMENT = 1  # PS3.4 table J.3-1: action type
ALL_COMMITTED, SOME_FAILED = 1, 2  # PS3.4 table J.3-2: event types
NO_SUCH_OBJECT = 0x0112  # PS3.3 C.14.1.1: failure reasons
CLASS_INSTANCE_CONFLICT = 0x0119
PROCESSING_FAILURE = 0x0110

MOST_INSTANCES = 20_000
"""Of one request or report: each costs some kilobytes."""
_MOST_PARTS = 10 * MOST_INSTANCES
_LONGEST_VALUE_BYTES = 80  # more than a UID has
_UIDS = {
    0x00081195: "TransactionUID",
    0x00081150: "ReferencedSOPClassUID",
    0x00081155: "ReferencedSOPInstanceUID",
}
_FAILURE_REASON = 0x00081197
_SEQUENCES = {0x00081199: "ReferencedSOPSequence", 0x00081198: "FailedSOPSequence"}


class UnreadableCommitmentError(Exception):
    """A request or report that names no transaction, or no instances, by valid UIDs, or too many."""


def decode_commitment(data_set: bytes, *, is_implicit: bool, is_little: bool) -> Dataset:
    """Decode the few elements of a request or report that are read here; UnreadableCommitmentError says why not.

    The library would build whatever a peer puts into it.
    """
    try:
        return _Decoder(is_implicit=is_implicit, is_little=is_little).decode(data_set)
    except (CutShortError, MalformedError):
        raise UnreadableCommitmentError("it cannot be read: it is damaged or not DICOM") from None


class _Decoder:
    def __init__(self, *, is_implicit: bool, is_little: bool) -> None:
        self._is_implicit = is_implicit
        self._is_little = is_little
        self._items = 0

    def decode(self, data_set: bytes, *, is_item: bool = False) -> Dataset:
        walker = ElementWalker(
            BytesIO(data_set),
            len(data_set),
            is_implicit=self._is_implicit,
            is_little=self._is_little,
            most_parts=_MOST_PARTS,
        )
        ds = Dataset()
        while (head := walker.read_head()) is not None:
            begin = walker.position
            if head.tag in _SEQUENCES and not is_item:
                items = [self._decode_item(data_set[slice(*span)]) for span in walker.read_items(head)]
                setattr(ds, _SEQUENCES[head.tag], items)
                continue
            walker.step_over(head)
            value = data_set[begin : min(walker.position, begin + _LONGEST_VALUE_BYTES)]
            if head.tag in _UIDS:
                setattr(ds, _UIDS[head.tag], read_text(value))
            elif head.tag == _FAILURE_REASON:
                ds.FailureReason = int.from_bytes(value[:2], "little" if self._is_little else "big")
        return ds

    def _decode_item(self, item: bytes) -> Dataset:
        self._items += 1
        if self._items > MOST_INSTANCES:
            raise UnreadableCommitmentError(f"it names more than {MOST_INSTANCES} instances")
        return self.decode(item, is_item=True)


def make_request(transaction_uid: str, instances: Iterable[tuple[str, str]]) -> Dataset:
    """Make the action information that asks for commitment to (SOP Class UID, SOP Instance UID) pairs."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = [_reference(*pair) for pair in instances]
    return ds


def make_report(transaction_uid: str, instances: Iterable[tuple[str, str]], failed: Mapping[str, int]) -> Dataset:
    """Make the event information: which of `instances` are committed to, and why those in `failed` are not."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    committed, refused = [], []
    for sop_class_uid, sop_instance_uid in instances:
        item = _reference(sop_class_uid, sop_instance_uid)
        if sop_instance_uid in failed:
            item.FailureReason = failed[sop_instance_uid]
            refused.append(item)
        else:
            committed.append(item)
    if committed:
        ds.ReferencedSOPSequence = committed
    if refused:
        ds.FailedSOPSequence = refused
    return ds


def read_request(ds: Dataset) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Give the transaction and the (SOP Class UID, SOP Instance UID) pairs of a request."""
    pairs = tuple(_pair(item) for item in _items(ds, "ReferencedSOPSequence"))
    if not pairs:
        raise UnreadableCommitmentError("the request names no instance")
    return _transaction_uid(ds), pairs


def read_report(ds: Dataset) -> tuple[str, CommitmentAnswer]:
    """Give the transaction of a report and its answer."""
    committed = frozenset(_pair(item)[1] for item in _items(ds, "ReferencedSOPSequence"))
    failed = {_pair(item)[1]: _reason(item) for item in _items(ds, "FailedSOPSequence")}
    return _transaction_uid(ds), CommitmentAnswer(committed=committed - failed.keys(), failed=failed)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _items(ds: Dataset, keyword: str) -> Iterable[Dataset]:
    """Give the items of a sequence; a peer may send the element under any VR."""
    value = ds.get(keyword) or ()
    if value and not isinstance(value, Sequence):
        raise UnreadableCommitmentError("what names the instances is no sequence")
    return value


def _pair(item: Dataset) -> tuple[str, str]:
    pair = str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", ""))
    if not all(is_uid(uid) for uid in pair):
        raise UnreadableCommitmentError("an instance is not named by valid UIDs")
    return pair


def _reason(item: Dataset) -> int:
    reason: Any = item.get("FailureReason")
    return reason if isinstance(reason, int) else PROCESSING_FAILURE


def _transaction_uid(ds: Dataset) -> str:
    transaction_uid = str(ds.get("TransactionUID", ""))
    if not is_uid(transaction_uid):
        raise UnreadableCommitmentError("no transaction is named by a valid UID")
    return transaction_uid
