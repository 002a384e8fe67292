"""DECIDED -> ENCODED: write the measurements and the decision as a structured report.

A Comprehensive 3D SR on TID 1500 (PS3.16): per gland and per mass that is in
the segmentation a TID 1411 group; per gland a coded result, and for the study
the thresholds in force, in TID 1501 groups, which need no segment: "not
assessed" can be said of a gland that was not found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from screener.study import (
    AlgorithmIdentity,
    GlandVerdict,
    Mass,
    Parotid,
    Presence,
    Side,
    Thresholds,
    Verdict,
    Volume,
)
from workers.results.encode_seg import LATERALITY, MASS, PAROTID_GLAND, SERIES_DESCRIPTION, read_sources
from workers.results.identity import RESEARCH_USE, derive_uid, describe_instance, family_code, stamp_identity
from workers.results.list_images import list_images
from workers.results.repair_source import localize_instant

SERIES_NUMBER = 9702

CODING_SCHEME = "99PAROTID"
MASS_ABOVE_THRESHOLD = Code("MASS_ABOVE", CODING_SCHEME, "Parotid mass above threshold")
IS_AT_THRESHOLD = Code("AT_THRESHOLD", CODING_SCHEME, "Voxel count at or above threshold")
STUDY_FLAGGED = Code("STUDY_FLAGGED", CODING_SCHEME, "Study flagged for a parotid mass")
VOXELS_ON_1_MM_GRID = Code("VOXELS_1MM", CODING_SCHEME, "Number of voxels on 1 mm isotropic grid")
MAX_PROBABILITY = Code("MAX_PROBABILITY", CODING_SCHEME, "Maximum mass probability")
MIN_VOXELS = Code("MIN_VOXELS", CODING_SCHEME, "Threshold in voxels on 1 mm isotropic grid")
MIN_PROBABILITY = Code("MIN_PROBABILITY", CODING_SCHEME, "Threshold of mass probability")
GAMMA = Code("GAMMA", CODING_SCHEME, "Gamma of the machine that judges candidates")
MIN_SCORE = Code("MIN_SCORE", CODING_SCHEME, "Cut-off of the candidate score")
MIN_COVERED_SHARE = Code("MIN_COVERAGE", CODING_SCHEME, "Least share of gland covered")
SCORE = Code("SCORE", CODING_SCHEME, "Candidate score")
IS_COVERED_IN_PART = Code("COVERED_IN_PART", CODING_SCHEME, "Gland covered by the scan in part only")
COVERED_SHARE = Code("COVERED_SHARE", CODING_SCHEME, "Estimated share of gland covered")
RUN_NUMBER = Code("RUN_NUMBER", CODING_SCHEME, "Number of the screening run")
CONFIG_REVISION = Code("CONFIG_REVISION", CODING_SCHEME, "Configuration revision in force")
CT_OF_NECK = Code("169068008", "SCT", "Computed tomography of neck")
PRESENCE = {
    Presence.PRESENT: codes.cid240.Present,
    Presence.ABSENT: codes.cid240.Absent,
    Presence.UNDETERMINED: codes.cid240.Undetermined,
}
Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations
_VOXELS = Code("{voxels}", "UCUM", "voxels")


def encode_sr(
    source_paths: Sequence[Path],
    volume: Volume,
    parotids: Sequence[Parotid],
    masses: Sequence[Mass],
    verdict: Verdict,
    *,
    seg: Dataset | None,
    identity: AlgorithmIdentity,
    run_key: str,
    started_at: datetime,
    thresholds: Thresholds,
    run_number: int,
) -> Dataset:
    """Encode the report; `seg`, `parotids` and `masses` are those given to and made by `encode_seg`.

    The document is complete, since nothing will be added to it; unverified and
    preliminary, since no person has read it (IHE AIR 6.5.3; PS3.3 C.17.2).
    Raises NeedsPerson where the sources cannot be referred to.
    """
    sources, patient_name = read_sources(source_paths, volume)
    started_at = localize_instant(started_at, sources[0])
    algorithm = identify_algorithm(identity, asdict(thresholds))
    writer = _GroupWriter(seg=seg, sources=sources, run_key=run_key, algorithm=algorithm)
    groups: list[Group] = [_report_study(writer, verdict, thresholds, run_number)]
    groups += [_report_result(writer, gland) for gland in verdict.glands]
    groups += [_report_gland(writer, parotid) for parotid in parotids if writer.has_segment(_gland_name(parotid.side))]
    groups += [_report_mass(writer, mass, thresholds) for mass in masses]
    report = MeasurementReport(
        observation_context=describe_observer(identity),
        procedure_reported=find_procedure(sources[0], otherwise=CT_OF_NECK),
        imaging_measurements=groups,
        title=codes.cid7021.ImagingMeasurementReport,
    )
    # Before the measurements (TID 1500 row order); written here because the library's own repeats for every
    # slice what the series has in common.
    report[0].ContentSequence.insert(-1, list_images(sources, volume))
    sr = Comprehensive3DSR(
        evidence=sources if seg is None else [*sources, seg],
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
    stamp_identity(sr, sources[0], identity, started_at=started_at)
    sr.PatientName = patient_name
    return sr


class _GroupWriter:
    """Makes measurement groups (TID 1411 with a segment, TID 1501 without) that share what is the same in all."""

    def __init__(
        self, *, seg: Dataset | None, sources: Sequence[Dataset], run_key: str, algorithm: AlgorithmIdentification
    ) -> None:
        self._seg_class_uid = "" if seg is None else str(seg.SOPClassUID)
        self._seg_instance_uid = "" if seg is None else str(seg.SOPInstanceUID)
        self._source_series = SourceSeriesForSegmentation(str(sources[0].SeriesInstanceUID))
        self._run_key = run_key
        self._algorithm = algorithm
        segments = [] if seg is None else list(seg.SegmentSequence)
        self._segments = {str(segment.TrackingID): segment for segment in segments}

    def has_segment(self, name: str) -> bool:
        return name in self._segments

    def write(
        self,
        name: str,
        *,
        side: Side | None = None,
        category: Code | None = None,
        finding: Code | None = None,
        measurements: Sequence[Measurement] = (),
        evaluations: Sequence[QualitativeEvaluation] = (),
        texts: Sequence[tuple[Code, str]] = (),
    ) -> Group:
        """Write one group; `name` is its tracking identifier, and the segment's of that name is its region."""
        segment = self._segments.get(name)
        sites = None if side is None else [FindingSite(PAROTID_GLAND, laterality=LATERALITY[side])]
        uid = derive_uid(self._run_key, f"tracking {name}") if segment is None else str(segment.TrackingUID)
        content: dict[str, Any] = {
            "tracking_identifier": TrackingIdentifier(uid=uid, identifier=name),
            "finding_category": category,
            "finding_type": finding,
            "finding_sites": sites,
            "algorithm_id": self._algorithm,
            "measurements": list(measurements),
            "qualitative_evaluations": list(evaluations),
        }
        group: Group
        if segment is None:
            group = MeasurementsAndQualitativeEvaluations(**content)
        else:
            region = ReferencedSegment(
                sop_class_uid=self._seg_class_uid,
                sop_instance_uid=self._seg_instance_uid,
                segment_number=int(segment.SegmentNumber),
                source_series=self._source_series,
            )
            group = VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=region, **content)
        for concept, text in texts:
            group[0].ContentSequence.append(
                TextContentItem(name=concept, value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS)
            )
        return group


