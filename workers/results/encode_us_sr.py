"""DECIDED -> ENCODED: write what was found on ultrasound as a structured report.

A Comprehensive SR on TID 1500 (PS3.16): its regions lie in pictures, none in space, so that more readers open it
than Comprehensive 3D. A TID 1501 group holds the answer for the study and the thresholds in force, and a TID 1410
group the lesion: its outline on the frame, diameter, probability and class.
"""

from collections.abc import Sequence

import highdicom as hd
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UltrasoundImageStorage

from screener.us_study import FUSION, GLAND_NOT_CHECKED, Answer, Lesion, UltrasoundVerdict, name_judge
from workers.results.encode_sr import (
    CODING_SCHEME,
    CONFIG_REVISION,
    RUN_NUMBER,
    describe_coding_scheme,
    describe_observer,
    find_procedure,
    identify_algorithm,
)
from workers.results.encode_us_seg import LESION
from workers.results.identity import RESEARCH_USE, derive_uid, describe_instance, stamp_identity
from workers.results.list_images import SOURCE
from workers.results.trace_outline import trace_outline
from workers.results.us_screening import (
    NOT_CALIBRATED,
    SERIES_DESCRIPTION,
    TRACKING_ID,
    UltrasoundScreening,
    as_image,
    find_source,
    lay_on_picture,
)

SERIES_NUMBER = 9712

ANSWER = Code("US_ANSWER", CODING_SCHEME, "Answer of the ultrasound models")
STUDY_FLAGGED = Code("US_FLAGGED", CODING_SCHEME, "Study flagged for a lesion on ultrasound")
NO_LESION_FOUND = Code("NO_LESION", CODING_SCHEME, "No lesion found")
NOT_ASSESSABLE = Code("NOT_ASSESSABLE", CODING_SCHEME, "Not assessable")
MEAN_PROBABILITY = Code("MEAN_PROBABILITY", CODING_SCHEME, "Mean lesion probability within the outline")
ANSWERS = {
    Answer.MALIGNANT: codes.cid6063.Malignant,
    Answer.BENIGN: codes.cid6063.Benign,
    Answer.NO_LESION: NO_LESION_FOUND,
    Answer.NOT_ASSESSABLE: NOT_ASSESSABLE,
}
PROBABILITY_OF_CANCER = codes.cid6048.ProbabilityOfCancer
"""By the pictures alone, whatever decides: the image model's or, where the report says so, the fusion's."""
COMBINED_PROBABILITY = Code("COMB_PROBABILITY", CODING_SCHEME, "Probability of malignancy, image and reader's findings")
BY_FUSION = f"The probability of malignancy is that of {FUSION}, not of the image model alone."
_PIXELS = Code("{pixels}", "UCUM", "pixels")
_CONTAINS = RelationshipTypeValues.CONTAINS

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


def encode_us_sr(screening: UltrasoundScreening) -> Dataset:
    """Encode the report, also where no lesion was found or nothing could be assessed.

    The document is complete, since nothing will be added to it; unverified and preliminary, since no person has
    read it (IHE AIR 6.5.3; PS3.3 C.17.2). Raises NeedsPerson where the source cannot be referred to.
    """
    identity, run_key, started_at = screening.identity, screening.run_key, screening.started_at
    algorithm = identify_algorithm(identity, screening.thresholds)
    groups: list[Group] = [_report_study(screening, algorithm)]
    if screening.lesion is not None:
        groups.append(_report_lesion(screening, screening.lesion, algorithm))
    report = MeasurementReport(
        observation_context=describe_observer(identity),
        procedure_reported=find_procedure(screening.sources[0], otherwise=codes.SCT.DiagnosticUltrasonography),
        imaging_measurements=groups,
        title=codes.cid7021.ImagingMeasurementReport,
    )
    report[0].ContentSequence.insert(-1, _list_pictures(screening))  # before the measurements (TID 1500 row order)
    sr = ComprehensiveSR(
        evidence=[as_image(source) for source in screening.sources],
        content=report,
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[describe_coding_scheme()],
        content_date=started_at.date(),
        content_time=started_at.time(),
        **describe_instance(identity, run_key, "sr"),
    )
    _name_classes(sr, screening.sources)
    stamp_identity(sr, as_image(screening.sources[0]), identity, started_at=started_at)
    sr.PatientName = screening.patient_name
    return sr


def _report_study(screening: UltrasoundScreening, algorithm: AlgorithmIdentification) -> Group:
    """Say the answer for the study, whether it is flagged, under which thresholds, and what it is not."""
    verdict = screening.verdict
    flagged = codes.cid230.Yes if verdict.is_flagged else codes.cid230.No
    if verdict.answer is Answer.NOT_ASSESSABLE and not verdict.is_flagged:
        flagged = codes.cid230.Undetermined
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=derive_uid(screening.run_key, "tracking Study"), identifier="Study"),
        algorithm_id=algorithm,
        measurements=[Measurement(name=RUN_NUMBER, value=screening.run_number, unit=codes.UCUM.NoUnits)],
        qualitative_evaluations=[
            QualitativeEvaluation(ANSWER, ANSWERS[verdict.answer]),
            QualitativeEvaluation(STUDY_FLAGGED, flagged),
        ],
    )
    _add_text(group, CONFIG_REVISION, str(screening.thresholds["config_revision"]))
    thresholds, learned_from = f"Thresholds in force: {screening.parameters}", screening.identity.learned_from
    for sentence in (verdict.reason, thresholds, GLAND_NOT_CHECKED, learned_from, f"{RESEARCH_USE}."):
        if sentence:
            _add_text(group, codes.DCM.Comment, sentence)
    return group


