"""Read from an archived file where its image lies, without touching pixels or the patient."""

import re
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator

from screener.find_gaps import Place, Vector
from screener.read_header import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    NOT_READABLE,
    read_text,
)

_PREAMBLE_BYTES = 132
_HEAD_BYTES = 1 << 18  # what is wanted stands at the begin of every header
_FARTHEST_MM = 1e6
"""From the origin. What says that it lies farther away does not say where it lies."""
_LONGEST_COSINE = 2.0
"""A cosine is at most 1; those who write it too long still say which way."""
_FILE_META_GROUP = 0x0002
_TRANSFER_SYNTAX_UID = 0x00020010
_IMAGE_TYPE = 0x00080008
_ACQUISITION_NUMBER = 0x00200012
_INSTANCE_NUMBER = 0x00200013
_IMAGE_POSITION_PATIENT = 0x00200032
_IMAGE_ORIENTATION_PATIENT = 0x00200037
_WANTED = [
    _IMAGE_TYPE, _ACQUISITION_NUMBER, _INSTANCE_NUMBER, _IMAGE_POSITION_PATIENT, _IMAGE_ORIENTATION_PATIENT,
]  # fmt: skip


def read_place(path: Path, series_instance_uid: str) -> Place:
    """Read a file that the archive wrote; whatever in it cannot be read is absent."""
    elements: dict[int, str] = {}
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)  # from a file the parser would ask for as much as an element declares
        elements = dict(_read_elements(BytesIO(head)))
    except NOT_READABLE:  # a file that has vanished is one of them
        elements = {}
    position = _numbers(elements.get(_IMAGE_POSITION_PATIENT, ""), 3, _FARTHEST_MM)
    orientation = _numbers(elements.get(_IMAGE_ORIENTATION_PATIENT, ""), 6, _LONGEST_COSINE)
    number = elements.get(_INSTANCE_NUMBER, "")
    return Place(
        series_instance_uid=series_instance_uid,
        position_mm=_vector(position) if position else None,
        orientation=(_vector(orientation[:3]), _vector(orientation[3:])) if orientation else None,
        instance_number=int(number) if re.fullmatch(r"[+-]?[0-9]{1,11}", number) else None,  # PS3.5 6.2, IS
        acquisition_number=elements.get(_ACQUISITION_NUMBER, ""),
        image_type=frozenset(word.strip().upper() for word in elements.get(_IMAGE_TYPE, "").split("\\")),
    )


def _read_elements(file: BinaryIO) -> Iterator[tuple[int, str]]:
    file.seek(_PREAMBLE_BYTES)
    meta = data_element_generator(
        file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != _FILE_META_GROUP,
        specific_tags=[_TRANSFER_SYNTAX_UID],
    )
    transfer_syntax_uid = "".join(read_text(one.value) for one in meta if one.tag == _TRANSFER_SYNTAX_UID)
    data_set = file
    if transfer_syntax_uid in DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        data_set = BytesIO(inflate.decompress(file.read(), _HEAD_BYTES))
    for one in data_element_generator(
        data_set,
        is_implicit_VR=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        is_little_endian=transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
        stop_when=lambda tag, _vr, _length: tag > _IMAGE_ORIENTATION_PATIENT,
        specific_tags=[*_WANTED],
    ):
        if isinstance(one, RawDataElement):
            yield one.tag, read_text(one.value)


def _numbers(text: str, count: int, most: float) -> list[float]:
    """The values of a DS element (PS3.5 6.2), or none where there are not `count` of -`most` to `most`."""
    try:
        values = [float(part) for part in text.split("\\")]
    except ValueError:
        return []
    return values if len(values) == count and all(abs(value) <= most for value in values) else []


def _vector(values: list[float]) -> Vector:
    return values[0], values[1], values[2]
