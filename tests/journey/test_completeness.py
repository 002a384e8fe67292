"""A real daemon waits for what is seen to be missing, and asks a real Orthanc what there is."""

import random
from collections.abc import Iterator, Sequence

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage, generate_uid

from screener.journey import Ending
from screener.store import StudyReport
from tests.peers.hospital import Hospital, open_hospital, wait_until
from tests.peers.mailbox import open_mailbox
from tests.peers.orthanc import Orthanc
from tests.peers.ports import free_port
from tests.peers.scanner import Scanner, make_ct
from tests.peers.stand_in import StandIn

SECONDS = 120.0
MAX_WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc, which answers the screener's C-FIND."""
    started = Orthanc(tmp_path_factory.mktemp("orthanc"), {"screener": ("PAROTID", "127.0.0.1", free_port())})
    yield started.start()
    started.stop()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, pacs: Orthanc) -> Iterator[Hospital]:
    """A daemon whose screening takes no time; what SCANNER sends lies in Orthanc too, what OTHER sends in none."""
    asked = {"name": "orthanc", "senders": ["SCANNER"], "ae_title": "ORTHANC", "host": "127.0.0.1"}
    silent = asked | {"name": "silent", "senders": ["SILENT"], "port": free_port()}
    with open_mailbox() as mailbox:
        hospital = Hospital(
            tmp_path_factory.mktemp("hospital"),
            mailbox,
            [],
            settings={"completeness": {"max_wait_seconds": MAX_WAIT_SECONDS, "ask_timeout_seconds": 30}},
            tables={"completeness.pacs": [asked | {"port": pacs.dicom_port}, silent]},
        )
        with open_hospital(hospital, "--no-workers"), StandIn(hospital.store):
            yield hospital


def a_study(count: int = 24, spacing_mm: float = 3.0) -> list[Dataset]:
    return a_series(generate_uid(), count, spacing_mm)


