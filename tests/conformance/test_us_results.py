"""SEG, SR and capture of ultrasound: read back, checked by the tools of others, and what they say."""

import io
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ComprehensiveSRStorage,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
)

from screener.outcomes import NeedsPerson
from screener.us_study import Answer, Box
from tests.conformance.conftest import SHARED
from tests.conformance.test_ai_results import algorithms_of, groups, name_of, values, walk
from tests.conformance.us_studies import (
    BENIGN,
    BOX,
    LEARNED_FROM,
    MALIGNANT,
    NO_LESION,
    NOT_ASSESSABLE,
    THRESHOLDS,
    UsStudy,
    dress,
    identify,
    make_picture,
    make_us_study,
    open_picture,
    picture_uid,
)
from workers.results.encode_us_capture import encode_us_capture
from workers.results.encode_us_seg import encode_us_seg
from workers.results.encode_us_sr import (
    ANSWER,
    ANSWERS,
    NO_LESION_FOUND,
    PROBABILITY_OF_CANCER,
    STUDY_FLAGGED,
    encode_us_sr,
)
from workers.results.identity import RESEARCH_USE, is_ours
from workers.results.us_screening import NOT_CALIBRATED, lay_on_picture

AWKWARD = SHARED / "data" / "dicom" / "awkward"
PICTURES = SHARED / "data" / "ultrasound"
REAL_OBJECTS = {
    "ultrasound/US-PAL-8-10x-echo": 3,
    "ultrasound/US-RGB-8-epicard": 0,
    "ultrasound/US-RGB-8-esopecho": 0,  # of a retired class
    "ultrasound/US1_J2KR.dcm": 0,
    "ultrasound/US1_UNCI.dcm": 0,
    "ultrasound/gdcm-US-ALOKA-16.dcm": 0,
    "transfer_syntaxes/US-YBR_FULL_422-EVRLE.dcm": 0,
}
RETIRED_US = "1.2.840.10008.5.1.4.1.1.6"
FAULTS = {
    "sound": {},
    "no sex, no study ID": {"PatientSex": None, "StudyID": None},
    "no name": {"PatientName": None, "PatientBirthDate": None},
    "no manufacturer": {"Manufacturer": None},
    "retired class": {"SOPClassUID": RETIRED_US},
    "with a frame of reference": {"FrameOfReferenceUID": "1.2.3", "PixelSpacing": ["0.1", "0.1"]},
    "date of old": {"StudyDate": "1994.01.30"},
    "latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Zoë"},
    "several character sets": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    "burned in": {"BurnedInAnnotation": "YES"},
    "lossy, not said how": {"LossyImageCompression": "01"},
}
FindErrors = Callable[[Dataset], list[str]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> UsStudy:
    """Two clips of three frames, a lesion in the second frame of the second."""
    return make_us_study(tmp_path_factory.mktemp("clip"), frames=3, frame_number=2)


@pytest.fixture(scope="module")
def encoded(clip: UsStudy) -> list[Dataset]:
    return clip.objects()


@pytest.mark.parametrize("fault", FAULTS)
def test_dciodvfy_finds_no_error_whatever_the_source_lacks(tmp_path: Path, find_errors: FindErrors, fault):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the faults, while they are written
        study = make_us_study(tmp_path, **FAULTS[fault])
    for ds in study.objects():
        assert find_errors(ds) == []


@pytest.mark.parametrize("verdict", [MALIGNANT, BENIGN, NO_LESION, NOT_ASSESSABLE])
@pytest.mark.parametrize("frames", [0, 3])
def test_dciodvfy_finds_no_error_whatever_was_found(tmp_path: Path, find_errors: FindErrors, verdict, frames):
    study = make_us_study(tmp_path, verdict=verdict, frames=frames, frame_number=frames, spacing_mm=None)
    for ds in study.objects():
        assert find_errors(ds) == []


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="../shared is absent")
@pytest.mark.parametrize("name", REAL_OBJECTS)
def test_real_objects_give_valid_results(find_errors: FindErrors, name):
    """UIDs with a root that does not exist are the sources' own, and kept: a reference to another would be false."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = open_picture(AWKWARD / name, frame_number=REAL_OBJECTS[name])
        objects = study.objects()
    assert [ds.SOPClassUID for ds in objects] == [
        SegmentationStorage,
        ComprehensiveSRStorage,
        SecondaryCaptureImageStorage,
    ]
    for ds in objects:
        assert [line for line in find_errors(ds) if 'Illegal root for UID - "999.999.' not in line] == []
    assert_the_mask_comes_back(study, objects[0])


@pytest.mark.skipif(not PICTURES.is_dir(), reason="../shared is absent")
@pytest.mark.parametrize("source", ["busi", "ddti", "sgus"])
def test_a_wrapped_picture_gives_valid_results(tmp_path: Path, find_errors: FindErrors, source):
    gray = np.asarray(Image.open(min(PICTURES.glob(f"{source}_*.jpg"))).convert("L"))
    ds = make_picture(1, gray=gray)
    ds.save_as(tmp_path / "1.dcm", enforce_file_format=True)
    box = Box(top=0, left=0, bottom=gray.shape[0], right=gray.shape[1])
    study = dress([tmp_path / "1.dcm"], ds, box, spacing_mm=(0.1, 0.1))
    for result in study.objects():
        assert find_errors(result) == []


def assert_the_mask_comes_back(study: UsStudy, ds: Dataset) -> None:
    assert study.lesion is not None
    seg = hd.seg.Segmentation.from_dataset(ds)
    assert (seg.Rows, seg.Columns) == study.lesion.frame.picture_shape
    assert seg.NumberOfFrames == 1
    assert np.array_equal(seg.pixel_array.astype(bool), lay_on_picture(study.lesion))


def test_the_mask_comes_back_on_the_whole_picture(clip: UsStudy, encoded, tmp_path: Path):
    encoded[0].save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    assert_the_mask_comes_back(clip, seg)
    rows, columns = np.nonzero(seg.pixel_array)
    assert BOX.top <= rows.min() <= rows.max() < BOX.bottom
    assert BOX.left <= columns.min() <= columns.max() < BOX.right
    assert "FrameOfReferenceUID" not in seg


def test_every_reference_names_the_picture_and_the_frame(encoded):
    seg, sr, capture = encoded
    derived = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    (region,) = [item for item in walk(sr) if item.ValueType == "SCOORD"]
    drawn = region.ContentSequence[0].ReferencedSOPSequence[0]
    for reference in (derived, seg.SourceImageSequence[0], drawn, capture.SourceImageSequence[0]):
        assert reference.ReferencedSOPInstanceUID == picture_uid(2)
        assert reference.ReferencedSOPClassUID != UltrasoundImageStorage  # it is a clip
        assert reference.ReferencedFrameNumber == 2


@pytest.mark.parametrize("sop_class_uid", [UltrasoundImageStorage, RETIRED_US])
def test_a_single_image_is_referred_to_by_its_own_class_and_without_a_frame(tmp_path: Path, sop_class_uid):
    objects = make_us_study(tmp_path, SOPClassUID=sop_class_uid).objects()
    found = [
        item
        for ds in objects
        for element in ds.iterall()
        if element.VR == "SQ"
        for item in element.value
        if item.get("ReferencedSOPInstanceUID") in (picture_uid(1), picture_uid(2))
    ]
    assert len(found) >= 5
    assert {item.ReferencedSOPClassUID for item in found} == {sop_class_uid}
    assert not [item for item in found if "ReferencedFrameNumber" in item]


def test_the_outline_in_the_report_holds_the_lesion(clip: UsStudy, encoded, tmp_path: Path):
    encoded[1].save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    (group,) = hd.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert group.roi.graphic_type is hd.sr.GraphicTypeValues.POLYLINE
    assert clip.lesion is not None
    rows, columns = np.nonzero(lay_on_picture(clip.lesion))
    outline = group.roi.value  # (points, 2), column and row
    assert outline.min(axis=0).tolist() == [columns.min(), rows.min()]
    assert outline.max(axis=0).tolist() == [columns.max() + 1, rows.max() + 1]
    assert group.tracking_uid == encoded[0].SegmentSequence[0].TrackingUID
    assert group.tracking_identifier == encoded[0].SegmentSequence[0].TrackingID


def test_the_numbers_in_the_report_are_those_of_the_lesion(clip: UsStudy, encoded):
    lesion = groups(encoded[1])["Lesion"]
    measured = {
        name_of(item): (
            float(item.MeasuredValueSequence[0].NumericValue),
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for item in walk(lesion)
        if item.ValueType == "NUM"
    }
    assert clip.lesion is not None
    assert measured == {
        codes.SCT.Diameter.value: (5.0, "mm"),
        codes.SCT.Area.value: (clip.lesion.area_px, "{pixels}"),
        "MEAN_PROBABILITY": (0.91, "1"),
        PROBABILITY_OF_CANCER.value: (83.0, "%"),
    }
    assert NOT_CALIBRATED not in values(lesion, codes.DCM.Comment.value)


def test_without_calibration_there_is_no_diameter_and_the_report_says_why(tmp_path: Path):
    sr = make_us_study(tmp_path, spacing_mm=None).objects()[1]
    lesion = groups(sr)["Lesion"]
    assert values(lesion, codes.SCT.Diameter.value) == []
    assert values(lesion, codes.DCM.Comment.value) == [NOT_CALIBRATED]
    assert "mm" not in {item.CodeValue for item in walk_codes(sr)}


def walk_codes(ds: Dataset) -> list[Dataset]:
    return [item for element in ds.iterall() if element.VR == "SQ" for item in element.value if "CodeValue" in item]


@pytest.mark.parametrize(
    ("verdict", "flagged"),
    [
        (MALIGNANT, codes.cid230.Yes),
        (BENIGN, codes.cid230.No),
        (NO_LESION, codes.cid230.No),
        (NOT_ASSESSABLE, codes.cid230.Undetermined),
    ],
)
def test_each_answer_is_coded_and_explained(tmp_path: Path, verdict, flagged):
    """ "No lesion found" and "not assessable" are answers of their own, and have a report without a lesion."""
    study = make_us_study(tmp_path, verdict=verdict)
    sr = next(ds for ds in study.objects() if ds.Modality == "SR")
    by_name = groups(sr)
    whole = by_name["Study"]
    assert values(whole, ANSWER.value) == [ANSWERS[verdict.answer].value]
    assert values(whole, STUDY_FLAGGED.value) == [flagged.value]
    said = values(whole, codes.DCM.Comment.value)
    assert {verdict.reason, LEARNED_FROM, f"{RESEARCH_USE}."} < set(said)
    has_lesion = verdict.answer in (Answer.MALIGNANT, Answer.BENIGN)
    assert ("Lesion" in by_name) is has_lesion
    assert len(study.objects()) == (3 if has_lesion else 1)
    assert (len(values(sr, PROBABILITY_OF_CANCER.value)) == 1) is has_lesion


def test_the_answers_are_four_different_codes():
    assert set(ANSWERS) == set(Answer)
    assert len({code.value for code in ANSWERS.values()}) == len(Answer)
    assert NO_LESION_FOUND in ANSWERS.values()


def test_a_lesion_that_could_not_be_judged_is_shown_without_a_probability(clip: UsStudy):
    verdict = replace(NOT_ASSESSABLE, reason="The classifier gave no answer.")
    sr = replace(clip, verdict=verdict).objects()[1]
    assert values(groups(sr)["Lesion"], ANSWER.value) == [ANSWERS[Answer.NOT_ASSESSABLE].value]
    assert values(sr, PROBABILITY_OF_CANCER.value) == []


def test_model_and_thresholds_stand_in_report_and_segmentation(clip: UsStudy, encoded):
    seg, sr, capture = encoded
    parameters = [f"{name}={value}" for name, value in THRESHOLDS.items()]
    for group in groups(sr).values():
        assert values(group, "111001") == [clip.identity.model_name]
        assert values(group, "111002") == parameters
    assert values(sr, "CONFIG_REVISION") == [THRESHOLDS["config_revision"]]
    (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmParameters) == (clip.identity.model_name, " ".join(parameters))
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    for ds in (seg, sr, capture):
        (item,) = algorithms_of(ds)
        assert (item.DeviceUID, item.ManufacturerModelName) == (clip.identity.device_uid, clip.identity.model_name)
        assert RESEARCH_USE in ds.SeriesDescription
        assert is_ours(ds)


def test_other_weights_change_the_device_uid_in_every_object(clip: UsStudy, encoded):
    for before, after in zip(encoded, replace(clip, identity=identify("other")).objects(), strict=True):
        assert algorithms_of(before)[0].DeviceUID != algorithms_of(after)[0].DeviceUID


def test_our_own_results_are_known_without_their_contributing_equipment(encoded):
    for ds in encoded:
        bare = Dataset()
        bare.update(ds)
        del bare.ContributingEquipmentSequence
        assert is_ours(bare)


def test_the_report_lists_every_picture_that_was_screened(encoded):
    sr = encoded[1]
    listed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in walk(sr) if item.ValueType == "IMAGE"]
    assert {*listed} == {picture_uid(1), picture_uid(2)}
    (evidence,) = sr.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [picture_uid(1), picture_uid(2)]


@pytest.mark.parametrize("said", ["YES", "NO", None])
def test_burned_in_annotation_is_what_the_source_says(tmp_path: Path, said):
    faults = {} if said is None else {"BurnedInAnnotation": said}
    capture = make_us_study(tmp_path, **faults).objects()[2]
    assert capture.get("BurnedInAnnotation") == said


def test_what_is_derived_from_a_lossy_picture_says_so(tmp_path: Path):
    """Also where only the transfer syntax tells."""
    study = make_us_study(tmp_path)
    for path in study.source_paths:
        ds = dcmread(path)
        ds.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.save_as(path)
    seg, _, capture = study.objects()
    assert seg.LossyImageCompression == capture.LossyImageCompression == "01"


def test_the_capture_holds_the_drawn_picture(clip: UsStudy):
    by_role = {file.role: file for file in clip.files()}
    assert list(by_role) == ["seg", "capture", "key_image", "sr"]
    capture = dcmread(io.BytesIO(by_role["capture"].content))
    assert (capture.PhotometricInterpretation, capture.BitsStored, capture.SamplesPerPixel) == ("RGB", 8, 3)
    drawn = np.asarray(Image.open(io.BytesIO(by_role["key_image"].content)))
    assert np.array_equal(capture.pixel_array, drawn)


def test_the_same_run_gives_the_same_bytes_and_another_run_other_uids(clip: UsStudy):
    first, again, other = clip.files(), clip.files(), replace(clip, run_key="run 2").files()
    assert [file.content for file in first] == [file.content for file in again]
    uids = [{file.sop_instance_uid for file in files if file.suffix == ".dcm"} for files in (first, other)]
    assert len(uids[0]) == 3
    assert not uids[0] & uids[1]


def test_without_a_lesion_there_is_a_report_only(tmp_path: Path):
    assert [file.role for file in make_us_study(tmp_path, verdict=NO_LESION).files()] == ["sr"]


def test_the_results_belong_to_the_patient_and_study_of_the_source(clip: UsStudy, encoded):
    source = dcmread(clip.source_paths[0])
    for ds in encoded:
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber"):
            assert str(ds[keyword].value) == str(source[keyword].value)
        assert ds.SeriesInstanceUID != source.SeriesInstanceUID


def test_no_name_of_the_patient_reaches_a_warning_or_a_log(tmp_path: Path, caplog, capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = make_us_study(tmp_path, PatientName="CANARY")
        caught.clear()
        with caplog.at_level("DEBUG"):
            objects = study.objects()
    told = [str(warning.message) for warning in caught] + [caplog.text, *capsys.readouterr()]
    assert not [text for text in told if "CANARY" in text]
    assert {str(ds.PatientName) for ds in objects} == {"CANARY"}


def test_pictures_that_are_not_those_of_the_lesion_are_refused(tmp_path: Path):
    study = make_us_study(tmp_path)
    assert study.lesion is not None
    frame = replace(study.lesion.frame, picture_shape=(121, 180))
    for wrong in (
        replace(study, source_paths=study.source_paths[:1]),
        replace(study, lesion=replace(study.lesion, frame=frame)),
        replace(study, source_paths=[]),
    ):
        with pytest.raises(NeedsPerson):
            wrong.objects()


def test_a_picture_of_unknown_size_beside_the_lesions_is_listed_too(tmp_path: Path):
    study = make_us_study(tmp_path)
    other = dcmread(study.source_paths[0])
    del other.Rows, other.PixelData
    other.save_as(study.source_paths[0])
    sr = study.objects()[1]
    listed = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in walk(sr) if item.ValueType == "IMAGE"}
    assert listed == {picture_uid(1), picture_uid(2)}


def test_an_answer_that_contradicts_the_lesion_is_refused(clip: UsStudy):
    contradictions = (
        replace(clip, verdict=NO_LESION),
        replace(clip, lesion=None),
        replace(clip, verdict=replace(MALIGNANT, probability=None)),
    )
    for wrong in contradictions:
        with pytest.raises(ValueError, match="lesion"):
            wrong.objects()


def test_dsrdump_prints_the_report(tmp_path: Path, encoded):
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed (Debian: dcmtk)")
    path = tmp_path / "sr.dcm"
    encoded[1].save_as(path, enforce_file_format=True)
    printed = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, text=True, check=True)
    assert printed.stderr == ""
    for text in ("Imaging Measurement Report", "Malignant", LEARNED_FROM, RESEARCH_USE, "min_malignancy=0.5", "SCOORD"):
        assert text in printed.stdout


def test_encoding_leaves_the_headers_as_they_were_read(clip: UsStudy):
    screening = clip.screening()
    before = [source.to_json() for source in screening.sources]
    picture = Image.new("RGB", (8, 8))
    for encode in (encode_us_seg, encode_us_sr, lambda given: encode_us_capture(given, picture)):
        assert encode(screening) is not None
        assert [source.to_json() for source in screening.sources] == before
