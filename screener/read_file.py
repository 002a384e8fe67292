"""Read a DICOM file whatever it claims: never more than it holds, and what is deflated only up to a limit.

The DICOM library asks for as many bytes as an element declares, up to 4 GiB,
and inflates without end; a few kilobytes could ask for all memory there is.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from screener.outcomes import TryAgain

BROKEN_FILE: Final = (
    InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, TypeError, NotImplementedError,
    AttributeError, ArithmeticError, LookupError, RecursionError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom raises over a file that is cut short or garbled, at once or when a value is asked for."""
MAX_INFLATED_BYTES: Final = 512 << 20
"""A thousand frames of 512 x 512."""
MAX_INFLATION: Final = 40
"""Times its size that a data set may inflate to, beyond what a single image has: air in CT comes to some 10."""
SINGLE_IMAGE_BYTES: Final = 16 << 20
MAX_ELEMENTS: Final = 100_000
"""Of a data set, those of its sequences apart: images have some hundred."""
MAX_ITEMS: Final = 100_000
"""Of all sequences together: an enhanced image has some ten for each frame, and each takes a kilobyte of memory."""
MAX_READS: Final = 1_000_000
"""Pieces in which a header is read, some two for an element: an enhanced image takes a hundred for each frame."""

_LARGE_BYTES = 1 << 16
_PIXEL_DATA = 0x7FE00010
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, _PIXEL_DATA})
_ITEM_LITTLE, _ITEM_BIG = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"  # PS3.5 7.5
_PREFIX_BYTES = 132  # PS3.10 7.1: preamble and DICM
_GROUP_LENGTH = struct.Struct("<HH2sHL")  # File Meta Information Group Length, the first element
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_PLAIN = ExplicitVRLittleEndian.encode().ljust(len(_DEFLATED), b"\0")
_MAX_META_BYTES = 1 << 16


class _Counter:
    """Counts what a parser reads, and stops it where that is more than any image has.

    The library makes an object of each item and element of a sequence of undefined length, wanted or not, and of
    those of defined length where one is asked for.
    """

    def __init__(self) -> None:
        self.is_counting = True
        self._reads = 0
        self._items = 0

    def count(self, piece: bytes) -> bytes:
        """Give `piece` back; ValueError where it is one too many."""
        if self.is_counting:
            self._reads += 1
            self._items += piece.count(_ITEM_LITTLE) + piece.count(_ITEM_BIG)
            if self._items > MAX_ITEMS or self._reads > MAX_READS:
                raise ValueError("the data set has more items than any image")
        return piece


class _File(BufferedReader):
    """A file that reads no more than there is, and sets no memory aside for more."""

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self.size_bytes = os.fstat(self.fileno()).st_size
        self.counter = _Counter()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or what there is of them."""
        if size is not None and size > _LARGE_BYTES:
            size = max(0, min(size, self.size_bytes - self.tell()))
        return self.counter.count(super().read(size))


class _Inflated(BytesIO):
    """What a deflated file held."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.counter = _Counter()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or what there is of them."""
        return self.counter.count(super().read(size))


def read_file(
    path: Path,
    *,
    with_pixels: bool = True,
    keywords: Sequence[str] | None = None,
    most_bytes: int | None = None,
) -> Dataset:
    """Read a file up to its pixels, or of its elements those with `keywords`.

    Raises what BROKEN_FILE holds where it is broken or holds more than `most_bytes`, inflated where it is deflated,
    and TryAgain where the disk does not give it. A deflated data set comes as if it had never been: as Explicit VR
    Little Endian. What stands behind the pixels is left out.
    """
    try:
        file = _File(path)
    except OSError as error:
        raise TryAgain(f"A file of the study cannot be read: {error.strerror}.", code="disk") from error
    with file:
        if most_bytes is not None and file.size_bytes > most_bytes:
            raise ValueError("the file is longer than what is looked for")
        try:
            source = _inflate(file, most_bytes) or file
            ds = read_partial(
                source,
                _Stop(source.counter, with_pixels=with_pixels),
                specific_tags=[tag_for_keyword(keyword) or 0 for keyword in keywords] if keywords else None,
            )
        except OSError as error:
            if error.errno is None:  # the library's own, where a sequence ends early
                raise
            raise TryAgain(f"A file of the study cannot be read: {error.strerror}.", code="disk") from error
    _refuse_odd_sequences(ds)
    return ds


def read_numbers(ds: Dataset, keyword: str) -> NDArray[np.float64]:
    """Give the numbers of an element in one dimension, however many; none where it is absent or empty."""
    value = ds.get(keyword)
    return np.atleast_1d(np.array(() if value is None else value, np.float64))


class _Stop:
    """Tells the parser at each element whether to go on."""

    def __init__(self, counter: _Counter, *, with_pixels: bool) -> None:
        self._counter = counter
        self._with_pixels = with_pixels
        self._elements = 0
        self._is_past_pixels = False

    def __call__(self, tag: BaseTag, _vr: str | None, _length: int) -> bool:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise ValueError("the data set has more elements than any image")
        if self._is_past_pixels or (not self._with_pixels and tag in _PIXELS):
            return True
        self._counter.is_counting = tag not in _PIXELS
        self._is_past_pixels = tag >= _PIXEL_DATA
        return False


def _refuse_odd_sequences(ds: Dataset) -> None:
    """Raise ValueError where a sequence stands for a value: written out as text, a deep one takes hours."""
    for tag in ds.keys():  # noqa: SIM118 - a data set's own iterator decodes every value
        if ds.get_item(tag).VR == "SQ" and dictionary_has_tag(tag) and dictionary_VR(tag) != "SQ":
            raise ValueError("a sequence stands where a value belongs")


def _inflate(file: BinaryIO, most_bytes: int | None) -> _Inflated | None:
    """Give a deflated file (PS3.5 A.5) as one that is not; None where it is none, its position as it was."""
    head = file.read(_PREFIX_BYTES + _GROUP_LENGTH.size)
    try:
        tag = _GROUP_LENGTH.unpack_from(head, _PREFIX_BYTES)
    except struct.error:
        tag = (0, 0, b"", 0, 0)
    is_first = tag[:4] == (0x0002, 0x0000, b"UL", 4)
    head += file.read(min(tag[4], _MAX_META_BYTES) if is_first else _MAX_META_BYTES)
    if _DEFLATED not in head:
        file.seek(0)
        return None
    if not is_first or tag[4] > _MAX_META_BYTES:
        raise InvalidDicomError("the file meta information does not say where it ends")
    deflated = file.read()
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflate.decompress(deflated, most_bytes or most_inflated_bytes(len(deflated)))
    if inflate.unconsumed_tail:
        raise ValueError("the data set inflates to more than an image can hold")
    return _Inflated(head.replace(_DEFLATED, _PLAIN) + inflated)


def most_inflated_bytes(deflated_bytes: int) -> int:
    """To how many bytes a data set of so many may inflate."""
    return min(MAX_INFLATED_BYTES, max(SINGLE_IMAGE_BYTES, MAX_INFLATION * deflated_bytes))