def a_series(study_instance_uid: str, count: int = 24, spacing_mm: float = 3.0) -> list[Dataset]:
    series_instance_uid = generate_uid()
    return [
        make_ct(
            StudyInstanceUID=study_instance_uid,
            SeriesInstanceUID=series_instance_uid,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            InstanceNumber=index + 1,
            ImagePositionPatient=[-100, -100, index * spacing_mm],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
        for index in range(count)
    ]


def uid_of(slices: Sequence[Dataset]) -> str:
    return str(slices[0].StudyInstanceUID)


def wait_for_word(hospital: Hospital, study: Sequence[Dataset], word: str) -> StudyReport:
    """Wait until the study's story holds `word`."""
    return hospital.wait_for(uid_of(study), lambda report: any(word in step.sentence for step in report.steps), SECONDS)


def seconds_to_ending(report: StudyReport) -> float:
    complete = next(step for step in report.steps if step.stage == "complete")
    return (complete.at - report.received_at).total_seconds()


def test_a_study_with_a_hole_waits_and_goes_on_when_the_slice_comes(hospital: Hospital) -> None:
    study = a_study()
    hospital.scanner.send(study[:10] + study[11:], ae_title="OTHER")
    report = wait_for_word(hospital, study, "waits: 1 slice is missing beside 23")
    assert report.runs == ()
    hospital.scanner.send(study[10:11], ae_title="OTHER")
    report = hospital.wait_for_ending(uid_of(study), SECONDS)
    assert (report.ending, len(report.runs), report.images) == (Ending.DONE, 1, len(study))
    assert "no slice is missing between others" in hospital.explain(uid_of(study))


def test_a_hole_for_good_is_waited_for_no_longer_than_max_wait(hospital: Hospital) -> None:
    study = a_study()
    hospital.scanner.send(study[:10] + study[12:], ae_title="OTHER")
    report = hospital.wait_for_ending(uid_of(study), SECONDS + MAX_WAIT_SECONDS)
    assert (report.ending, len(report.runs)) == (Ending.DONE, 1)
    assert seconds_to_ending(report) >= MAX_WAIT_SECONDS
    told = hospital.explain(uid_of(study))
    assert f"not waited for any longer than {MAX_WAIT_SECONDS:g} s after the first image: 2 slices are missing" in told


def test_mixed_spacing_does_not_wait(hospital: Hospital) -> None:
    study = a_study(20, 2.5)
    for index, ds in enumerate(study[12:], 1):
        ds.ImagePositionPatient = [-100, -100, 11 * 2.5 + 5.0 * index]
    hospital.scanner.send(study, ae_title="OTHER")
    report = hospital.wait_for_ending(uid_of(study), SECONDS)
    assert (len(report.runs), report.images) == (1, len(study))
    assert "; no slice is missing between others" in hospital.explain(uid_of(study))


def test_what_the_pacs_holds_more_is_waited_for(hospital: Hospital, pacs: Orthanc) -> None:
    study = a_study()
    second = a_series(uid_of(study))
    for ds in study + second:
        ds.PatientID = "CANARY-ID-7"
    capture = make_ct(
        **{key: study[0][key].value for key in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID")},
        SOPClassUID=SecondaryCaptureImageStorage,
    )
    Scanner(pacs.dicom_port, called_ae_title="ORTHANC").send([*study, *second, capture])
    hospital.scanner.send(study[:-4])  # its end is missing: no hole between others
    report = wait_for_word(hospital, study, "which orthanc holds, have not come")
    assert report.runs == ()
    assert any("5 images of series" in step.sentence and "24 images" in step.sentence for step in report.steps)
    hospital.scanner.send([*study[-4:], *second, capture])
    report = hospital.wait_for_ending(uid_of(study), SECONDS)
    assert (report.ending, len(report.runs)) == (Ending.DONE, 1)
    assert "orthanc holds no more images" in hospital.explain(uid_of(study))


def test_what_the_door_does_not_take_is_not_waited_for(hospital: Hospital, pacs: Orthanc) -> None:
    study = a_study()
    foreign = make_ct(
        **{key: study[0][key].value for key in ("StudyInstanceUID", "SeriesInstanceUID")},
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66",  # Raw Data Storage
    )
    Scanner(pacs.dicom_port, called_ae_title="ORTHANC").send([*study, foreign])
    hospital.scanner.send(study)
    hospital.wait_for_ending(uid_of(study), SECONDS)
    assert "orthanc holds no more images" in hospital.explain(uid_of(study))


@pytest.mark.parametrize(("sender", "word"), [("SILENT", "silent did not say"), ("SCANNER", "does not know the study")])
def test_a_pacs_that_says_nothing_is_not_waited_for(hospital: Hospital, sender: str, word: str) -> None:
    study = a_study()
    hospital.scanner.send(study, ae_title=sender)
    report = hospital.wait_for_ending(uid_of(study), SECONDS)
    assert seconds_to_ending(report) < MAX_WAIT_SECONDS
    assert word in hospital.explain(uid_of(study))


def test_studies_between_each_other_over_ten_associations_in_any_order_are_one_run_each(hospital: Hospital) -> None:
    studies = [a_study() for _ in range(3)]
    slices = [ds for study in studies for ds in study]
    order = list(range(len(slices)))
    random.Random(7).shuffle(order)  # noqa: S311 - an order, not a secret
    hospital.scanner.send(slices, ae_title="OTHER", associations=10, order=order)
    for study in studies:
        report = hospital.wait_for_ending(uid_of(study), SECONDS)
        assert (report.ending, len(report.runs), report.images) == (Ending.DONE, 1, len(study))


def test_a_slice_that_comes_late_starts_a_run_that_supersedes(hospital: Hospital) -> None:
    study = a_study()
    assert all(ds.SOPClassUID == CTImageStorage for ds in study)
    hospital.scanner.send(study[:-1], ae_title="OTHER")
    hospital.wait_for_ending(uid_of(study), SECONDS)
    hospital.scanner.send(study[-1:], ae_title="OTHER")
    report = hospital.wait_for(uid_of(study), lambda seen: len(seen.runs) == 2 and seen.ending is not None, SECONDS)
    assert report.ending is Ending.DONE
    wait_until(lambda: "run 2" in hospital.explain(uid_of(study)), SECONDS, "the story tells of run 2")
