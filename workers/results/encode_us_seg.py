"""DECIDED -> ENCODED: write the lesion as a DICOM Segmentation of the picture in which it was found.

One BINARY segment, one frame, of the picture's own Rows and Columns. Pictures of ultrasound have no frame of
reference: what places the frame is its reference to the source (PS3.3 C.7.6.16.2.6), pixel on pixel.
"""

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UltrasoundImageStorage

from workers.results.draw_panels import MASS_COLOR
from workers.results.encode_seg import derive_dimension_uid, name_algorithm
from workers.results.identity import describe_instance, stamp_identity
from workers.results.refer_to_frames import refer_to_frames, stand_in_for_frames
from workers.results.us_screening import (
    SERIES_DESCRIPTION,
    TRACKING_ID,
    UltrasoundScreening,
    as_image,
    find_source,
    lay_on_picture,
)

SERIES_NUMBER = 9711

LESION = codes.SCT.Lesion


def encode_us_seg(screening: UltrasoundScreening) -> Dataset | None:
    """Encode the lesion; None where none was found.

    Content Date and Time are the start of the analysis (IHE AIR 6.5.3). Raises NeedsPerson where the source
    cannot be referred to.
    """
    if screening.lesion is None:
        return None
    identity, run_key, started_at = screening.identity, screening.run_key, screening.started_at
    frame = screening.lesion.frame
    source = find_source(screening.sources, frame)
    # A stand-in also for a single image: the library knows neither retired classes nor single frames of a clip.
    numbers = [frame.frame_number]
    places = stand_in_for_frames([as_image(source)], numbers, run_key=run_key, sop_class_uid=UltrasoundImageStorage)
    seg = hd.seg.Segmentation(
        source_images=places,
        pixel_array=lay_on_picture(screening.lesion)[None],  # (1, rows, columns)
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe_segment(screening)],
        series_number=SERIES_NUMBER,
        content_label="LESION",
        content_description="Lesion on ultrasound",
        series_description=SERIES_DESCRIPTION,
        content_date=started_at.date(),
        content_time=started_at.time(),
        **describe_instance(identity, run_key, "seg"),
    )
    refer_to_frames(seg, places, [source], numbers)
    derive_dimension_uid(seg, run_key)
    seg.PatientOrientation = []  # Type 2C without a frame of reference (PS3.3 C.7.6.1): not known
    stamp_identity(seg, as_image(source), identity, started_at=started_at)
    seg.PatientName = screening.patient_name
    return seg


def _describe_segment(screening: UltrasoundScreening) -> hd.seg.SegmentDescription:
    """Describe the segment, without an anatomic region: which organ the picture shows was not checked."""
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=TRACKING_ID,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=LESION,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=name_algorithm(screening.identity, screening.parameters),
        tracking_uid=screening.tracking_uid,
        tracking_id=TRACKING_ID,
        display_color=hd.color.CIELabColor.from_rgb(*MASS_COLOR),
    )
