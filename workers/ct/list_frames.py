"""Give each frame of an enhanced multi-frame CT the header that a single image would have, and sort frames into stacks.

One object may hold several phases, reconstructions or orientations: frames of
one stack share all that tells such things apart, so that a stack can be judged
and loaded as a series of single images is (PS3.3 A.38, C.7.6.16).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from screener.read_file import BROKEN_FILE, read_numbers
from screener.study import Instance

ENHANCED_CT: Final = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
MAX_FRAMES: Final = 16384
"""More frames than any CT has, so the number is wrong."""
SAME_PLACE_MM: Final = 0.01
"""Frames nearer than this lie at one position."""
_FIRST_GROUPS_TAG = 0x52000000  # the functional groups and the pixels; all that lies before says the same of each frame
_NUMBER_OF_FRAMES = 0x00280008

# What a single image's header takes from each functional group (PS3.3 C.7.6.16.2, C.8.15.3), by the keyword there.
_ELEMENTS = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing", "SliceThickness": "SliceThickness"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelValueTransformationSequence": {
        "RescaleSlope": "RescaleSlope",
        "RescaleIntercept": "RescaleIntercept",
        "RescaleType": "RescaleType",
    },
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "FrameContentSequence": {
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "StackID": "StackID",
        "TemporalPositionIndex": "TemporalPositionIndex",
    },
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": "TemporalPositionTimeOffset"},
    "CardiacSynchronizationSequence": {"NominalPercentageOfCardiacPhase": "NominalPercentageOfCardiacPhase"},
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
    "CTXRayDetailsSequence": {"KVP": "KVP"},
    # Of a converted series, what found no place elsewhere.
    "UnassignedSharedConvertedAttributesSequence": {"ConvolutionKernel": "ConvolutionKernel", "KVP": "KVP"},
    "UnassignedPerFrameConvertedAttributesSequence": {
        "AcquisitionNumber": "AcquisitionNumber",
        "ConvolutionKernel": "ConvolutionKernel",
        "KVP": "KVP",
    },
}
# How the frames of one object differ where they belong to different volumes.
_STACK_KEYWORDS = (
    "SOPClassUID", "ImageType", "StackID", "TemporalPositionIndex", "TemporalPositionTimeOffset",
    "NominalPercentageOfCardiacPhase", "ConvolutionKernel", "KVP", "RescaleType", "FrameOfReferenceUID",
)  # fmt: skip
PHASE_KEYWORDS: Final = ("AcquisitionNumber", "TemporalPositionIdentifier", "KVP", "ConvolutionKernel")
"""How single images of one series differ where they belong to different volumes."""
MIN_AXIAL: Final = 0.8
"""Cosine between the normal of an axial image and the body's axis: a gantry tilts by 30 degrees at most."""
_TECHNIQUES = {
    "MAX_IP": "MIP",
    "MIN_IP": "MINIP",
    "VOLUME_RENDER": "VRT",
    "SURFACE_RENDER": "VRT",
    "CURVED_MPR": "CURVED",
    "MPR": "MPR",
}
"""VolumeBasedCalculationTechnique, and the word for the same in a single image's ImageType."""
_NOT_AVERAGED = ("SAMPLED", "DISTORTED")
"""VolumetricProperties of projections and of curved or rendered views (PS3.3 C.8.16.2.1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame, or one single image, as selection and loading see it."""

    instance: Instance
    number: int
    """1, 2, ... within a multi-frame image (PS3.3 C.7.6.16.1.2); 0 for a single image."""
    header: Dataset
    """Elements of a single CT image (PS3.3 A.3), without pixels."""


def list_frames(ds: Dataset, instance: Instance) -> list[Frame]:
    """Give every frame of `ds` its header; ValueError where its functional groups are absent or too few."""
    items = ds.get("PerFrameFunctionalGroupsSequence") or ()
    count = int(ds.get("NumberOfFrames") or 0)
    if not 0 < count <= MAX_FRAMES or len(items) != count:
        raise ValueError(f"{count} frames, {len(items)} functional groups")
    base = _copy_common(ds)
    numbers = range(1, count + 1)
    return [Frame(instance=instance, number=number, header=_flatten(ds, base, number)) for number in numbers]


