"""A study with a mass: SEG, SR, key image and notice go where they belong."""

import re
import subprocess
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from screener.journey import Ending, Stage
from screener.phantom import Phantom, make_phantom
from screener.study import Side
from tests.conftest import PATIENT
from tests.peers.hospital import Hospital
from tests.peers.orthanc import Orthanc
from tests.peers.require import require

MASS_MM = 25.0


@pytest.fixture(scope="module")
def flagged(shared_clinic: Hospital) -> Phantom:
    """A phantom with a mass in the left gland, sent and screened."""
    phantom = make_phantom(mass_mm=MASS_MM, mass_side=Side.LEFT, seed=11)
    shared_clinic.scanner.send(phantom.datasets)
    shared_clinic.wait_for_ending(phantom.study_instance_uid)
    return phantom


def test_the_study_is_done_and_flagged_on_the_right_side(clinic: Hospital, flagged: Phantom) -> None:
    report = clinic.report(flagged.study_instance_uid)
    (run,) = report.runs
    assert (report.ending, report.stage, run.is_flagged) == (Ending.DONE, Stage.NOTIFIED, True)
    assert [(gland.side, gland.presence) for gland in run.glands] == [("right", "absent"), ("left", "present")]


def test_the_candidate_is_the_mass_that_was_put_in(clinic: Hospital, flagged: Phantom) -> None:
    (run,) = clinic.report(flagged.study_instance_uid).runs
    candidate = next(candidate for candidate, is_above in run.candidates if is_above)
    assert flagged.mass is not None
    z, y, x = (float(axis.mean()) for axis in np.nonzero(flagged.mass))
    center_mm = (flagged.affine @ np.array([x, y, z, 1.0]))[:3]
    assert np.linalg.norm(np.array(candidate.center_mm) - center_mm) < MASS_MM / 2


def test_seg_and_sr_in_the_pacs_agree(clinic: Hospital, orthanc: Orthanc, flagged: Phantom) -> None:
    (seg,) = orthanc.wait_for(flagged.study_instance_uid, "SEG")
    (report,) = orthanc.wait_for(flagged.study_instance_uid, "SR")
    segmentation = hd.seg.Segmentation.from_dataset(seg)
    document = hd.sr.Comprehensive3DSR.from_dataset(report)
    groups = document.content.get_volumetric_roi_measurement_groups()
    tracked = {str(group.tracking_uid) for group in groups}
    assert tracked >= {str(item.TrackingUID) for item in segmentation.SegmentSequence}
    assert seg.FrameOfReferenceUID == flagged.datasets[0].FrameOfReferenceUID


def test_the_bytes_in_the_pacs_are_the_bytes_that_were_kept(
    clinic: Hospital, orthanc: Orthanc, flagged: Phantom
) -> None:
    (run,) = clinic.report(flagged.study_instance_uid).runs
    for role, modality in (("seg", "SEG"), ("sr", "SR")):
        (path,) = (result.path for result in run.results if result.role == role)
        kept = dcmread(clinic.folder / "var" / path)
        (instance,) = orthanc.instances(flagged.study_instance_uid, modality)
        assert dcmread(BytesIO(orthanc.file(instance))) == kept


def test_the_key_image_is_a_picture_with_the_mass_outlined(clinic: Hospital, flagged: Phantom) -> None:
    (run,) = clinic.report(flagged.study_instance_uid).runs
    (path,) = (result.path for result in run.results if result.role == "key_image")
    assert path.endswith(".png")
    pixels = np.asarray(Image.open(clinic.folder / "var" / path).convert("RGB")).astype(int)
    is_amber = (pixels[..., 0] > 200) & (pixels[..., 1] > 120) & (pixels[..., 2] < 90)
    assert is_amber.sum() > 50


def test_the_mail_tells_the_finding_and_not_the_patient(clinic: Hospital, flagged: Phantom) -> None:
    number = clinic.report(flagged.study_instance_uid).study_id
    mails = [mail for mail in clinic.mailbox.mails if re.search(rf"\b{number}\b", str(mail["Subject"]))]
    (mail,) = mails
    text = mail.get_body().get_content()  # type: ignore[union-attr]
    assert "left" in text.lower()
    assert "not validated for clinical diagnosis" in text
    assert not PATIENT.search(mail.as_string())
    assert flagged.study_instance_uid not in mail.as_string()


def test_the_validators_of_others_find_no_error(
    clinic: Hospital, orthanc: Orthanc, flagged: Phantom, tmp_path: Path
) -> None:
    for modality in ("SEG", "SR"):
        (instance,) = orthanc.instances(flagged.study_instance_uid, modality)
        path = tmp_path / f"{modality}.dcm"
        path.write_bytes(orthanc.file(instance))
        said = subprocess.run([require("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
    printed = subprocess.run([require("dsrdump"), str(path)], capture_output=True, text=True, check=True).stdout
    assert "Imaging Measurement Report" in printed
    assert re.search(r"52101004,SCT", printed)


def test_what_orthanc_forwards_back_opens_no_run(clinic: Hospital, orthanc: Orthanc, flagged: Phantom) -> None:
    """A PACS with an auto-routing rule sends everything it gets, our own results included."""
    instances = orthanc.instances(flagged.study_instance_uid, "SEG") + orthanc.instances(
        flagged.study_instance_uid, "SR"
    )
    before = clinic.report(flagged.study_instance_uid)
    with suppress(OSError):  # this peer may not send documents: refused at negotiation, which is one right answer
        orthanc.ask("/modalities/screener/store", {"Resources": instances, "Synchronous": True})
    after = clinic.report(flagged.study_instance_uid)
    assert (after.ending, len(after.runs)) == (before.ending, len(before.runs))


def test_explain_tells_the_whole_story(clinic: Hospital, flagged: Phantom) -> None:
    told = clinic.explain(flagged.study_instance_uid)
    assert not PATIENT.search(told)
    for stage in Stage:
        assert stage in told, stage
    number = clinic.report(flagged.study_instance_uid).study_id
    assert clinic.explain(str(number)) == told


def test_a_study_sent_again_is_not_screened_again(clinic: Hospital, flagged: Phantom) -> None:
    before = clinic.report(flagged.study_instance_uid)
    answers = clinic.scanner.send(flagged.datasets)
    assert {answer.status for answer in answers} == {0x0000}
    assert clinic.report(flagged.study_instance_uid) == before
