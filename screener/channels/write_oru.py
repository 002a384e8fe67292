"""A finding as HL7 v2.5.1 ORU^R01 (chapter 7), with the codes that the structured report uses.

MSH, PID, PV1, OBR and one OBX per statement. The result is preliminary (OBX-11
and OBR-25 "P"): no person has read it, as the report in the PACS says too. The
filler order number is our study's, so that what a later run finds replaces it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from pydicom import Dataset

from screener.channels.letter import Link
from screener.channels.message import (
    BY_FUSION,
    RESEARCH_USE,
    describe_reports,
    describe_standing,
    describe_withdrawal,
    summarize,
)
from screener.notice_settings import Hl7Receiver
from screener.read_elements import single_value
from screener.store.values import LesionLine, OwedNotice
from screener.study import Candidate, GlandVerdict, Presence, Side
from screener.us_study import GLAND_NOT_CHECKED, Answer


class Coded(NamedTuple):
    """A coded entry: value, meaning, and the scheme by its name in HL7 table 0396."""

    value: str
    meaning: str
    scheme: str


# As in workers/results/encode_sr.py and encode_us_sr.py; tests/unit/test_write_oru.py holds them together.
CT_OF_NECK: Final = Coded("169068008", "Computed tomography of neck", "SCT")
ULTRASOUND: Final = Coded("16310003", "Diagnostic ultrasonography", "SCT")
MASS_ABOVE_THRESHOLD: Final = Coded("MASS_ABOVE", "Parotid mass above threshold", "99PAROTID")
VOXELS: Final = Coded("VOXELS_1MM", "Number of voxels on 1 mm isotropic grid", "99PAROTID")
US_ANSWER: Final = Coded("US_ANSWER", "Answer of the ultrasound models", "99PAROTID")
PROBABILITY_OF_CANCER: Final = Coded("111047", "Probability of cancer", "DCM")
COMBINED_PROBABILITY: Final = Coded(
    "COMB_PROBABILITY", "Probability of malignancy, image and reader's findings", "99PAROTID"
)
FINDING_SITE: Final = Coded("363698007", "Finding Site", "SCT")
LATERALITY: Final = Coded("272741003", "Laterality", "SCT")
PAROTID_GLAND: Final = Coded("45289007", "Parotid gland", "SCT")
SIDES: Final = {Side.RIGHT: Coded("24028007", "Right", "SCT"), Side.LEFT: Coded("7771000", "Left", "SCT")}
VOLUME: Final = Coded("118565006", "Volume", "SCT")
DIAMETER: Final = Coded("81827009", "Diameter", "SCT")
PRESENCES: Final = {
    Presence.PRESENT: Coded("52101004", "Present", "SCT"),
    Presence.ABSENT: Coded("272519000", "Absent", "SCT"),
    Presence.UNDETERMINED: Coded("373068000", "Undetermined", "SCT"),
}
WITHDRAWAL: Final = Coded("WITHDRAWAL", "Why the earlier notice is withdrawn", "99PAROTID")
IMPRESSIONS: Final = Coded("19005-8", "Impressions", "LN")
STUDY_INSTANCE_UID: Final = Coded("113014", "DICOM Study", "DCM")
CUBIC_MILLIMETER: Final = Coded("mm3", "cubic millimeter", "UCUM")
MILLIMETER: Final = Coded("mm", "mm", "UCUM")
VOXEL_UNIT: Final = Coded("{voxels}", "voxels", "UCUM")
PERCENT: Final = Coded("%", "Percent", "UCUM")
_SEXES: Final = {"M": "M", "F": "F", "O": "O"}  # HL7 table 0001
_ESCAPES: Final = str.maketrans(
    {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": "\\.br\\", "\n": "\\.br\\"}
)  # HL7 v2.5.1 2.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one OBX says."""

    kind: str
    """HL7 table 0125: CWE, NM, ST, TX or HD."""
    code: Coded
    value: str
    """As it stands in OBX-5, escaped."""
    group: str = ""
    """OBX-4: what belongs together, such as "right" or "right.1"."""
    units: Coded | None = None