def _report_study(writer: _GroupWriter, verdict: Verdict, thresholds: Thresholds, run_number: int) -> Group:
    """Say whether the study is flagged, and by which thresholds; "No" only where both glands were assessed whole."""
    if verdict.is_flagged:
        answer = codes.cid230.Yes
    elif all(gland.presence is Presence.ABSENT and not gland.is_partial for gland in verdict.glands):
        answer = codes.cid230.No
    else:
        answer = codes.cid230.Undetermined
    return writer.write(
        "Study",
        measurements=[
            Measurement(name=MIN_VOXELS, value=thresholds.min_voxels, unit=_VOXELS),
            Measurement(name=MIN_PROBABILITY, value=thresholds.min_probability, unit=codes.UCUM.NoUnits),
            Measurement(name=GAMMA, value=thresholds.gamma, unit=codes.UCUM.NoUnits),
            Measurement(name=MIN_SCORE, value=thresholds.min_score, unit=codes.UCUM.NoUnits),
            Measurement(name=MIN_COVERED_SHARE, value=thresholds.min_covered_share, unit=codes.UCUM.NoUnits),
            Measurement(name=RUN_NUMBER, value=run_number, unit=codes.UCUM.NoUnits),
        ],
        evaluations=[QualitativeEvaluation(STUDY_FLAGGED, answer)],
        texts=[(CONFIG_REVISION, thresholds.config_revision), (codes.DCM.Comment, f"{RESEARCH_USE}.")],
    )


