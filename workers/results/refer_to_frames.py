"""Let a segmentation refer to frames of multi-frame images, any number of images and frames.

The encoding library takes one multi-frame image, whole, or any single images.
A volume may be a part of one or parts of several. So the library is given a
stand-in for each frame, and its references are then made to name the frame.
"""

from collections import defaultdict
from collections.abc import Sequence

from pydicom import Dataset
from pydicom.uid import CTImageStorage

from workers.results.identity import derive_uid


def stand_in_for_frames(
    sources: Sequence[Dataset], frame_numbers: Sequence[int], *, run_key: str, sop_class_uid: str = CTImageStorage
) -> list[Dataset]:
    """Give `sources` back where they are single images, else for each frame a header like a single image's.

    `frame_numbers` is empty for single images; a frame number of 0 among others is a single image.
    """
    if not frame_numbers:
        return list(sources)
    places = []
    for index, source in enumerate(sources):
        place = Dataset()
        place.update(source)
        place.pop("NumberOfFrames", None)
        # New elements: the others are shared with the source.
        place.add_new("SOPClassUID", "UI", sop_class_uid)
        place.add_new("SOPInstanceUID", "UI", derive_uid(run_key, f"stand-in {index}"))
        places.append(place)
    return places


def refer_to_frames(
    seg: Dataset, places: Sequence[Dataset], sources: Sequence[Dataset], frame_numbers: Sequence[int]
) -> None:
    """Replace in `seg` every reference to one of `places` by one to the frame for which it stands.

    PS3.3 C.7.6.16.2.6 (Derivation Image), C.7.6.1 (Source Image) and C.12.2 (Common Instance Reference).
    """
    if not frame_numbers:
        return
    frames = {
        str(place.SOPInstanceUID): (source, number)
        for place, source, number in zip(places, sources, frame_numbers, strict=True)
    }
    for group in seg.PerFrameFunctionalGroupsSequence:
        for derivation in group.DerivationImageSequence:
            for reference in derivation.SourceImageSequence:
                if str(reference.ReferencedSOPInstanceUID) not in frames:
                    continue  # done: the segments share what stands at one place
                source, number = frames[str(reference.ReferencedSOPInstanceUID)]
                reference.ReferencedSOPClassUID = source.SOPClassUID
                reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
                if number:
                    reference.ReferencedFrameNumber = number
    seg.SourceImageSequence = _list_images(sources, frame_numbers)
    for series in seg.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = [_refer(source) for source in _distinct(sources)]


def _list_images(sources: Sequence[Dataset], frame_numbers: Sequence[int]) -> list[Dataset]:
    """Each image once, with the numbers of its frames unless all of them are meant (PS3.3 10.3)."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for source, number in zip(sources, frame_numbers, strict=True):
        numbers[str(source.SOPInstanceUID)].append(number)
    references = []
    for source in _distinct(sources):
        reference = _refer(source)
        meant = sorted(numbers[str(source.SOPInstanceUID)])
        if "NumberOfFrames" in source and len(meant) < int(source.NumberOfFrames):
            reference.ReferencedFrameNumber = meant
        references.append(reference)
    return references


def _distinct(sources: Sequence[Dataset]) -> list[Dataset]:
    return list({str(source.SOPInstanceUID): source for source in sources}.values())


def _refer(source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return reference
