"""Read radiology reports out of an HL7 v2 message (ORU^R01), whatever its version, and write its acknowledgment.

The libraries at hand do not fit a door: hl7apy refuses versions that it does
not know and garbles escapes, python-hl7 logs the text that it cannot read and
needs hundreds of bytes for each of a hostile message. What is read here are
eight fields (HL7 v2.5.1 chapters 2 and 7).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from screener.decode_text import decode_text
from screener.mentions import is_before_findings

MOST_TEXT: Final = 200_000
"""Characters of one report; no radiology report is longer."""
MOST_SEGMENTS: Final = 20_000
"""Of one message: a report of `MOST_TEXT` with ten characters in each OBX."""
MOST_FIELDS: Final = 1_000
"""Of a segment that is read; HL7 knows none with a tenth of that."""
MOST_REPETITIONS: Final = 20_000
"""Of a field; there are senders that write each line of a text as one."""
MOST_IDS: Final = 100
"""Of one patient in one PID."""
_MOST_HEAD: Final = 4096
"""Characters of the header that are looked at."""
_MOST_NAME: Final = 1000
"""Characters that are looked at of what names something: a number, a code, a patient's ID."""
_MOST_ESCAPED: Final = 8 * MOST_TEXT
"""Characters of one report as they are sent: an escape is longer than what it stands for."""
_CHARSETS: Final = {
    "UNICODE UTF-8": "utf-8", "8859/1": "iso8859-1", "8859/2": "iso8859-2", "8859/15": "iso8859-15",
}  # fmt: skip
"""HL7 table 0211, as far as European senders use it; all else is taken for UTF-8, and what is none for Windows-1252."""
_TEXT_TYPES: Final = {"TX", "FT", "ST"}
_IN_FORCE: Final = {"", "F", "C", "A", "B", "U", "V"}
"""OBX-11 (HL7 table 0085) of a line that is final, corrected or amended."""
_TAKEN_BACK: Final = {"D", "W", "X"}
"""OBX-11 of a line that is deleted, was posted as wrong, or cannot be had."""
_FINAL_ORDER: Final = {"", "F", "C"}
"""OBR-25 (HL7 table 0123) of a report that is final; empty leaves it to the lines."""
_CANCELED: Final = "X"
_COMMIT: Final = {"AA": "CA", "AE": "CE", "AR": "CR"}
"""HL7 table 0008: what is said of a message in the enhanced mode, where the original mode says the other."""
_ESCAPES: Final = {"F": 0, "S": 1, "R": 2, "E": 3, "T": 4}
"""HL7 v2.5.1 2.7.1: which of the five delimiters an escape stands for."""


class Status(StrEnum):
    """What a report is to those before it."""

    FINAL = "final"
    CORRECTED = "corrected"
    """It takes the place of all earlier ones of its order."""
    WITHDRAWN = "withdrawn"
    """There is none any more."""


class NotTakenError(Exception):
    """A message that is not taken; its text is the reason and holds no word of the message."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        """AR: of no kind that is taken here; AE: its content is at fault (HL7 table 0008)."""
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report of a message."""

    accession_number: str
    patient_ids: tuple[str, ...]
    """Every ID that the message gives the patient; empty where it gives none."""
    order: str
    """What names it among others of the same accession number: its filler order number, else the procedure."""
    status: Status
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Oru:
    """A message as it was understood."""

    reports: tuple[Report, ...]
    not_final: int
    """Reports that are not read for that."""
    passed_over: tuple[str, ...]
    """Why each of the others is not among `reports`: it cannot be read or filed, however often it is sent."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why one report of a message is not taken."""

    reason: str
    is_passed_over: bool
    """True: it keeps out no report beside it. False: with it the whole message is refused, to be sent again."""