def _report_result(writer: _GroupWriter, gland: GlandVerdict) -> Group:
    """Say of one gland Present, Absent or, where it was not assessed, Undetermined, and why.

    Where the scan covers the gland in part, the answer speaks of that part, and
    two coded items beside it say so and how much it is.
    """
    evaluations = [QualitativeEvaluation(MASS_ABOVE_THRESHOLD, PRESENCE[gland.presence])]
    measurements = []
    if gland.is_partial:
        share = round(gland.covered_share, 1)
        evaluations.append(QualitativeEvaluation(IS_COVERED_IN_PART, codes.cid230.Yes))
        measurements.append(Measurement(name=COVERED_SHARE, value=share, unit=codes.UCUM.NoUnits))
    return writer.write(
        f"{_gland_name(gland.side)} result",
        side=gland.side,
        measurements=measurements,
        evaluations=evaluations,
        texts=[(codes.DCM.Comment, gland.reason)] if gland.reason else [],
    )


def _report_gland(writer: _GroupWriter, parotid: Parotid) -> Group:
    measurements = [_measure_volume(parotid.volume_mm3)]
    if parotid.mean_hu is not None:
        measurements.append(_measure_mean_hu(parotid.mean_hu))
    return writer.write(
        _gland_name(parotid.side),
        side=parotid.side,
        category=codes.SCT.AnatomicalStructure,
        finding=PAROTID_GLAND,
        measurements=measurements,
    )


def _report_mass(writer: _GroupWriter, mass: Mass, thresholds: Thresholds) -> Group:
    candidate = mass.candidate
    is_at_threshold = candidate.voxels >= thresholds.min_voxels
    score = candidate.score(thresholds.gamma)
    scores = [] if score is None else [Measurement(name=SCORE, value=round(score, 3), unit=codes.UCUM.NoUnits)]
    return writer.write(
        f"Mass {candidate.number}, {candidate.side.value} parotid gland",
        side=candidate.side,
        category=codes.SCT.MorphologicallyAbnormalStructure,
        finding=MASS,
        measurements=[
            _measure_volume(candidate.volume_mm3),
            Measurement(name=VOXELS_ON_1_MM_GRID, value=candidate.voxels, unit=_VOXELS),
            Measurement(
                name=codes.SCT.Diameter,
                value=round(candidate.longest_diameter_mm, 1),
                unit=codes.UCUM.Millimeter,
                derivation=codes.cid7464.Maximum,
            ),
            _measure_mean_hu(candidate.mean_hu),
            Measurement(name=MAX_PROBABILITY, value=round(candidate.max_probability, 3), unit=codes.UCUM.NoUnits),
            *scores,
        ],
        evaluations=[QualitativeEvaluation(IS_AT_THRESHOLD, codes.cid230.Yes if is_at_threshold else codes.cid230.No)],
    )


def _measure_volume(volume_mm3: float) -> Measurement:
    return Measurement(name=codes.SCT.Volume, value=round(volume_mm3, 1), unit=codes.UCUM.CubicMillimeter)


def _measure_mean_hu(mean_hu: float) -> Measurement:
    return Measurement(
        name=codes.DCM.AttenuationCoefficient,
        value=round(mean_hu, 1),
        unit=codes.UCUM.HounsfieldUnit,
        derivation=codes.cid7464.Mean,
    )


def _gland_name(side: Side) -> str:
    """The tracking identifier that `encode_seg.list_structures` gives the gland."""
    return f"{side.value.capitalize()} parotid gland"


def identify_algorithm(identity: AlgorithmIdentity, parameters: Mapping[str, object]) -> AlgorithmIdentification:
    """TID 4019, with the settings in force as its parameters."""
    return AlgorithmIdentification(
        name=identity.model_name,
        version=identity.software_versions,
        parameters=[f"{name}={value}" for name, value in parameters.items()],
        family=family_code(identity),
        manufacturer=identity.manufacturer,
    )


def describe_observer(identity: AlgorithmIdentity) -> hd.sr.ObservationContext:
    """TID 1004: the device that observed, the same as the Contributing Equipment names."""
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=identity.device_uid,
                manufacturer_name=identity.manufacturer,
                model_name=identity.model_name,
                serial_number=identity.device_serial_number,
            ),
        )
    )


def find_procedure(source: Dataset, *, otherwise: Code) -> CodedConcept | Code:
    """Name the imaging procedure, not the algorithm (IHE AIR): the study's own code where it has a public one."""
    for item in source.get("ProcedureCodeSequence") or []:
        return CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
    return otherwise


def describe_coding_scheme() -> CodingSchemeIdentificationItem:
    """Declare whose codes those of our own are (PS3.3 C.12.1, Coding Scheme Identification)."""
    return CodingSchemeIdentificationItem(
        designator=CODING_SCHEME,
        name="Parotid Screener concepts",
        responsible_organization="Parotid Screener Project",
    )