def _report_lesion(screening: UltrasoundScreening, lesion: Lesion, algorithm: AlgorithmIdentification) -> Group:
    """Write the outline on its frame and what was measured; no diameter where the picture is not calibrated."""
    verdict = screening.verdict
    measurements = [
        Measurement(name=codes.SCT.Area, value=lesion.area_px, unit=_PIXELS),
        Measurement(name=MEAN_PROBABILITY, value=round(lesion.mean_probability, 3), unit=codes.UCUM.NoUnits),
    ]
    if lesion.longest_diameter_mm is not None:
        measurements.insert(0, _measure_diameter(lesion.longest_diameter_mm))
    if verdict.probability is not None:
        percent = round(verdict.probability * 100, 1)
        measurements.append(Measurement(name=PROBABILITY_OF_CANCER, value=percent, unit=codes.UCUM.Percent))
    if verdict.combination is not None and verdict.combination.probability is not None:
        percent = round(verdict.combination.probability * 100, 1)
        measurements.append(Measurement(name=COMBINED_PROBABILITY, value=percent, unit=codes.UCUM.Percent))
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=screening.tracking_uid, identifier=TRACKING_ID),
        referenced_region=_draw_region(screening, lesion),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=LESION,
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(ANSWER, ANSWERS[verdict.answer])],
    )
    if lesion.longest_diameter_mm is None:
        _add_text(group, codes.DCM.Comment, NOT_CALIBRATED)
    for sentence in (*tell_fusion(verdict), *tell_combination(verdict)):
        _add_text(group, codes.DCM.Comment, sentence)
    return group


def tell_fusion(verdict: UltrasoundVerdict) -> list[str]:
    """Say whose the probability is where it is not the image model's alone."""
    return [BY_FUSION] if verdict.is_by_fusion and verdict.probability is not None else []


def tell_combination(verdict: UltrasoundVerdict) -> list[str]:
    """Say what a reader found, what it comes to with the image, and which of both decided; nothing where none asked."""
    if verdict.combination is None:
        return []
    judge = name_judge(is_by_fusion=verdict.is_by_fusion).capitalize()
    deciding = f"{judge} alone decided; a reader's findings decided nothing."
    if verdict.is_by_findings:
        deciding = f"{judge} and the reader's findings decided together, as the settings ask."
    return [*([verdict.findings.reason] if verdict.findings else []), verdict.combination.reason, deciding]


def _measure_diameter(longest_diameter_mm: float) -> Measurement:
    return Measurement(
        name=codes.SCT.Diameter,
        value=round(longest_diameter_mm, 1),
        unit=codes.UCUM.Millimeter,
        derivation=codes.cid7464.Maximum,
    )


def _draw_region(screening: UltrasoundScreening, lesion: Lesion) -> ImageRegion:
    """Draw the outer border as a closed polyline in the coordinates of the stored picture (PS3.3 C.18.6)."""
    source = find_source(screening.sources, lesion.frame)
    image = SourceImageForRegion(
        referenced_sop_class_uid=UltrasoundImageStorage,
        referenced_sop_instance_uid=str(source.SOPInstanceUID),
        referenced_frame_numbers=[lesion.frame.frame_number] if lesion.frame.frame_number else None,
    )
    region = ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=trace_outline(lay_on_picture(lesion)),
        source_image=image,
    )
    # Afterwards: the library knows no retired classes.
    region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPClassUID = str(source.SOPClassUID)
    return region


def _list_pictures(screening: UltrasoundScreening) -> ContainerContentItem:
    """Make the Image Library (TID 1600) of the pictures that were screened; of modality US all."""
    library = ContainerContentItem(
        name=codes.DCM.ImageLibrary, relationship_type=RelationshipTypeValues.CONTAINS, template_id="1600"
    )
    group = ContainerContentItem(name=codes.DCM.ImageLibraryGroup, relationship_type=_CONTAINS)
    modality = CodeContentItem(
        name=codes.DCM.Modality,
        value=CodedConcept.from_code(codes.cid29.Ultrasound),
        relationship_type=RelationshipTypeValues.HAS_ACQ_CONTEXT,
    )
    images = [
        ImageContentItem(
            name=SOURCE,
            referenced_sop_class_uid=str(source.SOPClassUID),
            referenced_sop_instance_uid=str(source.SOPInstanceUID),
            relationship_type=_CONTAINS,
        )
        for source in screening.sources
    ]
    group.ContentSequence = ContentSequence([modality, *images])
    library.ContentSequence = ContentSequence([group])
    return library


def _name_classes(sr: Dataset, sources: Sequence[Dataset]) -> None:
    """Name in the evidence each picture's own SOP class, which the library may not know (PS3.3 C.17.2)."""
    class_uids = {str(source.SOPInstanceUID): source.SOPClassUID for source in sources}
    for study in sr.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for reference in series.ReferencedSOPSequence:
                reference.ReferencedSOPClassUID = class_uids[str(reference.ReferencedSOPInstanceUID)]


def _add_text(group: Group, concept: Code, text: str) -> None:
    group[0].ContentSequence.append(TextContentItem(name=concept, value=text, relationship_type=_CONTAINS))