def write_oru(
    notice: OwedNotice,
    header: Dataset,
    receiver: Hl7Receiver,
    *,
    control_id: str,
    made_at: datetime,
    links: Sequence[Link] = (),
) -> str:
    """Write the message, its segments ended by carriage returns; `header` is of an image of the study and names whom.

    ValueError where the image holds no patient ID, or several: an inbox could file it nowhere.
    """
    if not _text(header, "PatientID"):
        raise ValueError("no patient ID")
    owed = _instant(notice.owed_since)
    msh = [
        "MSH", "^~\\&", escape(receiver.sending_application), escape(receiver.sending_facility),
        escape(receiver.receiving_application), escape(receiver.receiving_facility), _instant(made_at), "",
        "ORU^R01^ORU_R01", control_id, receiver.processing_id, "2.5.1", "", "", "AL", "NE", "", "UNICODE UTF-8",
    ]  # fmt: skip
    segments = [msh, _write_pid(header), ["PV1", "1", "U"], _write_obr(notice, header, owed)]
    segments += [_write_obx(number, said, owed) for number, said in enumerate(_observe(notice, links), start=1)]
    return "".join("|".join(segment).rstrip("|") + "\r" for segment in segments)


def escape(text: str) -> str:
    """Write free text so that it holds no delimiter; other control characters become spaces."""
    cleaned = "".join(character if character.isprintable() or character in "\r\n" else " " for character in text)
    return cleaned.replace("\r\n", "\n").translate(_ESCAPES)


def _write_pid(header: Dataset) -> list[str]:
    issuer = _text(header, "IssuerOfPatientID")
    patient_id = f"{_text(header, 'PatientID')}^^^{issuer}".rstrip("^")
    sex = _SEXES.get(_text(header, "PatientSex").upper(), "U")
    return [
        "PID",
        "1",
        "",
        patient_id,
        "",
        _write_name(single_value(header, "PatientName")),
        "",
        _birth_date(header),
        sex,
    ]


def _write_name(name: Any) -> str:
    """Write a DICOM person name (PS3.5 6.2.1.1) as XPN, whose components stand in nearly the same order."""
    if not name:
        return ""
    parts = (name.family_name, name.given_name, name.middle_name, name.name_suffix, name.name_prefix)
    return "^".join(escape(str(part).strip()) for part in parts).rstrip("^")


def _birth_date(header: Dataset) -> str:
    digits = _text(header, "PatientBirthDate")
    return digits if len(digits) == 8 and digits.isascii() and digits.isdigit() else ""


def _write_obr(notice: OwedNotice, header: Dataset, owed: str) -> list[str]:
    fields = [""] * 26
    fields[0], fields[1] = "OBR", "1"
    fields[2] = _text(header, "PlacerOrderNumberImagingServiceRequest")
    fields[3] = f"study-{notice.study_id}^PAROTID"
    fields[4] = _coded(ULTRASOUND if notice.lesion is not None else CT_OF_NECK)
    fields[7] = _study_instant(header)
    fields[18] = _text(header, "AccessionNumber")
    fields[22] = owed
    fields[24] = "RUS" if notice.lesion is not None else "CT"  # HL7 table 0074: radiology ultrasound, CAT scan
    fields[25] = "P"
    return fields


def _write_obx(number: int, said: Observation, owed: str) -> list[str]:
    fields = [""] * 15
    fields[0], fields[1], fields[2] = "OBX", str(number), said.kind
    fields[3], fields[4], fields[5] = _coded(said.code), said.group, said.value
    fields[6] = _coded(said.units) if said.units else ""
    fields[11], fields[14] = "P", owed
    return fields


