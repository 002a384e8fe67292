"""Read radiology reports, files and structured reports alike, for what they say of a parotid mass; keep no text."""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from screener.decode_text import decode_text
from screener.mentions import Mention, Verdict, read_report
from screener.outcomes import TryAgain
from screener.proportion import describe_share
from screener.read_each import TRIED, read_each
from screener.store import Store
from screener.store.mentions import DOCUMENT, FILE

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_BYTES: Final = 1 << 20
"""No radiology report is longer; what is, is something else."""
MOST_DOCUMENT_BYTES: Final = 4 << 20
"""Of a structured report, which names the images that it speaks of, too."""
AT_ONCE: Final = 50
SENTENCES: Final = Path(__file__).with_name("report_sentences.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How the rules do on sentences with a known answer."""

    part: str
    sentences: int
    mentioned: int
    """Of which a mass is mentioned, in truth."""
    found: int
    """Of those, the ones that are called so."""
    kept_apart: int
    """Of the others, those that are not called mentioned."""
    same: int
    """Sentences with the right one of the three answers."""


def add_report(store: Store, study_id: int, data: bytes, now: datetime) -> Mention | None:
    """Read a report's text and keep what it says; None where it was read before. ValueError where it is no text."""
    if len(data) > MOST_BYTES or b"\0" in data:
        raise ValueError("this is no report's text")
    text = decode_text(data)
    if not any(character.isalpha() for character in text):
        raise ValueError("this holds no words: a report that is empty by mistake must not count as one without a mass")
    mention = read_report(text)
    return mention if store.add_mention(study_id, mention, source=FILE, sha256=_digest(data), now=now) else None


def find_report(store: Store, study_id: int, data: bytes) -> int | None:
    """The number of the report that this very text was read as; None where it was not."""
    return store.find_report(study_id, _digest(data))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_new_documents(store: Store, folder: Path, now: datetime) -> int:
    """Read the structured reports that have come with studies; returns how many were radiology reports.

    Those that the disk does not give now are asked for again.
    """
    read = 0
    documents = store.new_documents(TRIED)
    found = ((number, document.path) for number, document in enumerate(documents))
    for number, text in read_each(found, lambda path: read_document(folder / path), AT_ONCE):
        document = documents[number]
        mention = read_report(text) if text else None
        store.add_mention(document.study_id, mention, source=DOCUMENT, sha256=document.sha256, now=now)
        read += mention is not None
    return read


def read_document(path: Path) -> str:
    """Return the words of a final radiology report (TID 2000, or Basic Text SR).

    Empty for a worksheet, a preliminary report, what is broken and what is longer than any report. Raises OSError
    where the disk does not give it now.

    Report titles are LOINC codes (PS3.16 CID 7000); worksheets and measurements have DICOM's own.
    """
    # Here: the daemon keeps decoders out before it first loads pydicom (leave_out_decoders.py).
    from pydicom.uid import BasicTextSRStorage

    from screener.read_elements import is_away
    from screener.read_file import BROKEN_FILE, read_file

    keywords = ["SOPClassUID", "ConceptNameCodeSequence", "PreliminaryFlag", "ContentSequence"]
    try:
        ds = read_file(path, with_pixels=False, keywords=keywords, most_bytes=MOST_DOCUMENT_BYTES)
        titles = ds.get("ConceptNameCodeSequence") or [{}]
        is_report = ds.SOPClassUID == BasicTextSRStorage or titles[0].get("CodingSchemeDesignator") == "LN"
        is_final = ds.get("PreliminaryFlag") != "PRELIMINARY"  # PS3.3 C.17.2
        text = "\n".join(_list_texts(ds)) if is_report and is_final else ""
    except TryAgain as error:
        if is_away(path, error.__cause__):
            raise OSError(str(error)) from error
        return ""
    except BROKEN_FILE:
        return ""
    return text if len(text) <= MOST_BYTES else ""


def _list_texts(ds: "Dataset") -> Iterator[str]:
    """Yield headings and texts in their order, each paragraph apart."""
    for item in ds.get("ContentSequence") or []:
        names = item.get("ConceptNameCodeSequence") or [{}]
        name = str(names[0].get("CodeMeaning") or "").strip()
        kind = item.get("ValueType")
        if kind == "CONTAINER":
            yield f"\n{name}:\n" if name else "\n"
        elif kind == "TEXT":
            yield f"\n{name}: {item.get('TextValue') or ''}" if name else f"\n{item.get('TextValue') or ''}"
        yield from _list_texts(item)


def measure_rules(path: Path = SENTENCES) -> list[Measured]:
    """Read sentences with their answers (columns part, verdict and text) and say how the rules do, by part."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    parts = list(dict.fromkeys(row["part"] for row in rows))
    return [_measure(part, [row for row in rows if row["part"] == part]) for part in parts]


def _measure(part: str, rows: list[dict[str, str]]) -> Measured:
    answers = [(Verdict(row["verdict"]), read_report(row["text"]).verdict) for row in rows]
    positives = [said for truth, said in answers if truth is Verdict.MENTIONED]
    negatives = [said for truth, said in answers if truth is not Verdict.MENTIONED]
    return Measured(
        part=part,
        sentences=len(rows),
        mentioned=len(positives),
        found=positives.count(Verdict.MENTIONED),
        kept_apart=sum(said is not Verdict.MENTIONED for said in negatives),
        same=sum(truth is said for truth, said in answers),
    )


_PARTS: Final[Mapping[str, str]] = {
    "rules": "the rules were written with these",
    "check": "written before the rules by the same hand, and not looked at until they were done",
    "hard": "written to break the rules: at first 15 of 24 answers were right, then the rules were mended",
    "fresh": "written after that; the rules have not been changed since",
}


def describe_measured(measured: list[Measured], *, is_ours: bool) -> str:
    """Say sensitivity and specificity of "mentioned" for each part, with the intervals.

    True: the sentences are those of this project, and the parts are explained.
    """
    lines = ['sensitivity and specificity are those of the answer "mentioned"']
    if is_ours:
        lines.append("the sentences were made up: none is from a real report, and on those the rules may do worse")
    for each in measured:
        what = f" ({_PARTS[each.part]})" if is_ours and each.part in _PARTS else ""
        lines += [
            f"{each.part}: {each.sentences} sentences{what}",
            f"  sensitivity {describe_share(each.found, each.mentioned)}",
            f"  specificity {describe_share(each.kept_apart, each.sentences - each.mentioned)}",
            f"  the right one of three answers: {describe_share(each.same, each.sentences)}",
        ]
    return "\n".join(lines)
