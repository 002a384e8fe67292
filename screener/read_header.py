"""Read the few elements of an encoded data set that its row needs, without touching pixels or the patient."""

import os
import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.valuerep import VR

from screener.study import MANUFACTURER, MODEL_NAME_CT
from screener.us_study import MODEL_NAME_US
from screener.walk_elements import (
    MOST_PARTS,
    CutShortError,
    ElementWalker,
    Head,
    MalformedError,
    NotHeldError,
    Readable,
)

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}  # PS3.5 A.5, A.7, A.13
# A few kilobytes can inflate to gigabytes. The stages that read have the same limits.
_MAX_INFLATED_BYTES = 512 << 20
_MAX_INFLATION = 40
_SINGLE_IMAGE_BYTES = 16 << 20
HEAD_BYTES = 4 << 20  # of an inflated data set, kept to be read: all that stands before the first frame
_PIECE_BYTES = 64 << 10
MAX_VALUE_BYTES = 1 << 16  # of the few elements that are read

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_MODALITY = 0x00080060
_MANUFACTURER = 0x00080070
_MODEL_NAME = 0x00081090
_CONTRIBUTING_EQUIPMENT = 0x0018A001
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_WANTED = frozenset({
    _SOP_CLASS_UID, _SOP_INSTANCE_UID, _MODALITY, _MANUFACTURER, _MODEL_NAME,
    _CONTRIBUTING_EQUIPMENT, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID,
})  # fmt: skip
FIRST_BULK_TAG = 0x52000000  # per-frame groups, waveforms and pixels follow
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_SIGNATURES = 0xFFFAFFFA
_LAST_PRIVATE_GROUP = 0xFFFD  # PS3.5 7.8.1
_VRS = frozenset(str(vr) for vr in VR)
_PROCESSING_EQUIPMENT = "109102"  # PS3.16 CID 7005, DCM

_OUR_MODELS = (MODEL_NAME_CT, MODEL_NAME_US)

