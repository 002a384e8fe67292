"""Enhanced multi-frame CT made of single images: what converters and newer scanners send."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from tests.peers.scanner import set_elements

COMMON = (
    "SpecificCharacterSet", "StudyDate", "StudyTime", "AccessionNumber", "Modality", "Manufacturer",
    "ManufacturerModelName", "StudyDescription", "SeriesDescription", "ReferringPhysicianName", "PatientName",
    "PatientID", "PatientBirthDate", "PatientSex", "BodyPartExamined", "StudyInstanceUID", "SeriesInstanceUID",
    "StudyID", "SeriesNumber", "FrameOfReferenceUID", "PositionReferenceIndicator", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip


def enhance(
    slices: Sequence[Dataset],
    *,
    sop_instance_uid: str = "2.25.31415",
    frames: Sequence[dict[str, Any]] | None = None,
    is_shared: bool = True,
    **elements: Any,
) -> Dataset:
    """Make one Enhanced CT image (PS3.3 A.38) whose frames stand in the order of `slices`.

    `frames` holds for each frame elements of its Frame Content, and `FrameType`
    or `ConvolutionKernel`, that differ from the usual. With `is_shared` what all
    frames have in common stands in the shared groups, else in every frame's own.
    """
    ds = Dataset()
    for keyword in COMMON:
        if keyword in slices[0]:
            ds[keyword] = deepcopy(slices[0][keyword])
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames = len(slices)
    shared = Dataset()
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    changes = frames or [{}] * len(slices)
    for number, (single, change) in enumerate(zip(slices, changes, strict=True), start=1):
        group = Dataset()
        same = group if not is_shared else shared
        group.PlanePositionSequence = [_item(ImagePositionPatient=single.ImagePositionPatient)]
        content = {key: value for key, value in change.items() if key not in {"FrameType", "ConvolutionKernel"}}
        group.FrameContentSequence = [
            _item(**{"StackID": "1", "InStackPositionNumber": number, "FrameAcquisitionNumber": 1, **content})
        ]
        group.CTImageFrameTypeSequence = [
            _item(
                FrameType=change.get("FrameType", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
            )
        ]
        kernel = change.get("ConvolutionKernel") or single.get("ConvolutionKernel") or ""
        group.CTReconstructionSequence = [_item(ConvolutionKernel=kernel)]
        measures = {"PixelSpacing": single.PixelSpacing, "SliceThickness": single.SliceThickness}
        same.PixelMeasuresSequence = [_item(**measures)]
        same.PlaneOrientationSequence = [_item(ImageOrientationPatient=single.ImageOrientationPatient)]
        same.PixelValueTransformationSequence = [
            _item(RescaleSlope=single.RescaleSlope, RescaleIntercept=single.RescaleIntercept, RescaleType="HU")
        ]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    ds.PixelData = b"".join(single.PixelData for single in slices)
    set_elements(ds, elements)
    return ds


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