class _Message:
    """Segments as they came, split no further than is asked; fields are counted as HL7 counts them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.delimiters = text[3] + text[4:8].partition(text[3])[0].ljust(4)
        if len(set(self.delimiters)) < len("|^~\\&") or not self.delimiters.isprintable() or " " in self.delimiters:
            self.delimiters = text[3] + "^~\\&"
        self.head = text[:3] + self.delimiters[0] + _first_line(text)[3:]  # MSH-1 is the delimiter itself

    def segments(self, *names: str) -> Iterator[str]:
        """Yield those of some names; NotTakenError where the message has too many, or one of these too many fields."""
        for number, found in enumerate(re.finditer(r"[^\r\n]+", self.text), 1):
            if number > MOST_SEGMENTS:
                raise NotTakenError("AR", f"the message has more than {MOST_SEGMENTS} segments")
            if self.text[found.start() : min(found.start() + 4, found.end())].split(self.delimiters[0])[0] not in names:
                continue
            if self.text.count(self.delimiters[0], *found.span()) > MOST_FIELDS:
                raise NotTakenError("AR", f"a segment has more than {MOST_FIELDS} fields")
            yield found[0]

    def parts(self, segment: str, field: int) -> list[str]:
        """The repetitions of a field; one that is empty where there is no such field."""
        repetitions = self._field(segment, field).split(self.delimiters[2], MOST_REPETITIONS)
        if len(repetitions) > MOST_REPETITIONS:
            raise NotTakenError("AR", f"a field has more than {MOST_REPETITIONS} repetitions")
        return repetitions

    def repetition(self, segment: str, field: int) -> str:
        """The first repetition of a field; empty where there is no such field."""
        return self._field(segment, field).partition(self.delimiters[2])[0]

    def component(self, text: str, number: int) -> str:
        """A component of a repetition, from 1, its first subcomponent that says anything, unescaped."""
        components = text.split(self.delimiters[1], number)
        if number > len(components):
            return ""
        mark = re.escape(self.delimiters[4])
        said = re.search(rf"[^\s{mark}][^{mark}]{{0,{_MOST_NAME}}}", components[number - 1])
        return self.unescape(said[0]).strip() if said else ""

    def first(self, segment: str, field: int) -> str:
        """The first component of the first repetition of a field."""
        return self.component(self.repetition(segment, field), 1)

    def _field(self, segment: str, field: int) -> str:
        fields = segment.split(self.delimiters[0], field + 1)
        return fields[field] if field < len(fields) else ""

    def unescape(self, text: str) -> str:
        """Resolve escapes (HL7 v2.5.1 2.7): delimiters, line ends, hexadecimal; what formats goes."""
        mark = re.escape(self.delimiters[3])
        return re.sub(f"{mark}([^{mark}]{{0,64}}){mark}", self._resolve, text)

    def _resolve(self, match: re.Match[str]) -> str:
        escape = match[1].upper()
        if escape in _ESCAPES:
            return self.delimiters[_ESCAPES[escape]]
        if escape.startswith((".BR", ".SP", ".CE")):
            return "\n"
        if re.fullmatch(r"X(?:[0-9A-F]{2})+", escape):
            return decode_text(bytes.fromhex(escape[1:])).replace("\r", "\n")
        return " " if escape.startswith(".") else ""


def _first_line(text: str) -> str:
    return re.split(r"[\r\n]", text[:_MOST_HEAD], maxsplit=1)[0]


def decode_message(data: bytes) -> str:
    """Decode a message as its MSH-18 says; what is wrong there is read as `decode_text` reads a file."""
    head = re.split(rb"[\r\n]", data[:4096].lstrip(b"\xef\xbb\xbf"), maxsplit=1)[0].decode("latin-1")
    fields = head.split(head[3]) if len(head) > len("MSH") else []
    named = re.split(r"[~^]", fields[17])[0].strip() if len(fields) > 17 else ""
    try:
        return data.decode(_CHARSETS[named.upper()]).removeprefix("\ufeff")
    except (KeyError, UnicodeDecodeError):
        return decode_text(data)


def read_oru(text: str, accession_field: int) -> Oru:
    """Read every report of a message; `accession_field` is the field of OBR that holds the accession number.

    Raises NotTakenError where it is no ORU^R01, has more parts than any report, or a report at fault. A part that holds
    no words at all, such as a PDF, and one without an accession number are passed over where there is another beside.
    """
    message = _open(text)
    kind = message.repetition(message.head, 9)
    if (message.component(kind, 1), message.component(kind, 2)) != ("ORU", "R01"):
        raise NotTakenError("AR", "only ORU^R01 is taken here")
    groups = list(_list_groups(message))
    if not groups:
        raise NotTakenError("AE", "the message holds no OBR")
    read = [_read_group(message, group, accession_field) for group in groups]
    reports = tuple(report for report in read if isinstance(report, Report))
    faults = [fault for fault in read if isinstance(fault, _Fault)]
    for fault in faults:
        if not (fault.is_passed_over and reports):  # AA would say that nothing need be sent again
            raise NotTakenError("AE", fault.reason)
    return Oru(reports=reports, not_final=read.count(None), passed_over=tuple(fault.reason for fault in faults))


def _open(text: str) -> _Message:
    if text[:3] in {"FHS", "BHS"}:
        raise NotTakenError("AR", "batches are not taken here: one message at a time")
    if not re.match(r"MSH[^\w\s]", text):
        raise NotTakenError("AR", "this is no HL7 v2 message: it does not begin with MSH")
    return _Message(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """One OBR with its lines, and whose it is."""

    patient_ids: tuple[str, ...]
    order: str
    lines: list[str]


def _list_groups(message: _Message) -> Iterator[_Group]:
    patient_ids: tuple[str, ...] = ()
    group: _Group | None = None
    for segment in message.segments("PID", "OBR", "OBX"):
        if segment.startswith("PID"):
            patient_ids = _list_patient_ids(message, segment)
        elif segment.startswith("OBR"):
            if group is not None:
                yield group
            group = _Group(patient_ids=patient_ids, order=segment, lines=[])
        elif group is not None:
            group.lines.append(segment)
    if group is not None:
        yield group


def _list_patient_ids(message: _Message, segment: str) -> tuple[str, ...]:
    several = message.parts(segment, 3 if message.first(segment, 3) else 2)
    if len(several) > MOST_IDS:
        raise NotTakenError("AR", f"a patient has more than {MOST_IDS} patient IDs")
    return tuple(filter(None, (message.component(each, 1) for each in several)))


def _read_group(message: _Message, group: _Group, accession_field: int) -> Report | _Fault | None:
    """Give the report; in its place what is wrong with it, None where it is not final."""
    status = _find_status(message, group)
    if status is None:
        return None
    accession_number = message.first(group.order, accession_field)
    if not accession_number:
        return _Fault(f"OBR-{accession_field} holds no accession number", is_passed_over=True)
    text = "" if status is Status.WITHDRAWN else _join_lines(message, group)
    if status is not Status.WITHDRAWN and not text.strip():
        reason = "the report has no text: no OBX of type TX, FT or ST that is final"
        return _Fault(reason, is_passed_over=_holds_no_words(message, group))
    if len(text) > MOST_TEXT:
        return _Fault(f"the report has more than {MOST_TEXT} characters", is_passed_over=False)
    return Report(
        accession_number=accession_number,
        patient_ids=group.patient_ids,
        order=message.first(group.order, 3) or message.first(group.order, 4),
        status=status,
        text=text,
    )


def _find_status(message: _Message, group: _Group) -> Status | None:
    """What the report is; None where it is not final."""
    order = message.first(group.order, 25).upper()
    lines = {_line_status(message, line) for line in group.lines if _holds_text(message, line)}
    if order == _CANCELED:
        return Status.WITHDRAWN
    if order not in _FINAL_ORDER:
        return None
    if lines and not lines & _IN_FORCE:
        return Status.WITHDRAWN if lines & _TAKEN_BACK else None
    return Status.CORRECTED if order == "C" or "C" in lines else Status.FINAL


def _line_status(message: _Message, line: str) -> str:
    return message.first(line, 11).upper()


def _holds_text(message: _Message, line: str) -> bool:
    return message.first(line, 2).upper() in _TEXT_TYPES


def _holds_no_words(message: _Message, group: _Group) -> bool:
    """True where all that a report holds is of other types (OBX-2), such as ED, which a PDF has."""
    kinds = {message.first(line, 2).upper() for line in group.lines}
    return bool(kinds) and not kinds & {"", *_TEXT_TYPES}


def _join_lines(message: _Message, group: _Group) -> str:
    """The text of a report, what its OBX are said to hold as headings.

    One heading over all of it is left out, for it is none of the report's sentences, which are counted.
    """
    lines = [line for line in group.lines if _holds_text(message, line) and _line_status(message, line) in _IN_FORCE]
    headings = [_name_line(message, line) for line in lines]
    has_parts = len(set(headings)) > 1 or any(is_before_findings(each) for each in headings)
    text, heading = "", ""
    for line, named in zip(lines, headings, strict=True):
        if len(text) + len(line) > _MOST_ESCAPED:
            return text + line  # too long, whatever its escapes stand for
        if has_parts and named and named != heading:
            text += f"\n\n{named}:\n"
            heading = named
        text += "\n".join(message.unescape(each) for each in message.parts(line, 5)) + "\n"
    return text.replace("\x0b", "\n")  # how word processors break a line


def _name_line(message: _Message, line: str) -> str:
    """What an OBX is said to hold, as a heading is written."""
    named = message.repetition(line, 3)
    return re.sub(r"[^\w /.&-]", " ", message.component(named, 2) or message.component(named, 1))[:40].strip()


def list_ack_codes(text: str, code: str) -> list[str]:
    """Give the codes of the acknowledgments that the message `text` asks for, in their order.

    `code` is AA, AE or AR, which the original mode answers (HL7 v2.5.1 2.9.2). Where MSH-15 or MSH-16 says anything the
    mode is the enhanced one (2.9.3): whether the message is kept is said first, and ends the matter where it is not.
    """
    message = _open_head(text)
    accept, application = (message.first(message.head, field).strip('"').upper() for field in (15, 16))
    if not (accept or application):
        return [code]
    commit = [_COMMIT[code]] if _is_asked_for(accept, code) else []
    is_over = bool(commit) and code != "AA"
    return [*commit, *([code] if _is_asked_for(application, code) and not is_over else [])]


def _is_asked_for(condition: str, code: str) -> bool:
    """HL7 table 0155; nothing is NE beside a condition that is given, and what is none of the table is AL."""
    return {"": False, "NE": False, "ER": code != "AA", "SU": code == "AA"}.get(condition, True)


def write_ack(text: str, code: str, reason: str, *, at: datetime) -> str:
    """Write one acknowledgment of the message `text`, of which only the header is looked at."""
    message = _open_head(text)
    head = message.head
    control_id = _plain(message, head, 10)
    fields = ["MSH", "^~\\&", *(_plain(message, head, field) for field in (5, 6, 3, 4))]  # back to where it came from
    fields += [at.astimezone().strftime("%Y%m%d%H%M%S%z"), "", "ACK^R01^ACK", str(int(at.timestamp() * 1e6))]
    fields += [_plain(message, head, 11) or "P", _plain(message, head, 12) or "2.5.1"]
    acknowledged = ["MSA", code, control_id, *([reason] if reason else [])]
    return "|".join(fields) + "\r" + "|".join(acknowledged) + "\r"


def _open_head(text: str) -> _Message:
    """Open the header of a message alone; one that says nothing where there is none."""
    return _Message(_first_line(text) if re.match(r"MSH[^\w\s]", text) else "MSH|^~\\&|")


def _plain(message: _Message, head: str, field: int) -> str:
    """A field of the header to be given back: its first component, without what could be taken for a delimiter."""
    return "".join(each for each in message.first(head, field) if each.isprintable() and each not in "|^~\\&")[:199]