# What the parser raises on bytes that are no data set: it was written for files that are.
NOT_READABLE = (
    ArithmeticError, AttributeError, EOFError, InvalidDicomError, LookupError, NotImplementedError,
    OSError, RecursionError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip

_Elements = dict[int, RawDataElement]


class UnreadableDataSetError(ValueError):
    """The bytes are not a data set that we can keep a row of; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the row of an instance needs; every UID is checked."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    """Empty where the data set has none that could be one."""
    is_ours: bool
    """True: its equipment says that a screener made it, of whatever version."""
    is_truncated: bool
    """True: it ends within its pixel data, or within what stands before or behind them."""


def is_uid(text: str) -> bool:
    """Tell whether `text` may be used as a UID (PS3.5 9.1); leading zeros, a common fault, are let pass."""
    return len(text) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is not None


def read_header(encoded: BinaryIO, transfer_syntax_uid: str) -> Header:
    """Read the header of a data set without file meta information; UnreadableDataSetError says what is wrong.

    What the disk or the memory does not give is OSError or MemoryError: no fault of the data set.
    """
    size_bytes = encoded.seek(0, os.SEEK_END)
    if size_bytes == 0:
        raise UnreadableDataSetError("The data set is empty.")
    is_cut = False
    try:
        if transfer_syntax_uid in DEFLATED:
            most_bytes = min(_MAX_INFLATED_BYTES, max(_SINGLE_IMAGE_BYTES, _MAX_INFLATION * size_bytes))
            encoded, size_bytes, is_cut = _inflate(encoded, most_bytes)
        elements, ends_early = _walk(encoded, size_bytes, transfer_syntax_uid)
    except (MalformedError, zlib.error):
        raise UnreadableDataSetError("The data set cannot be read: it is damaged or not DICOM.") from None
    return Header(
        study_instance_uid=_uid(elements, _STUDY_INSTANCE_UID, "Study Instance UID"),
        series_instance_uid=_uid(elements, _SERIES_INSTANCE_UID, "Series Instance UID"),
        sop_instance_uid=_uid(elements, _SOP_INSTANCE_UID, "SOP Instance UID"),
        sop_class_uid=_uid(elements, _SOP_CLASS_UID, "SOP Class UID"),
        modality=_modality(elements),
        is_ours=_is_ours(elements),
        is_truncated=is_cut or ends_early,
    )


def _inflate(encoded: BinaryIO, most_bytes: int) -> tuple[BinaryIO, int, bool]:
    """Inflate a data set piece by piece: its head, how many bytes it comes to, and whether it ends too early."""
    encoded.seek(0)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    head = bytearray()
    size_bytes = 0
    is_over = False
    while not is_over:
        piece = inflate.unconsumed_tail or encoded.read(_PIECE_BYTES)
        is_over = inflate.eof or not piece
        inflated = inflate.flush() if is_over else inflate.decompress(piece, HEAD_BYTES)
        head += inflated[: HEAD_BYTES - len(head)]
        size_bytes += len(inflated)
        if size_bytes > most_bytes:
            raise UnreadableDataSetError("The data set inflates to more than an image can hold.")
    return BytesIO(head), size_bytes, not inflate.eof


def _walk(encoded: BinaryIO, size_bytes: int, transfer_syntax_uid: str) -> tuple[_Elements, bool]:
    """Collect the wanted elements, stepping over all others; the flag says that the data set is cut short.

    What stands behind the pixels is looked at as far as it may belong to the
    data set: some writers fill up their files.
    """
    walker = open_walker(encoded, size_bytes, transfer_syntax_uid)
    elements: _Elements = {}
    tag = 0
    try:
        while (head := walker.read_head()) is not None:
            tag, begin = head.tag, walker.position
            walker.step_over(head)
            if tag in _WANTED:
                _collect(elements, walker, head, begin)
            if tag in _PIXELS:
                return elements, _is_cut_behind_pixels(walker, tag)
    except CutShortError:
        if tag < FIRST_BULK_TAG:
            raise UnreadableDataSetError("The data set ends in the middle of its header.") from None
        return elements, True
    except NotHeldError:
        pass
    return elements, False


def open_walker(
    encoded: Readable, size_bytes: int, transfer_syntax_uid: str, *, most_parts: int = MOST_PARTS
) -> ElementWalker:
    """Begin to step through a data set of this encoding, inflated where that deflates."""
    return ElementWalker(
        encoded,
        size_bytes,
        is_implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        is_little=transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
        most_parts=most_parts,
    )


def read_element(walker: ElementWalker, head: Head, begin: int) -> RawDataElement:
    """Read the element that the walker has just stepped over; its value begins at `begin`."""
    value = walker.read_value(begin, walker.position - begin)
    return RawDataElement(BaseTag(head.tag), head.vr or None, head.length, value, begin, not head.vr, walker.is_little)


def _collect(elements: _Elements, walker: ElementWalker, head: Head, begin: int) -> None:
    """Read the element that the walker has just stepped over, unless it is of absurd length."""
    length = walker.position - begin
    if length > MAX_VALUE_BYTES:
        if head.tag == _CONTRIBUTING_EQUIPMENT:  # nobody has as much; the library would build it all
            return
        raise MalformedError("a value of absurd length")
    elements[head.tag] = read_element(walker, head, begin)


def _is_cut_behind_pixels(walker: ElementWalker, tag: int) -> bool:
    head: Head | None = None
    try:
        while (head := walker.read_head()) is not None and _may_follow_pixels(
            head, tag, is_implicit=walker.is_implicit
        ):
            tag = head.tag
            walker.step_over(head)
            head = None
    except CutShortError:
        return head is not None
    except (MalformedError, NotHeldError):
        pass
    return False


def _may_follow_pixels(head: Head, previous_tag: int, *, is_implicit: bool) -> bool:
    """Tell whether a head stands for something: private groups, signatures; what fills a file up is of no interest."""
    group = head.tag >> 16
    is_known = (group % 2 == 1 and group <= _LAST_PRIVATE_GROUP) or head.tag in _PIXELS or head.tag == _SIGNATURES
    return is_known and head.tag > previous_tag and (is_implicit or head.vr in _VRS)


def _text(elements: _Elements, tag: int) -> str:
    return read_text(elements[tag].value) if tag in elements else ""


def read_text(value: object) -> str:
    """Decode an encoded value without the library's checks: those would put it into a warning."""
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else ""


def _uid(elements: _Elements, tag: int, name: str) -> str:
    text = _text(elements, tag)
    if not text:
        raise UnreadableDataSetError(f"The data set has no {name}.")
    if not is_uid(text):
        raise UnreadableDataSetError(f"The {name} of the data set is not a valid UID.")
    return text


def _modality(elements: _Elements) -> str:
    text = _text(elements, _MODALITY)
    return text if re.fullmatch(r"[A-Z0-9_ ]{1,16}", text) else ""  # PS3.5 6.2, CS


def _is_ours(elements: _Elements) -> bool:
    """As `is_ours` of the results: the contributing equipment, or manufacturer and model where a PACS dropped it."""
    if _text(elements, _MANUFACTURER) == MANUFACTURER and _text(elements, _MODEL_NAME) in _OUR_MODELS:
        return True
    if _CONTRIBUTING_EQUIPMENT not in elements:
        return False
    try:
        items = Dataset({BaseTag(_CONTRIBUTING_EQUIPMENT): elements[_CONTRIBUTING_EQUIPMENT]})
        return any(_names_us(item) for item in items.ContributingEquipmentSequence or ())
    except NOT_READABLE:
        return False


def _names_us(equipment: Dataset) -> bool:
    purposes = equipment.get("PurposeOfReferenceCodeSequence") or ()
    is_processing = any(purpose.get("CodeValue") == _PROCESSING_EQUIPMENT for purpose in purposes)
    return is_processing and equipment.get("Manufacturer") == MANUFACTURER
