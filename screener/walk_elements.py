"""Step through an encoded data set by the lengths that it declares: no value is read and nothing is built.

A few bytes can claim gigabytes, and each empty item of a sequence, eight
bytes long, costs the DICOM library a data set. This costs a count.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

UNDEFINED_LENGTH = 0xFFFFFFFF
MOST_PARTS = 2_000_000
"""Elements, items and fragments of a data set: some 40 for each of 16,384 frames whose lengths are undefined."""

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 7.5
_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_HEAD_BYTES = 8


class MalformedError(ValueError):
    """The data set is not made of elements, or has more parts than an image can have."""


class CutShortError(ValueError):
    """The data set ends before what it has begun."""


class NotHeldError(ValueError):
    """The data set goes on behind the bytes that are at hand."""


class Head(NamedTuple):
    """What stands before a value."""

    tag: int
    vr: str
    """Empty where it is implicit."""
    length: int
    """Of the value in bytes, or UNDEFINED_LENGTH."""


class Readable(Protocol):
    """What can be stepped through: a file, or a part of one."""

    def read(self, size: int, /) -> bytes:
        """Read as a file does."""
        ...

    def seek(self, offset: int, /) -> int:
        """Go to a place, from the begin."""
        ...


class ElementWalker:
    """Goes once through the elements of a data set; MalformedError where there are more than `most_parts` parts."""

    def __init__(
        self,
        encoded: Readable,
        size_bytes: int,
        *,
        is_implicit: bool,
        is_little: bool,
        most_parts: int = MOST_PARTS,
    ) -> None:
        """`encoded` may hold less than `size_bytes`: then NotHeldError is raised where it ends."""
        order = "<" if is_little else ">"
        self._unpack_head = struct.Struct(f"{order}HHL").unpack
        self._unpack_short = struct.Struct(f"{order}6xH").unpack
        self._unpack_long = struct.Struct(f"{order}L").unpack
        self.is_implicit = is_implicit
        self.is_little = is_little
        self._encoded = encoded
        self._size_bytes = size_bytes
        self._parts_left = most_parts
        self.position = 0
        """Of the next byte: behind a head the begin of its value, behind a value its end."""
        encoded.seek(0)

    def read_head(self) -> Head | None:
        """Read the head of the next element; None at the end of the data set, which zeros may fill up."""
        if self._size_bytes - self.position < _HEAD_BYTES:
            if any(self._encoded.read(_HEAD_BYTES)):
                raise CutShortError
            return None
        tag, vr, length = self._read_head(self.is_implicit)
        return Head(tag, vr.decode("latin-1"), length)

    def step_over(self, head: Head) -> None:
        """Go on behind the value whose head has just been read."""
        if head.length == UNDEFINED_LENGTH:
            self._step_over_open([None])
        else:
            self._skip(head.length)

    def read_items(self, head: Head) -> Iterator[tuple[int, int]]:
        """Give the begin and the end of each item of the sequence whose head has just been read, and go behind it."""
        end = None if head.length == UNDEFINED_LENGTH else self.position + head.length
        while end is None or self.position < end:
            tag, length = self._read_item_head()
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise MalformedError("something else stands where an item belongs")
            begin = self.position
            if length == UNDEFINED_LENGTH:
                self._step_over_open([self.is_implicit or self._begins_implicit()])
                yield begin, self.position - _HEAD_BYTES
            else:
                self._skip(length)
                yield begin, self.position

    def read_value(self, begin: int, length: int) -> bytes:
        """Read bytes that have been stepped over, and stay where we are."""
        self._encoded.seek(begin)
        value = self._encoded.read(length)
        self._encoded.seek(self.position)
        return value

    def _step_over_open(self, levels: list[bool | None]) -> None:
        """Go on behind the delimiter of what has no length: a sequence, an item, or fragments (PS3.5 7.5, A.4).

        What has a length is skipped. `levels` are the values and items that are
        open: None for a value, for an item whether its VRs are implicit.
        """
        while levels:
            level = levels[-1]
            if level is None:
                tag, length = self._read_item_head()
                if tag == _SEQUENCE_END:
                    levels.pop()
                elif tag == _ITEM and length == UNDEFINED_LENGTH:
                    around = levels[-2] if len(levels) > 1 else self.is_implicit
                    levels.append(around or self._begins_implicit())
                elif tag in {_ITEM, _ITEM_END}:
                    self._skip(length)
                else:
                    raise MalformedError("something else stands where an item belongs")
            else:
                tag, _, length = self._read_head(level)
                if tag == _ITEM_END:
                    levels.pop()
                elif length == UNDEFINED_LENGTH:
                    levels.append(None)
                else:
                    self._skip(length)

    def _begins_implicit(self) -> bool:
        """Tell whether an item is encoded with implicit VRs, as that of an unknown sequence is (PS3.5 6.2.2)."""
        head = self._read(_HEAD_BYTES)
        self.position -= _HEAD_BYTES
        self._encoded.seek(self.position)
        return not _is_vr(head[4:6])

    def _read_item_head(self) -> tuple[int, int]:
        self._count()
        group, element, length = self._unpack_head(self._read(_HEAD_BYTES))
        return group << 16 | element, length

    def _read_head(self, is_implicit: bool) -> tuple[int, bytes, int]:
        self._count()
        head = self._read(_HEAD_BYTES)
        group, element, length = self._unpack_head(head)
        vr = b"" if is_implicit else head[4:6]
        if not _is_vr(vr):  # some writers turn to implicit VRs within an explicit data set
            vr = b""
        elif vr in _LONG:
            (length,) = self._unpack_long(self._read(4))
        else:
            (length,) = self._unpack_short(head)
        return group << 16 | element, vr, length

    def _count(self) -> None:
        self._parts_left -= 1
        if self._parts_left < 0:
            raise MalformedError("the data set has more parts than an image can have")

    def _read(self, count: int) -> bytes:
        read = self._encoded.read(count)
        if len(read) < count:
            raise CutShortError if self.position + count > self._size_bytes else NotHeldError
        self.position += count
        return read

    def _skip(self, count: int) -> None:
        if count:
            self.position += count
            if self.position > self._size_bytes:
                raise CutShortError
            self._encoded.seek(self.position)


def _is_vr(text: bytes) -> bool:
    return b"AA" <= text <= b"ZZ"