def flatten_frame(ds: Dataset, number: int) -> Dataset:
    """Give frame `number` (from 1) the header of a single image: all that `ds` says of every frame, and its own."""
    return _flatten(ds, _copy_common(ds), number)


def group_stacks(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Sort frames into those that can form one volume; neither the order of `frames` nor of files matters.

    Where frames of one kind lie at one position, or acquisitions between each
    other's frames, they are taken for phases: each acquisition is then a stack
    of its own, and where no number tells them apart, each object.
    """
    kinds: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        kinds[_kind_of(frame.header)].append(frame)
    ordered = [kinds[kind] for kind in sorted(kinds, key=lambda kind: [_rank(value) for value in kind])]
    stacks = [stack for frames_of_kind in ordered for stack in _untangle(frames_of_kind, "AcquisitionNumber")]
    return [part for stack in stacks for part in _untangle(stack, "SOPInstanceUID")]


def group_phases(slices: Sequence[Frame]) -> list[list[Frame]]:
    """Sort single images of one series into those that can form one volume; their order does not matter.

    Acquisition, voltage and kernel may rightly change along the body. Only where two images lie at one position they
    are taken for phases, told apart by the first of the elements that can.
    """
    stacks = [list(slices)]
    for keyword in PHASE_KEYWORDS:
        stacks = [part for stack in stacks for part in _part_phases(stack, keyword)]
    return stacks


def _part_phases(slices: list[Frame], keyword: str) -> Iterator[list[Frame]]:
    places = _find_places(slices) if slices else None
    is_doubled = places is not None and bool(np.any(np.diff(np.sort(places)) < SAME_PLACE_MM))
    if places is None or not is_doubled or not all(tell(one.header, keyword) for one in slices):
        yield slices
    else:
        yield from _part(slices, places, keyword)


def keep_axial(frames: Sequence[Frame]) -> list[Frame]:
    """Leave out what lies crosswise to most images: a coronal or sagittal view, a scout that is not called one."""
    orientations = [_numbers(frame.header, "ImageOrientationPatient", 6) for frame in frames]
    normals = [None if one is None else np.cross(one[:3], one[3:]) for one in orientations]
    is_crosswise = [normal is not None and abs(normal[2]) < MIN_AXIAL for normal in normals]
    if 2 * sum(is_crosswise) >= len(frames):
        return list(frames)
    return [frame for frame, crosswise in zip(frames, is_crosswise, strict=True) if not crosswise]


def tell(header: Dataset, keyword: str) -> str:
    """An element's value as text; a broken one is none."""
    try:
        value = header.get(keyword)
        return "" if value is None else str(value)
    except BROKEN_FILE:
        return ""


def _rank(value: str) -> tuple[int, str]:
    """Order 2 before 10."""
    return len(value), value


def _untangle(frames: list[Frame], keyword: str) -> Iterator[list[Frame]]:
    frames = sorted(frames, key=lambda frame: (frame.instance.sop_instance_uid, frame.number))
    places = _find_places(frames)
    if places is None or not _is_tangled(frames, places):
        yield frames
    else:
        yield from _part(frames, places, keyword)


def _part(frames: list[Frame], places: NDArray[np.float64], keyword: str) -> Iterator[list[Frame]]:
    parts: dict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        parts[tell(frame.header, keyword)].append(index)
    # Phases show the same stretch. Parts that follow each other and merely overlap are one stretch, and a half of it
    # must not pass for the whole: together they are refused by the loader.
    longest = places[max(parts.values(), key=lambda part: float(np.ptp(places[part])))]
    is_inside = [(places[part] >= longest.min()) & (places[part] <= longest.max()) for part in parts.values()]
    if np.ptp(longest) < SAME_PLACE_MM or any(inside.mean() < 0.5 for inside in is_inside):
        yield frames
        return
    yield from ([frames[index] for index in parts[value]] for value in sorted(parts, key=_rank))


def _find_places(frames: list[Frame]) -> NDArray[np.float64] | None:
    """Where each frame lies along the normal of the first; None where one does not say it, which is refused later."""
    orientation = _numbers(frames[0].header, "ImageOrientationPatient", 6)
    positions = [_numbers(frame.header, "ImagePositionPatient", 3) for frame in frames]
    if orientation is None or any(position is None for position in positions):
        return None
    return np.asarray(np.array(positions, float) @ np.cross(orientation[:3], orientation[3:]), np.float64)


def _is_tangled(frames: list[Frame], places: NDArray[np.float64]) -> bool:
    """Whether two frames lie at one position, or an acquisition between the frames of another."""
    order = np.argsort(places, kind="stable")
    acquisitions = [tell(frames[index].header, "AcquisitionNumber") for index in order]
    changes = sum(one != before for one, before in zip(acquisitions[1:], acquisitions, strict=False))
    return bool(np.any(np.diff(places[order]) < SAME_PLACE_MM)) or changes + 1 > len(set(acquisitions))


def _kind_of(header: Dataset) -> tuple[str, ...]:
    orientation = _numbers(header, "ImageOrientationPatient", 6)
    spacing = _numbers(header, "PixelSpacing", 2)
    return (
        *(tell(header, keyword) for keyword in _STACK_KEYWORDS),
        "" if orientation is None else str((np.round(orientation, 2) + 0.0).tolist()),
        "" if spacing is None else str(np.round(spacing, 3).tolist()),
    )


def _numbers(header: Dataset, keyword: str, count: int) -> NDArray[np.float64] | None:
    values = read_numbers(header, keyword)
    return values if len(values) == count else None


def _copy_common(ds: Dataset) -> Dataset:
    """Elements of the whole object; the number of frames is not one of theirs."""
    common = Dataset()
    for tag in ds.keys():  # noqa: SIM118 - a data set's own iterator decodes every value
        if tag < _FIRST_GROUPS_TAG and tag != _NUMBER_OF_FRAMES:
            common[tag] = ds.get_item(tag)
    return common


def _flatten(ds: Dataset, common: Dataset, number: int) -> Dataset:
    """Lay a frame's own functional groups over those that all frames share (PS3.3 C.7.6.16.1.1)."""
    flat = Dataset()
    flat.update(common)
    shared = ds.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*shared[:1], ds.PerFrameFunctionalGroupsSequence[number - 1]):
        for keyword, elements in _ELEMENTS.items():
            item = _first(groups, keyword)
            for source, target in elements.items():
                if item is not None and item.get(source) is not None:
                    if item[source].VR == "SQ":  # where a value belongs
                        raise ValueError(f"{source} is a sequence")
                    flat.add_new(target, item[source].VR, item[source].value)
        _add_words(flat, groups)
    return flat


