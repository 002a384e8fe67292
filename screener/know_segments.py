"""What the segments of a DICOM segmentation show, as their own words and codes say (PS3.3 C.8.20)."""

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from screener.read_header import NOT_READABLE
from screener.study import Side

_MASS_STEMS = (
    "neoplas", "tumor", "tumour", "lesion", "carcinom", "adenom", "warthin", "cyst", "metasta", "malignan",
)  # fmt: skip
_MASS_WORDS: Final = frozenset({"mass", "masses", "gtv", "gtvp"})
"""Whole words only: the masseter is outlined in many plans. GTV is radiotherapy's gross tumor volume, p the primary."""
_NODE_WORDS: Final = frozenset({"n", "node", "nodes", "nodal", "ln"})
"""Beside GTV: the tumor in a lymph node."""
_DENIALS: Final = frozenset({"no", "not", "without", "minus", "except", "excluding"})
_SIDE_WORDS: Final = {
    Side.RIGHT: frozenset({"right", "rt", "r", "dextra", "dexter"}),
    Side.LEFT: frozenset({"left", "lt", "l", "sinistra", "sinister"}),
}
_SIDE_CODES: Final = {"24028007": Side.RIGHT, "7771000": Side.LEFT}
_MASS_CODES: Final = frozenset({"4147007", "108369006"})
"""SNOMED CT: mass; neoplasm (CID 7159 and below)."""
_PAROTID_CODE: Final = "45289007"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a segment shows."""

    kind: Literal["gland", "mass", "other"]
    side: Side | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a segmentation covers with at least one voxel."""

    has_mass: bool
    has_gland: bool


def understand_segment(segment: Dataset) -> Meaning:
    """Read a segment's own words and codes; where it lies says only on which side, and only a gland is a gland."""
    own = [str(segment.get("SegmentLabel") or ""), str(segment.get("SegmentDescription") or "")]
    codes = set()
    types = list(segment.get("SegmentedPropertyTypeCodeSequence") or [])
    modifiers = [m for code in types for m in code.get("SegmentedPropertyTypeModifierCodeSequence") or []]
    regions = list(segment.get("AnatomicRegionSequence") or [])
    modifiers += [m for code in regions for m in code.get("AnatomicRegionModifierSequence") or []]
    for code in types:
        own.append(str(code.get("CodeMeaning") or ""))
        codes.add(str(code.get("CodeValue") or ""))
    sides = {_SIDE_CODES[str(m.get("CodeValue"))] for m in modifiers if str(m.get("CodeValue")) in _SIDE_CODES}
    texts = [_split_words(text) for text in own]
    if not sides:
        words = {word for text in texts for word in text}
        sides = {side for side, names in _SIDE_WORDS.items() if words & names}
    side = sides.pop() if len(sides) == 1 else None
    shown = {word for text in texts for word in takewhile(lambda word: word not in _DENIALS, text)}
    is_node = "gtvn" in shown or ("gtv" in shown and bool(shown & _NODE_WORDS))
    named = shown - {"gtv"} if is_node else shown
    if codes & _MASS_CODES or named & _MASS_WORDS or any(word.startswith(_MASS_STEMS) for word in named):
        return Meaning("mass", side)
    is_gland = _PAROTID_CODE in codes or any("parotid" in word or "parotis" in word for word in shown)
    return Meaning("gland" if is_gland and not is_node else "other", side)


def _split_words(text: str) -> list[str]:
    """Return the words of `text` in small letters and in order, without digits; "ParotidL" is two."""
    parted = re.sub(r"(parotid|mass|gtvp?)(?=[rl](?![^\W\d_]))", r"\1 ", text.lower())
    return re.findall(r"[^\W\d_]+", parted)


def read_held(path: Path) -> Held | None:
    """Read what a segmentation holds; None where it cannot be read."""
    try:
        ds = dcmread(path)
        meanings = {int(segment.SegmentNumber): understand_segment(segment) for segment in ds.SegmentSequence}
        kinds = {meanings[number].kind for number in list_filled(ds) if number in meanings}
    except (*NOT_READABLE, RuntimeError):
        return None
    return Held(has_mass="mass" in kinds, has_gland="gland" in kinds)


def list_filled(ds: Dataset) -> set[int]:
    """Numbers of the segments that cover at least one voxel."""
    frames = np.asarray(ds.pixel_array)
    frames = frames.reshape(-1, *frames.shape[-2:])  # (frame, row, column)
    if str(ds.get("SegmentationType") or "BINARY") == "LABELMAP":
        return {int(number) for number in np.unique(frames) if number}
    return {
        segment_of_frame(ds, own)
        for frame, own in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True)
        if frame.any()
    }


def segment_of_frame(ds: Dataset, own: Dataset) -> int:
    """The segment that a frame belongs to; `own` are its functional groups, which stand before the shared ones."""
    shared = ds.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in ds else Dataset()
    groups = own if "SegmentIdentificationSequence" in own else shared
    return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
