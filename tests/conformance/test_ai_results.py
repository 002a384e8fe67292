"""IHE AI Results (AIR), the Evidence Creator's rules, and what the report says of each decision."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import UID, Comprehensive3DSRStorage, SegmentationStorage

from screener.decide import covered_in_part
from screener.study import GAMMAS, Presence, Side
from tests.conformance.studies import STARTED_AT, THRESHOLDS, UNASSESSED, Study, identify, make_study, without_findings
from workers.results.encode_sr import (
    CODING_SCHEME,
    COVERED_SHARE,
    GAMMA,
    IS_COVERED_IN_PART,
    MASS_ABOVE_THRESHOLD,
    MIN_COVERED_SHARE,
    MIN_SCORE,
    PRESENCE,
    SCORE,
    STUDY_FLAGGED,
)
from workers.results.identity import RESEARCH_USE, is_ours

PROCESSING_EQUIPMENT = "109102"
REPOSITORY = Path(__file__).resolve().parents[2]


def walk(item: Dataset) -> Iterator[Dataset]:
    """Every content item below `item`, in the order of the document."""
    for child in item.get("ContentSequence") or []:
        yield child
        yield from walk(child)


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def values(sr: Dataset, code_value: str) -> list[str]:
    """Values of all content items of one concept."""
    items = [item for item in walk(sr) if name_of(item) == code_value]
    return [
        str(item.get("UID") or item.get("TextValue") or item.ConceptCodeSequence[0].CodeValue)
        if item.ValueType != "NUM"
        else str(item.MeasuredValueSequence[0].NumericValue)
        for item in items
    ]


def groups(sr: Dataset) -> dict[str, Dataset]:
    """Measurement groups by tracking identifier."""
    found = [item for item in walk(sr) if item.ValueType == "CONTAINER" and name_of(item) == "125007"]
    return {values(group, "112039")[0]: group for group in found}


def algorithms_of(ds: Dataset) -> list[Dataset]:
    return [
        item
        for item in ds.ContributingEquipmentSequence
        if item.PurposeOfReferenceCodeSequence[0].CodeValue == PROCESSING_EQUIPMENT
    ]


def test_each_object_names_the_one_algorithm_with_its_device_uid(study: Study, encoded):
    for ds in encoded:
        (item,) = algorithms_of(ds)
        assert item.DeviceUID == study.identity.device_uid
        assert item.Manufacturer == ds.Manufacturer == study.identity.manufacturer
        assert item.ManufacturerModelName == ds.ManufacturerModelName == study.identity.model_name
        assert item.SoftwareVersions == ds.SoftwareVersions == study.identity.software_versions
        assert ds.DeviceSerialNumber == study.identity.device_serial_number


def test_other_weights_change_the_device_uid_in_every_object(study: Study, encoded):
    for before, after in zip(encoded, replace(study, identity=identify("other weights")).both(), strict=True):
        assert algorithms_of(before)[0].DeviceUID != algorithms_of(after)[0].DeviceUID


def test_observer_algorithm_and_equipment_agree(study: Study, encoded):
    seg, sr = encoded
    identity = study.identity
    assert values(sr, "121012") == [identity.device_uid]
    assert set(values(sr, "121014")) == set(values(sr, "122405")) == {identity.manufacturer}
    assert set(values(sr, "121015")) == set(values(sr, "111001")) == {identity.model_name}
    assert set(values(sr, "111003")) == {identity.software_versions}
    for segment in seg.SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmSource == identity.manufacturer
        assert algorithm.AlgorithmName == segment.SegmentAlgorithmName == identity.model_name
        assert algorithm.AlgorithmVersion == identity.software_versions
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == identity.family
        assert algorithm.AlgorithmParameters
    for group in groups(sr).values():
        assert values(group, "111001") == [identity.model_name]


def test_the_objects_are_of_the_kinds_that_the_profile_asks_for(encoded):
    seg, sr = encoded
    assert (seg.SOPClassUID, sr.SOPClassUID) == (SegmentationStorage, Comprehensive3DSRStorage)
    assert (seg.SegmentationType, name_of(sr)) == ("BINARY", codes.cid7021.ImagingMeasurementReport.value)
    assert sr.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_the_procedure_reported_is_the_examination_not_the_algorithm(tmp_path: Path, encoded):
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "25045-6", "LN", "CT"
    told = make_study(tmp_path, ProcedureCodeSequence=[procedure]).both()[1]
    assert values(encoded[1], "121058") == ["169068008"]
    assert values(told, "121058") == [procedure.CodeValue]


def test_content_date_and_time_are_the_start_of_the_analysis(tmp_path: Path):
    for ds in make_study(tmp_path, TimezoneOffsetFromUTC="+0000").both():
        for date, time in ((ds.ContentDate, ds.ContentTime), (ds.InstanceCreationDate, ds.InstanceCreationTime)):
            assert datetime.strptime(f"{date} {time} +0000", "%Y%m%d %H%M%S.%f %z") == STARTED_AT


def test_the_report_is_complete_unverified_and_preliminary(encoded):
    sr = encoded[1]
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_both_objects_belong_to_the_patient_and_study_of_the_source(study: Study, encoded):
    source = dcmread(study.source_paths[0])
    for ds in encoded:
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber"):
            assert ds[keyword].value == source[keyword].value
        assert ds.SeriesInstanceUID != source.SeriesInstanceUID


def test_the_report_refers_to_every_slice_and_to_the_segmentation(study: Study, encoded):
    seg, sr = encoded
    referred = {
        instance.ReferencedSOPInstanceUID
        for item in sr.CurrentRequestedProcedureEvidenceSequence
        for series in item.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert referred == {*study.volume.sop_instance_uids, seg.SOPInstanceUID}
    library = next(item for item in walk(sr) if name_of(item) == codes.DCM.ImageLibrary.value)
    listed = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in walk(library) if item.ValueType == "IMAGE"
    ]
    assert listed == list(study.volume.sop_instance_uids)


@pytest.mark.parametrize(
    ("present", "unassessed", "expected", "is_flagged"),
    [
        ((), (), {"Right": "absent", "Left": "absent"}, codes.cid230.No),
        ((Side.LEFT,), (), {"Right": "absent", "Left": "present"}, codes.cid230.Yes),
        ((), (Side.RIGHT,), {"Right": "undetermined", "Left": "absent"}, codes.cid230.Undetermined),
        ((Side.LEFT,), (Side.RIGHT,), {"Right": "undetermined", "Left": "present"}, codes.cid230.Yes),
    ],
)
def test_each_gland_has_its_coded_answer(tmp_path: Path, present, unassessed, expected, is_flagged):
    """ "No mass found" and "not assessed" are different answers."""
    by_name = groups(make_study(tmp_path, present=present, unassessed=unassessed).both()[1])
    for side, answer in expected.items():
        group = by_name[f"{side} parotid gland result"]
        assert values(group, MASS_ABOVE_THRESHOLD.value) == [PRESENCE[Presence(answer)].value]
        assert (UNASSESSED in values(group, codes.DCM.Comment.value)) is (answer == "undetermined")
        laterality = next(item for item in walk(group) if name_of(item) == "272741003")
        assert laterality.ConceptCodeSequence[0].CodeMeaning == side
    assert values(by_name["Study"], STUDY_FLAGGED.value) == [is_flagged.value]


def test_a_study_without_any_gland_has_a_report_that_says_so(study: Study):
    nothing = without_findings(study)
    assert nothing.seg() is None
    answers = values(nothing.sr(None), MASS_ABOVE_THRESHOLD.value)
    assert answers == [PRESENCE[Presence.UNDETERMINED].value] * 2


def test_the_thresholds_in_force_stand_in_the_report(study: Study, encoded):
    other = replace(THRESHOLDS, min_voxels=321, min_probability=0.25, config_revision="ba9876543210")
    for thresholds, sr in ((THRESHOLDS, encoded[1]), (other, study.sr(encoded[0], thresholds=other))):
        group = groups(sr)["Study"]
        assert [float(value) for value in values(group, "MIN_VOXELS")] == [thresholds.min_voxels]
        assert [float(value) for value in values(group, "MIN_PROBABILITY")] == [thresholds.min_probability]
        assert values(group, "CONFIG_REVISION") == [thresholds.config_revision]
        assert f"config_revision={thresholds.config_revision}" in values(group, "111002")


def test_both_objects_say_that_they_are_for_research(encoded):
    for ds in encoded:
        assert RESEARCH_USE in ds.SeriesDescription
    assert f"{RESEARCH_USE}." in values(encoded[1], codes.DCM.Comment.value)


def test_our_own_concepts_are_declared(encoded):
    (scheme,) = encoded[1].CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == CODING_SCHEME
    named = {item.ConceptNameCodeSequence[0].CodingSchemeDesignator for item in walk(encoded[1])}
    assert CODING_SCHEME in named
    assert {designator for designator in named if designator.startswith("99")} == {CODING_SCHEME}


def test_our_objects_are_known_when_they_come_back(study: Study, encoded):
    assert all(is_ours(ds) for ds in encoded)
    assert not is_ours(dcmread(study.source_paths[0]))


def test_every_uid_that_we_make_is_derived_from_the_run(study: Study, encoded):
    again = study.both()
    other = replace(study, run_key="run 2").both()
    for index, ds in enumerate(encoded):
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert ds[keyword].value == again[index][keyword].value != other[index][keyword].value
            assert UID(ds[keyword].value).is_valid


def test_the_same_run_gives_the_same_bytes_in_any_process(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.conformance.studies import make_study\n"
        "out = Path(sys.argv[1]); out.mkdir()\n"
        "for ds in make_study(out / 'ct').both(): ds.save_as(out / ds.Modality, enforce_file_format=True)\n"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", program, str(tmp_path / seed)]
        environment = {"PYTHONHASHSEED": seed, "PATH": ""}
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    for modality in ("SEG", "SR"):
        assert (tmp_path / "1" / modality).read_bytes() == (tmp_path / "2" / modality).read_bytes()


def cover_in_part(study: Study, share: float) -> Study:
    """The right gland is cut by the scan's end."""
    right, left = study.verdict.glands
    reason = f"Right parotid ({covered_in_part(share)}): no mass found in the part covered."
    verdict = replace(study.verdict, glands=(replace(right, is_partial=True, covered_share=share, reason=reason), left))
    return replace(study, verdict=verdict)


