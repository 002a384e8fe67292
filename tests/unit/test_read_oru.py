"""Reports are read out of HL7 messages as hospitals write them, and of any bytes whatever."""

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.mentions import Verdict, read_report
from screener.read_oru import MOST_TEXT, NotTakenError, Status, decode_message, read_oru, write_ack

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LEFT_MASS = "There is a mass of 2 cm in the left parotid."


def msh(
    kind: str = "ORU^R01^ORU_R01", control_id: str = "M1", charset: str = "", accept: str = "", application: str = ""
) -> str:
    head = f"MSH|^~\\&|RIS|HOSP|PAROTID|RAD|20260304050607||{kind}|{control_id}|P|2.5.1"
    return f"{head}|||{accept}|{application}||{charset}"


def obr(accession: str = "CANARY-ACC-1", status: str = "F", filler: str = "F1", procedure: str = "CTN") -> str:
    fields = ["OBR", "1", "", filler, f"{procedure}^CT neck", *[""] * 21]
    fields[18], fields[25] = accession, status
    return "|".join(fields)


def obx(text: str = LEFT_MASS, status: str = "F", kind: str = "TX", code: str = "18748-4^Report^LN") -> str:
    return f"OBX|1|{kind}|{code}||{text}||||||{status}"


def message(*segments: str, head: str = "", end: str = "\r") -> str:
    return end.join([head or msh(), "PID|1||CANARY-ID-1^^^HOSP~999^^^OTHER||CANARY^DONOTLOG", *segments]) + end


def texts(*segments: str) -> list[str]:
    return [report.text for report in read_oru(message(*segments), 18).reports]


def test_a_report_is_read_with_what_finds_its_study() -> None:
    oru = read_oru(message(obr(), obx("a"), obx("b")), 18)
    (report,) = oru.reports
    assert report.accession_number == "CANARY-ACC-1"
    assert report.patient_ids == ("CANARY-ID-1", "999")
    assert (report.order, report.status) == ("F1", Status.FINAL)
    assert report.text.split() == ["a", "b"]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segments_end_as_senders_end_them(end: str) -> None:
    assert len(read_oru(message(obr(), obx(), end=end), 18).reports) == 1


def test_other_delimiters_are_followed() -> None:
    text = "MSH#!*?%#RIS#H#P#R#2026##ORU!R01#7#P#2.3\rOBR#1##F1#C" + "#" * 14 + "ACC%X" + "#" * 7 + "F\r"
    text += "OBX#1#TX#R!Report##a ?F? b?.br?c*d######F\r"
    (report,) = read_oru(text, 18).reports
    assert report.accession_number == "ACC"
    assert report.text.split("\n")[-4:] == ["a # b", "c", "d", ""]


def test_escapes_are_resolved_and_unknown_ones_dropped() -> None:
    (text,) = texts(obr(), obx("1\\T\\2 \\F\\ \\H\\bold\\N\\ \\.br\\x\\XC3A4\\y\\Zpart\\z \\ alone"))
    assert "1&2 | bold \nxäyz \\ alone" in text


def test_what_stands_under_indication_is_no_finding() -> None:
    asked = obx("Mass in the left parotid.", code="55752-0^Clinical information^LN")
    (text,) = texts(obr(), asked, obx("Both glands normal.", code="59776-5^Findings^LN"))
    assert read_report(text).verdict is not Verdict.MENTIONED
    (alone,) = texts(obr(), asked)
    assert read_report(alone).verdict is Verdict.NOT_MENTIONED


@pytest.mark.parametrize(("order", "line", "status"), [
    ("F", "F", Status.FINAL),
    ("", "F", Status.FINAL),
    ("", "", Status.FINAL),
    ("C", "F", Status.CORRECTED),
    ("F", "C", Status.CORRECTED),
    ("X", "F", Status.WITHDRAWN),
    ("F", "W", Status.WITHDRAWN),
    ("C", "D", Status.WITHDRAWN),
    ("P", "P", None),
    ("F", "P", None),
    ("", "R", None),
    ("R", "F", None),
])  # fmt: skip
def test_only_what_is_final_counts_and_corrections_are_known(order: str, line: str, status: Status | None) -> None:
    oru = read_oru(message(obr(status=order), obx(status=line)), 18)
    assert [report.status for report in oru.reports] == ([] if status is None else [status])
    assert oru.not_final == (status is None)


def test_a_line_that_was_wrong_is_left_out_of_a_report() -> None:
    (text,) = texts(obr(), obx("kept"), obx("wrong", status="W"), obx("early", status="P"), obx("UERG", kind="ED"))
    assert text.split() == ["kept"]


def test_reports_of_several_orders_and_patients_are_told_apart() -> None:
    second = "PID|2||CANARY-ID-2"
    oru = read_oru(message(obr(), obx("one"), second, obr("CANARY-ACC-2", filler="F2"), obx("two")), 18)
    assert [(each.accession_number, each.patient_ids, each.text.split()[-1]) for each in oru.reports] == [
        ("CANARY-ACC-1", ("CANARY-ID-1", "999"), "one"), ("CANARY-ACC-2", ("CANARY-ID-2",), "two"),
    ]  # fmt: skip


def test_the_accession_number_is_read_where_the_settings_say() -> None:
    assert read_oru(message(obr(filler="A7^RIS"), obx()), 3).reports[0].accession_number == "A7"


