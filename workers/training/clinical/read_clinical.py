"""The table of a hospital's cases with a reader's findings (CSV), a row per lesion."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from screener.outcomes import NeedsPerson
from screener.us_study import Finding
from workers.training.nomogram import ANSWERS, LABELS
from workers.training.statistics.check_cases import Array, Bools

COLUMNS: Final = {finding: finding.value.replace(" ", "_") for finding in Finding}
NEEDED: Final = ("id", "group", "label")
PROBABILITY: Final = "image_probability"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalCase:
    """One row of the table."""

    id: str
    group: str
    """The patient: cases of one are never on both sides of a fold."""
    is_malignant: bool
    findings: Mapping[Finding, bool | None]
    image_probability: float | None
    """Of malignancy, from networks that were not trained on the case; None where the table has no such column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalTable:
    """The cases that can be judged, and what was left out."""

    cases: tuple[ClinicalCase, ...]
    findings: tuple[Finding, ...]
    """Those that the table tells and that vary."""
    left_out: int
    """Cases that lack one of these, or the image's probability."""
    missing: Mapping[Finding, int]
    """How often each was not known, among all rows."""

    @property
    def values(self) -> Array:
        """(cases, findings); 1 where present."""
        return np.array([[float(bool(case.findings[f])) for f in self.findings] for case in self.cases])

    @property
    def truth(self) -> Bools:
        """(cases); True: malignant."""
        return np.array([case.is_malignant for case in self.cases], dtype=bool)

    @property
    def groups(self) -> list[str]:
        """The patient of each case."""
        return [case.group for case in self.cases]

    @property
    def image(self) -> Array | None:
        """(cases) of the image's probability; None where the table has none."""
        values = [case.image_probability for case in self.cases]
        return None if None in values else np.array(values, dtype=np.float64)


def read_clinical(path: Path) -> ClinicalTable:
    """Read the table. Raises NeedsPerson, naming a row by its number, for what is not as expected."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = frozenset(reader.fieldnames or ())
            rows = [_read_row(row, columns, number) for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NeedsPerson(f"{path} cannot be read: {type(error).__name__}.") from error
    return select_cases(rows)


def select_cases(rows: Sequence[ClinicalCase]) -> ClinicalTable:
    """Take the findings that vary, and the cases that have them all; nothing that is missing is filled in.

    Raises NeedsPerson where nothing is left, or an id stands twice.
    """
    if len({row.id for row in rows}) < len(rows):
        raise NeedsPerson("An id stands in more than one row of the table.")
    missing = {f: sum(row.findings.get(f) is None for row in rows) for f in Finding}
    varying = tuple(f for f in Finding if {True, False} <= {row.findings.get(f) for row in rows})
    has_image = any(row.image_probability is not None for row in rows)
    cases = tuple(
        row
        for row in rows
        if all(row.findings.get(f) is not None for f in varying)
        and (row.image_probability is not None or not has_image)
    )
    kinds = Counter(case.is_malignant for case in cases)
    if not varying or min(kinds[True], kinds[False]) < 2:
        raise NeedsPerson("The table needs two cases of each label with all findings, and a finding that varies.")
    return ClinicalTable(cases=cases, findings=varying, left_out=len(rows) - len(cases), missing=missing)


def _read_row(row: Mapping[str, str | None], columns: frozenset[str], number: int) -> ClinicalCase:
    if not set(NEEDED) <= columns or not columns & set(COLUMNS.values()):
        raise NeedsPerson(f"The columns of the table are {', '.join((*NEEDED, *COLUMNS.values()))}, {PROBABILITY}.")
    try:
        text = (row.get(PROBABILITY) or "").strip()
        probability = float(text) if text else None
        case = ClinicalCase(
            id=(row["id"] or "").strip(),
            group=(row["group"] or "").strip(),
            is_malignant=LABELS[(row["label"] or "").strip().lower()],
            findings={f: ANSWERS[(row.get(column) or "").strip().lower()] for f, column in COLUMNS.items()},
            image_probability=probability,
        )
    except (KeyError, ValueError) as error:
        raise NeedsPerson(
            f"Row {number} of the table is not as expected: label is benign or malignant, a finding yes, no or empty, "
            f"{PROBABILITY} a number or empty."
        ) from error
    if not case.id or not case.group or (probability is not None and not 0 <= probability <= 1):
        raise NeedsPerson(f"Row {number} of the table has no id or group, or its probability is outside 0 to 1.")
    return case