def test_a_partly_covered_gland_is_coded_as_such_beside_its_answer(tmp_path: Path) -> None:
    study = cover_in_part(make_study(tmp_path, present=()), 0.6)
    found = groups(study.sr(study.seg()))
    right, left = found["Right parotid gland result"], found["Left parotid gland result"]
    assert values(right, MASS_ABOVE_THRESHOLD.value) == [PRESENCE[Presence.ABSENT].value]
    assert values(right, IS_COVERED_IN_PART.value) == [codes.cid230.Yes.value]
    assert values(right, COVERED_SHARE.value) == ["0.6"]
    assert any("covered in part, about 60 %" in text for text in values(right, codes.DCM.Comment.value))
    assert values(left, IS_COVERED_IN_PART.value) == []


def test_a_negative_on_a_partly_covered_gland_is_no_whole_negative(tmp_path: Path) -> None:
    whole = make_study(tmp_path, present=())
    answers = [
        values(groups(study.sr(study.seg()))["Study"], STUDY_FLAGGED.value)
        for study in (whole, cover_in_part(whole, 0.6))
    ]
    assert answers == [[codes.cid230.No.value], [codes.cid230.Undetermined.value]]


def test_the_report_names_every_setting_and_the_masss_score(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    (mass,) = study.masses
    scored = replace(mass, candidate=replace(mass.candidate, scores=tuple(gamma / 20 for gamma in GAMMAS)))
    study = replace(study, masses=(scored,))
    thresholds = replace(THRESHOLDS, gamma=7, min_score=0.3, min_covered_share=0.5)
    sr = study.sr(study.seg(), thresholds=thresholds)
    assert values(sr, SCORE.value) == ["0.35"]
    whole = groups(sr)["Study"]
    written = [float(*values(whole, code.value)) for code in (GAMMA, MIN_SCORE, MIN_COVERED_SHARE)]
    assert written == [thresholds.gamma, thresholds.min_score, thresholds.min_covered_share]
