"""The real PET/CT study, sent by another maker's program, into another maker's PACS."""

import re
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from screener.journey import Ending
from tests.peers.hospital import Hospital
from tests.peers.orthanc import Orthanc
from tests.peers.require import require

STUDY = "1.3.6.1.4.1.14519.5.2.1.5168.2407.270192284011074135763414694629"


@pytest.fixture(scope="module")
def screened(shared_clinic: Hospital, shared: Path) -> Path:
    folder = shared / "data" / "dicom" / "neck_ct_hn_chus_052"
    command = [require("storescu"), "-aec", "PAROTID", "-aet", "SCANNER", "127.0.0.1", str(shared_clinic.port)]
    subprocess.run([*command, "--scan-directories", str(folder)], check=True, env={"TCP_NODELAY": "1"})
    shared_clinic.wait_for_ending(STUDY)
    return folder


def test_the_ct_is_chosen_and_the_pet_refused_with_a_reason(clinic: Hospital, screened: Path) -> None:
    report = clinic.report(STUDY)
    assert report.ending is Ending.DONE
    (run,) = report.runs
    by_modality = {series.modality: series for series in run.series}
    assert by_modality["CT"].is_chosen
    assert not by_modality["PT"].is_chosen
    assert "PT" in " ".join(by_modality["PT"].reasons)


def test_seg_and_sr_pass_the_validator_and_dsrdump(
    clinic: Hospital, orthanc: Orthanc, screened: Path, tmp_path: Path
) -> None:
    for modality in ("SEG", "SR"):
        orthanc.wait_for(STUDY, modality)
        (instance,) = orthanc.instances(STUDY, modality)
        path = tmp_path / f"{modality}.dcm"
        path.write_bytes(orthanc.file(instance))
        said = subprocess.run([require("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
    printed = subprocess.run([require("dsrdump"), str(path)], capture_output=True, text=True, check=True).stdout
    assert "Research use, not validated for clinical diagnosis" in re.sub(r"\s+", " ", printed)


def test_the_segmentation_lies_on_the_source_slices(clinic: Hospital, orthanc: Orthanc, screened: Path) -> None:
    (ds,) = orthanc.wait_for(STUDY, "SEG")
    seg = hd.seg.Segmentation.from_dataset(ds)
    sources = {
        str(source.SOPInstanceUID): source
        for source in (dcmread(path, stop_before_pixels=True) for path in screened.glob("CT_*.dcm"))
    }
    labels = [str(item.SegmentLabel) for item in seg.SegmentSequence]
    assert {"Right parotid gland", "Left parotid gland"} <= set(labels)
    centers = {}
    for number, label in enumerate(labels, start=1):
        frames = seg.get_pixels_by_source_instance(list(sources), segment_numbers=[number])
        planes, rows, columns, _ = np.nonzero(frames)
        source = sources[list(sources)[int(np.median(planes))]]
        assert (frames.shape[1], frames.shape[2]) == (source.Rows, source.Columns)
        row_mm, column_mm = source.PixelSpacing
        centers[label] = (
            source.ImagePositionPatient[0] + columns.mean() * column_mm,
            source.ImagePositionPatient[1] + rows.mean() * row_mm,
        )
    # LPS: the patient's right has the smaller x (PS3.3 C.7.6.2.1.1)
    assert centers["Right parotid gland"][0] + 60 < centers["Left parotid gland"][0]
    assert ds.FrameOfReferenceUID == next(iter(sources.values())).FrameOfReferenceUID


def test_what_was_wrong_in_the_source_is_not_passed_on(clinic: Hospital, orthanc: Orthanc, screened: Path) -> None:
    for modality in ("SEG", "SR"):
        (ds,) = orthanc.wait_for(STUDY, modality)
        empty = [
            element for element in ds.iterall() if element.keyword == "ReferencedSOPClassUID" and not element.value
        ]
        negative = [
            element for element in ds.iterall() if element.keyword == "SpacingBetweenSlices" and element.value < 0
        ]
        assert empty == negative == []
