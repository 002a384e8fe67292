"""Read a few elements near the begin of an archived file, whatever the file claims: no more of it than its head.

The DICOM library inflates without end and makes an object of each item of a sequence, wanted or not: a few kilobytes
could ask for all memory there is.
"""

import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator

from screener.read_header import DEFLATED, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, read_text

_HEAD_BYTES = 1 << 18  # what is wanted stands at the begin of every header
_PREAMBLE_BYTES = 132
_FILE_META_GROUP = 0x0002
_TRANSFER_SYNTAX_UID = 0x00020010


def read_elements(path: Path, keywords: Sequence[str]) -> Dataset:
    """Return those of a file that the archive wrote, with their character set; what its head does not hold is absent.

    Raises OSError where the disk does not give it, and what NOT_READABLE holds, at once or when a value is asked for,
    where it is damaged.
    """
    tags = [tag_for_keyword(keyword) or 0 for keyword in keywords]
    return Dataset({element.tag: element for element in read_raw_elements(path, tags)})


def read_raw_elements(path: Path, wanted: Sequence[int]) -> list[RawDataElement]:
    """Return the wanted elements in the head of a file, no sequences, and its character set; raises as above."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)  # from a file the parser would ask for as much as an element declares
    try:
        return list(_walk(BytesIO(head), wanted))
    except OSError as error:  # the library's word for a sequence that is cut short; the disk has given all
        raise EOFError(str(error)) from error


def _walk(file: BinaryIO, wanted: Sequence[int]) -> Iterator[RawDataElement]:
    file.seek(_PREAMBLE_BYTES)
    meta = data_element_generator(
        file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != _FILE_META_GROUP,
        specific_tags=[_TRANSFER_SYNTAX_UID],
    )
    transfer_syntax_uid = "".join(read_text(one.value) for one in meta if one.tag == _TRANSFER_SYNTAX_UID)
    if transfer_syntax_uid in DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        file = BytesIO(inflate.decompress(file.read(), _HEAD_BYTES))
    last = max(wanted)
    for one in data_element_generator(
        file,
        is_implicit_VR=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        is_little_endian=transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
        stop_when=lambda tag, _vr, _length: tag > last,
        specific_tags=[*wanted],  # and the character set, which the library adds
    ):
        if isinstance(one, RawDataElement):
            yield one
