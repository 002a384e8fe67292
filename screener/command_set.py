"""The command sets of DIMSE messages as bytes and as values; no input or output (PS3.7 6.3 and annex E)."""

import struct
from dataclasses import dataclass

from screener.read_header import is_uid

C_STORE, C_ECHO, N_EVENT_REPORT, N_ACTION, C_CANCEL = 0x0001, 0x0030, 0x0100, 0x0130, 0x0FFF
IS_ANSWER = 0x8000
NO_DATA_SET = 0x0101
_HAS_DATA_SET = 0x0001

LONGEST_COMMAND_BYTES = 16 << 10
LONGEST_COMMENT = 64  # PS3.7 C.4

_AFFECTED_SOP_CLASS_UID, _REQUESTED_SOP_CLASS_UID = 0x0002, 0x0003
_COMMAND_FIELD, _MESSAGE_ID, _MESSAGE_ID_ANSWERED, _DATA_SET_TYPE = 0x0100, 0x0110, 0x0120, 0x0800
_STATUS, _ERROR_COMMENT = 0x0900, 0x0902
_AFFECTED_SOP_INSTANCE_UID, _REQUESTED_SOP_INSTANCE_UID = 0x1000, 0x1001
_EVENT_TYPE, _ACTION_TYPE = 0x1002, 0x1008
_ELEMENT = struct.Struct("<HHL")


class MalformedCommandError(ValueError):
    """The bytes are no command set; the message says what is wrong and quotes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The elements of a command set that a provider of storage and storage commitment needs."""

    field: int
    message_id: int
    """Of the request; in an answer, of the request that is answered."""
    has_data_set: bool
    sop_class_uid: str
    """Affected or requested, as the command has it; well-formed or not."""
    sop_instance_uid: str
    type_id: int
    """Event type or action type; 0 where there is none."""
    status: int | None


def decode_command(encoded: bytes) -> Command:
    """Take a command set apart: always implicit VR little endian (PS3.7 6.3.1)."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(encoded):
        if len(encoded) - position < _ELEMENT.size:
            raise MalformedCommandError("an element of the command is too short")
        group, element, length = _ELEMENT.unpack_from(encoded, position)
        position += _ELEMENT.size
        if group or length > len(encoded) - position:
            raise MalformedCommandError("an element does not belong to a command, or ends after it")
        values[element] = encoded[position : position + length]
        position += length
    field = _number(values, _COMMAND_FIELD)
    data_set_type = _number(values, _DATA_SET_TYPE)
    if field is None or data_set_type is None:
        raise MalformedCommandError("the command has no Command Field or no Command Data Set Type")
    is_answer = bool(field & IS_ANSWER)
    type_id = _number(values, _EVENT_TYPE)
    return Command(
        field=field,
        message_id=_number(values, _MESSAGE_ID_ANSWERED if is_answer or field == C_CANCEL else _MESSAGE_ID) or 0,
        has_data_set=data_set_type != NO_DATA_SET,
        sop_class_uid=_text(values, _AFFECTED_SOP_CLASS_UID) or _text(values, _REQUESTED_SOP_CLASS_UID),
        sop_instance_uid=_text(values, _AFFECTED_SOP_INSTANCE_UID) or _text(values, _REQUESTED_SOP_INSTANCE_UID),
        type_id=(_number(values, _ACTION_TYPE) if type_id is None else type_id) or 0,
        status=_number(values, _STATUS),
    )


def encode_answer(command: Command, status: int, comment: str = "") -> bytes:
    """Make the answer to a request, without a data set (PS3.7 9.3 and 10.3); of UIDs it repeats valid ones only."""
    elements = []
    if is_uid(command.sop_class_uid):
        elements.append(_encode_text(_AFFECTED_SOP_CLASS_UID, command.sop_class_uid, b"\0"))
    elements += [
        _encode_number(_COMMAND_FIELD, command.field | IS_ANSWER),
        _encode_number(_MESSAGE_ID_ANSWERED, command.message_id),
        _encode_number(_DATA_SET_TYPE, NO_DATA_SET),
        _encode_number(_STATUS, status),
    ]
    if comment:
        elements.append(_encode_text(_ERROR_COMMENT, comment[:LONGEST_COMMENT], b" "))
    if is_uid(command.sop_instance_uid):
        elements.append(_encode_text(_AFFECTED_SOP_INSTANCE_UID, command.sop_instance_uid, b"\0"))
    if command.field == N_EVENT_REPORT and command.type_id:
        elements.append(_encode_number(_EVENT_TYPE, command.type_id))
    if command.field == N_ACTION and command.type_id:
        elements.append(_encode_number(_ACTION_TYPE, command.type_id))
    return _with_group_length(elements)


def encode_event_report(message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int) -> bytes:
    """Make an N-EVENT-REPORT request with a data set (PS3.7 10.3.1)."""
    return _with_group_length(
        [
            _encode_text(_AFFECTED_SOP_CLASS_UID, sop_class_uid, b"\0"),
            _encode_number(_COMMAND_FIELD, N_EVENT_REPORT),
            _encode_number(_MESSAGE_ID, message_id),
            _encode_number(_DATA_SET_TYPE, _HAS_DATA_SET),
            _encode_text(_AFFECTED_SOP_INSTANCE_UID, sop_instance_uid, b"\0"),
            _encode_number(_EVENT_TYPE, event_type),
        ]
    )


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _text(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def _encode_number(element: int, number: int) -> bytes:
    return _ELEMENT.pack(0, element, 2) + number.to_bytes(2, "little")


def _encode_text(element: int, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    value += padding * (len(value) % 2)  # PS3.5 6.2
    return _ELEMENT.pack(0, element, len(value)) + value


def _with_group_length(elements: list[bytes]) -> bytes:
    body = b"".join(elements)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body
