"""Read a few elements of an archived file's header, whatever the file claims: never more than a bounded part of it.

The DICOM library inflates without end and makes an object of each item of a sequence, wanted or not: a few kilobytes
could ask for all memory there is.
"""

import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator

from screener.read_header import DEFLATED, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, read_text

_MOST_BYTES = 1 << 18  # elements that are passed over cost nothing, unless their length is undefined
_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_FILE_META_GROUP = 0x0002
_TRANSFER_SYNTAX_UID = 0x00020010


def read_elements(path: Path, keywords: Sequence[str]) -> Dataset:
    """Return those of a file that the archive wrote, with their character set; what it does not hold is absent.

    Raises OSError where the disk does not give it, and what NOT_READABLE holds, at once or when a value is asked for,
    where it is damaged or asks for too much.
    """
    tags = [tag_for_keyword(keyword) or 0 for keyword in keywords]
    return Dataset({element.tag: element for element in read_raw_elements(path, tags)})


def read_raw_elements(path: Path, wanted: Sequence[int]) -> list[RawDataElement]:
    """Return the wanted elements of a file's header, no sequences, and its character set; raises as above."""
    with path.open("rb") as file:
        frugal = _Frugal(file)
        try:
            return list(_walk(cast("BinaryIO", frugal), wanted))
        except OSError as error:
            if frugal.has_failed:
                raise
            raise EOFError(str(error)) from error  # the library's word for a sequence that is cut short


class _Frugal:
    """A file of which a bounded part is read: what is passed over by seeking costs nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, _MOST_BYTES
        self.seek, self.tell = file.seek, file.tell
        self.has_failed = False
        """Whether it was the disk that did not give what was asked for."""

    def read(self, size: int) -> bytes:
        """Read as a file does; raises EOFError where more is asked for than is left of the bound."""
        if size > self._left:
            message = f"more than {_MOST_BYTES} bytes would have to be read"
            raise EOFError(message)
        try:
            data = self._file.read(size)
        except OSError:
            self.has_failed = True
            raise
        self._left -= len(data)
        return data


def _walk(file: BinaryIO, wanted: Sequence[int]) -> Iterator[RawDataElement]:
    file.seek(_PREAMBLE_BYTES)
    if file.read(len(_PREFIX)) != _PREFIX:
        message = "the file does not begin as DICOM files do (PS3.10 7.1)"
        raise InvalidDicomError(message)
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
        file = BytesIO(inflate.decompress(file.read(_MOST_BYTES // 2), _MOST_BYTES))
    last = max(wanted)
    for one in data_element_generator(
        file,
        is_implicit_VR=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        is_little_endian=transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
        stop_when=lambda tag, _vr, _length: tag > last,
        specific_tags=[*wanted],  # and the character set, which the library adds
    ):
        if isinstance(one, RawDataElement):
            if len(one.value or b"") < one.length:
                message = "an element is cut short"
                raise EOFError(message)
            yield one
