"""Read from an archived file where its image lies, without touching pixels or the patient."""

import re
from pathlib import Path

from screener.find_gaps import Place, Vector
from screener.read_elements import is_away, read_raw_elements
from screener.read_header import NOT_READABLE, read_text

_FARTHEST_MM = 1e6
"""From the origin. What says that it lies farther away does not say where it lies."""
_LONGEST_COSINE = 2.0
"""A cosine is at most 1; those who write it too long still say which way."""
_IMAGE_TYPE = 0x00080008
_ACQUISITION_NUMBER = 0x00200012
_INSTANCE_NUMBER = 0x00200013
_IMAGE_POSITION_PATIENT = 0x00200032
_IMAGE_ORIENTATION_PATIENT = 0x00200037
_WANTED = [
    _IMAGE_TYPE, _ACQUISITION_NUMBER, _INSTANCE_NUMBER, _IMAGE_POSITION_PATIENT, _IMAGE_ORIENTATION_PATIENT,
]  # fmt: skip


def read_place(path: Path, series_instance_uid: str) -> Place:
    """Read a file that the archive wrote; whatever in it cannot be read is absent.

    Raises OSError where the disk does not give it now.
    """
    elements: dict[int, str] = {}
    try:
        elements = {int(one.tag): read_text(one.value) for one in read_raw_elements(path, _WANTED)}
    except NOT_READABLE as error:
        if is_away(path, error):
            raise
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


def _numbers(text: str, count: int, most: float) -> list[float]:
    """The values of a DS element (PS3.5 6.2), or none where there are not `count` of -`most` to `most`."""
    try:
        values = [float(part) for part in text.split("\\")]
    except ValueError:
        return []
    return values if len(values) == count and all(abs(value) <= most for value in values) else []


def _vector(values: list[float]) -> Vector:
    return values[0], values[1], values[2]
