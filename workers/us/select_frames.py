"""COMPLETE -> SELECTED: choose the B-mode frames of an ultrasound study.

A header's regions say what a picture shows and how large it is; where there
are none, or none that fit, the picture is found by its content. Each object is
judged by itself: one that cannot be read does not keep the others from being searched.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from screener.outcomes import NeedsPerson, SetAside
from screener.sop_classes import SECONDARY_CAPTURE, ULTRASOUND
from screener.study import MANUFACTURER, Instance
from screener.us_study import Frame, FrameChoice
from workers.compare_patients import NOBODY, Patient, read_patient, refuse_mixed, refuse_mixed_study
from workers.ct.decode_slice import reading
from workers.us.find_pictures import find_pictures, to_gray, trim_region
from workers.us.find_regions import (
    MIN_SIZE_PX,
    Region,
    Regions,
    find_other_mode,
    find_regions,
    is_large_enough,
    read_pixel_spacing,
)
from workers.us.judge_color import has_overlay
from workers.us.read_frames import count_frames, read_frames, read_header

MAX_CLIP_FRAMES: Final = 40
"""Frames looked at of all clips of a study together, evenly spread; each clip gives `MIN_CLIP_FRAMES` at least."""
MIN_CLIP_FRAMES: Final = 4
MAX_OBJECTS: Final = 400
"""Stills and clips looked at; of more, so many evenly spread ones."""
MAX_HELD_BYTES: Final = 1 << 30
"""Of all pictures taken: a thousand of 1080 rows."""

NO_B_MODE: Final = "no_b_mode_frame"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One object of a study, as its header tells it."""

    instance: Instance
    frames: int
    """1 of a single image; 0 where the object is refused unread."""
    regions: Regions | None
    pixel_spacing_mm: tuple[float, float] | None
    refusal: str
    """Why nothing of it is looked at; empty where it is."""
    failure: str = ""
    """The code of an object that cannot be read; empty where it can."""
    patient: Patient = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One frame that was looked at, or an object that was not."""

    choice: FrameChoice
    frames: tuple[Frame, ...]
    """One for each B-mode picture of it, from left to right; empty where it is refused."""
    count: int = 1
    """Frames of its object; 0 where the object was refused as a whole."""
    failure: str = ""
    """A code, where it could not be read or decoded."""
    patient: Patient = NOBODY


class Selected(NamedTuple):
    """The B-mode pictures of a study, and why each frame, or run of a clip's frames, was taken or refused."""

    choices: tuple[FrameChoice, ...]
    frames: tuple[Frame, ...]
    unread: int
    """Objects that could not be read, or not to their end: what they show was not searched."""
    patients: frozenset[Patient]
    """Whom the headers of the pictures taken name."""


def select_frames(images: Sequence[Instance]) -> Selected:
    """Return the B-mode pictures taken, and why every other frame was not.

    Of a run the choice holds the first frame's number. The order of `images` does not matter. SetAside
    (`no_b_mode_frame`) where there is none; NeedsPerson where there is none and an object could not be read or decoded,
    by its code, and (`mixed_patients`) where the study is of several patients. Either carries the choices in its
    attribute `choices`.
    """
    judged: list[Judged] = []
    frames: list[Frame] = []
    screened: set[Patient] = set()
    everybody: set[Patient] = set()
    held_bytes = 0
    for one in judge_frames(images):
        frames += one.frames
        everybody.add(one.patient)
        screened |= {one.patient} if one.frames else set()
        held_bytes += sum(frame.gray.nbytes for frame in one.frames)
        if held_bytes > MAX_HELD_BYTES:
            raise NeedsPerson("The study's pictures are too large to be searched together.", code="absurd_size")
        judged.append(Judged(choice=one.choice, frames=(), count=one.count, failure=one.failure))
    choices = tuple(_join_runs(judged))
    if not frames:
        outcome = _tell_nothing(judged, choices)
        outcome.choices = choices
        raise outcome
    refuse_mixed(screened, choices)
    refuse_mixed_study(everybody, choices)
    unread = {one.choice.sop_instance_uid for one in judged if one.failure}
    return Selected(choices=choices, frames=tuple(frames), unread=len(unread), patients=frozenset(screened))


