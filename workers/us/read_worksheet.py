"""SELECTED: read what a person says of the lesion from the ultrasound worksheets (SR) of the study.

A worksheet is a structured report that came with the study and is not ours. Its content items are read by the codes
of their names, else by the words (workers/us/worksheet_terms.py). What it says must be of one lesion: where it
describes several, nobody can tell which of them is the one outlined, and its findings are not known. So it is of
several worksheets, unless a tracking identifier in each says that they speak of the same lesion. What stands under a
heading that is not known is passed over: it may be of another organ, or of an earlier examination. No text of a
worksheet is ever quoted: it may hold the patient's name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from screener.read_file import BROKEN_FILE, read_file
from screener.sop_classes import WORKSHEETS
from screener.study import Instance
from screener.us_study import Finding, ReadFindings
from workers.results.identity import is_ours
from workers.us.worksheet_terms import (
    ELSEWHERE,
    FINDING_NAMES,
    HEADING_WORDS,
    HERE,
    LESIONS,
    NODE_HEADING_WORDS,
    OTHER_NODES,
    PRESENCE_WORDS,
    SIDE_WORDS,
    SIDES,
    SITE_WORDS,
    SITES,
    TRACKING,
    WIDER,
    Feature,
    find_feature,
    is_plain,
    judge_presence,
    judge_value,
)

MOST_DEPTH: Final = 64

_NOT_OF_A_LESION: Final = (Finding.SUSPICIOUS_LYMPH_NODES,)

NO_WORKSHEET: Final = "No worksheet came with the study."
NOTHING_SAID: Final = "The structured reports of the study say nothing of the lesion that is understood here."
UNREADABLE: Final = "A structured report of the study cannot be read."
SEVERAL: Final = "Worksheets describe several lesions, or may do so; which of them is the one outlined cannot be told."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A content item and where it stands."""

    name: Code
    value: Code | None
    text: str
    above: tuple["_Item", ...]
    """The items that hold it, from the root on."""
    site: str
    """Words of the site that its own children name; empty where they name none."""
    subject: str
    """Words of the coded findings among its children that are no feature of a lesion; empty where there are none."""
    presence: frozenset[bool | None]
    """Whether it is there, as its own children say; None where one of them qualifies it in a way not understood."""

    @property
    def heading(self) -> str:
        """Its words, for an item that holds others."""
        return f"{self.name.meaning} {self.text} {self.subject}".lower()


@dataclass(slots=True)
class _Said:
    """What one worksheet says."""

    answers: dict[Finding, set[bool | None]] = field(default_factory=dict)
    """None stands for words that say neither."""
    lesions: set[int] = field(default_factory=set)
    """Items that hold what is said of a lesion; each stands for one."""
    masses: set[int] = field(default_factory=set)
    tracked: set[tuple[str, str]] = field(default_factory=set)
    sites: set[str] = field(default_factory=set)
    """Words of the sites of what is said of a lesion."""
    sides: set[str] = field(default_factory=set)

    @property
    def is_of_lesion(self) -> bool:
        """Whether anything is said of a lesion."""
        return bool(self.lesions or self.masses)


def read_worksheets(documents: Sequence[Instance]) -> ReadFindings:
    """Read the findings that the study's documents tell of its lesion; what is not known has no entry.

    A document that cannot be read is passed over, and said to be so. Raises TryAgain where the disk does not give one.
    """
    sheets, unreadable = _read_sheets([one for one in documents if one.sop_class_uid in WORKSHEETS])
    told = [UNREADABLE] if unreadable else []
    if not sheets:
        return ReadFindings(values={}, reason=told[0] if told else NO_WORKSHEET)
    read = [_read_content(sheet) for sheet in sheets]
    answers = _gather(read)
    if _has_several([said for said in read if said.is_of_lesion]):
        told.append(SEVERAL)
        answers = {finding: said for finding, said in answers.items() if finding in _NOT_OF_A_LESION}
    values = {finding: _agree(answers[finding]) for finding in Finding if finding in answers}
    known = {finding: value for finding, value in values.items() if value is not None}
    told += [_tell_unknown(finding, answers[finding]) for finding, value in values.items() if value is None]
    if known:
        told.insert(0, f"Worksheet: {tell_findings(known)}.")
    return ReadFindings(values=known, reason=" ".join(dict.fromkeys(told)) or NOTHING_SAID)


