"""Bad input: each has its own ending with a sentence that `explain` prints, and the next study still goes through."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from screener.journey import Ending
from screener.phantom import Phantom, make_phantom
from tests.conftest import PATIENT
from tests.peers.hospital import Hospital
from tests.peers.scanner import Raw, read_data_set_bytes

SMALL = {"spacing_mm": (2.0, 2.0, 5.0), "rows": 128}


def a_phantom(seed: int = 21) -> Phantom:
    return make_phantom(seed=seed, **SMALL)  # type: ignore[arg-type]


def without_position(datasets: list[Dataset]) -> list[Dataset]:
    del datasets[7].ImagePositionPatient
    return datasets


def two_at_one_position(datasets: list[Dataset]) -> list[Dataset]:
    twin = deepcopy(datasets[3])
    twin.SOPInstanceUID = generate_uid()
    twin.file_meta.MediaStorageSOPInstanceUID = twin.SOPInstanceUID
    twin.PixelData = datasets[9].PixelData
    return [*datasets, twin]


def with_a_gap(datasets: list[Dataset]) -> list[Dataset]:
    middle = len(datasets) // 2
    return datasets[:middle] + datasets[middle + 2 :]


def of_the_chest(datasets: list[Dataset]) -> list[Dataset]:
    for ds in datasets:
        ds.BodyPartExamined = "CHEST"
        ds.StudyDescription = ds.SeriesDescription = "CT thorax"
        ds.ProtocolName = "Thorax"
    return datasets


def a_localizer_only(datasets: list[Dataset]) -> list[Dataset]:
    (scout,) = [
        ds for ds in make_phantom(seed=22, with_localizer=True, **SMALL).datasets if "LOCALIZER" in ds.ImageType
    ]  # type: ignore[arg-type]
    return [scout]


def too_few(datasets: list[Dataset]) -> list[Dataset]:
    return datasets[:4]


@pytest.mark.parametrize(
    ("spoil", "ending", "word"),
    [
        (without_position, Ending.FAILED, "ImagePositionPatient"),
        (two_at_one_position, Ending.FAILED, "position"),
        (with_a_gap, Ending.FAILED, "missing"),
        (of_the_chest, Ending.SET_ASIDE, "another part of the body"),
        (a_localizer_only, Ending.SET_ASIDE, "localizer"),
        (too_few, Ending.SET_ASIDE, "slices"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_spoiled_study_has_its_ending(
    clinic: Hospital, spoil: Callable[[list[Dataset]], list[Dataset]], ending: Ending, word: str
) -> None:
    datasets = spoil(a_phantom().datasets)
    clinic.scanner.send(datasets)
    report = clinic.wait_for_ending(str(datasets[0].StudyInstanceUID))
    assert report.ending is ending, report.reason
    told = clinic.explain(str(report.study_id))
    assert report.reason in told
    assert word.lower() in report.reason.lower()
    assert not PATIENT.search(told)


def test_a_truncated_slice_is_named_and_fails_its_study(clinic: Hospital, tmp_path: Path) -> None:
    datasets = a_phantom().datasets
    spoiled = datasets[5]
    sop_instance_uid = str(spoiled.SOPInstanceUID)
    path = tmp_path / "whole.dcm"
    spoiled.save_as(path, enforce_file_format=True)
    raw = Raw(
        sop_class_uid=CTImageStorage,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        data_set=read_data_set_bytes(path)[: -len(spoiled.PixelData) // 2],
    )
    clinic.scanner.send([*datasets[:5], raw, *datasets[6:]])
    report = clinic.wait_for_ending(str(datasets[0].StudyInstanceUID))
    assert report.ending is Ending.FAILED
    assert "missing" in report.reason
    told = clinic.explain(str(report.study_id))
    assert sop_instance_uid in told
    assert "cut short" in told


def test_bytes_that_are_no_dicom_are_refused_and_explained(clinic: Hospital) -> None:
    sop_instance_uid = str(generate_uid())
    raw = Raw(
        sop_class_uid=CTImageStorage,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        data_set=b"this is no data set" * 50,
    )
    (answer,) = clinic.scanner.send([raw])
    assert answer.status is not None
    assert answer.status & 0xF000 == 0xC000  # PS3.4 table B.2-1: cannot understand
    assert "refused or kept aside" in clinic.explain(sop_instance_uid)


def test_send_says_which_file_is_no_dicom_and_sends_the_others(clinic: Hospital, tmp_path: Path) -> None:
    phantom = a_phantom(23)
    for number, ds in enumerate(phantom.datasets):
        ds.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("not an image")
    said = clinic.command("send", str(tmp_path))
    assert f"{len(phantom.datasets)} sent" in said
    assert "notes.txt" in said
    assert clinic.wait_for_ending(phantom.study_instance_uid).ending is not None


def test_the_next_study_still_goes_through(clinic: Hospital) -> None:
    phantom = make_phantom(seed=24)
    clinic.scanner.send(phantom.datasets)
    assert clinic.wait_for_ending(phantom.study_instance_uid).ending is Ending.DONE
