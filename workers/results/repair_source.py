"""Make of a faulty source header one that is fit to be copied from.

A result inherits its patient, study and geometry from the images it was made
of. What those images carry wrongly (an empty Type 1 element, a negative slice
spacing, a date that is none) would make our object invalid too, and a PACS
refuses it. So only elements that a result needs are taken over, each one
checked against its value representation (PS3.5 6.2), and repaired or dropped.
"""

import logging
import math
import re
import warnings
from datetime import UTC, datetime, timedelta, timezone

from pydicom import Dataset
from pydicom.charset import python_encoding
from pydicom.valuerep import DSfloat

from screener.outcomes import NeedsPerson
from workers.results.identity import derive_uid

logger = logging.getLogger(__name__)

# Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): always present, empty when unknown.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "PositionReferenceIndicator",
)
_NAMES = ("PatientName", "ReferringPhysicianName")
# An identifier that is too long or holds a backslash is dropped, never changed: the changed one may be somebody else's.
_IDENTIFIERS = {"PatientID": 64, "IssuerOfPatientID": 64, "StudyID": 16, "AccessionNumber": 16}
_TEXTS = {
    "StudyDescription": 64,
    "DeidentificationMethod": 64,
    "PositionReferenceIndicator": 64,
    "Manufacturer": 64,
    "ManufacturerModelName": 64,
    "DeviceSerialNumber": 64,
    "SoftwareVersions": 64,
    "InstitutionName": 64,
    "StationName": 16,
}
_CODE_STRINGS = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "LossyImageCompression": ("00", "01"),
    "BurnedInAnnotation": ("YES", "NO"),
}
_DATES = ("PatientBirthDate", "StudyDate", "AcquisitionDate")
_TIMES = ("StudyTime", "AcquisitionTime")
_POSITIVE_NUMBERS = ("PatientSize", "PatientWeight", "SliceThickness")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SPECIFIC_CODING_SCHEMES = ("SCT", "LN", "RADLEX", "DCM")

_UID_PATTERN = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")  # PS3.5 9.1
_DATE_PATTERN = re.compile(r"(\d{4})([.-]?)(\d{2})\2(\d{2})")  # the separators are ACR-NEMA's and ISO 8601's
_TIME_PATTERN = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?\d*")
_AGE_PATTERN = re.compile(r"\d{3}[DWMY]")
_OFFSET_PATTERN = re.compile(r"([+-])(\d{2})(\d{2})")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f\\]")
_UNREADABLE = (ValueError, TypeError, LookupError, OverflowError, NotImplementedError, AttributeError)


def repair_source(ds: Dataset) -> Dataset:
    """Copy from `ds` what a result inherits, checked; `ds` itself and its pixel data are not touched.

    Raises NeedsPerson where nothing can be built on the header: no UIDs, or no place in the patient.
    """
    with warnings.catch_warnings():
        # Of a faulty value pydicom warns when it is read; what is wrong is dealt with here.
        warnings.simplefilter("ignore")
        return _repair(ds)