def merge_entered(worksheet: ReadFindings, entered: Mapping[Finding, bool | None]) -> ReadFindings:
    """Put what a person has entered in place of what the worksheets say of the same findings; None: not known."""
    if not entered:
        return worksheet
    values = {finding: value for finding, value in worksheet.values.items() if finding not in entered}
    known = {finding: value for finding, value in entered.items() if value is not None}
    told = [f"Entered by a person: {tell_findings(known)}."] if known else []
    unknown = [finding.value for finding in Finding if finding in entered and entered[finding] is None]
    if unknown:
        told.append(f"Entered by a person as not known: {', '.join(unknown)}.")
    return ReadFindings(values=values | known, reason=" ".join([*told, worksheet.reason]))


def tell_findings(values: Mapping[Finding, bool]) -> str:
    """Say the known findings in one phrase, in their order."""
    return ", ".join(f"{finding} {'yes' if values[finding] else 'no'}" for finding in Finding if finding in values)


def _gather(read: Sequence[_Said]) -> dict[Finding, set[bool | None]]:
    """Put together what all worksheets say."""
    answers: dict[Finding, set[bool | None]] = {}
    for said in read:
        for finding, one in said.answers.items():
            answers.setdefault(finding, set()).update(one)
    return answers


def _has_several(read: Sequence[_Said]) -> bool:
    """Whether the worksheets that speak of a lesion describe more than one, or do not say that theirs is the same."""
    if not read:
        return False
    tracked = set().union(*(said.tracked for said in read))
    places = (set().union(*(said.sites for said in read)), set().union(*(said.sides for said in read)))
    trackings = ({text for value, text in tracked if value == code.value} for code in TRACKING)
    counts = [len(found) for said in read for found in (said.lesions, said.masses)]
    is_same = len(read) == 1 or bool(set.intersection(*(said.tracked for said in read)))
    return not is_same or max(*counts, *map(len, places), *map(len, trackings)) > 1


def _agree(answers: set[bool | None]) -> bool | None:
    return next(iter(answers)) if len(answers) == 1 else None


def _tell_unknown(finding: Finding, answers: set[bool | None]) -> str:
    if {True, False} <= answers:
        return f"Worksheet: what it says of {finding} contradicts itself."
    return f"Worksheet: what it says of {finding} is not understood here."


def _read_sheets(documents: Sequence[Instance]) -> tuple[list[Dataset], int]:
    """Read the documents that others made and that no other of them replaces; count those that cannot be read."""
    sheets: dict[str, Dataset] = {}
    replaced: set[str] = set()
    unreadable = 0
    for document in documents:
        try:
            ds = read_file(document.path, with_pixels=False)
            if is_ours(ds):
                continue
            replaced.update(_list_predecessors(ds))
            list(_walk(ds))  # whatever is broken shows here
        except BROKEN_FILE:
            unreadable += 1
            continue
        sheets[document.sop_instance_uid] = ds
    return [ds for uid, ds in sheets.items() if uid not in replaced], unreadable


