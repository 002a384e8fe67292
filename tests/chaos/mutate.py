"""Spoil a sound data set: its bytes, its elements, or the sizes that it claims."""

import random
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cache

from tests.chaos.fuzz_seeds import Encoding, Seed, deflate

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""VRs with a length of four bytes (PS3.5 7.1.2)."""
SHORT = (b"US", b"SS", b"UL", b"DS", b"IS", b"CS", b"UI", b"AT", b"FD", b"PN", b"ZZ", b"\x00\x01")
NUMBERS = (0, 1, 2, 3, 7, 8, 12, 16, 17, 31, 33, 64, 255, 512, 2048, 4096, 32768, 65535)
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
IMPORTANT = (
    0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x0020000D, 0x0020000E, 0x00200012, 0x00200013,
    0x00200032, 0x00200037, 0x00200052, 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011,
    0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00281052, 0x00281053, 0x00281054,
    0x00180050, 0x00181210, 0x52009229, 0x52009230, PIXEL_DATA,
)  # fmt: skip
VALUES = (
    b"", b"0 ", b"-1", b"1 ", b"1e999 ", b"nan ", b"-inf", b"abc ", b"9" * 400, b"1\\2\\3\\4 ", b"\x00\xff\x00\xff",
    b"2147483648", b"1.2..3", b"\\" * 5000, b"A" * 70000, b"\x1b$)C\x1b", b"ISO 2022 IR 87\\x ", b"\xff\xfe" * 40,
    b"\x00\x00", b"\x01\x00", b"\x07\x00", b"\x0c\x00", b"\xff\xff", b"\x00\x80", b"\x10\x00\x20",
)  # fmt: skip
LENGTHS = (0, 1, 3, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, UNDEFINED, 65535, 100_000)
BOMB_BYTES = 300 << 20


@dataclass(frozen=True, kw_only=True)
class Element:
    """One element of a data set, as it is going to be encoded."""

    tag: int
    vr: bytes
    value: bytes
    length: int | None = None
    """What it claims; None: what it has."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A spoiled object."""

    how: str
    sop_class_uid: str
    transfer_syntax_uid: str
    data_set: bytes


BOMB_SHARE = 0.06


def mutate(seed: Seed, other: Seed, rng: random.Random, *, has_bombs: bool = True) -> Mutant:
    """Spoil `seed`, perhaps with a piece of `other`; the same state of `rng` gives the same bytes.

    Without bombs the object neither claims nor becomes much more than it is.
    """
    kind = rng.random() if has_bombs else rng.uniform(BOMB_SHARE, 1.0)
    if kind < BOMB_SHARE:
        how, data_set = _bomb(seed, rng)
        return _mutant(seed, how, data_set)
    data_set = seed.data_set
    hows = []
    if kind < 0.55:
        elements = split(data_set, seed.encoding)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            how, elements = _spoil_elements(elements, rng)
            hows.append(how)
        data_set = join(elements, seed.encoding)
    if kind >= 0.5:
        for _ in range(rng.choice((1, 1, 2, 5))):
            how, data_set = _spoil_bytes(data_set, other.data_set, rng)
            hows.append(how)
    if not seed.encoding.is_deflated:
        return _mutant(seed, "+".join(hows), data_set)
    data_set = deflate(data_set)
    if rng.random() < 0.3:
        how, data_set = _spoil_bytes(data_set, other.data_set, rng)
        hows.append(f"deflated {how}")
    return _mutant(seed, "+".join(hows), data_set)


def _mutant(seed: Seed, how: str, data_set: bytes) -> Mutant:
    data_set += bytes(len(data_set) % 2)
    return Mutant(
        how=f"{seed.name}: {how}",
        sop_class_uid=seed.sop_class_uid,
        transfer_syntax_uid=seed.transfer_syntax_uid,
        data_set=data_set,
    )


def split(data_set: bytes, encoding: Encoding) -> list[Element]:
    """Take a sound data set apart at its top level; pixel data of undefined length are the last element."""
    order = "<" if encoding.is_little else ">"
    elements = []
    at = 0
    while at + 8 <= len(data_set):
        group, number = struct.unpack_from(f"{order}HH", data_set, at)
        vr = b"" if encoding.is_implicit else data_set[at + 4 : at + 6]
        if encoding.is_implicit:
            (length,) = struct.unpack_from(f"{order}L", data_set, at + 4)
            at += 8
        elif vr in LONG:
            (length,) = struct.unpack_from(f"{order}L", data_set, at + 8)
            at += 12
        else:
            (length,) = struct.unpack_from(f"{order}H", data_set, at + 6)
            at += 8
        end = len(data_set) if length == UNDEFINED else at + length
        claimed = UNDEFINED if length == UNDEFINED else None
        elements.append(Element(tag=group << 16 | number, vr=vr, value=data_set[at:end], length=claimed))
        at = end
    return elements


