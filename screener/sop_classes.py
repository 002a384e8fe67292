"""The SOP classes that the door lets in (PS3.4 B.5, PS3.6 A), and what each is to us; by keyword.

As plain words: the store needs them too, and must not bring pydicom along before the daemon has left its decoders out.
"""

from typing import Final

_CT: Final = {
    "CTImageStorage": "1.2.840.10008.5.1.4.1.1.2",
    "EnhancedCTImageStorage": "1.2.840.10008.5.1.4.1.1.2.1",
    "LegacyConvertedEnhancedCTImageStorage": "1.2.840.10008.5.1.4.1.1.2.2",
}
_ULTRASOUND: Final = {
    "UltrasoundImageStorage": "1.2.840.10008.5.1.4.1.1.6.1",
    "UltrasoundMultiFrameImageStorage": "1.2.840.10008.5.1.4.1.1.3.1",
}
ULTRASOUND_RETIRED: Final = {
    "UltrasoundImageStorageRetired": "1.2.840.10008.5.1.4.1.1.6",
    "UltrasoundMultiFrameImageStorageRetired": "1.2.840.10008.5.1.4.1.1.3",
}
"""Old archives still send them."""
_SECONDARY_CAPTURE: Final = {
    "SecondaryCaptureImageStorage": "1.2.840.10008.5.1.4.1.1.7",
    "MultiFrameSingleBitSecondaryCaptureImageStorage": "1.2.840.10008.5.1.4.1.1.7.1",
    "MultiFrameGrayscaleByteSecondaryCaptureImageStorage": "1.2.840.10008.5.1.4.1.1.7.2",
    "MultiFrameGrayscaleWordSecondaryCaptureImageStorage": "1.2.840.10008.5.1.4.1.1.7.3",
    "MultiFrameTrueColorSecondaryCaptureImageStorage": "1.2.840.10008.5.1.4.1.1.7.4",
}
_OTHER_IMAGES: Final = {
    "MRImageStorage": "1.2.840.10008.5.1.4.1.1.4",
    "EnhancedMRImageStorage": "1.2.840.10008.5.1.4.1.1.4.1",
    "PositronEmissionTomographyImageStorage": "1.2.840.10008.5.1.4.1.1.128",
}
_WORKSHEETS: Final = {
    "BasicTextSRStorage": "1.2.840.10008.5.1.4.1.1.88.11",
    "EnhancedSRStorage": "1.2.840.10008.5.1.4.1.1.88.22",
    "ComprehensiveSRStorage": "1.2.840.10008.5.1.4.1.1.88.33",
    "Comprehensive3DSRStorage": "1.2.840.10008.5.1.4.1.1.88.34",
}
_OTHER_DOCUMENTS: Final = {
    "XRayRadiationDoseSRStorage": "1.2.840.10008.5.1.4.1.1.88.67",
    "SegmentationStorage": "1.2.840.10008.5.1.4.1.1.66.4",
}
KEYWORDS: Final = (
    _CT | _ULTRASOUND | ULTRASOUND_RETIRED | _SECONDARY_CAPTURE | _OTHER_IMAGES | _WORKSHEETS | _OTHER_DOCUMENTS
)
"""Keyword to UID, of all of them."""

CT: Final = frozenset(_CT.values())
ULTRASOUND: Final = frozenset({*_ULTRASOUND.values(), *ULTRASOUND_RETIRED.values()})
SECONDARY_CAPTURE: Final = frozenset(_SECONDARY_CAPTURE.values())
OTHER_IMAGES: Final = frozenset(_OTHER_IMAGES.values())
IMAGES: Final = CT | ULTRASOUND | SECONDARY_CAPTURE | OTHER_IMAGES
WORKSHEETS: Final = frozenset(_WORKSHEETS.values())
"""Documents that may tell what a reader found on ultrasound."""
DOCUMENTS: Final = WORKSHEETS | frozenset(_OTHER_DOCUMENTS.values())
"""Structured reports and segmentations: kept where the sender may send them, never screened."""
