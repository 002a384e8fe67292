"""Requests and reports on storage commitment are decoded at a cost that no peer can drive up."""

import struct
import tracemalloc

import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom.dsutils import encode

from screener.receive import _decode
from screener.service import Context
from screener.storage_commitment import (
    MOST_INSTANCES,
    NO_SUCH_OBJECT,
    STORAGE_COMMITMENT,
    make_report,
    make_request,
    read_report,
    read_request,
)
from tests.unit.test_read_header import UNDEFINED, deep, empty_items, sequence

PAIRS = [(CTImageStorage, generate_uid()) for _ in range(3)]
TRANSACTION = struct.pack("<HH2sH", 0x0008, 0x1195, b"UI", 4) + b"1.2\0"


def context(transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Context:
    return Context(1, STORAGE_COMMITMENT, transfer_syntax_uid)


@pytest.mark.parametrize("transfer_syntax_uid", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("is_undefined", [False, True])
def test_what_is_made_is_decoded_in_every_encoding(transfer_syntax_uid: str, is_undefined: bool) -> None:
    form = transfer_syntax_uid == ImplicitVRLittleEndian, transfer_syntax_uid != ExplicitVRBigEndian
    request = make_request("1.2", PAIRS)
    request["ReferencedSOPSequence"].is_undefined_length = is_undefined
    for item in request.ReferencedSOPSequence:
        item.is_undefined_length_sequence_item = is_undefined
    decoded = _decode(encode(request, *form) or b"", context(transfer_syntax_uid))
    assert decoded is not None
    assert read_request(decoded) == ("1.2", tuple(PAIRS))
    report = make_report("1.2", PAIRS, {PAIRS[1][1]: NO_SUCH_OBJECT})
    decoded = _decode(encode(report, *form) or b"", context(transfer_syntax_uid))
    assert decoded is not None
    transaction_uid, answer = read_report(decoded)
    assert (transaction_uid, dict(answer.failed)) == ("1.2", {PAIRS[1][1]: NO_SUCH_OBJECT})
    assert answer.committed == {PAIRS[0][1], PAIRS[2][1]}


def test_more_instances_than_any_study_has_are_refused_before_they_are_built() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    data_set = TRANSACTION + sequence(0x00081199, item * 500_000, 8 * 500_000)
    tracemalloc.start()
    decoded = _decode(data_set, context())
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decoded is None
    assert most_bytes < 2000 * MOST_INSTANCES


@pytest.mark.parametrize("tag", [0x00091010, 0x00081140])
@pytest.mark.parametrize("value", [empty_items(20_000), deep(5_000)], ids=["wide", "deep"])
def test_what_nobody_asks_for_is_not_built(tag: int, value: bytes) -> None:
    known = TRANSACTION + sequence(0x00081199, struct.pack("<HHL", 0xFFFE, 0xE000, 0), 8)
    tracemalloc.start()
    decoded = _decode(known + sequence(tag, value, UNDEFINED), context())
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decoded is not None
    assert set(decoded.keys()) == {0x00081195, 0x00081199}
    assert most_bytes < 1 << 20


@pytest.mark.parametrize(
    "spoiled",
    [
        TRANSACTION + struct.pack("<HH2sH", 0x0008, 0x1199, b"LO", 8) + b"DOE^JOHN",
        TRANSACTION + sequence(0x00081199, b""),
        TRANSACTION + sequence(0x00081199, bytes(800), 800),
        TRANSACTION[:-1],
        TRANSACTION + b"\x08\x00",
    ],
)
def test_what_is_no_list_of_instances_is_refused(spoiled: bytes) -> None:
    assert _decode(spoiled, context()) is None
