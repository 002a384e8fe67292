"""Write the Image Library of a report: the slices that were screened (PS3.16 TID 1600)."""

from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from screener.study import Volume

SOURCE = Code("260753009", "SCT", "Source")
_PIXELS = Code("{pixels}", "UCUM", "pixels")
_COSINE = Code("{-1:1}", "UCUM", "{-1:1}")
_ACQUISITION_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
_POSITION = (codes.DCM.ImagePositionPatientX, codes.DCM.ImagePositionPatientY, codes.DCM.ImagePositionPatientZ)
_ORIENTATION = (
    codes.DCM.ImageOrientationPatientRowX,
    codes.DCM.ImageOrientationPatientRowY,
    codes.DCM.ImageOrientationPatientRowZ,
    codes.DCM.ImageOrientationPatientColumnX,
    codes.DCM.ImageOrientationPatientColumnY,
    codes.DCM.ImageOrientationPatientColumnZ,
)


def list_images(sources: Sequence[Dataset], volume: Volume) -> ContainerContentItem:
    """Make the Image Library container of repaired `sources`, one group: what they share once, then each slice.

    TID 1600 row 3 lets a group carry its images' common descriptors; slices differ in position only.
    """
    library = ContainerContentItem(
        name=codes.DCM.ImageLibrary, relationship_type=RelationshipTypeValues.CONTAINS, template_id="1600"
    )
    group = ContainerContentItem(name=codes.DCM.ImageLibraryGroup, relationship_type=RelationshipTypeValues.CONTAINS)
    numbers = volume.frame_numbers or (0,) * len(sources)
    slices = [_describe_slice(source, number) for source, number in zip(sources, numbers, strict=True)]
    group.ContentSequence = ContentSequence([*_describe_series(sources[0], volume), *slices])
    library.ContentSequence = ContentSequence([group])
    return library


def slice_distance_mm(volume: Volume) -> float:
    """Distance between neighboring planes along their normal; with a tilted gantry less than between their corners."""
    normal = np.cross(volume.affine[:3, 0], volume.affine[:3, 1])
    return round(float(abs(volume.affine[:3, 2] @ normal) / np.linalg.norm(normal)), 6)


def _describe_series(source: Dataset, volume: Volume) -> list[ContentItem]:
    """TID 1602 and 1604: modality, frame of reference, matrix, spacing and orientation."""
    items: list[ContentItem] = [
        CodeContentItem(
            name=codes.DCM.Modality,
            value=CodedConcept("CT", "DCM", "Computed Tomography"),
            relationship_type=_ACQUISITION_CONTEXT,
        ),
        UIDRefContentItem(
            name=codes.DCM.FrameOfReferenceUID,
            value=str(source.FrameOfReferenceUID),
            relationship_type=_ACQUISITION_CONTEXT,
        ),
        _number(codes.DCM.PixelDataRows, int(source.Rows), _PIXELS),
        _number(codes.DCM.PixelDataColumns, int(source.Columns), _PIXELS),
        # PixelSpacing is (between rows, between columns): the second is the horizontal one (PS3.3 10.7.1.3).
        _number(codes.DCM.HorizontalPixelSpacing, float(source.PixelSpacing[1]), codes.UCUM.Millimeter),
        _number(codes.DCM.VerticalPixelSpacing, float(source.PixelSpacing[0]), codes.UCUM.Millimeter),
    ]
    if len(volume.sop_instance_uids) > 1:
        items.append(_number(codes.DCM.SpacingBetweenSlices, slice_distance_mm(volume), codes.UCUM.Millimeter))
    if source.get("SliceThickness"):
        items.append(_number(codes.DCM.SliceThickness, float(source.SliceThickness), codes.UCUM.Millimeter))
    items += [
        _number(name, float(cosine), _COSINE)
        for name, cosine in zip(_ORIENTATION, source.ImageOrientationPatient, strict=True)
    ]
    return items


def _describe_slice(source: Dataset, frame_number: int) -> ImageContentItem:
    image = ImageContentItem(
        name=SOURCE,
        referenced_sop_class_uid=str(source.SOPClassUID),
        referenced_sop_instance_uid=str(source.SOPInstanceUID),
        referenced_frame_numbers=frame_number or None,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    image.ContentSequence = ContentSequence(
        [
            _number(name, float(coordinate), codes.UCUM.Millimeter)
            for name, coordinate in zip(_POSITION, source.ImagePositionPatient, strict=True)
        ]
    )
    return image


def _number(name: Code, value: float, unit: Code) -> NumContentItem:
    return NumContentItem(name=name, value=value, unit=unit, relationship_type=_ACQUISITION_CONTEXT)