def repair_picture(ds: Dataset) -> Dataset:
    """Do the same for a picture that has no place in the patient, such as one of ultrasound.

    Raises NeedsPerson where it has no UIDs. Rows and Columns are left out where the header lacks them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _repair(ds, has_place=False)


def find_offset(source: Dataset) -> timezone | None:
    """Give the time zone that a repaired source states (0008,0201), None where it states none."""
    match = _OFFSET_PATTERN.fullmatch(str(source.get("TimezoneOffsetFromUTC") or ""))
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


def localize_instant(at: datetime, source: Dataset) -> datetime:
    """Express `at` as the dates and times of `source` are: in the zone it states, else in this machine's.

    Dates and times of a data set without an offset are local (PS3.3 C.12.1.1.8).
    """
    return at.astimezone(find_offset(source))


def _repair(ds: Dataset, *, has_place: bool = True) -> Dataset:
    repaired = Dataset()
    for keyword in _UIDS:
        uid = _read_text(ds, keyword)
        if not uid:
            raise NeedsPerson(f"The source images lack a {keyword}; no result can refer to them.", code="no_uid")
        setattr(repaired, keyword, uid)
    repaired.Modality = _read_text(ds, "Modality") or ("CT" if has_place else "US")
    if has_place:
        _copy_geometry(ds, repaired)
    else:
        _copy_size(ds, repaired)
    for keyword in _TYPE_2:
        setattr(repaired, keyword, "")
    _copy_texts(ds, repaired)
    if not has_place:
        del repaired.PositionReferenceIndicator  # of the Frame of Reference module
    _copy_numbers_and_times(ds, repaired)
    _copy_procedure(ds, repaired)
    _copy_lossy_compression(ds, repaired)
    _choose_character_set(ds, repaired)
    return repaired


def _copy_geometry(ds: Dataset, repaired: Dataset) -> None:
    for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        values = _read_numbers(ds, keyword)
        if len(values) != count:
            raise NeedsPerson(f"The source images have no valid {keyword}.", code="no_geometry")
        setattr(repaired, keyword, [_to_decimal_string(value) for value in values])
    for keyword in ("Rows", "Columns"):
        setattr(repaired, keyword, int(ds[keyword].value))
    # The sign says in which direction the scanner counted slices; as a distance it is never negative (C.7.6.2.1).
    spacing = [abs(value) for value in _read_numbers(ds, "SpacingBetweenSlices")]
    if len(spacing) == 1 and spacing[0] > 0:
        repaired.SpacingBetweenSlices = _to_decimal_string(spacing[0])
    frame_of_reference_uid = _read_text(ds, "FrameOfReferenceUID")
    if not _is_uid(frame_of_reference_uid):
        # Images of one series without a stated frame share one: the series stands for it.
        frame_of_reference_uid = derive_uid(str(repaired.SeriesInstanceUID), "frame of reference")
    repaired.FrameOfReferenceUID = frame_of_reference_uid


def _copy_size(ds: Dataset, repaired: Dataset) -> None:
    for keyword in ("Rows", "Columns", "NumberOfFrames"):
        values = _read_numbers(ds, keyword)
        if len(values) == 1 and values[0] >= 1:
            setattr(repaired, keyword, int(values[0]))


def _copy_texts(ds: Dataset, repaired: Dataset) -> None:
    for keyword in _NAMES:
        setattr(repaired, keyword, _repair_name(_read_text(ds, keyword)))
    for keyword, longest in _IDENTIFIERS.items():
        text = _read_text(ds, keyword, keep="\\").strip("\0 ")
        if text and len(text) <= longest and not _CONTROL_CHARACTERS.search(text):
            setattr(repaired, keyword, text)
    for keyword, longest in _TEXTS.items():
        text = _read_text(ds, keyword)
        if text:
            setattr(repaired, keyword, text[:longest].strip())
    for keyword, terms in _CODE_STRINGS.items():
        text = _read_text(ds, keyword).upper()
        if text in terms:
            setattr(repaired, keyword, text)
    if repaired.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in repaired:
        repaired.DeidentificationMethod = "Not stated by the source"  # Type 1C beside PatientIdentityRemoved


def _copy_numbers_and_times(ds: Dataset, repaired: Dataset) -> None:
    for keyword in _DATES:
        date = _repair_date(_read_text(ds, keyword))
        if date or keyword in _TYPE_2:
            setattr(repaired, keyword, date)
    for keyword in _TIMES:
        time = _repair_time(_read_text(ds, keyword))
        if time or keyword in _TYPE_2:
            setattr(repaired, keyword, time)
    for keyword in _POSITIVE_NUMBERS:
        values = _read_numbers(ds, keyword)
        if len(values) == 1 and values[0] > 0:
            setattr(repaired, keyword, _to_decimal_string(values[0]))
    age = _read_text(ds, "PatientAge")
    if _AGE_PATTERN.fullmatch(age):
        repaired.PatientAge = age
    offset = _read_text(ds, "TimezoneOffsetFromUTC")
    if _OFFSET_PATTERN.fullmatch(offset) and int(offset[1:3]) <= 14 and int(offset[3:]) < 60:
        repaired.TimezoneOffsetFromUTC = offset


def _copy_procedure(ds: Dataset, repaired: Dataset) -> None:
    """Keep the first procedure code of a public scheme: it says what was imaged better than we could."""
    for item in _read_sequence(ds, "ProcedureCodeSequence"):
        value = _read_text(item, "CodeValue")
        scheme = _read_text(item, "CodingSchemeDesignator")
        meaning = _read_text(item, "CodeMeaning")
        if scheme in _SPECIFIC_CODING_SCHEMES and 0 < len(value) <= 16 and 0 < len(meaning) <= 64:
            code = Dataset()
            code.CodeValue = value
            code.CodingSchemeDesignator = scheme
            code.CodeMeaning = meaning
            repaired.ProcedureCodeSequence = [code]
            return


def _copy_lossy_compression(ds: Dataset, repaired: Dataset) -> None:
    """Keep ratio and method of a lossy source only as a pair: each is Type 1C beside the other (C.7.6.1.1.5)."""
    if repaired.get("LossyImageCompression") != "01":
        return
    ratios = [value for value in _read_numbers(ds, "LossyImageCompressionRatio") if value > 0]
    methods = [method.strip() for method in _read_text(ds, "LossyImageCompressionMethod", keep="\\").split("\\")]
    if ratios and len(ratios) == len(methods) and all(methods):
        repaired.LossyImageCompressionRatio = [_to_decimal_string(ratio) for ratio in ratios]
        repaired.LossyImageCompressionMethod = methods


def _choose_character_set(ds: Dataset, repaired: Dataset) -> None:
    """Keep the source's character set where it is a known one that can write every text, else take UTF-8."""
    declared = ds.get("SpecificCharacterSet")
    terms = [declared] if isinstance(declared, str) else list(declared or [])
    everything = "".join(str(element.value) for element in repaired.iterall() if element.VR in ("LO", "SH", "PN"))
    if everything.isascii() and not any(terms):
        return
    if terms and all(term in python_encoding for term in terms):
        if len(terms) > 1:
            repaired.SpecificCharacterSet = terms  # code extensions: pydicom switches between them as it writes
            return
        try:
            everything.encode(python_encoding[terms[0]])
        except UnicodeEncodeError:
            pass
        else:
            repaired.SpecificCharacterSet = terms[0]
            return
    repaired.SpecificCharacterSet = "ISO_IR 192"


