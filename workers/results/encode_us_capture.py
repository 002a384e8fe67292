"""DECIDED -> ENCODED: write the drawn picture as a Secondary Capture, for viewers that show neither SEG nor SR."""

import highdicom as hd
import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, TM

from workers.results.identity import describe_instance, stamp_identity
from workers.results.us_screening import SERIES_DESCRIPTION, UltrasoundScreening, as_image, find_source

SERIES_NUMBER = 9713
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def encode_us_capture(screening: UltrasoundScreening, picture: Image.Image) -> Dataset | None:
    """Encode the picture of the lesion's frame (RGB, 8 bit); None where no lesion was found.

    Burned In Annotation is what the source says of itself: the picture shows a part of the source, and what is
    written on it by us names nobody. Raises NeedsPerson where the source cannot be referred to.
    """
    if screening.lesion is None:
        return None
    identity, run_key, started_at = screening.identity, screening.run_key, screening.started_at
    source = find_source(screening.sources, screening.lesion.frame)
    capture = hd.sc.SCImage.from_ref_dataset(
        as_image(source),
        pixel_array=np.asarray(picture.convert("RGB")),  # (row, column, rgb)
        photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        patient_orientation=("L", "F"),  # asked for by the library; replaced below by what is known, nothing
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        **describe_instance(identity, run_key, "capture"),
    )
    capture.PatientOrientation = []
    capture.Laterality = ""  # Type 2C (PS3.3 C.7.3.1): not checked
    capture.ConversionType = "WSD"
    capture.DateOfSecondaryCapture = capture.ContentDate = DA(started_at.date())
    capture.TimeOfSecondaryCapture = capture.ContentTime = TM(started_at.time())
    capture.DerivationDescription = "Outline of the lesion and class activation map, drawn on the source"
    capture.SourceImageSequence = [_refer_to_source(screening, source)]
    for keyword in ("BurnedInAnnotation", *_LOSSY):
        if keyword in source:
            setattr(capture, keyword, source[keyword].value)
    stamp_identity(capture, as_image(source), identity, started_at=started_at)
    capture.PatientName = screening.patient_name
    return capture


def _refer_to_source(screening: UltrasoundScreening, source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if screening.lesion is not None and screening.lesion.frame.frame_number:
        reference.ReferencedFrameNumber = screening.lesion.frame.frame_number
    purpose = codes.cid7202.SourceImageForImageProcessingOperation
    reference.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(purpose)]
    return reference