def join(elements: list[Element], encoding: Encoding) -> bytes:
    """Encode elements in the order in which they stand, whatever they claim."""
    order = "<" if encoding.is_little else ">"
    parts = []
    for one in elements:
        length = len(one.value) if one.length is None else one.length
        parts.append(struct.pack(f"{order}HH", one.tag >> 16, one.tag & 0xFFFF))
        if encoding.is_implicit:
            parts.append(struct.pack(f"{order}L", length))
        elif one.vr in LONG:
            parts.append(one.vr + bytes(2) + struct.pack(f"{order}L", length))
        else:
            parts.append(one.vr + struct.pack(f"{order}H", length & 0xFFFF))
        parts.append(one.value)
    return b"".join(parts)


def _pick(elements: list[Element], rng: random.Random) -> int:
    important = [index for index, one in enumerate(elements) if one.tag in IMPORTANT]
    return rng.choice(important) if important and rng.random() < 0.8 else rng.randrange(len(elements))


def _spoil_elements(elements: list[Element], rng: random.Random) -> tuple[str, list[Element]]:
    if not elements:
        return "nothing", elements
    index = _pick(elements, rng)
    one = elements[index]
    how = rng.choice(("drop", "double", "swap", "value", "value", "value", "number", "number", "vr", "length", "nest"))
    spoiled = list(elements)
    if how == "drop":
        del spoiled[index]
    elif how == "double":
        spoiled.insert(rng.randrange(len(spoiled)), one)
    elif how == "swap":
        other = rng.randrange(len(spoiled))
        spoiled[index], spoiled[other] = spoiled[other], spoiled[index]
    elif how == "value":
        spoiled[index] = replace(one, value=rng.choice(VALUES), length=None)
    elif how == "number":
        spoiled[index] = replace(one, value=_claim(one, rng), length=one.length)
    elif how == "vr":
        spoiled[index] = replace(one, vr=rng.choice((*LONG, *SHORT)))
    elif how == "length":
        spoiled[index] = replace(one, length=rng.choice(LENGTHS))
    else:
        vr, value = b"SQ", nest(rng.choice((1, 5, 60, 400, 3000)), is_defined=rng.random() < 0.5)
        spoiled[index] = replace(one, vr=vr, value=value, length=rng.choice((None, UNDEFINED)))
    return f"{how} {one.tag:08X}", spoiled


def _claim(one: Element, rng: random.Random) -> bytes:
    """Another number of the same kind as the element has."""
    if one.vr in {b"US", b"SS"} or (one.tag >> 16 == 0x0028 and len(one.value) == 2):
        return struct.pack("<H", rng.choice(NUMBERS))
    number = rng.choice((0, -1, 1, 1e-9, 1e9, 2**31 - 1, 2**63, 1e300, 0.05, 10000, 16384))
    text = str(int(number) if number == int(number) and abs(number) < 1e18 else number)
    count = one.value.count(b"\\") + 1
    value = "\\".join([text] * count).encode()
    return value + b" " * (len(value) % 2)


def nest(depth: int, *, is_defined: bool) -> bytes:
    """Sequences within sequences, explicit VR little endian."""
    inner = b""
    head = struct.pack("<HH2s2x", 0x0040, 0xA730, b"SQ")
    for _ in range(depth):
        length = len(inner) if is_defined else UNDEFINED
        item = struct.pack("<HHL", 0xFFFE, 0xE000, length) + inner
        if not is_defined:
            item += struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        inner = head + struct.pack("<L", len(item) if is_defined else UNDEFINED) + item
        if not is_defined:
            inner += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner


