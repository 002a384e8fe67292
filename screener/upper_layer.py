"""The PDUs of the upper layer protocol as bytes and as values; no input or output (PS3.8 9.3).

What comes off the wire is taken apart within its own lengths: no count or
length in it makes anything grow beyond the bytes that have come.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

ASSOCIATE_REQUEST, ASSOCIATE_ACCEPT, ASSOCIATE_REJECT = 0x01, 0x02, 0x03  # PS3.8 9.3.1
DATA, RELEASE_REQUEST, RELEASE_REPLY, ABORT = 0x04, 0x05, 0x06, 0x07

HEADER_BYTES = 6
MAXIMUM_LENGTH = 128 << 10
"""Announced for P-DATA-TF (PS3.8 D.1); measured: fewer, larger PDUs; one of unlimited size has to fit in memory."""
LONGEST = {
    ASSOCIATE_REQUEST: 256 << 10,  # 128 contexts, each with every transfer syntax, make 150 KiB
    DATA: MAXIMUM_LENGTH + 1024,  # some count the header, or the items', beside what was announced
    RELEASE_REQUEST: 64,
    ABORT: 64,
}
"""Bytes that may follow the header, by the type of the PDU; what an acceptor may not get is not here."""

COMMAND_BIT, LAST_BIT = 1, 2  # PS3.8 E.2, the message control header

ACCEPTED, NO_REASON, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 2, 3, 4  # PS3.8 table 9-18

BY_USER, BY_PROVIDER = 0, 2  # PS3.8 table 9-26: the source of an abort
NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 0, 1, 2, 6

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_FIXED_BYTES = 68
_ITEM = struct.Struct(">BxH")
_ROLE = 0x54


class MalformedPDUError(ValueError):
    """The bytes are no PDU of this kind; the message says what is wrong and quotes nothing."""


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of a request."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    called_ae_title: str
    calling_ae_title: str
    """Without padding; what no AE title may hold is a question mark here."""
    contexts: tuple[ProposedContext, ...]
    maximum_length: int
    """Of a P-DATA-TF that the requestor takes; 0: any."""
    roles: Mapping[str, tuple[bool, bool]]
    """SOP class -> whether the requestor would be user, and provider (PS3.7 D.3.3.4)."""
    fixed: bytes
    """The 68 bytes before the items, which an answer repeats in part."""


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The answer to one proposed context."""

    context_id: int
    result: int
    transfer_syntax: str


def decode_association_request(body: bytes) -> AssociationRequest:
    """Take an A-ASSOCIATE-RQ apart, `body` being what follows its header."""
    if len(body) < _FIXED_BYTES:
        raise MalformedPDUError("the association request is too short")
    contexts: dict[int, ProposedContext] = {}
    maximum_length = 0
    roles: dict[str, tuple[bool, bool]] = {}
    for kind, value in _items(body[_FIXED_BYTES:]):
        if kind == 0x20:
            context = _decode_context(value)
            if context.context_id in contexts:
                raise MalformedPDUError("two presentation contexts have the same number")
            contexts[context.context_id] = context
        elif kind == 0x50:
            for sub_kind, sub_value in _items(value):
                if sub_kind == 0x51 and len(sub_value) == 4:
                    (maximum_length,) = struct.unpack(">L", sub_value)
                elif sub_kind == _ROLE:
                    roles.update([_decode_role(sub_value)])
    return AssociationRequest(
        called_ae_title=_ae_title(body[4:20]),
        calling_ae_title=_ae_title(body[20:36]),
        contexts=tuple(contexts.values()),
        maximum_length=maximum_length,
        roles=roles,
        fixed=body[:_FIXED_BYTES],
    )