def _observe(notice: OwedNotice, links: Sequence[Link]) -> Iterator[Observation]:
    """Say what was found: first for a person, then coded."""
    sentence = summarize(notice)
    text = [f"Parotid screener, study {notice.study_id}: {sentence}.", f"{notice.why}." if notice.why else ""]
    text += [*describe_standing(notice), *describe_reports(notice)]
    if notice.lesion is not None:
        is_by_fusion = notice.lesion.is_by_fusion and notice.lesion.probability is not None
        by_fusion = f"Probability {BY_FUSION}." if is_by_fusion else ""
        text += [by_fusion, notice.lesion.learned_from, GLAND_NOT_CHECKED]
    text += [RESEARCH_USE]
    text += [f"{link.label}: {link.url}" for link in links]
    yield Observation(kind="TX", code=IMPRESSIONS, value=_write_lines(text))
    if because := describe_withdrawal(notice):
        yield Observation(kind="TX", code=WITHDRAWAL, value=_write_lines(because))
    yield Observation(kind="HD", code=STUDY_INSTANCE_UID, value=f"^{notice.study_instance_uid}^ISO")
    if notice.lesion is not None:
        yield from _observe_lesion(notice.lesion)
    for gland in notice.glands:
        yield from _observe_gland(gland, notice.candidates)


def _write_lines(lines: Sequence[str]) -> str:
    """Write each line that says something as a repetition."""
    return "~".join(escape(line) for line in lines if line)


def _observe_gland(gland: GlandVerdict, candidates: Sequence[Candidate]) -> Iterator[Observation]:
    side = str(gland.side)
    yield Observation(kind="CWE", code=FINDING_SITE, value=_coded(PAROTID_GLAND), group=side)
    yield Observation(kind="CWE", code=LATERALITY, value=_coded(SIDES[gland.side]), group=side)
    yield Observation(kind="CWE", code=MASS_ABOVE_THRESHOLD, value=_coded(PRESENCES[gland.presence]), group=side)
    for mass in candidates:
        if mass.number in gland.candidate_numbers:
            group = f"{side}.{mass.number}"
            yield _measure(VOXELS, str(mass.voxels), group, VOXEL_UNIT)
            yield _measure(VOLUME, f"{mass.volume_mm3:.1f}", group, CUBIC_MILLIMETER)
            yield _measure(DIAMETER, f"{mass.longest_diameter_mm:.1f}", group, MILLIMETER)


def _observe_lesion(lesion: LesionLine) -> Iterator[Observation]:
    """Say the answer in words: the lesion is of no known organ, so that a coded diagnosis would claim too much."""
    yield Observation(kind="ST", code=US_ANSWER, value=escape(str(Answer(lesion.answer))), group="lesion")
    if lesion.probability is not None:
        yield _measure(PROBABILITY_OF_CANCER, f"{lesion.probability * 100:.1f}", "lesion", PERCENT)
    if lesion.combined_probability is not None:
        yield _measure(COMBINED_PROBABILITY, f"{lesion.combined_probability * 100:.1f}", "lesion", PERCENT)
    if lesion.longest_diameter_mm is not None:
        yield _measure(DIAMETER, f"{lesion.longest_diameter_mm:.1f}", "lesion", MILLIMETER)


def _measure(code: Coded, value: str, group: str, units: Coded) -> Observation:
    return Observation(kind="NM", code=code, value=value, group=group, units=units)


def _coded(code: Coded) -> str:
    return "^".join(escape(part) for part in code)


def _text(header: Dataset, keyword: str) -> str:
    return escape(str(single_value(header, keyword)).strip())


def _instant(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S%z")


def _study_instant(header: Dataset) -> str:
    """The study's date and time as the image has them; empty where they are none."""
    day, clock = _text(header, "StudyDate"), _text(header, "StudyTime")[:6]
    if not (len(day) == 8 and day.isascii() and day.isdigit()):
        return ""
    return day + (clock if len(clock) in {4, 6} and clock.isascii() and clock.isdigit() else "")
