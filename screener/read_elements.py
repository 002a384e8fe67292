"""Read a few elements of an archived file's header, whatever the file claims: each part costs a count and no more.

The DICOM library inflates without end and makes an object of each item of a sequence, wanted or not: a few kilobytes
could ask for all memory there is.
"""

import os
import zlib
from collections.abc import Callable, Collection, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_preamble
from pydicom.multival import MultiValue

from screener.read_header import (
    DEFLATED,
    FIRST_BULK_TAG,
    HEAD_BYTES,
    MAX_VALUE_BYTES,
    open_walker,
    read_element,
    read_text,
)
from screener.walk_elements import ElementWalker, MalformedError, Readable

_MOST_PARTS = 200_000
"""Elements and items of a header; as many take less than a second."""
_FILE_META_GROUP = 0x0002
_TRANSFER_SYNTAX_UID = 0x00020010
_SPECIFIC_CHARACTER_SET = 0x00080005


def read_elements(path: Path, keywords: Sequence[str]) -> Dataset:
    """Return those of a file that the archive wrote, with their character set; what it does not hold is absent.

    No sequences. Raises OSError where the disk does not give it, and what NOT_READABLE holds, at once or when a value
    is asked for, where it is damaged or has more parts than a header can have.
    """
    tags = [tag_for_keyword(keyword) or 0 for keyword in keywords]
    return Dataset({element.tag: element for element in read_raw_elements(path, tags)})


def read_raw_elements(path: Path, wanted: Sequence[int]) -> list[RawDataElement]:
    """Return the wanted elements of a file's header and its character set; as above."""
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        read_preamble(file, force=False)
        begin = file.tell()
        meta = ElementWalker(_Behind(file, begin), size_bytes - begin, is_implicit=False, is_little=True)
        found, meta_bytes = _collect(meta, {_TRANSFER_SYNTAX_UID}, lambda tag: tag >> 16 != _FILE_META_GROUP)
        transfer_syntax_uid = "".join(read_text(one.value) for one in found)
        begin += meta_bytes
        encoded: Readable = _Behind(file, begin)
        size_bytes -= begin
        if transfer_syntax_uid in DEFLATED:
            encoded.seek(0)
            inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded.read(HEAD_BYTES), HEAD_BYTES)
            encoded, size_bytes = BytesIO(inflated), len(inflated)
        walker = open_walker(encoded, size_bytes, transfer_syntax_uid, most_parts=_MOST_PARTS)
        return _collect(walker, {*wanted, _SPECIFIC_CHARACTER_SET}, lambda tag: tag >= FIRST_BULK_TAG)[0]


def single_value(ds: Dataset, keyword: str) -> Any:
    """Give the one value of an element; "" where it has none, or several, of which nobody can tell which is true."""
    value = ds.get(keyword)
    return "" if isinstance(value, MultiValue) else value or ""


def is_away(path: Path, error: BaseException | None) -> bool:
    """Tell whether the disk did not give a file now; one that is missing from a folder that is here has gone."""
    has_gone = isinstance(error, FileNotFoundError) and os.path.isdir(path.parent)  # noqa: PTH112 - Path raises if stale
    return isinstance(error, OSError) and not has_gone


class _Behind:
    """What stands behind a place of a file, as a file."""

    def __init__(self, file: BinaryIO, begin: int) -> None:
        self._file, self._begin = file, begin
        self.read = file.read

    def seek(self, offset: int, /) -> int:
        return self._file.seek(self._begin + offset) - self._begin


def _collect(
    walker: ElementWalker, wanted: Collection[int], is_behind: Callable[[int], bool]
) -> tuple[list[RawDataElement], int]:
    """Return the wanted elements as far as `is_behind` does not say that a tag comes later, and where that one begins.

    Of a tag that comes again the last is taken, as the library does.
    """
    found: dict[int, RawDataElement] = {}
    while True:
        position = walker.position
        head = walker.read_head()
        if head is None or is_behind(head.tag):
            return list(found.values()), position
        begin = walker.position
        walker.step_over(head)
        if head.tag in wanted:
            if head.length > MAX_VALUE_BYTES or head.vr == "SQ":
                raise MalformedError("a value that no such element has")
            found[head.tag] = read_element(walker, head, begin)
