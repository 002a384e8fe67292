"""Tell whether images belong to more than one patient, however each header writes the same one.

A Study Instance UID that two patients share would give one of them the other's result. Senders write one patient in
several ways: padding, case, components left out, other character sets. What a header does not give tells nothing.
"""

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from pydicom.dataset import Dataset

from screener.outcomes import NeedsPerson
from screener.read_file import BROKEN_FILE, read_file
from screener.study import Instance

PATIENT_KEYWORDS: Final = ("PatientID", "PatientName", "PatientBirthDate")
_SPELLINGS: Final = (("ae", "a"), ("oe", "o"), ("ue", "u"))
"""A modality without umlauts writes Mueller for Müller: both are compared as Muller."""
_GARBLED: Final = re.compile(r"[^\x00-\x7f]+|\?+")
"""Letters that another character set may have written."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Patient:
    """Whom a header names: compared, never told, hence without a representation. Empty where it says nothing."""

    patient_id: str = ""
    name: str = ""
    birth_date: str = ""


NOBODY: Final = Patient()
"""Whom a header names that cannot be read."""


def read_patient(ds: Dataset) -> Patient:
    """Read whom a header names; a broken element says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote the value
        patient_id, name, birth_date = (_read_text(ds, keyword) for keyword in PATIENT_KEYWORDS)
    digits = "".join(filter(str.isdecimal, birth_date))
    return Patient(
        patient_id=patient_id, name=name, birth_date=digits if len(digits) == 8 and digits.strip("0") else ""
    )


def read_patients(instances: Iterable[Instance]) -> Iterator[Patient]:
    """Yield whom each file names, but for those that cannot be read. Raises TryAgain where the disk gives one not."""
    for instance in instances:
        with suppress(*BROKEN_FILE):
            yield read_patient(read_file(instance.path, with_pixels=False, keywords=PATIENT_KEYWORDS))


def refuse_mixed(screened: Iterable[Patient], choices: tuple[object, ...] = ()) -> None:
    """Raise NeedsPerson (`mixed_patients`), with `choices`, where what is screened together is of several patients."""
    reason = (
        "The images to be screened belong to more than one patient: PatientID, PatientName or PatientBirthDate differ."
    )
    _refuse(screened, _are_two, reason, choices)


def refuse_mixed_study(everybody: Iterable[Patient], choices: tuple[object, ...] = ()) -> None:
    """Do the same for a study only a part of which is screened.

    The ID alone tells nothing here: another modality may write that of the same patient in its own way.
    """
    reason = "The study belongs to more than one patient: both PatientID and PatientName differ."
    _refuse(everybody, _are_surely_two, reason, choices)


def _refuse(
    patients: Iterable[Patient],
    are_two: Callable[[Patient, Patient], bool],
    reason: str,
    choices: tuple[object, ...],
) -> None:
    if any(are_two(one, other) for one, other in combinations(set(patients), 2)):
        mixed = NeedsPerson(reason, code="mixed_patients")
        mixed.choices = choices
        raise mixed


def _are_two(one: Patient, other: Patient) -> bool:
    """Under one ID a name or a birth date may have been corrected meanwhile; both differ where it stands for nobody."""
    if one.patient_id and other.patient_id and one.patient_id != other.patient_id:
        return True
    differs_in_date = bool(one.birth_date and other.birth_date and one.birth_date != other.birth_date)
    if one.patient_id and other.patient_id:
        return differs_in_date and _differ(one.name, other.name)
    return differs_in_date or _differ(one.name, other.name)


def _are_surely_two(one: Patient, other: Patient) -> bool:
    has_two_ids = bool(one.patient_id and other.patient_id and one.patient_id != other.patient_id)
    return has_two_ids and _differ(one.name, other.name)


def _differ(name: str, other: str) -> bool:
    """Tell whether two names can be no spellings of one, in any of the groups that both give (PS3.5 6.2.1.1)."""
    groups = [pair for pair in zip(name.split("="), other.split("="), strict=False) if all(map(_fold, pair))]
    return bool(groups) and not any(_is_spelling(*pair) for pair in groups)


def _is_spelling(name: str, other: str) -> bool:
    words, others = _fold(name), _fold(other)
    is_part = set(words) <= set(others) or set(others) <= set(words)
    return is_part or "".join(words) == "".join(others) or _fits(name, other) or _fits(other, name)


def _fits(garbled: str, name: str) -> bool:
    """Tell whether `name` holds the plain letters of `garbled` in their order; where it has none, no letter but such.

    For each other letter, which a wrong character set may have garbled, up to three may stand.
    """
    plain = [_join(part) for part in _GARBLED.split(garbled)]
    letters = _join(name)
    if len(plain) == 1 or not any(plain):
        return len(plain) > 1 and letters.isascii()
    first, *between, last = plain
    at = len(first)
    for part in between:
        at = letters.find(part, at) + len(part)
        if at < len(part):
            return False
    most = len("".join(plain)) + 3 * sum(map(len, _GARBLED.findall(garbled)))
    return letters.startswith(first) and letters.endswith(last) and at + len(last) <= len(letters) <= most


def _join(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


def _fold(name: str) -> list[str]:
    """The words of a name without accents and signs between them."""
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    for spelled, folded in _SPELLINGS:
        plain = plain.replace(spelled, folded)
    return re.findall(r"[^\W_]+", plain)


def _read_text(ds: Dataset, keyword: str) -> str:
    """Read an element without padding and case."""
    try:
        return " ".join(str(ds.get(keyword) or "").replace("\0", " ").split()).casefold()
    except BROKEN_FILE:
        return ""
