"""Past studies come from a real PACS, by C-GET and by C-MOVE, and their findings in one mail."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, RLELossless, generate_uid

from screener.store import BackfillReport
from tests.conftest import PATIENT
from tests.peers.hospital import Hospital, open_hospital, wait_until
from tests.peers.mailbox import open_mailbox
from tests.peers.orthanc import Orthanc
from tests.peers.ports import free_port
from tests.peers.scanner import Scanner, make_ct, read_data_set_bytes
from tests.peers.stand_in import StandIn

SECONDS = 240
RECIPIENTS = (("email", "ent@hospital.test"),)


def a_past_study(day: str, *series: tuple[str, str, int]) -> list[Dataset]:
    """Slices of one study; each series is its modality, its body part and how many slices it has."""
    study_instance_uid = generate_uid()
    slices = []
    for modality, body_part, count in series:
        series_instance_uid = generate_uid()
        for number in range(count):
            ds = make_ct(
                StudyInstanceUID=study_instance_uid,
                SeriesInstanceUID=series_instance_uid,
                SOPClassUID=CTImageStorage if modality == "CT" else MRImageStorage,
                Modality=modality,
                BodyPartExamined=body_part,
                StudyDate=day,
                InstanceNumber=number + 1,
                ImagePositionPatient=[0, 0, 2.5 * number],
            )
            if count == 4 and number % 2:  # an archive may hold a series in two syntaxes
                ds.compress(RLELossless, generate_instance_uid=False)
            slices.append(ds)
    return slices


def uid_of(study: list[Dataset]) -> str:
    return str(study[0].StudyInstanceUID)


class Past:
    """What lies in the PACS."""

    head = a_past_study("20190305", ("CT", "HEADNECK", 4), ("CT", "CHEST", 2))
    flagged = a_past_study("20190306", ("CT", "NECK", 3))
    abdomen = a_past_study("20190306", ("CT", "ABDOMEN", 3))
    mr = a_past_study("20190307", ("MR", "HEAD", 3))
    known = a_past_study("20190308", ("CT", "HEAD", 3))
    too_late = a_past_study("20190401", ("CT", "HEAD", 3))

    @classmethod
    def all(cls) -> list[list[Dataset]]:
        return [cls.head, cls.flagged, cls.abdomen, cls.mr, cls.known, cls.too_late]


@pytest.fixture(scope="module", params=["get", "move"])
def night(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Hospital, Orthanc]]:
    """A hospital whose backfill of March 2019 has come to its end."""
    folder = tmp_path_factory.mktemp(request.param)
    port = free_port()
    orthanc = Orthanc(folder / "orthanc", {"screener": ("PAROTID", "127.0.0.1", port)}).start()
    source = {"name": "archive", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
    settings = {"pull": {"digest_at": "00:00", "retry_seconds": 1}}
    try:
        for study in Past.all():
            Scanner(orthanc.dicom_port, called_ae_title="ORTHANC").send(study)
        with open_mailbox() as mailbox:
            hospital = Hospital(
                folder / "hospital",
                mailbox,
                [],
                settings=settings,
                port=port,
                sources=[source | {"how": request.param}],
            )
            flagged = uid_of(Past.flagged)
            with (
                open_hospital(hospital, "--no-workers"),
                StandIn(
                    hospital.store,
                    finds=lambda run: 900 if run.study_instance_uid == flagged else 0,
                    recipients=RECIPIENTS,
                ),
            ):
                hospital.scanner.send(Past.known)
                hospital.wait_for_ending(uid_of(Past.known), SECONDS)
                ordered = hospital.command(
                    *("backfill", "--from", "2019-03-01", "--to", "2019-03-31"),
                    *("--modality", "CT", "--body-part", "HEAD,NECK", "--now"),
                )
                assert "backfill 1" in ordered, ordered
                wait_until(lambda: is_over(hospital), SECONDS, lambda: hospital.command("backfill", "--report", "1"))
                for study in (Past.head, Past.flagged):
                    hospital.wait_for_ending(uid_of(study), SECONDS)
                yield hospital, orthanc
    finally:
        orthanc.stop()


def the_report(hospital: Hospital) -> BackfillReport:
    (report,) = hospital.store.backfill_reports(1)
    return report


def is_over(hospital: Hospital) -> bool:
    report = the_report(hospital)
    assert report.to_date is not None
    searched = all(day > report.to_date for day in report.next_dates.values())
    return searched and not report.states.keys() & {"listed", "fetching"}


def test_what_is_wanted_is_fetched_and_the_rest_has_its_reason(night: tuple[Hospital, Orthanc]) -> None:
    report = the_report(night[0])
    assert report.states == {"fetched": 2, "skipped": 2}
    assert report.reasons == {
        ("skipped", "no series of it is wanted"): 1,
        ("skipped", "received before, and nothing of it is missing"): 1,
    }
    for study in (Past.mr, Past.abdomen, Past.too_late):
        assert night[0].store.find_study(uid_of(study)) is None


def test_only_the_wanted_series_of_a_study_is_fetched_and_screened_once(night: tuple[Hospital, Orthanc]) -> None:
    found = night[0].report(uid_of(Past.head))
    assert found.images == sum(ds.BodyPartExamined == "HEADNECK" for ds in Past.head)
    assert len(found.runs) == 1


def test_what_was_fetched_is_kept_byte_for_byte(night: tuple[Hospital, Orthanc], tmp_path: Path) -> None:
    hospital, orthanc = night
    study_id = hospital.store.find_study(uid_of(Past.flagged))
    assert study_id is not None
    kept = {
        image.sop_instance_uid: read_data_set_bytes(image.path)
        for image in hospital.store.images_of(study_id, hospital.folder / "var")
    }
    there = {}
    for instance in orthanc.instances(uid_of(Past.flagged), "CT"):
        path = tmp_path / f"{instance}.dcm"
        path.write_bytes(orthanc.file(instance))
        there[str(orthanc.ask(f"/instances/{instance}/tags?simplify")["SOPInstanceUID"])] = read_data_set_bytes(path)
    assert kept == there


def test_the_finding_is_told_in_one_digest_and_never_alone(night: tuple[Hospital, Orthanc]) -> None:
    hospital, _ = night
    number = hospital.report(uid_of(Past.flagged)).study_id
    (mail,) = hospital.mailbox.mails
    assert "1 past study" in str(mail["Subject"])
    body = mail.get_body()
    assert body is not None
    assert f"Study {number}: mass in the left parotid" in body.get_content()
    assert not PATIENT.search(mail.as_string())


def test_the_report_of_the_command_line_tells_endings_and_findings(night: tuple[Hospital, Orthanc]) -> None:
    hospital, _ = night
    number = hospital.report(uid_of(Past.flagged)).study_id
    told = re.sub(r"\s+", " ", hospital.command("backfill", "--report", "1"))
    assert f"flagged, by our number: {number}" in told
    assert "of the 2 fetched: done 2" in told
    assert "31 of 31 days searched" in told
    assert "fetched 2, skipped 2" in hospital.command("backfill")


def test_a_backfill_of_the_same_time_again_fetches_nothing_twice(night: tuple[Hospital, Orthanc]) -> None:
    hospital, _ = night
    before = {uid: hospital.report(uid).images for uid in map(uid_of, (Past.head, Past.flagged, Past.known))}
    hospital.command("backfill", "--from", "2019-03-05", "--to", "2019-03-08", "--body-part", "HEAD,NECK", "--now")
    number = hospital.store.backfill_reports()[-1].backfill_id

    def is_done() -> bool:
        (report,) = hospital.store.backfill_reports(number)
        return report.states == {"skipped": 4} and report.next_dates["archive"] > report.from_date + timedelta(days=3)

    wait_until(is_done, SECONDS, lambda: hospital.command("backfill", "--report", str(number)))
    assert {uid: hospital.report(uid).images for uid in before} == before


def test_the_log_names_no_patient(night: tuple[Hospital, Orthanc]) -> None:
    assert not PATIENT.search(night[0].log_path.read_text(errors="replace"))
