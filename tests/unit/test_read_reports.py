"""A report's text is read where it lies, and only the answer is kept."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)

from screener.__main__ import main
from screener.explain import describe_study
from screener.mentions import Mention, Verdict, read_report
from screener.read_oru import Status
from screener.read_reports import add_report, read_document, read_new_documents
from screener.store import Kind, Store
from screener.store import tables as t
from screener.store.mentions import NOT_READ
from screener.store.sent_reports import SentReport
from screener.study import Side
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.query_plans import plan_lines, watch_statements

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TEXT = "CANARY^DONOTLOG was seen.\nThe left parotid holds a mass of 2 cm.\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "config.toml").write_text('[storage]\nfolder = "."\n', encoding="utf-8")
    opened = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    opened.record_instance(an_instance(), NOW)
    yield opened
    opened.engine.dispose()


def code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = value, scheme, meaning
    return [name]


def item(kind: str, meaning: str, text: str = "", inner: list[Dataset] | None = None) -> Dataset:
    made = Dataset()
    made.ValueType = kind
    made.ConceptNameCodeSequence = code("121071", "DCM", meaning)
    if text:
        made.TextValue = text
    if inner:
        made.ContentSequence = inner
    return made


def write_document(
    path: Path, content: list[Dataset], *, scheme: str = "LN", sop_class_uid: str = ComprehensiveSRStorage
) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientName = sop_class_uid, "1.2.3.9.1", "CANARY^DONOTLOG"
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = code("18748-4", scheme, "Diagnostic imaging report")
    ds.ContentSequence = content
    ds.save_as(path, enforce_file_format=True)
    return path


def findings(text: str) -> list[Dataset]:
    return [
        item("CONTAINER", "History", inner=[item("TEXT", "History", "Right parotid tumor in 2010.")]),
        item("CONTAINER", "Findings", inner=[item("TEXT", "Finding", text)]),
    ]


def receive_document(store: Store, path: Path, folder: Path, sop_class_uid: str = ComprehensiveSRStorage) -> None:
    store.record_instance(
        an_instance(
            9,
            sop_instance_uid="1.2.3.9.1",
            sop_class_uid=sop_class_uid,
            modality="SR",
            kind=Kind.DOCUMENT,
            path=str(path.relative_to(folder)),
        ),
        NOW,
    )


def dump(store: Store) -> str:
    with store.engine.connect() as connection:
        return repr([connection.execute(table.select()).all() for table in t.metadata.sorted_tables])


def test_a_file_is_read_once_and_its_text_is_not_kept(store: Store) -> None:
    mention = add_report(store, 1, TEXT.encode(), NOW)
    assert mention == Mention(verdict=Verdict.MENTIONED, sentence_number=2, sides=frozenset({Side.LEFT}))
    assert add_report(store, 1, TEXT.encode(), NOW) is None
    assert store.mention_of(1) == mention
    assert len(store.read_reports(1)) == 1
    assert "parotid holds" not in dump(store)
    assert "CANARY" not in dump(store)


def test_the_story_of_the_study_tells_the_answer(store: Store) -> None:
    add_report(store, 1, TEXT.encode(), NOW)
    assert "the radiology report mentions a parotid mass (left), sentence 2" in describe_study(store.study_report(1))


def test_reports_add_up_and_a_mention_outweighs_the_rest(store: Store) -> None:
    assert store.mention_of(1) is None
    for minutes, (text, verdict) in enumerate(
        [
            ("Lungs clear.", Verdict.NOT_MENTIONED),
            ("Parotid glands normal.", Verdict.DENIED),
            ("Right parotid mass.", Verdict.MENTIONED),
            ("Parotid glands unremarkable.", Verdict.MENTIONED),
        ]
    ):
        add_report(store, 1, text.encode(), NOW + timedelta(minutes=minutes))
        combined = store.mention_of(1)
        assert combined is not None
        assert combined.verdict is verdict


def test_windows_umlauts_are_read(store: Store) -> None:
    mention = add_report(store, 1, "Raumforderung der Ohrspeicheldrüse rechts.".encode("cp1252"), NOW)
    assert mention is not None
    assert mention.verdict is Verdict.MENTIONED


@pytest.mark.parametrize("data", [b"\0\1\2", b"a" * (2 << 20)])
def test_what_is_no_text_is_refused(store: Store, data: bytes) -> None:
    with pytest.raises(ValueError, match="no report"):
        add_report(store, 1, data, NOW)


def test_a_structured_report_of_the_study_is_read_once(store: Store, tmp_path: Path) -> None:
    path = write_document(tmp_path / "sr.dcm", findings("The left parotid contains a 2 cm mass."))
    receive_document(store, path, tmp_path)
    assert read_new_documents(store, tmp_path, NOW) == 1
    mention = store.mention_of(1)
    assert mention is not None
    assert (mention.verdict, mention.sides) == (Verdict.MENTIONED, {Side.LEFT})
    assert list(store.new_documents()) == []
    assert "2 cm mass" not in dump(store)


@pytest.mark.parametrize(("scheme", "sop_class_uid", "is_report"), [
    ("LN", ComprehensiveSRStorage, True),
    ("DCM", ComprehensiveSRStorage, False),
    ("DCM", BasicTextSRStorage, True),
])  # fmt: skip
def test_a_worksheet_is_no_radiology_report(
    tmp_path: Path, scheme: str, sop_class_uid: str, *, is_report: bool
) -> None:
    content = findings("Left parotid mass.")
    path = write_document(tmp_path / "sr.dcm", content, scheme=scheme, sop_class_uid=sop_class_uid)
    assert bool(read_document(path)) is is_report


@pytest.mark.parametrize(("flag", "is_report"), [("PRELIMINARY", False), ("FINAL", True)])
def test_a_preliminary_structured_report_is_not_read(tmp_path: Path, flag: str, *, is_report: bool) -> None:
    path = write_document(tmp_path / "sr.dcm", findings("Left parotid mass."))
    ds = pydicom.dcmread(path)
    ds.PreliminaryFlag = flag
    ds.save_as(path)
    assert bool(read_document(path)) is is_report


def test_a_document_that_cannot_be_read_is_not_tried_again_and_says_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    path.write_bytes(b"no DICOM")
    receive_document(store, path, tmp_path)
    assert read_new_documents(store, tmp_path, NOW) == 0
    assert store.mention_of(1) is None
    assert list(store.new_documents()) == []
    assert NOT_READ in dump(store)


def test_a_document_on_a_disk_that_is_away_is_read_once_it_is_back(store: Store, tmp_path: Path) -> None:
    received, away = tmp_path / "received", tmp_path / "away"
    received.mkdir()
    receive_document(store, write_document(received / "sr.dcm", findings("Left parotid mass.")), tmp_path)
    received.rename(away)
    assert read_new_documents(store, tmp_path, NOW) == 0
    away.rename(received)
    assert read_new_documents(store, tmp_path, NOW) == 1
    assert store.mention_of(1) is not None


def test_documents_that_cannot_be_had_keep_no_other_waiting(store: Store, tmp_path: Path) -> None:
    for number in range(10, 70):
        uid = f"1.2.3.9.{number}"
        one = an_instance(number, sop_instance_uid=uid, modality="SR", kind=Kind.DOCUMENT, path=f"away/{number}.dcm")
        store.record_instance(replace(one, sop_class_uid=ComprehensiveSRStorage, sha256=f"{number}"), NOW)
    receive_document(store, write_document(tmp_path / "sr.dcm", findings("Left parotid mass.")), tmp_path)
    assert read_new_documents(store, tmp_path, NOW) == 1


def test_new_documents_are_found_without_a_look_at_every_image(store: Store) -> None:
    with watch_statements(store) as asked:
        assert list(store.new_documents()) == []
    assert "SCAN instances" not in plan_lines(store, asked)


def test_a_document_that_has_gone_is_not_asked_for_again(store: Store, tmp_path: Path) -> None:
    path = write_document(tmp_path / "sr.dcm", findings("Left parotid mass."))
    receive_document(store, path, tmp_path)
    path.unlink()
    assert read_new_documents(store, tmp_path, NOW) == 0
    assert list(store.new_documents()) == []


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_document_longer_than_any_report_is_not_read(tmp_path: Path, syntax: str) -> None:
    path = write_document(tmp_path / "sr.dcm", findings("Left parotid mass. " * 300_000))
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path)
    assert read_document(path) == ""


def test_the_written_document_is_a_true_one(tmp_path: Path) -> None:
    ds = pydicom.dcmread(write_document(tmp_path / "sr.dcm", findings("x")))
    assert ds.ContentSequence[1].ContentSequence[0].TextValue == "x"


def run(tmp_path: Path, *arguments: str) -> int:
    return main(["reports", arguments[0], "--config", str(tmp_path / "config.toml"), *arguments[1:]])


def test_the_command_takes_a_report_in(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.txt").write_text(TEXT, encoding="utf-8")
    assert run(tmp_path, "add", "1", str(tmp_path / "report.txt")) == 0
    assert "the radiology report mentions a parotid mass (left), sentence 2" in capsys.readouterr().out
    assert run(tmp_path, "add", "1", str(tmp_path / "report.txt")) == 0
    assert "read before" in capsys.readouterr().out
    assert run(tmp_path, "show", "1") == 0
    assert "1 report(s) read" in capsys.readouterr().out
    assert run(tmp_path, "add", "1", str(tmp_path / "absent.txt")) == 1


@pytest.mark.parametrize("data", [b"", b" \r\n\t", b"---\n"])
def test_a_file_without_words_is_no_report(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    (tmp_path / "report.txt").write_bytes(data)
    assert run(tmp_path, "add", "1", str(tmp_path / "report.txt")) == 1
    assert "holds no words" in capsys.readouterr().err
    assert store.mentions_of(1) == []


def test_a_report_of_another_study_is_taken_back(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.txt").write_text(TEXT, encoding="utf-8")
    run(tmp_path, "add", "1", str(tmp_path / "report.txt"))
    run(tmp_path, "show", "1")
    (number,) = re.findall(r"^  report (\d+)  ", capsys.readouterr().out, re.M)
    assert run(tmp_path, "remove", "1", "99") == 1
    assert "study 1 has no report 99" in capsys.readouterr().err
    assert run(tmp_path, "remove", "1", number) == 0
    assert store.mentions_of(1) == []
    assert any(f"report {number} was taken back by hand" in step.sentence for step in store.study_report(1).steps)
    assert run(tmp_path, "add", "1", str(tmp_path / "report.txt")) == 0, "a file may be given anew"
    assert len(store.mentions_of(1)) == 1


def test_a_report_that_is_taken_in_is_named_by_its_number(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_mention(1, read_report(TEXT), source="hl7", sha256="a", now=NOW)
    (tmp_path / "report.txt").write_text(TEXT, encoding="utf-8")
    number = 2
    run(tmp_path, "add", "1", str(tmp_path / "report.txt"))
    assert f"study 1, report {number}: the radiology report mentions" in capsys.readouterr().out
    assert store.read_reports(1)[-1].report_id == number
    run(tmp_path, "add", "1", str(tmp_path / "report.txt"))
    assert f"study 1, report {number}: this report was read before" in capsys.readouterr().out


def test_the_trail_tells_who_gave_and_took_back_a_report(store: Store, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text(TEXT, encoding="utf-8")
    for arguments in (("add", "1", str(tmp_path / "report.txt")), ("remove", "1", "9"), ("remove", "1", "1")):
        run(tmp_path, *arguments)
    lines = store.audit_lines(study_id=1)
    assert [(line.action, line.detail) for line in lines] == [
        ("report removed", "report 1"),
        ("report added", "report 1"),
    ]
    assert all(line.account.endswith("(command line)") for line in lines)


def test_a_document_that_was_taken_back_is_not_read_again(store: Store) -> None:
    store.add_mention(1, read_report(TEXT), source="document", sha256="a", now=NOW)
    (report,) = store.read_reports(1)
    assert store.remove_report(1, report.report_id, NOW)
    assert not store.add_mention(1, read_report(TEXT), source="document", sha256="a", now=NOW)
    assert store.mentions_of(1) == []
    assert not store.remove_report(1, report.report_id, NOW)


def test_the_command_counts_what_waits(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent = SentReport(
        accession_key="1", patient_keys=(), order_key="2", status=Status.FINAL, mention=read_report(TEXT), sha256="3"
    )  # fmt: skip
    store.keep_reports([sent], NOW)
    assert run(tmp_path, "waiting") == 0
    assert "1 report(s) came by HL7 and are kept; 1 of them wait" in capsys.readouterr().out
    store.record_order(1, "1", "")
    store.file_reports(NOW)
    assert run(tmp_path, "waiting") == 0
    assert "0 of them wait" in capsys.readouterr().out


def test_the_command_measures_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reports", "measure"]) == 0
    told = capsys.readouterr().out
    assert "fresh: 24 sentences" in told
    assert "sensitivity 11 of 12" in told
    assert "none is from a real report" in told
    (tmp_path / "own.csv").write_text("text\nx\n", encoding="utf-8")
    assert main(["reports", "measure", str(tmp_path / "own.csv")]) == 1
