"""HL7: ORU^R01 by MLLP to a true listener that checks each message with hl7apy, an independent reader."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytest.importorskip("hl7apy")

from screener.channels import write_oru as oru
from screener.channels.hl7 import Hl7Channel
from screener.channels.message import compose_digest, compose_message
from screener.notice_settings import Hl7Receiver
from screener.outcomes import NeedsPerson, TryAgain
from screener.store.values import LesionLine, OwedDigest, OwedNotice
from screener.study import Presence, Side
from screener.us_study import Answer
from tests.peers.certificates import make_certificate
from tests.peers.mllp import Inbox, open_inbox
from tests.unit.test_notify import owed, write_image

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:hl7apy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ds = write_image(tmp_path / "image.dcm")
    ds.PatientName, ds.PatientID, ds.AccessionNumber = "CANARY^DONOTLOG^M^Dr^Jr", "CANARY-ID|7", "CANARY-ACC"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientBirthDate, ds.PatientSex, ds.StudyDate, ds.StudyTime = "19500102", "F", "20310506", "070809.5"
    ds.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    return tmp_path


def receiver(inbox: Inbox, **more: Any) -> Hl7Receiver:
    known = {"name": "ehr", "host": inbox.host, "port": inbox.port, "include_patient_identity": True}
    return Hl7Receiver.model_validate(known | {"receiving_application": "EHR", "ack_timeout_seconds": 60} | more)


def send(inbox: Inbox, folder: Path, notice: OwedNotice | None = None, **more: Any) -> None:
    told = notice or replace(owed(), study_instance_uid="1.2.3", why="rule on-call: left & right^", rule="on-call")
    message = compose_message(told, link="https://case/{study}?a=1&b=2")
    Hl7Channel([receiver(inbox, **more)], folder).send(message, "ehr")


def observations(inbox: Inbox) -> dict[tuple[str, str], str]:
    """(code, group) to OBX-5 as it stands, of the only message."""
    (raw,) = inbox.raw
    rows = [line.split("|") for line in raw.split("\r") if line.startswith("OBX")]
    return {(row[3].split("^")[0], row[4]): row[5] for row in rows}


def test_a_finding_arrives_as_a_message_that_another_reader_finds_valid(folder: Path) -> None:
    with open_inbox(Inbox()) as inbox:
        send(inbox, folder)
    assert inbox.faults == []
    (message,) = inbox.messages
    assert (message.msh.msh_9.value, message.msh.msh_12.value) == ("ORU^R01^ORU_R01", "2.5.1")
    assert message.msh.msh_5.value == "EHR"


def test_the_message_names_the_patient_and_the_study(folder: Path) -> None:
    with open_inbox(Inbox()) as inbox:
        send(inbox, folder)
    segments = {line[:3]: line.split("|") for line in inbox.raw[0].split("\r")}
    pid, obr = segments["PID"], segments["OBR"]
    assert (pid[3], pid[5]) == ("CANARY-ID\\F\\7", "CANARY^DONOTLOG^M^Jr^Dr")
    assert (pid[7], pid[8]) == ("19500102", "F")
    assert (obr[3], obr[7], obr[18], obr[25]) == ("study-12^PAROTID", "20310506070809", "CANARY-ACC", "P")


def test_each_gland_and_each_mass_is_coded(folder: Path) -> None:
    with open_inbox(Inbox()) as inbox:
        send(inbox, folder)
    said = observations(inbox)
    assert said["MASS_ABOVE", "left"] == "52101004^Present^SCT"
    assert said["MASS_ABOVE", "right"] == "373068000^Undetermined^SCT"
    assert said["272741003", "left"] == "7771000^Left^SCT"
    assert said["VOXELS_1MM", "left.1"] == "8123"
    assert said["81827009", "left.1"] == "26.4"
    assert said["113014", ""] == "^1.2.3^ISO"


def test_a_sentence_keeps_its_delimiters_to_itself(folder: Path) -> None:
    with open_inbox(Inbox()) as inbox:
        send(inbox, folder)
    text = observations(inbox)["19005-8", ""]
    assert "rule on-call: left \\T\\ right\\S\\." in text
    assert "https://case/12?a=1\\T\\b=2" in text
    assert "Research use, not validated for clinical diagnosis." in text


def test_an_ultrasound_finding_is_told_with_its_probability_and_what_it_has_not_learned(folder: Path) -> None:
    learned_from = "The ultrasound models learned from lesions of a test: from no parotid tumor."
    lesion = LesionLine(
        answer=Answer.MALIGNANT, probability=0.8125, reason="", longest_diameter_mm=14.0, learned_from=learned_from
    )
    with open_inbox(Inbox()) as inbox:
        send(inbox, folder, replace(owed(), lesion=lesion, glands=(), candidates=(), study_instance_uid="1.2"))
    assert inbox.faults == []
    said = observations(inbox)
    assert (said["111047", "lesion"], said["US_ANSWER", "lesion"]) == ("81.2", "malignant")
    assert learned_from in said["19005-8", ""]


def test_a_withdrawal_says_why(folder: Path) -> None:
    gone = replace(owed(), glands=owed().glands[:1], candidates=(), study_instance_uid="1.2.3")
    with open_inbox(Inbox()) as inbox:
        send(inbox, folder, replace(gone, changed_settings="min_voxels 1000 instead of 500"))
    assert inbox.faults == []
    said = observations(inbox)["WITHDRAWAL", ""]
    assert said.startswith("A later run of the parotid screener, on the CT images now at hand, no longer finds a mass")
    assert "~The settings have changed meanwhile (min_voxels 1000 instead of 500)" in said


def test_a_finding_holds_nothing_of_a_withdrawal(folder: Path) -> None:
    with open_inbox(Inbox()) as inbox:
        send(inbox, folder)
    assert ("WITHDRAWAL", "") not in observations(inbox)


def test_the_control_id_is_another_where_another_run_found_otherwise(folder: Path) -> None:
    """A receiver that drops repeats by MSH-10 would never hear of it; MSH-10 has 20 characters."""
    notice = replace(owed(1_234_567), study_instance_uid="1.2.3")
    with open_inbox(Inbox()) as inbox:
        for run_id in (7_654_321, 7_654_322, 7_654_322):
            send(inbox, folder, replace(notice, run_id=run_id))
    first, other, again = inbox.seen
    assert first != other
    assert other == again
    assert max(map(len, inbox.seen)) <= 20


def test_without_leave_to_name_the_patient_the_receiver_cannot_be_used(folder: Path) -> None:
    with open_inbox(Inbox()) as inbox, pytest.raises(NeedsPerson, match="include_patient_identity is false"):
        send(inbox, folder, include_patient_identity=False)
    assert inbox.seen == []


@pytest.mark.parametrize(
    ("answers", "outcome"), [(["AE"], NeedsPerson), (["AR"], NeedsPerson), ([""], TryAgain), (["XX"], TryAgain)]
)
def test_only_an_acceptance_takes_the_message(answers: list[str], outcome: type[Exception], folder: Path) -> None:
    with open_inbox(Inbox()) as inbox:
        inbox.answers = answers
        with pytest.raises(outcome) as caught:
            send(inbox, folder)
        assert "CANARY" not in str(caught.value)
        send(inbox, folder)
    assert len(inbox.seen) == 2
    assert len(set(inbox.seen)) == 1, "a retry is the same message"
    assert len(inbox.messages) == 1


def test_a_receiver_that_is_away_is_tried_again(folder: Path) -> None:
    with open_inbox(Inbox()) as inbox:
        pass
    with pytest.raises(TryAgain, match="cannot be reached"):
        send(inbox, folder)


def test_a_digest_is_one_message_for_each_study(folder: Path) -> None:
    notices = tuple(replace(owed(number), study_id=number, study_instance_uid=f"1.{number}") for number in (1, 2))
    when = datetime(2031, 1, 1, tzinfo=UTC)
    digest = OwedDigest(digest_id=3, channel="hl7", recipient="ehr", attempts=0, owed_since=when, notices=notices)
    with open_inbox(Inbox()) as inbox:
        Hl7Channel([receiver(inbox)], folder).send(compose_digest(digest), "ehr")
    assert len(inbox.messages) == 2
    assert inbox.faults == []


def test_images_without_a_patient_id_need_a_person(folder: Path) -> None:
    path = folder / "image.dcm"
    ds = pydicom.dcmread(path)
    ds.PatientID = ""
    ds.save_as(path)
    with open_inbox(Inbox()) as inbox, pytest.raises(NeedsPerson, match="do not say whose they are"):
        send(inbox, folder)
    path.unlink()
    with open_inbox(Inbox()) as inbox, pytest.raises(NeedsPerson, match="do not say whose they are"):
        send(inbox, folder)
    assert inbox.seen == []


def test_images_with_several_patient_ids_need_a_person(folder: Path) -> None:
    rewrite(folder, PatientID=["CANARY-ID", "CANARY-ID-2"])
    with open_inbox(Inbox()) as inbox, pytest.raises(NeedsPerson, match="do not say whose they are"):
        send(inbox, folder)
    assert inbox.seen == []


def test_of_several_values_none_goes_into_the_message(folder: Path) -> None:
    several = ["CANARY", "DONOTLOG"]
    rewrite(folder, PatientName=several, IssuerOfPatientID=several, AccessionNumber=several)
    header = pydicom.dcmread(folder / "image.dcm")
    text = oru.write_oru(owed(), header, receiver(Inbox()), control_id="1", made_at=datetime(2031, 1, 1, tzinfo=UTC))
    segments = {line[:3]: line.split("|") for line in text.split("\r")}
    assert (segments["PID"][3], segments["PID"][5], segments["OBR"][18]) == ("CANARY-ID\\F\\7", "", "")


def rewrite(folder: Path, **elements: Any) -> None:
    ds = pydicom.dcmread(folder / "image.dcm")
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.save_as(folder / "image.dcm")


def test_while_the_images_cannot_be_had_the_message_waits(folder: Path) -> None:
    notice = replace(owed(), example_path="away/image.dcm")
    with open_inbox(Inbox()) as inbox, pytest.raises(TryAgain, match="cannot be read now"):
        send(inbox, folder, notice)
    assert inbox.raw == []


def test_tls_protects_the_message_and_a_stranger_is_refused(folder: Path, tmp_path: Path) -> None:
    import ssl

    made = make_certificate(tmp_path, "ehr")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(made.certificate, made.key)
    message = compose_message(replace(owed(), study_instance_uid="1.2.3"))
    with open_inbox(Inbox(), tls=serving) as inbox:
        settings = [receiver(inbox, tls=True)]
        with pytest.raises(NeedsPerson, match="not trusted"):
            Hl7Channel(settings, folder).send(message, "ehr")
        trusting = ssl.create_default_context(cafile=str(made.certificate))
        Hl7Channel(settings, folder, ssl_context=trusting).send(message, "ehr")
    assert len(inbox.messages) == 1


def test_the_codes_are_those_of_the_structured_report() -> None:
    from pydicom.sr.codedict import codes

    from workers.results import encode_sr, encode_us_sr
    from workers.results.encode_seg import LATERALITY, PAROTID_GLAND

    pairs = [
        (oru.CT_OF_NECK, encode_sr.CT_OF_NECK),
        (oru.ULTRASOUND, codes.SCT.DiagnosticUltrasonography),
        (oru.MASS_ABOVE_THRESHOLD, encode_sr.MASS_ABOVE_THRESHOLD),
        (oru.VOXELS, encode_sr.VOXELS_ON_1_MM_GRID),
        (oru.US_ANSWER, encode_us_sr.ANSWER),
        (oru.PROBABILITY_OF_CANCER, encode_us_sr.PROBABILITY_OF_CANCER),
        (oru.COMBINED_PROBABILITY, encode_us_sr.COMBINED_PROBABILITY),
        (oru.FINDING_SITE, codes.SCT.FindingSite),
        (oru.LATERALITY, codes.SCT.Laterality),
        (oru.PAROTID_GLAND, PAROTID_GLAND),
        (oru.VOLUME, codes.SCT.Volume),
        (oru.DIAMETER, codes.SCT.Diameter),
        (oru.IMPRESSIONS, codes.LN.Impressions),
        (oru.CUBIC_MILLIMETER, codes.UCUM.CubicMillimeter),
        (oru.MILLIMETER, codes.UCUM.Millimeter),
        (oru.PERCENT, codes.UCUM.Percent),
        *((oru.SIDES[side], LATERALITY[side]) for side in Side),
        *((oru.PRESENCES[presence], encode_sr.PRESENCE[presence]) for presence in Presence),
    ]
    for ours, theirs in pairs:
        assert (ours.value, ours.scheme, ours.meaning.lower()) == (
            theirs.value,
            theirs.scheme_designator,
            theirs.meaning.lower(),
        )
