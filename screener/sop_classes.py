"""The SOP classes that the door lets in (PS3.4 B.5, PS3.6 A), and what each is to us."""

from pydicom import uid

CT = frozenset({uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage})
ULTRASOUND_RETIRED = {
    "UltrasoundImageStorageRetired": uid.UID("1.2.840.10008.5.1.4.1.1.6"),
    "UltrasoundMultiFrameImageStorageRetired": uid.UID("1.2.840.10008.5.1.4.1.1.3"),
}
"""Old archives still send them; by keyword."""
ULTRASOUND = frozenset({uid.UltrasoundImageStorage, uid.UltrasoundMultiFrameImageStorage, *ULTRASOUND_RETIRED.values()})
SECONDARY_CAPTURE = frozenset(
    {
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
OTHER_IMAGES = frozenset({uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.PositronEmissionTomographyImageStorage})
IMAGES = CT | ULTRASOUND | SECONDARY_CAPTURE | OTHER_IMAGES
DOCUMENTS = frozenset(
    {
        uid.BasicTextSRStorage,
        uid.EnhancedSRStorage,
        uid.ComprehensiveSRStorage,
        uid.Comprehensive3DSRStorage,
        uid.XRayRadiationDoseSRStorage,
        uid.SegmentationStorage,
    }
)
"""Structured reports and segmentations: kept where the sender may send them, never screened."""
WORKSHEETS = frozenset(
    {uid.BasicTextSRStorage, uid.EnhancedSRStorage, uid.ComprehensiveSRStorage, uid.Comprehensive3DSRStorage}
)
"""Documents that may tell what a reader found on ultrasound."""