def _list_predecessors(ds: Dataset) -> Iterator[str]:
    """Yield the SOP Instance UIDs of the documents that this one replaces (PS3.3 C.17.2)."""
    for study in ds.get("PredecessorDocumentsSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for reference in series.get("ReferencedSOPSequence") or ():
                yield str(reference.get("ReferencedSOPInstanceUID"))


def _read_content(ds: Dataset) -> _Said:
    said = _Said()
    for item in _walk(ds):
        if not item.above:
            continue
        feature = find_feature(item.name, item.value)
        is_other = _is_elsewhere(item)
        if not is_other:
            _note_lesion(said, item)
        if feature is not None:
            _take(said, feature, item, is_other=is_other)
    return said


def _note_lesion(said: _Said, item: _Item) -> None:
    """Note what tells lesions apart: their number, identifiers and sides."""
    if item.name in TRACKING and item.text:
        said.tracked.add((item.name.value, item.text))
    if item.name in FINDING_NAMES and item.value is not None and item.value in LESIONS:
        said.masses.add(id(item))
    if _is_named(item.name, SIDES, SIDE_WORDS) and item.text:
        said.sides.add(item.text.lower())


def _take(said: _Said, feature: Feature, item: _Item, *, is_other: bool) -> None:
    """Note what an item says of a feature; what is said of another organ is not of our lesion."""
    if feature.finding in _NOT_OF_A_LESION:
        is_other = _is_of_other_nodes(item)
    if is_other or (item.value is None and not item.text):  # a heading says nothing
        return
    answer = judge_value(feature, item.name, item.value, item.text)
    said.answers.setdefault(feature.finding, set()).add(_qualify(answer, feature, item))
    if feature.finding not in _NOT_OF_A_LESION:
        said.lesions.add(id(item.above[-1]))
        said.sites.update(_list_sites(item)[-1:])


def _qualify(answer: bool | None, feature: Feature, item: _Item) -> bool | None:
    """Return the answer as the item's own children, and those of the items that hold it, let it stand."""
    if any(False in one.presence for one in item.above):
        return None
    if item.presence <= {True}:
        return answer
    is_whole = item.name in FINDING_NAMES and item.value is not None and item.value in feature.questions
    return False if is_whole and item.presence == {False} else None


def _list_sites(item: _Item) -> list[str]:
    """List the sites of what holds the item, from the root on, and its own."""
    return [one.site for one in (*item.above, item) if one.site]


def _is_elsewhere(item: _Item) -> bool:
    """Tell whether what holds the item, or its site, may be of another organ or of an earlier examination."""
    sites, headings = _list_sites(item), [one.heading for one in item.above]
    places = " ".join([*sites, *headings])
    if sites and not HERE.search(sites[-1]):
        return True
    if ELSEWHERE.search(places) or (WIDER.search(places) and not HERE.search(places)):
        return True
    return not all(is_plain(heading, HEADING_WORDS) for heading in headings)


def _is_of_other_nodes(item: _Item) -> bool:
    """Tell whether the item may be of lymph nodes that are not of the neck, or of an earlier examination."""
    places = [*_list_sites(item), *(one.heading for one in item.above)]
    if OTHER_NODES.search(" ".join([*places, item.heading])):
        return True
    return not all(is_plain(place, NODE_HEADING_WORDS) for place in places)


def _walk(ds: Dataset) -> list[_Item]:
    """List the content items with those that hold them, from the root on. Raises ValueError where they lie too deep."""
    found: list[_Item] = []
    waiting: list[tuple[Dataset, tuple[_Item, ...]]] = [(ds, ())]
    while waiting:
        content, above = waiting.pop()
        if len(above) > MOST_DEPTH:
            raise ValueError("the content tree is deeper than any worksheet's")
        children = list(content.get("ContentSequence") or ())
        item = _Item(
            name=_read_code(content, "ConceptNameCodeSequence") or Code("", "", ""),
            value=_read_code(content, "ConceptCodeSequence"),
            text=_read_text(content),
            above=above,
            site=" ".join(_read_text(child) for child in children if _is_site(child)).lower(),
            subject=" ".join(_read_text(child) for child in children if _is_subject(child)),
            presence=frozenset(answer for child in children for answer in _read_presence(child)),
        )
        found.append(item)
        waiting += [(child, (*above, item)) for child in reversed(children)]
    return found


def _is_site(content: Dataset) -> bool:
    name = _read_code(content, "ConceptNameCodeSequence")
    return name is not None and _is_named(name, SITES, SITE_WORDS)


def _is_named(name: Code, codes: tuple[Code, ...], words: re.Pattern[str]) -> bool:
    return name in codes or words.fullmatch(name.meaning.lower().strip()) is not None


def _is_subject(content: Dataset) -> bool:
    """Tell whether a content item is a coded finding that is neither a feature nor a lesion, as an organ or a node."""
    name, value = (_read_code(content, keyword) for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence"))
    if name is None or value is None or name not in FINDING_NAMES:
        return False
    return value not in LESIONS and find_feature(name, value) is None


def _read_presence(content: Dataset) -> Iterator[bool | None]:
    """Yield what a content item says of the presence of the one that holds it; None where that is not understood.

    Sites, sides, identifiers and what else has neither code nor text, as measurements and pictures, say nothing of it.
    """
    name = _read_code(content, "ConceptNameCodeSequence") or Code("", "", "")
    value, text = _read_code(content, "ConceptCodeSequence"), str(content.get("TextValue") or "")
    if value is None and not text:
        return
    if _is_named(name, SITES, SITE_WORDS) or _is_named(name, SIDES, SIDE_WORDS) or name in TRACKING:
        return
    if PRESENCE_WORDS.fullmatch(name.meaning.lower().strip()):
        yield judge_presence(value, value.meaning if value is not None else text)
    elif find_feature(name, value) is None:
        yield None


def _read_text(content: Dataset) -> str:
    """Give the words of an item's value: the meaning of its code, its text, or its UID."""
    code = _read_code(content, "ConceptCodeSequence")
    return code.meaning if code else str(content.get("TextValue") or content.get("UID") or "")


def _read_code(content: Dataset, keyword: str) -> Code | None:
    """Give a code of any length (PS3.3 8.1); None where there is none. The old names of SNOMED-RT count as SRT."""
    sequence = content.get(keyword)
    if not sequence:
        return None
    item = sequence[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    scheme = str(item.get("CodingSchemeDesignator") or "")
    scheme = "SRT" if scheme in {"SNM3", "99SDM"} else scheme
    return Code(str(value), scheme, str(item.get("CodeMeaning") or ""))