def _add_words(flat: Dataset, groups: Dataset) -> None:
    """Say in the words of a single image what enhanced CT says in elements of its own."""
    words: list[str] = []
    frame_type = _first(groups, "CTImageFrameTypeSequence")
    if frame_type is not None:
        technique = _word(frame_type, "VolumeBasedCalculationTechnique")
        words += [_TECHNIQUES[technique]] if technique in _TECHNIQUES else []
        words += [word for word in _NOT_AVERAGED if frame_type.get("VolumetricProperties") == word]
    acquisition = _first(groups, "CTAcquisitionTypeSequence")
    if acquisition is not None and acquisition.get("AcquisitionType") == "CONSTANT_ANGLE":
        words.append("LOCALIZER")
    if words:
        value = flat.get("ImageType") or ()
        flat.add_new("ImageType", "CS", [*([value] if isinstance(value, str) else value), *words])
    region = _first(_first(groups, "FrameAnatomySequence"), "AnatomicRegionSequence")
    if region is not None and not flat.get("BodyPartExamined"):
        flat.add_new("BodyPartExamined", "LO", _word(region, "CodeMeaning"))
    usage = _first(groups, "ContrastBolusUsageSequence")
    if usage is not None and usage.get("ContrastBolusAgentAdministered") == "YES":
        flat.add_new("ContrastBolusAgent", "LO", "administered")


def _word(item: Dataset, keyword: str) -> str:
    value = item.get(keyword)
    return value if isinstance(value, str) else ""


def _first(groups: Dataset | None, keyword: str) -> Dataset | None:
    items = groups.get(keyword) if groups is not None else None
    return items[0] if items else None
