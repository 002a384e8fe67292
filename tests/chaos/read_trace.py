"""What strace saw of a program: system calls with their times, and the DICOM answers among them."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

C_STORE_RSP = 0x8001  # PS3.7 E.1: command field
_CALL = re.compile(r"(?P<began>\d+\.\d+) (?P<name>\w+)\((?P<words>.*)\)\s+= (?P<result>-?\d+)(?P<rest>.*)")
_SECONDS = re.compile(r"<(\d+\.\d+)>\s*$")
_DESCRIPTOR = re.compile(r"(?:AT_FDCWD|-?\d+)<(?P<name>.*?)>(?:\(deleted\))?(?=, |$)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HEX = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One system call that did not fail."""

    name: str
    began_at: float
    """Seconds, as all times here, on one clock for all threads and processes."""
    ended_at: float
    words: str
    result: int

    @property
    def descriptor(self) -> str:
        """The path or socket behind its first descriptor, as far as it has one; of a name that is gone, that name."""
        match = _DESCRIPTOR.match(self.words)
        return decode(match["name"]).decode(errors="replace").removesuffix(" (deleted)") if match else ""

    @property
    def texts(self) -> list[bytes]:
        """What it was given in quotation marks: paths, or the bytes that were written or read."""
        return [decode(text) for text in _TEXT.findall(self.words)]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer to a C-STORE request, as it left."""

    sop_instance_uid: str
    status: int
    left_at: float
    """When the call that sent it began."""


def decode(text: str) -> bytes:
    """The bytes that strace wrote in hexadecimal; plain characters stand for themselves."""
    return _HEX.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1")


def read_calls(prefix: Path) -> list[Call]:
    """Every successful call in the files that `strace -ff -ttt -T -o prefix` wrote, by the time at which it began."""
    calls = []
    for path in prefix.parent.glob(f"{prefix.name}.*"):
        for line in path.read_text(errors="replace").splitlines():
            match = _CALL.match(line)
            if match is None or int(match["result"]) < 0:
                continue
            seconds = _SECONDS.search(match["rest"])
            began_at = float(match["began"])
            calls.append(
                Call(
                    name=match["name"],
                    began_at=began_at,
                    ended_at=began_at + (float(seconds[1]) if seconds else 0.0),
                    words=match["words"],
                    result=int(match["result"]),
                )
            )
    return sorted(calls, key=lambda call: call.began_at)


def find_answers(calls: list[Call]) -> Iterator[Answer]:
    """Every C-STORE response that was sent."""
    for call in calls:
        if call.name in {"sendto", "sendmsg", "write", "writev"}:
            for text in call.texts:
                for elements in find_commands(text):
                    if _number(elements, 0x0100) == C_STORE_RSP:
                        uid = elements.get(0x1000, b"").rstrip(b"\0 ").decode()
                        yield Answer(sop_instance_uid=uid, status=_number(elements, 0x0900), left_at=call.began_at)


def find_commands(sent: bytes) -> Iterator[dict[int, bytes]]:
    """The command sets (PS3.7 6.3.1, implicit VR little endian) in what was sent, element number to value."""
    start = sent.find(b"\0\0\0\0\4\0\0\0")
    while 0 <= start <= len(sent) - 12:
        (length,) = struct.unpack_from("<L", sent, start + 8)
        yield dict(_elements(sent[start + 12 : start + 12 + length]))
        start = sent.find(b"\0\0\0\0\4\0\0\0", start + 12 + length)


def _elements(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 8 <= len(encoded):
        group, element, length = struct.unpack_from("<HHL", encoded, place)
        if group != 0:
            return
        yield element, encoded[place + 8 : place + 8 + length]
        place += 8 + length


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    return int(struct.unpack("<H", value)[0]) if len(value) == 2 else -1
