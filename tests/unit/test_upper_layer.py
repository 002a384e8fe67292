"""PDUs and command sets: read back as written, and never more than a sentence about what is neither."""

import struct
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RP

from screener.command_set import (
    C_STORE,
    N_ACTION,
    MalformedCommandError,
    decode_command,
    encode_answer,
    encode_event_report,
)
from screener.storage_commitment import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from screener.upper_layer import (
    ACCEPTED,
    HEADER_BYTES,
    ContextResult,
    MalformedPDUError,
    decode_association_request,
    encode_abort,
    encode_accept,
    encode_message,
    encode_reject,
    encode_release_reply,
    split_data,
)
from tests.peers.raw_peer import associate_request, item, store_request

REQUEST = associate_request()[HEADER_BYTES:]


def role(uid: str, is_user: bool, is_provider: bool) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((is_user, is_provider)))


def test_a_request_is_taken_apart() -> None:
    extra = item(0x50, role(STORAGE_COMMITMENT, False, True))
    request = decode_association_request(associate_request(extra)[HEADER_BYTES:])
    assert (request.called_ae_title, request.calling_ae_title) == ("PAROTID", "RAW")
    [context] = request.contexts
    assert (context.context_id, context.abstract_syntax) == (1, CTImageStorage)
    assert context.transfer_syntaxes == (ExplicitVRLittleEndian,)
    assert request.maximum_length == 16384
    assert request.roles == {STORAGE_COMMITMENT: (False, True)}


def test_an_ae_title_from_the_wire_cannot_break_a_line_of_the_log() -> None:
    body = REQUEST.replace(b"RAW".ljust(16), b"RA\nW \xe9\x1b".ljust(16))
    assert decode_association_request(body).calling_ae_title == "RA?W ??"


def test_another_library_reads_our_accept() -> None:
    request = decode_association_request(REQUEST)
    accept = encode_accept(
        request,
        [ContextResult(1, ACCEPTED, ExplicitVRLittleEndian)],
        {STORAGE_COMMITMENT: (True, True)},
        implementation_class_uid="1.2.3",
        implementation_version_name="DOOR",
    )
    read = A_ASSOCIATE_AC()
    read.decode(accept)
    primitive = read.to_primitive()
    assert (primitive.calling_ae_title, primitive.called_ae_title) == ("RAW", "PAROTID")
    [context] = primitive.presentation_context_definition_results_list
    assert (context.context_id, context.result, context.transfer_syntax) == (1, 0, [ExplicitVRLittleEndian])
    told = {type(part).__name__: part for part in primitive.user_information}
    assert told["ImplementationVersionNameNotification"].implementation_version_name == "DOOR"
    assert told["SCP_SCU_RoleSelectionNegotiation"].sop_class_uid == STORAGE_COMMITMENT


def test_another_library_reads_our_refusals() -> None:
    rejection, abort, release = A_ASSOCIATE_RJ(), A_ABORT_RQ(), A_RELEASE_RP()
    rejection.decode(encode_reject(2, 3, 2))
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (2, 3, 2)
    abort.decode(encode_abort(2, 6))
    assert (abort.source, abort.reason_diagnostic) == (2, 6)
    release.decode(encode_release_reply())


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(16, 1 << 18))
def test_a_message_is_read_back_in_pieces_that_the_peer_takes(command: bytes, data_set: bytes, longest: int) -> None:
    encoded, parts, position = encode_message(3, command, data_set, longest), {1: b"", 0: b""}, 0
    lasts = []
    while position < len(encoded):
        kind, length = struct.unpack_from(">BxL", encoded, position)
        assert kind == 4
        assert length <= max(longest, 70)
        body = memoryview(encoded)[position + HEADER_BYTES : position + HEADER_BYTES + length]
        for context_id, control, fragment in split_data(body):
            assert context_id == 3
            parts[control & 1] += bytes(fragment)
            lasts += [control & 1] * (control >> 1)
        position += HEADER_BYTES + length
    assert (parts[1], parts[0], lasts) == (command, data_set, [1, 0])


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_no_request(noise: bytes) -> None:
    for body in (noise, REQUEST[:68] + noise):
        with suppress(MalformedPDUError):
            decode_association_request(body)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_request_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(REQUEST)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = decode_association_request(bytes(body[: data.draw(st.integers(0, len(body)))]))
    except MalformedPDUError:
        return
    assert all(len(context.abstract_syntax) <= 64 for context in request.contexts)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_in_a_data_pdu_stays_within_it(noise: bytes) -> None:
    try:
        fragments = [bytes(fragment) for _, _, fragment in split_data(memoryview(noise))]
    except MalformedPDUError:
        return
    assert sum(len(fragment) + 6 for fragment in fragments) == len(noise)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_noise_is_no_command(noise: bytes, kept: int) -> None:
    for encoded in (noise, store_request("1.2.3")[:kept] + noise):
        with suppress(MalformedCommandError):
            decode_command(encoded)


def test_a_command_is_taken_apart_and_answered() -> None:
    command = decode_command(store_request("1.2.3"))
    assert (command.field, command.message_id, command.has_data_set) == (C_STORE, 7, True)
    assert (command.sop_class_uid, command.sop_instance_uid) == (CTImageStorage, "1.2.3")
    answer = read(encode_answer(command, 0xA700, "x" * 100))
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo, answer.Status) == (0x8001, 7, 0xA700)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CTImageStorage, "1.2.3")
    assert answer.CommandDataSetType == 0x0101
    assert answer.ErrorComment == "x" * 64


@pytest.mark.parametrize("wrong", ["CANARY^DONOTLOG", "1" * 65, "1.2." * 4000])
def test_what_is_no_uid_is_not_repeated(wrong: str) -> None:
    answer = read(encode_answer(decode_command(store_request(wrong, sop_class_uid=wrong)), 0xC000))
    assert "AffectedSOPClassUID" not in answer
    assert "AffectedSOPInstanceUID" not in answer


def test_a_report_names_its_event() -> None:
    report = read(encode_event_report(5, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, 2))
    assert (report.CommandField, report.MessageID, report.EventTypeID) == (0x0100, 5, 2)
    assert (report.AffectedSOPClassUID, report.AffectedSOPInstanceUID) == (STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)


@pytest.mark.parametrize("length", [0, 1, 3, 4])
def test_a_number_of_a_wrong_length_is_none(length: int) -> None:
    elements = struct.pack("<HHL", 0, 0x0100, length) + bytes(length) + struct.pack("<HHL2s", 0, 0x0800, 2, b"\1\1")
    with pytest.raises(MalformedCommandError):
        decode_command(elements)


def test_an_action_is_answered_as_affected() -> None:
    parts = [(0x0003, STORAGE_COMMITMENT.encode() + b"\0"), (0x0100, N_ACTION.to_bytes(2, "little"))]
    parts += [(0x0110, b"\2\0"), (0x0800, b"\0\0"), (0x1001, WELL_KNOWN_INSTANCE.encode()), (0x1008, b"\1\0")]
    encoded = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in parts)
    command = decode_command(encoded)
    assert (command.sop_class_uid, command.type_id) == (STORAGE_COMMITMENT, 1)
    answer = read(encode_answer(command, 0))
    assert (answer.AffectedSOPClassUID, answer.ActionTypeID) == (STORAGE_COMMITMENT, 1)


def read(encoded: bytes) -> Dataset:
    """Decode a command set with another library; its group length must be right."""
    ds = decode(BytesIO(encoded), True, True)
    assert ds.CommandGroupLength == len(encoded) - 12
    return ds