def _spoil_bytes(data_set: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    if not data_set:
        return "nothing", data_set
    spoiled = bytearray(data_set)
    begin = rng.randrange(len(spoiled) if rng.random() < 0.6 else min(len(spoiled), 900))
    span = min(rng.choice((1, 2, 4, 8, 64, 600)), len(spoiled) - begin)
    how = rng.choice(("flip", "flip", "set", "truncate", "delete", "insert", "repeat", "splice", "number"))
    if how == "flip":
        for _ in range(rng.choice((1, 2, 8))):
            spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    elif how == "set":
        spoiled[begin : begin + span] = bytes([rng.choice((0, 0x7F, 0x80, 0xFF, 0x20, 0x5C))]) * span
    elif how == "truncate":
        del spoiled[begin:]
    elif how == "delete":
        del spoiled[begin : begin + span]
    elif how == "insert":
        spoiled[begin:begin] = rng.randbytes(span)
    elif how == "repeat":
        spoiled[begin:begin] = spoiled[begin : begin + span] * rng.choice((1, 3, 50))
    elif how == "splice":
        spoiled[begin:] = other[rng.randrange(len(other)) :]
    else:
        spoiled[begin : begin + 4] = struct.pack(rng.choice("<>") + "L", rng.choice(LENGTHS))
    return how, bytes(spoiled)


def _bomb(seed: Seed, rng: random.Random) -> tuple[str, bytes]:
    """A small object that claims, or becomes, a large one."""
    elements = split(seed.data_set, seed.encoding)
    how = rng.choice(
        ("dimensions", "dimensions", "frames", "fragments", "groups", "values", "inflate", "depth", "items")
    )
    if seed.encoding.is_deflated and rng.random() < 0.5:
        how = "inflate"
    order = "<" if seed.encoding.is_little else ">"
    if how == "dimensions":
        size = rng.choice((2049, 16384, 65535))
        claims = {tag: struct.pack(f"{order}H", size) for tag in (0x00280010, 0x00280011)}
        is_told = rng.random() < 0.6
        elements = [replace(one, value=claims[one.tag]) if is_told and one.tag in claims else one for one in elements]
        elements = [_swell(one, size) if one.tag == PIXEL_DATA else one for one in elements]
    elif how == "frames":
        elements = _with(elements, Element(tag=0x00280008, vr=b"IS", value=rng.choice((b"16384 ", b"2147483647"))))
    elif how == "fragments":
        value = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 20_000 + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        elements = _with(elements, Element(tag=PIXEL_DATA, vr=b"OB", value=value, length=UNDEFINED))
    elif how == "groups":
        frames = rng.choice((2048, 2048, 2048, 16384))
        items = struct.pack(f"{order}HHL", 0xFFFE, 0xE000, 0) * frames
        elements = _with(elements, Element(tag=0x52009230, vr=b"SQ", value=items))
        elements = _with(elements, Element(tag=0x00280008, vr=b"IS", value=f"{frames:<6}".encode()))
    elif how == "values":
        elements = _with(elements, Element(tag=0x00080008, vr=b"UT", value=b"A\\" * 200_000))
    elif how == "items":
        value = struct.pack(f"{order}HHL", 0xFFFE, 0xE000, 0) * 500_000 + struct.pack(f"{order}HHL", 0xFFFE, 0xE0DD, 0)
        length = rng.choice((None, UNDEFINED))
        elements = _with(elements, Element(tag=0x00081140, vr=b"SQ", value=value, length=length))
    elif how == "depth":
        value = nest(5000, is_defined=rng.random() < 0.5)
        elements = _with(elements, Element(tag=0x0018A001, vr=b"SQ", value=value, length=rng.choice((None, UNDEFINED))))
    data_set = join(elements, seed.encoding)
    if not seed.encoding.is_deflated:
        return how, data_set
    return how, _inflating(data_set) if how == "inflate" else deflate(data_set)


def _with(elements: list[Element], one: Element) -> list[Element]:
    """Put an element where it belongs, in place of one with its tag."""
    return sorted([other for other in elements if other.tag != one.tag] + [one], key=lambda element: element.tag)


def _swell(pixels: Element, size: int) -> Element:
    """Claim `size` rows and columns in every stream header: JPEG and JPEG-LS (SOFn), JPEG 2000 (SIZ)."""
    value = bytearray(pixels.value)
    for marker in (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7):
        at = value.find(bytes((0xFF, marker)))
        if 0 <= at < 700 and at + 9 <= len(value):
            value[at + 5 : at + 9] = struct.pack(">HH", size, size)
    at = value.find(b"\xff\x51")
    if 0 <= at < 700 and at + 32 <= len(value):
        value[at + 6 : at + 14] = struct.pack(">LL", size, size)
        value[at + 22 : at + 30] = struct.pack(">LL", size, size)
    return replace(pixels, value=bytes(value))


@cache
def _zeros() -> bytes:
    """Deflated zeros that end on a byte and go on."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = bytes(1 << 20)
    return b"".join(squeeze.compress(block) for _ in range(BOMB_BYTES >> 20)) + squeeze.flush()


def _inflating(data_set: bytes) -> bytes:
    """The data set, its header whole, and then zeros without end."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(data_set) + squeeze.flush(zlib.Z_FULL_FLUSH) + _zeros()