@pytest.mark.parametrize(("text", "code", "reason"), [
    ("", "AR", "does not begin with MSH"),
    ("MSH", "AR", "does not begin with MSH"),
    ("GET / HTTP/1.1\r\n", "AR", "does not begin with MSH"),
    ("FHS|^~\\&|\r" + message(obr(), obx()), "AR", "batches"),
    (message(head=msh("ADT^A01")), "AR", r"only ORU\^R01"),
    (message(), "AE", "no OBR"),
    (message(obr(accession=""), obx()), "AE", "OBR-18 holds no accession number"),
    (message(obr()), "AE", "no text"),
    (message(obr(), obx("x" * (MOST_TEXT + 1))), "AE", "characters"),
])  # fmt: skip
def test_what_cannot_be_taken_has_its_reason_without_a_word_of_it(text: str, code: str, reason: str) -> None:
    with pytest.raises(NotTakenError, match=reason) as caught:
        read_oru(text, 18)
    assert caught.value.code == code
    assert "CANARY" not in caught.value.reason


@pytest.mark.parametrize(("charset", "codec"), [
    ("UNICODE UTF-8", "utf-8"), ("8859/1", "latin-1"), ("8859/15", "iso8859-15"), ("", "cp1252"), ("", "utf-8"),
    ("UNICODE UTF-8", "cp1252"), ("8859/99", "cp1252"), ("ASCII~8859/1", "utf-8"),
])  # fmt: skip
def test_umlauts_are_read_in_every_charset_also_where_the_sender_names_a_wrong_one(charset: str, codec: str) -> None:
    text = message(obr(), obx("Raumforderung der linken Ohrspeicheldrüse."), head=msh(charset=charset))
    (report,) = read_oru(decode_message(text.encode(codec)), 18).reports
    assert read_report(report.text).verdict is Verdict.MENTIONED


def test_the_acknowledgment_goes_back_with_the_control_id() -> None:
    head, msa = write_ack(message(head=msh(control_id="A-1_{7}@x")), "AA", "", at=AT).split("\r")[:2]
    fields = head.split("|")
    assert fields[2:6] == ["PAROTID", "RAD", "RIS", "HOSP"]
    assert (fields[8], fields[11]) == ("ACK^R01^ACK", "2.5.1")
    assert msa == "MSA|AA|A-1_{7}@x"
    assert write_ack("nonsense", "AR", "no", at=AT).split("\r")[1] == "MSA|AR||no"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:hl7apy")
def test_an_independent_reader_takes_the_acknowledgment() -> None:
    pytest.importorskip("hl7apy")
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message

    for code in ("AE", "CE"):
        parsed = parse_message(write_ack(message(), code, "no text", at=AT), validation_level=VALIDATION_LEVEL.STRICT)
        parsed.validate()
        assert (parsed.msa.msa_1.value, parsed.msa.msa_2.value) == (code, "M1")


@given(st.lists(st.sampled_from([msh(), "MSH|", "MSH", "PID|1||\\", obr(), obr(status="C"), obx(), "OBX", "|", "\r",
    "\\X0\\", "~^&", "\n", "\x00", "MSH^^^^^^ORU", "é"]), max_size=12), st.binary(max_size=40))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_no_bytes_lead_to_anything_but_reports_or_a_reason(pieces: list[str], tail: bytes) -> None:
    text = decode_message("\r".join(pieces).encode() + tail)
    assert write_ack(text, "AA", "", at=AT).count("MSA|") == 1
    try:
        oru = read_oru(text, 18)
    except NotTakenError as refusal:
        assert refusal.code in {"AE", "AR"}  # noqa: PT017 - either way is right
    else:
        assert all(report.accession_number for report in oru.reports)


def most_bytes_of(work: Callable[[], object]) -> int:
    """The most memory that it holds at once, whether it refuses or not."""
    tracemalloc.start()
    try:
        work()
    except NotTakenError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


HOSTILE = ["A\r", "||\r", "||", "OBR|\r", "OBX" + "|" * 900 + "\r", "~", "^", "&"]


@pytest.mark.parametrize("filler", HOSTILE, ids=repr)
@pytest.mark.parametrize("begin", ["", obr() + "\rOBX|1|TX|R||", "PID|1||"], ids=["", "OBX", "PID"])
def test_a_message_of_nothing_but_delimiters_costs_no_more_memory_than_its_length(begin: str, filler: str) -> None:
    text = message(begin + filler * ((1 << 19) // len(filler)))
    assert most_bytes_of(lambda: read_oru(text, 18)) < 8 * len(text)


@pytest.mark.parametrize("filler", HOSTILE, ids=repr)
def test_the_acknowledgment_of_a_long_message_costs_no_memory(filler: str) -> None:
    text = msh() + filler * ((1 << 19) // len(filler))
    assert most_bytes_of(lambda: write_ack(text, "AE", "no", at=AT)) < 1 << 18


@pytest.mark.parametrize(("segments", "reason"), [
    ([obr(), *[obx()] * 20_001], "20000 segments"),
    ([obr(), obx() + "|" * 1000], "1000 fields"),
    (["PID|1||" + "~".join(map(str, range(101))), obr(), obx()], "100 patient IDs"),
    ([obr(), obx("a~" * 20_001)], "20000 repetitions"),
])  # fmt: skip
def test_a_message_of_too_many_parts_is_refused(segments: list[str], reason: str) -> None:
    with pytest.raises(NotTakenError, match=reason) as caught:
        read_oru(message(*segments), 18)
    assert caught.value.code == "AR"


def test_a_report_of_many_lines_is_read_whole() -> None:
    (text,) = texts(obr(), *[obx("x")] * 10_000)
    assert len(text.split()) == 10_000
    (text,) = texts(obr(), obx("~".join("x" * 10_000)))
    assert len(text.split()) == 10_000
