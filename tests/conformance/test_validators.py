"""The tools of others find no error in what we write, whatever the source was like."""

import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from screener.outcomes import NeedsPerson
from screener.study import GAMMAS, Side, Volume
from tests.conformance.conftest import SHARED
from tests.conformance.studies import Study, dress, make_study, without_findings
from workers.results.identity import RESEARCH_USE

REAL_STUDY = SHARED / "data" / "dicom" / "neck_ct_hn_chus_052"
OLD_SCANNER = SHARED / "data" / "dicom" / "neck_ct_pycerr"

EMPTY_REFERENCE = Dataset()
EMPTY_REFERENCE.ReferencedSOPClassUID = ""
EMPTY_REFERENCE.ReferencedSOPInstanceUID = "1.2.3"
FAULTS = {
    "sound": {},
    "negative spacing": {"SpacingBetweenSlices": "-3.0"},
    "empty reference": {"ReferencedStudySequence": [EMPTY_REFERENCE]},
    "no study ID": {"StudyID": None},
    "no sex": {"PatientSex": None},
    "no name": {"PatientName": None, "PatientBirthDate": None},
    "no frame of reference": {"FrameOfReferenceUID": None},
    "empty frame of reference": {"FrameOfReferenceUID": ""},
    "no manufacturer": {"Manufacturer": None},
    "no slice thickness": {"SliceThickness": None},
    "latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Zoë"},
    "greek": {"SpecificCharacterSet": "ISO_IR 126", "PatientName": "Διονυσιος"},
    "several character sets": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    "time zone": {"TimezoneOffsetFromUTC": "+0530"},
    "lossy": {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "7.5",
        "LossyImageCompressionMethod": "ISO_15444_1",
    },
    "lossy, not said how": {"LossyImageCompression": "01"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_dciodvfy_finds_no_error_whatever_the_source_lacks(tmp_path: Path, find_errors, fault):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the faults, while they are written
        study = make_study(tmp_path / "ct", **FAULTS[fault])
    for ds in study.both():
        assert find_errors(ds) == []


@pytest.mark.parametrize("present", [(), (Side.LEFT,), (Side.RIGHT, Side.LEFT)])
@pytest.mark.parametrize("unassessed", [(), (Side.RIGHT,)])
def test_dciodvfy_finds_no_error_whatever_was_found(tmp_path: Path, find_errors, present, unassessed):
    for ds in make_study(tmp_path / "ct", present=present, unassessed=unassessed).both():
        assert find_errors(ds) == []


def test_a_partly_covered_gland_and_a_score_bring_no_error(tmp_path: Path, find_errors):
    study = make_study(tmp_path / "ct")
    (mass,) = study.masses
    scored = replace(mass, candidate=replace(mass.candidate, scores=(0.5,) * len(GAMMAS)))
    glands = tuple(replace(gland, is_partial=True, covered_share=0.6) for gland in study.verdict.glands)
    partial = replace(study, masses=(scored,), verdict=replace(study.verdict, glands=glands))
    for ds in partial.both():
        assert find_errors(ds) == []


def test_a_report_without_segmentation_has_no_error_either(study: Study, find_errors):
    nothing = without_findings(study)
    assert nothing.seg() is None
    assert find_errors(nothing.sr(None)) == []


def test_dsrdump_prints_the_report(tmp_path: Path, encoded):
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed (Debian: dcmtk)")
    path = tmp_path / "sr.dcm"
    encoded[1].save_as(path, enforce_file_format=True)
    printed = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, text=True, check=True)
    assert printed.stderr == ""
    for text in ("Imaging Measurement Report", "Mass 1, right parotid gland", RESEARCH_USE, "min_voxels=500"):
        assert text in printed.stdout


@pytest.mark.skipif(not REAL_STUDY.is_dir(), reason="../shared is absent")
def test_a_real_study_with_faults_gives_valid_results(find_errors):
    study = load(REAL_STUDY, "CT_*.dcm")
    seg, sr = study.both()
    assert find_errors(seg) == []
    assert find_errors(sr) == []
    assert "ReferencedStudySequence" not in seg
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices) > 0


@pytest.mark.skipif(not OLD_SCANNER.is_dir(), reason="../shared is absent")
def test_a_study_of_an_old_scanner_gives_valid_results(find_errors):
    for ds in load(OLD_SCANNER, "IMG_*.dcm").both():
        assert find_errors(ds) == []


def load(folder: Path, pattern: str) -> Study:
    """Read a folder of axial slices into a volume, without the product's loader: what it wrote is under test."""
    slices = [(dcmread(path), path) for path in folder.glob(pattern)]
    slices.sort(key=lambda entry: float(entry[0].ImagePositionPatient[2]))
    first, last = slices[0][0], slices[-1][0]
    row, column = np.reshape(first.ImageOrientationPatient, (2, 3)).astype(float)
    origin, end = (np.array(ds.ImagePositionPatient, dtype=float) for ds in (first, last))
    affine = np.eye(4)
    affine[:3, 0] = row * float(first.PixelSpacing[1])
    affine[:3, 1] = column * float(first.PixelSpacing[0])
    affine[:3, 2] = (end - origin) / (len(slices) - 1)
    affine[:3, 3] = origin
    hu = np.stack([ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept for ds, _ in slices]).astype(np.int16)
    volume = Volume(
        hu=hu,
        affine=affine,
        body=hu > -300,
        series_instance_uid=str(first.SeriesInstanceUID),
        frame_of_reference_uid=str(first.FrameOfReferenceUID),
        sop_instance_uids=tuple(str(ds.SOPInstanceUID) for ds, _ in slices),
    )
    return dress(volume, [path for _, path in slices])


def test_no_result_is_written_with_the_name_of_the_patient_in_a_warning(tmp_path: Path, caplog, capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = make_study(tmp_path / "ct", PatientName="CANARY")
        caught.clear()
        with caplog.at_level("DEBUG"):
            seg, sr = study.both()
    told = [str(warning.message) for warning in caught] + [caplog.text, *capsys.readouterr()]
    assert not [text for text in told if "CANARY" in text]
    assert (seg.PatientName, sr.PatientName) == ("CANARY", "CANARY")


def test_sources_that_are_not_those_of_the_volume_are_refused(study: Study):
    with pytest.raises(NeedsPerson):
        replace(study, source_paths=study.source_paths[::-1]).seg()
