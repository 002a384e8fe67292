"""Real ultrasound, of five makers, passes through the door to SR, SEG and capture in another maker's PACS.

The salivary glands of `sgus_*` are published as JPEG; each is wrapped, as it is, into an object as a modality would
write it. None of them shows a tumor: which answer is given is not judged here. The first hospital has a segmenter
that finds a lesion in every picture, so that there is something to encode; the second has what ships.
"""

import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from screener.journey import Ending
from screener.store import StudyReport
from tests.conftest import PATIENT
from tests.peers.hospital import Hospital, open_hospital, wait_until
from tests.peers.mailbox import open_mailbox
from tests.peers.orthanc import Orthanc
from tests.peers.require import require
from tests.peers.us_bundles import are_shipped, write_stand_ins
from tests.unit.us_objects import make_object

MACHINES = ("samsung", "philips", "esaote", "GE")
OBJECTS = ("ALOKA", *MACHINES)
"""The first is a real object: two B-mode pictures beside each other in colors of a palette, calibrated."""
DOPPLER = ("US-PAL-8-10x-echo", "US-RGB-8-epicard", "US-RGB-8-esopecho", "US1_J2KR.dcm", "US1_UNCI.dcm")
RESULTS = {"SEG": "seg", "SR": "sr", "OT": "capture"}
"""Modality of each result, and our word for it."""

Studies = dict[str, Dataset]