def judge_frames(images: Iterable[Instance]) -> Iterator[Judged]:
    """Yield the frames that are looked at one by one, by SOP Instance UID; one is decoded at a time."""
    ordered = sorted(images, key=lambda one: one.sop_instance_uid)
    sources = [_read_source(instance) for instance in ordered]
    usable = [source for source in sources if not source.refusal]
    kept = {usable[index].instance.sop_instance_uid for index in _spread(len(usable), MAX_OBJECTS)}
    clips = sum(source.frames > 1 for source in usable if source.instance.sop_instance_uid in kept)
    most = max(MIN_CLIP_FRAMES, MAX_CLIP_FRAMES // max(1, clips))
    for source in sources:
        if source.refusal:
            yield _refuse(source, source.refusal, source.failure)
        elif source.instance.sop_instance_uid not in kept:
            yield _refuse(source, f"Not looked at: {MAX_OBJECTS} of {len(usable)} objects were, evenly spread.")
        else:
            yield from _judge_source(source, [index + 1 for index in _spread(source.frames, most)])


def _spread(count: int, most: int) -> list[int]:
    """Indices of at most `most` of `count` things, evenly spread; the first and the last are among them."""
    return [int(index) for index in np.unique(np.rint(np.linspace(0, count - 1, min(count, most))))] if count else []


def _read_source(instance: Instance) -> _Source:
    try:
        ds = read_header(instance)
        with reading(instance):
            return _describe_source(instance, ds)
    except NeedsPerson as outcome:
        return _Source(
            instance=instance, frames=0, regions=None, pixel_spacing_mm=None,
            refusal=outcome.reason, failure=outcome.code,
        )  # fmt: skip


def _describe_source(instance: Instance, ds: Dataset) -> _Source:
    regions = find_regions(ds)
    refusal = _find_refusal(instance, ds)
    if not refusal and regions is not None and not regions.pictures:
        refusal = f"Refused by its header: {regions.refusal}."
    if not refusal and regions is None and find_other_mode(ds):
        refusal = f"Refused by its Image Type: {find_other_mode(ds)}, no B-mode."
    return _Source(
        instance=instance,
        frames=count_frames(ds),
        regions=regions,
        pixel_spacing_mm=read_pixel_spacing(ds) if regions is None else None,
        refusal=refusal,
        patient=read_patient(ds),
    )


def _find_refusal(instance: Instance, ds: Dataset) -> str:
    """Why an object is no ultrasound picture of a scanner's; empty where it may be one."""
    if ds.get("Manufacturer") == MANUFACTURER:
        return "A result of this screener."
    if instance.sop_class_uid in SECONDARY_CAPTURE:
        return "" if ds.get("Modality") == "US" else "A secondary capture of another modality than ultrasound."
    return "" if instance.sop_class_uid in ULTRASOUND else "No ultrasound image."


def _judge_source(source: _Source, numbers: Sequence[int]) -> Iterator[Judged]:
    try:
        for number, picture in read_frames(source.instance, numbers):
            yield _judge_frame(source, number, picture)
    except NeedsPerson as outcome:
        yield _refuse(source, outcome.reason, outcome.code)


def _judge_frame(source: _Source, number: int, picture: NDArray[np.uint8]) -> Judged:
    regions, notes = _find_b_mode(source, picture)
    large = [one for one in regions if is_large_enough(one.box)]
    gray = [one for one in large if not has_overlay(picture, one.box)]
    frame_number = number if source.frames > 1 else 0
    choice = FrameChoice(
        sop_instance_uid=source.instance.sop_instance_uid,
        frame_number=frame_number,
        is_taken=bool(gray),
        reason=_tell_taken(gray, len(large), notes) if gray else _tell_refused(len(regions), len(large)),
    )
    whole = to_gray(picture)
    frames = tuple(
        Frame(
            sop_instance_uid=source.instance.sop_instance_uid,
            frame_number=frame_number,
            box=one.box,
            picture_shape=(whole.shape[0], whole.shape[1]),
            gray=whole[one.box.top : one.box.bottom, one.box.left : one.box.right].copy(),
            spacing_mm=one.spacing_mm,
        )
        for one in gray
    )
    return Judged(choice=choice, frames=frames, count=source.frames, patient=source.patient)


def _find_b_mode(source: _Source, picture: NDArray[np.uint8]) -> tuple[list[Region], list[str]]:
    """Where the pictures of a frame lie, and what is to be said of how they were found."""
    if source.regions is not None:
        trimmed = [(trim_region(picture, one.box), one.spacing_mm) for one in source.regions.pictures]
        found = [Region(box=box, spacing_mm=spacing_mm) for box, spacing_mm in trimmed if box is not None]
        return found, ["by its regions", *([source.regions.refusal] if source.regions.refusal else [])]
    by_content = find_pictures(picture)
    notes = ["found by content"]
    if by_content.has_below:
        notes.append("what lies below a black band is left out, where traces are shown")
    return [Region(box=box, spacing_mm=source.pixel_spacing_mm) for box in by_content.boxes], notes


def _tell_taken(taken: Sequence[Region], found: int, notes: Sequence[str]) -> str:
    what = "B-mode" if len(taken) == 1 else f"{len(taken)} B-mode pictures"
    spacing_mm = taken[0].spacing_mm
    scale = f"{spacing_mm[0]:.3f} x {spacing_mm[1]:.3f} mm a pixel" if spacing_mm else "not calibrated"
    colored = [f"{found - len(taken)} with an overlay of color left out"] if found > len(taken) else []
    return f"{what} {'; '.join([*notes, *colored, scale])}."


def _tell_refused(found: int, large: int) -> str:
    if large:
        return "An overlay of color covers a part of the picture, as flow and stiffness do."
    if found:
        return f"The picture is smaller than {MIN_SIZE_PX} x {MIN_SIZE_PX} pixels."
    return "No ultrasound picture was found in it."


def _refuse(source: _Source, reason: str, failure: str = "") -> Judged:
    choice = FrameChoice(
        sop_instance_uid=source.instance.sop_instance_uid, frame_number=0, is_taken=False, reason=reason
    )
    return Judged(choice=choice, frames=(), count=0, failure=failure, patient=source.patient)


def _join_runs(judged: Sequence[Judged]) -> Iterator[FrameChoice]:
    """Yield one choice for each run of a clip's frames that were judged alike, and all others as they are."""
    begin = 0
    for end in range(1, len(judged) + 1):
        if end == len(judged) or not _is_same_run(judged[begin], judged[end]):
            yield _tell_run(judged[begin:end])
            begin = end


def _is_same_run(one: Judged, other: Judged) -> bool:
    first, second = one.choice, other.choice
    return (first.sop_instance_uid, first.is_taken, first.reason, one.count) == (
        second.sop_instance_uid, second.is_taken, second.reason, other.count,
    )  # fmt: skip


def _tell_run(run: Sequence[Judged]) -> FrameChoice:
    first, last = run[0].choice, run[-1].choice
    if run[0].count <= 1:
        return first
    return FrameChoice(
        sop_instance_uid=first.sop_instance_uid,
        frame_number=first.frame_number,
        is_taken=first.is_taken,
        reason=f"Frames {first.frame_number} to {last.frame_number} of {run[0].count}, {len(run)} of them looked at: "
        f"{first.reason}",
    )


def _tell_nothing(judged: Sequence[Judged], choices: Sequence[FrameChoice]) -> SetAside | NeedsPerson:
    """The outcome of a study without a B-mode frame."""
    failed = [one for one in judged if one.failure]
    if failed:
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        first = failed[0].choice.reason.rstrip(".")
        return NeedsPerson(
            f"No B-mode frame was found, and not all could be looked at: {first}{others}.", code=failed[0].failure
        )
    if not choices:
        return SetAside("The study holds no image.", code=NO_B_MODE)
    reason, count = Counter(choice.reason for choice in choices).most_common(1)[0]
    most = f"{count} of {len(choices)} were refused so: " if len(choices) > 1 else ""
    return SetAside(f"The study holds no B-mode frame. {most}{reason}", code=NO_B_MODE)
