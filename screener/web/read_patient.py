"""Who the patient is: read from an archived file whenever a signed-in page shows it, and kept nowhere else."""

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import Final

from pydicom import Dataset

from screener.read_elements import is_away, read_elements, single_value
from screener.read_header import NOT_READABLE

_KEYWORDS: Final = (
    "AccessionNumber",
    "IssuerOfPatientID",
    "PatientAge",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "StudyDate",
    "StudyDescription",
)
_KEPT_IN_MEMORY: Final = 2000
_KEY_FILE: Final = "patients.key"
_WORD_DIGITS: Final = 32
"""Hexadecimal digits of a word's digest: 128 bits, so that no two words share one."""
_SPELLINGS: Final = (("ae", "a"), ("oe", "o"), ("ue", "u"))
"""A modality without umlauts writes Mueller for Müller: both are looked for as Muller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What a page says of the patient and the examination; empty where the file does not."""

    name: str = ""
    patient_id: str = ""
    issuer: str = ""
    sex: str = ""
    age: str = ""
    """At the examination."""
    accession_number: str = ""
    study_date: date | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Digests that a search looks for."""

    whole: frozenset[str]
    """Of the text as a patient ID or accession number; one is enough."""
    names: frozenset[str]
    """Of its words, each a part of the name; all must be found."""


class PatientReader:
    """Reads the header of an archived file; the last ones are kept in memory, as files never change."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the storage folder."""
        self._folder = folder
        self._known: OrderedDict[str, Patient] = OrderedDict()
        self._lock = Lock()

    def read(self, path: str) -> Patient | None:
        """Whose file it is, by its path in the storage folder; None where it cannot be read."""
        try:
            return self.ask(path)
        except OSError:
            return None

    def ask(self, path: str) -> Patient | None:
        """As `read`, but raises OSError where the disk does not give the file now; None where it will not either."""
        if not path:
            return None
        with self._lock:
            known = self._known.get(path)
        if known is not None:
            return known
        patient = _read(self._folder / path)
        if patient is not None:
            with self._lock:
                self._known[path] = patient
                while len(self._known) > _KEPT_IN_MEMORY:
                    self._known.popitem(last=False)
        return patient

    def key(self, patient: Patient) -> str:
        """A digest that is the same for all studies of a patient and says nothing of who it is; empty without an ID."""
        if not patient.patient_id:
            return ""
        return self._digest(f"{patient.issuer}\0{patient.patient_id}")

    def words(self, patient: Patient) -> frozenset[str]:
        """Digests by which a search finds the patient's studies: of ID, accession number and each word of the name."""
        whole = {self._digest_whole(text) for text in (patient.patient_id, patient.accession_number) if _fold(text)}
        return frozenset(whole | self._digest_names(patient.name))

    def search(self, text: str) -> "Wanted":
        """What a search looks for; empty where the text holds no letter and no digit."""
        whole = frozenset({self._digest_whole(text)} if _fold(text) else ())
        return Wanted(whole=whole, names=frozenset(self._digest_names(text)))

    def _digest_whole(self, text: str) -> str:
        return self._digest(f"whole\0{' '.join(_fold(text))}")[:_WORD_DIGITS]

    def _digest_names(self, text: str) -> set[str]:
        return {self._digest(f"name\0{word}")[:_WORD_DIGITS] for word in _fold(text)}

    def _digest(self, text: str) -> str:
        return hmac.new(_read_key(self._folder / _KEY_FILE), text.encode(errors="replace"), hashlib.sha256).hexdigest()


def _fold(text: str) -> list[str]:
    """The words of a text without case, accents and signs between them."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    for spelled, folded in _SPELLINGS:
        plain = plain.replace(spelled, folded)
    return re.findall(r"[^\W_]+", plain)


def _read_key(path: Path) -> bytes:
    """Read the installation's own key, made at the first use; it lies beside the images that it protects no better."""
    if not path.exists():
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        unfinished.touch(0o600)
        unfinished.write_bytes(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was quicker: its key holds
            os.link(unfinished, path)
        unfinished.unlink()
    return path.read_bytes()


def _read(path: Path) -> Patient | None:
    try:
        ds = read_elements(path, _KEYWORDS)
    except NOT_READABLE as error:
        if is_away(path, error):
            raise
        return None
    values = {keyword: _text(ds, keyword) for keyword in _KEYWORDS}
    return Patient(
        name=values["PatientName"].replace("^", ", ", 1).replace("^", " ").strip(" ,="),
        patient_id=values["PatientID"],
        issuer=values["IssuerOfPatientID"],
        sex=values["PatientSex"],
        age=_age(values["PatientAge"], values["PatientBirthDate"], values["StudyDate"]),
        accession_number=values["AccessionNumber"],
        study_date=_date(values["StudyDate"]),
        description=values["StudyDescription"],
    )


def _text(ds: Dataset, keyword: str) -> str:
    """An element as text; empty where it has several values, or breaks its own rules beyond reading."""
    try:
        return " ".join(str(single_value(ds, keyword)).split())
    except NOT_READABLE:
        return ""


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - DICOM DA has no time zone
    except ValueError:
        return None


def _age(age: str, birth_date: str, study_date: str) -> str:
    """Give the age at the examination in years: as the scanner said (PS3.5 6.2 AS), or from the dates."""
    if len(age) == 4 and age[:3].isdecimal():
        unit = {"Y": "y", "M": "months", "W": "weeks", "D": "days"}.get(age[3], "")
        return f"{int(age[:3])} {unit}"
    born, examined = _date(birth_date), _date(study_date)
    if born is None or examined is None or examined < born:
        return ""
    years = examined.year - born.year - ((examined.month, examined.day) < (born.month, born.day))
    return f"{years} y"