def encode_accept(
    request: AssociationRequest,
    results: Iterable[ContextResult],
    roles: Mapping[str, tuple[bool, bool]],
    *,
    implementation_class_uid: str,
    implementation_version_name: str,
) -> bytes:
    """Make the A-ASSOCIATE-AC (PS3.8 9.3.3); `roles` are those granted."""
    user_information = b"".join(
        (
            _item(0x51, struct.pack(">L", MAXIMUM_LENGTH)),
            _item(0x52, implementation_class_uid.encode()),
            *(_encode_role(uid, *granted) for uid, granted in roles.items()),
            _item(0x55, implementation_version_name.encode()),
        )
    )
    body = b"".join(
        (
            struct.pack(">HH", 1, 0),
            request.fixed[4:_FIXED_BYTES],
            _item(0x10, _APPLICATION_CONTEXT.encode()),
            *(
                _item(
                    0x21,
                    struct.pack(">BxBx", result.context_id, result.result)
                    + _item(0x40, result.transfer_syntax.encode()),
                )
                for result in results
            ),
            _item(0x50, user_information),
        )
    )
    return _pdu(ASSOCIATE_ACCEPT, body)


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """Make an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _pdu(ASSOCIATE_REJECT, struct.pack(">xBBB", result, source, reason))


def encode_abort(source: int, reason: int) -> bytes:
    """Make an A-ABORT (PS3.8 9.3.8)."""
    return _pdu(ABORT, struct.pack(">xxBB", source, reason))


def encode_release_reply() -> bytes:
    """Make an A-RELEASE-RP (PS3.8 9.3.7)."""
    return _pdu(RELEASE_REPLY, bytes(4))


def encode_message(context_id: int, command: bytes, data_set: bytes | None, maximum_length: int) -> bytes:
    """Make the P-DATA-TFs of one message, none longer than the peer takes (PS3.8 9.3.5 and annex E)."""
    pdus = [_data_pdus(context_id, COMMAND_BIT, command, maximum_length)]
    if data_set is not None:
        pdus.append(_data_pdus(context_id, 0, data_set, maximum_length))
    return b"".join(pdus)


def split_data(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield context, control header and fragment of each PDV in a P-DATA-TF, as views of `body`."""
    position, end = 0, len(body)
    if not end:
        raise MalformedPDUError("a P-DATA-TF holds nothing")
    while position < end:
        if end - position < 6:
            raise MalformedPDUError("a presentation data value is too short")
        length, context_id, control = struct.unpack_from(">LBB", body, position)
        if not 2 <= length <= end - position - 4:
            raise MalformedPDUError("a presentation data value does not fit in its PDU")
        yield context_id, control, body[position + 6 : position + 4 + length]
        position += 4 + length


def _decode_context(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise MalformedPDUError("a presentation context is too short")
    abstract_syntax, transfer_syntaxes = "", []
    for kind, uid in _items(value[4:]):
        if kind == 0x30:
            abstract_syntax = _uid(uid)
        elif kind == 0x40:
            transfer_syntaxes.append(_uid(uid))
    if not (abstract_syntax and transfer_syntaxes):
        raise MalformedPDUError("a presentation context names no abstract or no transfer syntax")
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def _decode_role(value: bytes) -> tuple[str, tuple[bool, bool]]:
    length = int.from_bytes(value[:2])
    if len(value) != length + 4:
        raise MalformedPDUError("a role selection has another length than it says")
    return _uid(value[2:-2]), (bool(value[-2]), bool(value[-1]))


def _encode_role(sop_class_uid: str, is_user: bool, is_provider: bool) -> bytes:
    uid = sop_class_uid.encode()
    return _item(_ROLE, struct.pack(">H", len(uid)) + uid + bytes((is_user, is_provider)))


def _items(body: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(body):
        if len(body) - position < _ITEM.size:
            raise MalformedPDUError("an item is too short")
        kind, length = _ITEM.unpack_from(body, position)
        position += _ITEM.size
        if length > len(body) - position:
            raise MalformedPDUError("an item does not fit in its PDU")
        yield kind, body[position : position + length]
        position += length


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def _data_pdus(context_id: int, control: int, content: bytes, maximum_length: int) -> bytes:
    room = max(min(maximum_length or MAXIMUM_LENGTH, MAXIMUM_LENGTH) - 6, 64)
    pieces = [content[start : start + room] for start in range(0, len(content), room)] or [b""]
    return b"".join(
        _pdu(
            DATA,
            struct.pack(">LBB", len(piece) + 2, context_id, control | (LAST_BIT if number == len(pieces) else 0))
            + piece,
        )
        for number, piece in enumerate(pieces, start=1)
    )


def _ae_title(field: bytes) -> str:
    text = field.decode("latin-1").strip(" \0")
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)


def _uid(field: bytes) -> str:
    """Decode a UID, well-formed or not; none is longer than 64 characters (PS3.5 9.1)."""
    text = field.rstrip(b"\0 ").decode("ascii", "replace")
    if len(text) > 64:
        raise MalformedPDUError("a UID is longer than 64 characters")
    return text