def wrap_picture(path: Path) -> Dataset:
    """Put a JPEG as it is into an ultrasound object of the patient whom no log may name."""
    gray = np.asarray(Image.open(path))
    assert gray.ndim == 2
    ds = make_object(gray, Manufacturer="Test scanners", StudyDate="20260304", StudyTime="040506", StudyID="1")
    ds.PixelData = encapsulate([path.read_bytes()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
    ds.LossyImageCompressionRatio = f"{gray.size / path.stat().st_size:.2f}"
    return ds


def rename_patient(path: Path) -> Dataset:
    """Read a real object and make it a study of the patient whom no log may name."""
    ds = dcmread(path)
    ds.PatientName, ds.PatientID = "CANARY^DONOTLOG", "CANARY-ID-9"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = generate_uid(), generate_uid(), generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def make_studies(shared: Path) -> Studies:
    """One study of each maker, by its name."""
    folder = shared / "data" / "ultrasound"
    with (folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["organ"] == "parotid"]
    first = {machine: next(row["id"] for row in rows if row["machine"] == machine) for machine in MACHINES}
    studies = {machine: wrap_picture(folder / f"{name}.jpg") for machine, name in first.items()}
    aloka = shared / "data" / "dicom" / "awkward" / "ultrasound" / "gdcm-US-ALOKA-16.dcm"
    return {"ALOKA": rename_patient(aloka), **studies}


def send_all(hospital: Hospital, studies: Studies) -> None:
    """Send every study in an association of its own, and wait until each has its ending."""
    for ds in studies.values():
        (answer,) = hospital.scanner.send([ds])
        assert answer.status == 0x0000
    for ds in studies.values():
        hospital.wait_for_ending(ds.StudyInstanceUID)


@pytest.fixture(scope="module")
def us_clinic(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[Hospital]:
    """A hospital of its own whose segmenter finds a lesion in every picture."""
    folder = tmp_path_factory.mktemp("us_clinic")
    destination = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
    models = write_stand_ins(folder / "bundles") | {"threads": 1}
    with open_mailbox() as mailbox:
        hospital = Hospital(folder / "hospital", mailbox, [destination], settings={"models": models})
        with open_hospital(hospital):
            yield hospital


@pytest.fixture(scope="module")
def studies(us_clinic: Hospital, shared: Path) -> Studies:
    """The studies, screened, and those that hold no B-mode beside them."""
    folder = shared / "data" / "dicom" / "awkward" / "ultrasound"
    made = make_studies(shared) | {file: rename_patient(folder / file) for file in DOPPLER}
    send_all(us_clinic, made)
    return made


def report_of(hospital: Hospital, ds: Dataset) -> StudyReport:
    return hospital.report(ds.StudyInstanceUID)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_lesion_ends_as_report_segmentation_and_capture(us_clinic: Hospital, studies: Studies, name: str) -> None:
    report = report_of(us_clinic, studies[name])
    assert report.ending is Ending.DONE, report.reason
    (run,) = report.runs
    assert run.lesion is not None
    assert run.lesion.sop_instance_uid == studies[name].SOPInstanceUID
    assert (run.lesion.longest_diameter_mm is not None) == (name == "ALOKA")
    assert {delivery.state for delivery in run.deliveries} == {"delivered"}


@pytest.mark.parametrize("modality", RESULTS)
@pytest.mark.parametrize("name", OBJECTS)
def test_each_result_lies_in_the_pacs_and_the_validator_finds_no_error(
    orthanc: Orthanc, studies: Studies, name: str, modality: str, tmp_path: Path
) -> None:
    source = studies[name]
    (ds,) = orthanc.wait_for(source.StudyInstanceUID, modality)
    assert (ds.PatientName, ds.PatientID) == (source.PatientName, source.PatientID)
    (instance,) = orthanc.instances(source.StudyInstanceUID, modality)
    path = tmp_path / f"{RESULTS[modality]}.dcm"
    path.write_bytes(orthanc.file(instance))
    said = subprocess.run([require("dciodvfy"), str(path)], capture_output=True, errors="replace", check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert lines, "dciodvfy says at least which IOD it found"
    assert [line for line in lines if line.startswith("Error")] == []


@pytest.mark.parametrize("name", OBJECTS)
def test_the_segmentation_covers_what_the_report_counts(
    us_clinic: Hospital, orthanc: Orthanc, studies: Studies, name: str
) -> None:
    (seg,) = orthanc.wait_for(studies[name].StudyInstanceUID, "SEG")
    (run,) = report_of(us_clinic, studies[name]).runs
    assert run.lesion is not None
    assert int(seg.pixel_array.sum()) == run.lesion.area_px
    assert (seg.Rows, seg.Columns) == (studies[name].Rows, studies[name].Columns)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_capture_shows_the_picture_that_was_kept(
    us_clinic: Hospital, orthanc: Orthanc, studies: Studies, name: str
) -> None:
    (capture,) = orthanc.wait_for(studies[name].StudyInstanceUID, "OT")
    (run,) = report_of(us_clinic, studies[name]).runs
    (path,) = (result.path for result in run.results if result.role == "key_image")
    kept = us_clinic.folder / "var" / path
    assert np.array_equal(capture.pixel_array, np.asarray(Image.open(io.BytesIO(kept.read_bytes()))))


def test_neither_log_nor_mail_nor_explanation_names_the_patient(us_clinic: Hospital, studies: Studies) -> None:
    for name in OBJECTS:
        study_id = us_clinic.store.find_study(studies[name].StudyInstanceUID)
        mails = us_clinic.mailbox.wait(
            lambda mails, wanted=f"study {study_id},": any(wanted in str(mail["Subject"]) for mail in mails)  # type: ignore[misc]
        )
    assert not PATIENT.search(us_clinic.explain(studies["ALOKA"].StudyInstanceUID))
    assert not any(PATIENT.search(mail.as_string()) for mail in mails)
    assert not PATIENT.search(us_clinic.log_path.read_text(errors="replace"))


@pytest.mark.parametrize("file", DOPPLER)
def test_a_real_doppler_object_is_set_aside_with_the_reason(us_clinic: Hospital, studies: Studies, file: str) -> None:
    report = report_of(us_clinic, studies[file])
    assert (report.ending, report.code) == (Ending.SET_ASIDE, "no_b_mode_frame"), report.reason
    assert report.runs[-1].frames
    assert not any(frame.is_taken for frame in report.runs[-1].frames)


@pytest.mark.skipif(not are_shipped(), reason="no ultrasound networks ship yet")
def test_what_ships_answers_for_every_maker(clinic: Hospital, orthanc: Orthanc, shared: Path) -> None:
    studies = make_studies(shared)
    send_all(clinic, studies)
    for name, ds in studies.items():
        report = report_of(clinic, ds)
        assert report.ending is Ending.DONE, f"{name}: {report.reason}"
        (run,) = report.runs
        assert run.lesion is not None
        orthanc.wait_for(ds.StudyInstanceUID, "SR")
        wanted = 1 if run.lesion.sop_instance_uid else 0
        for modality in ("SEG", "OT"):
            wait_until(
                lambda ds=ds, modality=modality, wanted=wanted: (  # type: ignore[misc]
                    len(orthanc.instances(ds.StudyInstanceUID, modality)) == wanted
                ),
                20,
                f"{name}: {wanted} {modality}",
            )