def _read_text(ds: Dataset, keyword: str, *, keep: str = "") -> str:
    """Read one element as text without control characters and surrounding blanks; empty where it cannot be read."""
    try:
        value = ds.get(keyword)
        if value is None:
            return ""
        text = "\\".join(str(part) for part in value) if hasattr(value, "append") else str(value)
    except _UNREADABLE:
        logger.info("A source element could not be read and is left out: %s.", keyword)
        return ""
    if keep:
        return text.strip()
    return _CONTROL_CHARACTERS.sub(" ", text).strip()


def _read_numbers(ds: Dataset, keyword: str) -> list[float]:
    """Read one element as finite numbers; empty where it is absent or any value is no number."""
    try:
        value = ds.get(keyword)
        parts = [] if value is None or value == "" else value if hasattr(value, "append") else [value]
        numbers = [float(part) for part in parts]
    except _UNREADABLE:
        logger.info("A source element holds no number and is left out: %s.", keyword)
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


def _read_sequence(ds: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(ds.get(keyword) or [])
    except _UNREADABLE:
        return []


def _to_decimal_string(value: float) -> DSfloat:
    return DSfloat(value, auto_format=True)


def _is_uid(text: str) -> bool:
    return len(text) <= 64 and _UID_PATTERN.fullmatch(text) is not None


def _repair_name(text: str) -> str:
    """Keep at most three component groups of 64 characters and five components (PS3.5 6.2.1)."""
    groups = ["^".join(group.split("^")[:5])[:64].rstrip() for group in text.split("=")[:3]]
    return "=".join(groups).rstrip("=")


def _repair_date(text: str) -> str:
    match = _DATE_PATTERN.fullmatch(text)
    if match is None:
        return ""
    try:
        datetime(int(match[1]), int(match[3]), int(match[4]), tzinfo=UTC)
    except ValueError:
        return ""
    return f"{match[1]}{match[3]}{match[4]}"


def _repair_time(text: str) -> str:
    match = _TIME_PATTERN.fullmatch(text)
    if match is None or int(match[1]) > 23 or int(match[2] or 0) > 59 or int(match[3] or 0) > 60:
        return ""
    fraction = match[4] if match[2] and match[3] and match[4] else ""
    return f"{match[1]}{match[2] or ''}{match[3] or ''}{fraction}"
