"""The door for reports over true sockets: framing, acknowledgments after the commit, and what finds its study."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy.exc

from screener import take_reports
from screener.config import ConfigError, make_config
from screener.know_orders import forget_old_reports, know_new_orders
from screener.mentions import Mention, Verdict
from screener.order_keys import load_order_keys
from screener.read_frames import FrameReader
from screener.read_oru import decode_message
from screener.report_settings import Reports
from screener.store import Store
from screener.store import tables as t
from screener.study import Side
from screener.take_reports import ReportDoor
from screener.tls import make_reports_tls
from tests.conftest import PATIENT
from tests.peers.certificates import make_certificate
from tests.peers.report_sender import START, ReportSender, frame, open_sender
from tests.peers.values import an_instance
from tests.unit.test_notify import write_image
from tests.unit.test_read_oru import LEFT_MASS, message, msh, obr, obx

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LEFT = Mention(verdict=Verdict.MENTIONED, sentence_number=1, sides=frozenset({Side.LEFT}))
DENIAL = "Both parotid glands are unremarkable."


@contextmanager
def open_door(store: Store, folder: Path, tls: ssl.SSLContext | None = None, **changes: object) -> Iterator[ReportDoor]:
    settings = Reports.model_validate({"enabled": True, "port": 0} | changes)
    door = ReportDoor(settings, store, load_order_keys(folder), lambda: NOW, tls=tls)
    door.start()
    try:
        yield door
    finally:
        door.stop()


@pytest.fixture
def sender(store: Store, tmp_path: Path) -> Iterator[ReportSender]:
    with open_door(store, tmp_path) as door, open_sender(door.port) as opened:
        yield opened


def receive(store: Store, folder: Path, study: int = 1, **elements: str) -> int:
    """A study under accession number CANARY-ACC-1 of patient CANARY-ID-1, unless told otherwise; its number."""
    path = folder / f"image-{study}.dcm"
    ds = write_image(path)
    ds.AccessionNumber, ds.PatientID = elements.get("accession", "CANARY-ACC-1"), elements.get("patient", "CANARY-ID-1")
    ds.save_as(path, enforce_file_format=True)
    uid = f"1.2.{study}"
    store.record_instance(an_instance(study, study_instance_uid=uid, sop_instance_uid=f"{uid}.1", path=path.name), NOW)
    found = store.find_study(uid)
    assert found is not None
    return found


def know(store: Store, folder: Path) -> int:
    return know_new_orders(store, folder, load_order_keys(folder), NOW)


def a_report(text: str = LEFT_MASS, status: str = "F", control_id: str = "M1", **order: str) -> str:
    return message(obr(status=status, **order), obx(text), head=msh(control_id=control_id))


def dump(store: Store) -> str:
    with store.engine.connect() as connection:
        return repr([connection.execute(table.select()).all() for table in t.metadata.sorted_tables])


def test_a_report_is_acknowledged_once_it_is_kept_and_filed_with_its_study(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    sender.connection.sendall(frame(a_report(control_id="C77")))
    assert "MSA|AA|C77\r" in sender.answer()
    assert store.mention_of(study) == LEFT
    assert (store.count_waiting_reports().kept, store.count_waiting_reports().waiting) == (1, 0)
    assert "CANARY" not in dump(store), "neither accession number nor patient ID is kept"
    assert "2 cm" not in dump(store), "nor the text"


@pytest.mark.parametrize(
    ("accept", "application", "good", "faulty", "foreign"),
    [
        ("", "", ["AA"], ["AE"], ["AR"]),
        ('""', '""', ["AA"], ["AE"], ["AR"]),
        ("AL", "NE", ["CA"], ["CE"], ["CR"]),
        ("AL", "", ["CA"], ["CE"], ["CR"]),
        ("al", "AL", ["CA", "AA"], ["CE"], ["CR"]),
        ("NE", "AL", ["AA"], ["AE"], ["AR"]),
        ("", "AL", ["AA"], ["AE"], ["AR"]),
        ("ER", "NE", [], ["CE"], ["CR"]),
        ("SU", "ER", ["CA"], ["AE"], ["AR"]),
        ("ER", "SU", ["AA"], ["CE"], ["CR"]),
        ("NE", "NE", [], [], []),
        ("what", "NE", ["CA"], ["CE"], ["CR"]),
    ],
)
def test_who_asks_for_enhanced_acknowledgment_gets_what_was_asked_for(
    sender: ReportSender,
    store: Store,
    accept: str,
    application: str,
    good: list[str],
    faulty: list[str],
    foreign: list[str],
) -> None:
    """HL7 v2.5.1 2.9.3 and table 0155; the last message asks for nothing, so that no answer is left behind."""
    asked = {"accept": accept, "application": application}
    texts = {
        "GOOD": (message(obr(), obx(), head=msh(control_id="GOOD", **asked)), good),
        "FAULTY": (message(obr(accession=""), obx(), head=msh(control_id="FAULTY", **asked)), faulty),
        "FOREIGN": (message(head=msh("ADT^A01^ADT_A01", control_id="FOREIGN", **asked)), foreign),
        "LAST": (a_report(control_id="LAST"), ["AA"]),
    }
    sender.connection.sendall(b"".join(frame(text) for text, _ in texts.values()))
    answers = [sender.answer() for _, codes in texts.values() for _ in codes]
    told = [tuple(answer.partition("MSA|")[2].strip().split("|")[:2]) for answer in answers]
    assert told == [(code, control_id) for control_id, (_, codes) in texts.items() for code in codes]
    assert store.count_waiting_reports().kept == 2, "what is asked for changes nothing of what is kept"


def test_a_report_waits_for_its_study_and_then_tells_the_story(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    assert sender.send(a_report()) == "AA"
    assert store.count_waiting_reports().waiting == 1
    study = receive(store, tmp_path)
    assert know(store, tmp_path) == 1
    assert store.mention_of(study) == LEFT
    assert "mentions a parotid mass (left)" in store.study_report(study).steps[-1].sentence
    assert know(store, tmp_path) == 0


def test_a_report_of_another_patient_is_not_filed_though_the_accession_number_is_the_same(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    study = receive(store, tmp_path, patient="CANARY-ID-9")
    know(store, tmp_path)
    assert sender.send(a_report()) == "AA"
    assert store.mention_of(study) is None
    assert (store.count_waiting_reports().waiting, store.count_waiting_reports().of_another_patient) == (1, 1)


@pytest.mark.parametrize("elements", [{"patient": "999"}, {"patient": ""}])
def test_any_id_of_the_patient_will_do_and_none_where_the_image_names_none(
    store: Store, tmp_path: Path, sender: ReportSender, elements: dict[str, str]
) -> None:
    study = receive(store, tmp_path, **elements)
    know(store, tmp_path)
    sender.send(a_report())
    assert store.mention_of(study) == LEFT


@pytest.mark.parametrize(("second", "filed"), [("CANARY-ID-2", 0), ("", 0), ("CANARY-ID-1", 2)])
def test_a_report_that_names_no_patient_is_filed_only_where_there_is_one(
    store: Store, tmp_path: Path, sender: ReportSender, second: str, filed: int
) -> None:
    """Accession numbers of two hospitals may be alike; several studies of one patient may share one, too.

    Images that name no patient may be those of another.
    """
    studies = [receive(store, tmp_path), receive(store, tmp_path, 2, patient=second)]
    know(store, tmp_path)
    assert sender.send(a_report().replace("CANARY-ID-1^^^HOSP~999^^^OTHER", "")) == "AA"
    assert sum(store.mention_of(study) == LEFT for study in studies) == filed
    assert store.count_waiting_reports().waiting == (0 if filed else 1)


def test_without_an_accession_number_a_study_takes_no_report(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    study = receive(store, tmp_path, accession="")
    know(store, tmp_path)
    sender.send(a_report())
    assert store.mention_of(study) is None


def test_a_message_that_is_sent_again_changes_nothing(store: Store, tmp_path: Path, sender: ReportSender) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    assert [sender.send(a_report()) for _ in range(3)] == ["AA"] * 3
    assert len(store.read_reports(study)) == 1


def test_a_corrected_report_takes_the_place_of_those_before_it(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    for number, (text, status, verdict) in enumerate([
        (LEFT_MASS, "F", Verdict.MENTIONED), (DENIAL, "C", Verdict.DENIED), (LEFT_MASS, "P", Verdict.DENIED),
        (LEFT_MASS, "C", Verdict.MENTIONED),
    ]):  # fmt: skip
        assert sender.send(a_report(text, status, f"M{number}")) == "AA"
        mention = store.mention_of(study)
        assert mention is not None
        assert mention.verdict is verdict
    assert len(store.read_reports(study)) == 1
    assert sender.send(a_report(DENIAL, "C", "M1")) == "AA", "sent again, and known"
    assert store.mention_of(study) == LEFT
    assert sender.send(message(obr(status="X"), head=msh(control_id="M9"))) == "AA"
    assert store.mention_of(study) is None
    assert "withdrawn" in store.study_report(study).steps[-1].sentence


def two_reports(first: str, second: str, status: str, control_id: str) -> str:
    """A message with two reports of one filler order number, each under its procedure."""
    neck, chest = obr(status=status, procedure="CTN"), obr(status=status, procedure="CTC")
    return message(neck, obx(first), chest, obx(second), head=msh(control_id=control_id))


def verdicts(store: Store, study: int) -> list[Verdict]:
    return [report.mention.verdict for report in store.read_reports(study)]


@pytest.mark.parametrize("is_known_first", [True, False])
def test_reports_of_one_corrected_message_replace_those_before_and_not_each_other(
    store: Store, tmp_path: Path, sender: ReportSender, is_known_first: bool
) -> None:
    study = receive(store, tmp_path)
    if is_known_first:
        know(store, tmp_path)
    sender.send(a_report(DENIAL))
    sender.send(two_reports(LEFT_MASS, "The lungs are clear.", "C", "M2"))
    know(store, tmp_path)
    assert verdicts(store, study) == [Verdict.MENTIONED, Verdict.NOT_MENTIONED]


def test_a_correction_replaces_all_of_its_order_however_it_is_split(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    sender.send(two_reports(LEFT_MASS, "The lungs are clear.", "F", "M1"))
    sender.send(two_reports("The lungs are clear.", LEFT_MASS, "C", "M2"))
    assert verdicts(store, study) == [Verdict.NOT_MENTIONED, Verdict.MENTIONED]
    sender.send(a_report(DENIAL, "C", "M3", procedure="CTX"))
    assert verdicts(store, study) == [Verdict.DENIED]
    sender.send(two_reports(LEFT_MASS, "The lungs are clear.", "C", "M2"))
    assert sender.send(message(obr(status="X"), obr(status="C"), obx(), head=msh(control_id="M4"))) == "AA"
    assert verdicts(store, study) == [Verdict.MENTIONED], "what was withdrawn in its place stays withdrawn"


def test_corrections_that_waited_are_filed_in_their_order(store: Store, tmp_path: Path, sender: ReportSender) -> None:
    sender.send(a_report(LEFT_MASS, "F", "M1"))
    sender.send(a_report(DENIAL, "C", "M2"))
    study = receive(store, tmp_path)
    know(store, tmp_path)
    assert [report.mention.verdict for report in store.read_reports(study)] == [Verdict.DENIED]


def test_a_corrected_report_leaves_that_of_another_order_alone(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    sender.send(a_report(LEFT_MASS, "F", "M1"))
    sender.send(a_report(DENIAL, "C", "M2", filler="F2"))
    assert store.mention_of(study) == LEFT


def test_what_waited_for_too_long_is_forgotten_and_what_was_filed_stays(
    store: Store, tmp_path: Path, sender: ReportSender
) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    sender.send(a_report())
    assert forget_old_reports(store, 0, NOW + timedelta(days=400)) == 0
    assert forget_old_reports(store, 30, NOW + timedelta(days=29)) == 0
    assert forget_old_reports(store, 30, NOW + timedelta(days=31)) == 1
    assert store.mention_of(study) == LEFT


def test_two_messages_in_one_packet_are_answered_in_turn(store: Store, sender: ReportSender) -> None:
    sender.connection.sendall(
        frame(a_report(control_id="A1")) + b"\r\n" + frame(a_report(control_id="A2", accession="2"))
    )
    assert ["|A1\r" in sender.answer(), "|A2\r" in sender.answer()] == [True, True]
    assert store.count_waiting_reports().kept == 2


def test_a_message_in_pieces_is_put_together(store: Store, sender: ReportSender) -> None:
    sender.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = frame(a_report())
    for begin in range(0, len(data), 7):
        sender.connection.sendall(data[begin : begin + 7])
    assert sender.code() == "AA"
    assert store.count_waiting_reports().kept == 1


def test_a_message_that_another_interrupts_is_dropped(store: Store, sender: ReportSender) -> None:
    sender.connection.sendall(START + b"MSH|^~\\&|half" + frame(a_report(control_id="A2")))
    assert "|A2\r" in sender.answer()
    assert store.count_waiting_reports().kept == 1


@pytest.mark.parametrize("text", [
    f"First line.\x0b{LEFT_MASS}",
    f"INDICATION: swelling\x0bFINDINGS: {LEFT_MASS}",
    f"{LEFT_MASS}\x0bMSH6 is lost.\x0b",
])  # fmt: skip
def test_a_line_break_of_a_word_processor_begins_no_message(
    store: Store, tmp_path: Path, sender: ReportSender, text: str
) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    assert sender.send(a_report(text)) == "AA"
    mention = store.mention_of(study)
    assert mention is not None
    assert mention.verdict is Verdict.MENTIONED


def test_a_message_with_line_breaks_may_interrupt_another(store: Store, sender: ReportSender) -> None:
    broken = START + b"MSH|^~\\&|half\x0b of one" + START + b"\xef\xbb\xbf"
    sender.connection.sendall(broken + frame(a_report(f"a\x0b{LEFT_MASS}", control_id="A2")).removeprefix(START))
    assert "MSA|AA|A2\r" in sender.answer()
    assert store.count_waiting_reports().kept == 1


@pytest.mark.parametrize("codec", ["utf-8", "cp1252"])
def test_umlauts_arrive_in_a_charset_that_the_message_does_not_name(
    store: Store, tmp_path: Path, sender: ReportSender, codec: str
) -> None:
    study = receive(store, tmp_path)
    know(store, tmp_path)
    text = a_report("Raumforderung der linken Ohrspeicheldrüse.").replace("||||||\r", "||||||UNICODE UTF-8\r", 1)
    assert sender.send(text, codec) == "AA"
    mention = store.mention_of(study)
    assert mention is not None
    assert mention.verdict is Verdict.MENTIONED


def count_readers(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """How many messages are being read at once, noted as each one's reading begins and waits for another's.

    Where `most` are to meet it waits long, otherwise a little.
    """
    now_reading: set[int] = set()
    counts: list[int] = []
    is_joined = threading.Event()

    def read(data: bytes) -> str:
        now_reading.add(threading.get_ident())
        counts.append(len(now_reading))
        if len(now_reading) > 1:
            is_joined.set()
        is_joined.wait(0.3 if most == 1 else 60)
        now_reading.remove(threading.get_ident())
        return decode_message(data)

    monkeypatch.setattr(take_reports, "decode_message", read)
    return counts


@pytest.mark.parametrize(("length", "most"), [(2 << 20, 1), (10, 2)])
def test_large_messages_are_read_one_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, most: int
) -> None:
    counts = count_readers(monkeypatch, most)
    with open_door(store, tmp_path) as door, open_sender(door.port) as one, open_sender(door.port) as other:
        for number, each in enumerate((one, other)):
            each.connection.sendall(frame(a_report("x" * length, control_id=f"M{number}")))
        assert one.code() == other.code() == ("AE" if length > 10 else "AA")
    assert max(counts) == most


def test_a_huge_message_is_refused_and_the_next_one_taken(sender: ReportSender) -> None:
    huge = a_report("x" * (17 << 20), control_id="HUGE")
    threading.Thread(target=sender.connection.sendall, args=(frame(huge),), daemon=True).start()
    answer = sender.answer()
    assert "MSA|AR|HUGE|the message has more than 16 MiB" in answer
    assert sender.send(a_report()) == "AA"


@pytest.mark.parametrize(("text", "code"), [
    ("", "AR"), ("nonsense", "AR"), ("MSH|", "AR"), (message(head=msh("ADT^A01")), "AR"), (message(obr()), "AE"),
    (message(obr(accession=""), obx()), "AE"),
])  # fmt: skip
def test_a_bad_message_has_its_answer_and_does_not_stop_the_next(
    store: Store, sender: ReportSender, caplog: pytest.LogCaptureFixture, text: str, code: str
) -> None:
    caplog.set_level(logging.INFO)
    assert sender.send(text) == code
    assert sender.send(a_report()) == "AA"
    assert store.count_waiting_reports().kept == 1
    assert not PATIENT.search(caplog.text)


@pytest.mark.parametrize(("faulty", "reason"), [
    ([obr(filler="F2")], "no text"),
    ([obr(filler="F2"), obx(" ")], "no text"),
    ([obr(filler="F2"), obx(kind="")], "no text"),
    ([obr(filler="F2"), obx("x" * 200_001)], "more than 200000 characters"),
])  # fmt: skip
@pytest.mark.parametrize("is_first", [True, False])
def test_a_message_with_one_report_at_fault_is_refused_whole(
    store: Store, sender: ReportSender, faulty: list[str], reason: str, is_first: bool
) -> None:
    good = [obr(), obx(DENIAL)]
    sender.connection.sendall(frame(message(*(faulty + good if is_first else good + faulty))))
    answer = sender.answer()
    assert "MSA|AE|" in answer
    assert reason in answer
    assert store.count_waiting_reports().kept == 0


PDF = obx("^AP^PDF^Base64^JVBERi0", kind="ED", code="18748-4^CANARY^DONOTLOG^LN")


@pytest.mark.parametrize(("other", "reason"), [
    ([obr(filler="F2"), PDF], "no text"),
    ([obr(filler="F2", status="C"), PDF, PDF], "no text"),
    ([obr(accession="", filler="F2"), obx(DENIAL)], "OBR-18 holds no accession number"),
    ([obr(accession="", filler="F2"), PDF], "OBR-18 holds no accession number"),
])  # fmt: skip
@pytest.mark.parametrize("is_first", [True, False])
def test_a_part_that_cannot_be_read_or_filed_keeps_out_no_report_beside_it(
    store: Store,
    tmp_path: Path,
    sender: ReportSender,
    caplog: pytest.LogCaptureFixture,
    other: list[str],
    reason: str,
    is_first: bool,
) -> None:
    """Some senders append the report as a PDF, each time: it can never be read, however often it is sent."""
    caplog.set_level(logging.INFO)
    study = receive(store, tmp_path)
    know(store, tmp_path)
    good = [obr(), obx()]
    assert sender.send(message(*(other + good if is_first else good + other))) == "AA"
    assert store.mention_of(study) == LEFT
    assert len(store.read_reports(study)) == 1
    assert f"1 part of a message was passed over: {reason}" in caplog.text.replace("the report has ", "")
    assert "host=127.0.0.1" in caplog.text
    assert "reports=1 new=1 filed=1 not_final=0 passed_over=1" in caplog.text
    assert not PATIENT.search(caplog.text)


@pytest.mark.parametrize("others", [[], [obr(filler="F2", status="P"), obx(status="P")], [obr(""), obx()]])
def test_a_message_without_a_report_that_can_be_read_is_refused(
    store: Store, sender: ReportSender, others: list[str]
) -> None:
    assert sender.send(message(obr(), PDF, *others)) == "AE"
    assert store.count_waiting_reports().kept == 0


def test_a_database_that_is_away_is_no_acknowledgment(
    store: Store, sender: ReportSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception("CANARY-ACC-1"))

    with monkeypatch.context() as broken:
        broken.setattr(store, "keep_reports", fail)
        assert sender.send(a_report()) == "AE"
    assert sender.send(a_report()) == "AA"
    with monkeypatch.context() as broken:
        broken.setattr(store, "file_reports", fail)
        assert sender.send(a_report(control_id="M2")) == "AA", "it is kept, and filed later"


def test_a_bug_that_one_message_meets_leaves_the_door_open(
    store: Store, sender: ReportSender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError("CANARY^DONOTLOG")

    with monkeypatch.context() as broken:
        broken.setattr(store, "keep_reports", fail)
        assert sender.send(a_report()) == "AE"
    assert sender.send(a_report()) == "AA"
    assert "ZeroDivisionError" in caplog.text
    assert not PATIENT.search(caplog.text)


def test_who_is_not_named_is_turned_away_and_remembered(store: Store, tmp_path: Path) -> None:
    with open_door(store, tmp_path, senders=["10.1.2.3"]) as door, open_sender(door.port) as stranger:
        assert stranger.answer() == ""
    assert "is not named in reports.senders" in dump(store)


def test_a_silent_peer_is_hung_up_on(store: Store, tmp_path: Path) -> None:
    with open_door(store, tmp_path, idle_seconds=0.3) as door, open_sender(door.port) as silent:
        assert silent.answer() == ""


def test_a_peer_that_ends_within_a_message_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with open_door(store, tmp_path) as door:
        with open_sender(door.port) as broken:
            broken.connection.sendall(frame(a_report())[:-2])
        with open_sender(door.port) as sound:
            assert sound.send(a_report(control_id="M2")) == "AA"
    assert store.count_waiting_reports().kept == 1


def test_a_message_that_trickles_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(START + b"MSH|")
        assert FrameReader(here, idle_seconds=5, message_seconds=0.2).read() is None
        there.sendall(b"x" * 100_000)
        assert FrameReader(here, idle_seconds=5).read() is None, "so much that is no message is none"


def test_the_door_closes_with_a_connection_open(store: Store, tmp_path: Path) -> None:
    with open_door(store, tmp_path) as door, open_sender(door.port) as idle:
        assert idle.send(a_report()) == "AA"
        door.stop()
        assert idle.answer() == ""


def tls_settings(folder: Path) -> dict[str, object]:
    authority = make_certificate(folder, "authority")
    made = make_certificate(folder, "door", signed_by=authority)
    mine = make_certificate(folder, "engine", signed_by=authority)
    return {"tls_certificate": made.certificate.name, "tls_key": made.key.name,
            "tls_client_ca": authority.certificate.name, "mine": mine}  # fmt: skip


def send_over(port: int, tls: ssl.SSLContext) -> str:
    """Send a report; nothing where the door refuses the certificate, or its absence."""
    try:
        with open_sender(port, tls) as opened:
            return opened.send(a_report())
    except ssl.SSLError:
        return ""


def test_reports_come_over_tls_from_who_shows_a_certificate(store: Store, tmp_path: Path) -> None:
    files = tls_settings(tmp_path)
    mine = files.pop("mine")
    tls = make_reports_tls(make_config({"reports": {"enabled": True, **files}}, base=tmp_path, environment={}))
    trusting = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    with open_door(store, tmp_path, tls) as door:
        with open_sender(door.port) as plain:
            plain.connection.sendall(frame(a_report()))
            assert plain.answer() == ""
        assert send_over(door.port, trusting) == ""
        trusting.load_cert_chain(mine.certificate, mine.key)  # type: ignore[attr-defined]
        assert send_over(door.port, trusting) == "AA"
    assert store.count_waiting_reports().kept == 1


def test_a_wrong_certificate_names_its_key(tmp_path: Path) -> None:
    tables = {"reports": {"enabled": True, "tls_certificate": "no.pem", "tls_key": "no.key"}}
    with pytest.raises(ConfigError, match=r"reports\.tls_certificate"):
        make_reports_tls(make_config(tables, base=tmp_path, environment={}))
    with pytest.raises(ConfigError, match="belong together"):
        make_config({"reports": {"tls_key": "x"}}, base=tmp_path, environment={})


@pytest.mark.parametrize("stranger", ["10.1.2.4", "::ffff:10.9.9.9", "fe80::1%eth0"])
def test_addresses_are_admitted_as_the_settings_say(stranger: str) -> None:
    settings = Reports(senders=["10.1.2.3", "192.168.0.0/16", "2001:db8::/32"])
    assert all(map(settings.admits, ("10.1.2.3", "192.168.7.7", "::ffff:192.168.1.1", "2001:db8::5")))
    assert not settings.admits(stranger)


def test_many_senders_are_answered_side_by_side(store: Store, tmp_path: Path) -> None:
    answers: list[str] = []

    def send(number: int) -> None:
        with open_sender(door.port) as one:
            answers.extend(one.send(a_report(control_id=f"{number}-{each}")) for each in range(5))

    with open_door(store, tmp_path) as door:
        threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["AA"] * 30
    assert store.count_waiting_reports().kept == 30
