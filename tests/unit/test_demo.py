"""The demo's own parts: its peers, its settings, its words and what it does when the daemon dies."""

import shutil
import smtplib
import subprocess
import sys
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from screener.__main__ import main
from screener.config import load_config
from screener.demo import run_demo
from screener.demo_hospital import DemoError, wait_for, write_config
from screener.demo_peers import HOST, DemoMailbox, DemoPACS, Mail, answers_echo, find_free_port
from screener.demo_report import WIDTH, describe_checks, describe_mail, describe_step, wrap
from screener.store.values import StepLine

LONG = "a sentence that goes on and on, " * 12


def test_the_demo_pacs_keeps_an_object_as_it_came(tmp_path: Path) -> None:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = Comprehensive3DSRStorage, generate_uid(), generate_uid()
    ae = AE()
    ae.add_requested_context(Comprehensive3DSRStorage, ExplicitVRLittleEndian)
    with DemoPACS(tmp_path) as pacs:
        assert answers_echo(pacs.port, pacs.ae_title)
        assoc = ae.associate(HOST, pacs.port)
        assert assoc.send_c_store(ds).Status == 0x0000
        assoc.release()
    (received,) = pacs.received
    assert (received.sop_instance_uid, received.study_instance_uid) == (ds.SOPInstanceUID, ds.StudyInstanceUID)
    assert dcmread(received.path) == ds


def test_nobody_answers_an_echo_at_a_closed_port() -> None:
    assert not answers_echo(find_free_port(), "PAROTID")


def test_the_demo_mailbox_keeps_a_mail_with_its_recipient() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "study 1", "a@x.example", "b@x.example"
    mail.set_content("text")
    with DemoMailbox() as mailbox, smtplib.SMTP(HOST, mailbox.port, timeout=5) as smtp:
        smtp.send_message(mail)
    (kept,) = mailbox.mails
    assert (kept.message["Subject"], kept.recipients) == ("study 1", ("b@x.example",))


def test_of_a_mail_in_two_forms_the_plain_one_is_shown() -> None:
    message = EmailMessage()
    message["Subject"] = "study 1"
    message.set_content("in plain words")
    message.add_alternative("<p>in <b>marked</b> words</p>", subtype="html")
    shown = describe_mail(Mail(message=message, recipients=("b@x.example",), at=0.0))
    assert "| in plain words" in shown
    assert "<p>" not in shown


def test_the_demo_settings_are_valid_and_point_at_its_peers(tmp_path: Path) -> None:
    port = find_free_port()
    with DemoPACS(tmp_path) as pacs, DemoMailbox() as mailbox:
        path = tmp_path / "config.toml"
        path.write_text(write_config(port, pacs, mailbox), encoding="utf-8")
        config = load_config(path, {})
    assert config.listener.port == port
    assert [(peer.ae_title, peer.port) for peer in config.results.destinations] == [(pacs.ae_title, pacs.port)]
    assert config.notices.email.port == mailbox.port
    assert config.storage_folder.is_relative_to(tmp_path)


def test_a_daemon_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "daemon.txt"
    log.write_text("first\nthe port is taken\n")
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with subprocess.Popen(command) as daemon, pytest.raises(DemoError, match="status 3") as caught:
        wait_for(lambda: False, daemon, log, 60, "nothing came")
    assert "the port is taken" in str(caught.value)


def test_waiting_ends_after_its_time(tmp_path: Path) -> None:
    log = tmp_path / "daemon.txt"
    log.write_text("")
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as daemon,
        pytest.raises(DemoError, match="nothing came"),
    ):
        wait_for(lambda: False, daemon, log, 0.0, "nothing came")


def test_no_line_is_wider_than_the_terminal() -> None:
    step = StepLine(at=datetime(2031, 1, 1, tzinfo=UTC), run_number=1, stage="segmented", seconds=1.5, sentence=LONG)
    printed = "\n".join([wrap(LONG), describe_step(123, step), describe_checks([(LONG, True), (LONG, False)])])
    assert max(map(len, printed.splitlines())) <= WIDTH


def test_an_expectation_that_was_not_met_is_plain_to_see() -> None:
    met, missed = describe_checks([("a", True), ("b", False)]).splitlines()
    assert "NOT" in missed
    assert "NOT" not in met


def test_a_folder_that_is_not_there_ends_the_demo_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(tmp_path / "absent", keep=tmp_path / "kept") == 1
    assert capsys.readouterr().out == f"The demo did not start: {tmp_path}/absent is no folder\n"
    assert not (tmp_path / "kept").exists()


def test_a_folder_without_dicom_ends_the_demo_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("no DICOM", encoding="utf-8")
    assert run_demo(tmp_path, keep=tmp_path / "kept") == 1
    assert capsys.readouterr().out == (
        f"The demo did not start: {tmp_path} holds no DICOM file with a Study Instance UID\n"
    )
    assert not (tmp_path / "kept").exists()


def test_an_empty_name_is_not_the_folder_that_one_is_in(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--study", ""])
    assert "--study: name a folder" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "sentence"), [("absent", "is no folder"), ("empty", "holds no DICOM file")])
def test_make_looks_at_the_folder_before_it_installs(tmp_path: Path, name: str, sentence: str) -> None:
    shutil.copy(Path(__file__).resolve().parents[2] / "Makefile", tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "letter.txt").write_text("no DICOM", encoding="utf-8")
    command = ["make", "-C", str(tmp_path), "demo", f"STUDY={tmp_path / name}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode != 0
    assert f"The demo did not start: {tmp_path / name} {sentence}" in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile", "empty"]
