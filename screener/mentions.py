"""Tell whether a radiology report speaks of a mass in a parotid gland: rules in English and German, nothing learned.

Three answers: mentioned, denied (no mass there, or the gland is said to be
normal) and not mentioned. A wrong "mentioned" would make a finding look known
that nobody has seen, so what is doubtful is not mentioned: what stands under
a heading such as "Indication", what was operated on, what artifacts hide, and
a mass of which another organ is nearer. How well the rules do is measured on
screener/report_sentences.csv by `screener reports measure`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from screener.study import Side


class Verdict(StrEnum):
    """What a report says of a parotid mass."""

    MENTIONED = "mentioned"
    DENIED = "denied"
    NOT_MENTIONED = "not mentioned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """The answer for a whole report."""

    verdict: Verdict
    sentence_number: int | None = None
    """From 1, as `split_sentences` counts; None where no sentence speaks of it."""
    sides: frozenset[Side] = field(default_factory=frozenset)
    """Of what is mentioned or denied; empty where no side is told."""

    def covers(self, sides: frozenset[Side]) -> bool:
        """True: a mass is mentioned on each of `sides`, or on a side that the report does not tell."""
        return self.verdict is Verdict.MENTIONED and (not self.sides or sides <= self.sides)


@dataclass(frozen=True, slots=True)
class _Said:
    """One clause's answer."""

    verdict: Verdict
    sides: frozenset[Side]


@dataclass(slots=True)
class _Context:
    """What the clauses before have spoken of."""

    organ: str = ""
    sides: frozenset[Side] = frozenset()


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


GLAND: Final = _any_of(
    r"\b(?:intra|extra)?parotid(?!ekt|ect)\w*", r"\bparotis\w*", r"\bparotiden\b", r"\bohrspeicheldrüse\w*"
)
SALIVARY: Final = _any_of(r"\bsalivary glands?", r"\b(?:kopf)?speicheldrüse\w*")
"""Not one gland for certain: enough for a denial, not for a mention."""
OTHER: Final = _any_of(
    r"\bsub(?:mandibul|lingu|ment)\w*", r"\bthyroid\w*", r"schilddrüse\w*", r"\bton[sz]il\w*", r"\bgaumen\w*",
    r"\bton?gue\b", r"\bzung\w*", r"lar[yi]n[xg]\w*", r"\bkehlkopf\w*", r"(?:naso|oro|hypo|para)?phar[yi]n\w*",
    r"\blymph[ -]?nod\w*", r"\blymphknoten\w*", r"\blymphadenopath\w*", r"\bcervical\b", r"\bsinus\w*", r"höhle\w*",
    r"\bparietal\w*", r"\bbones?\b", r"\bknochen\w*", r"\bmasseter\w*", r"\bmandib\w*", r"\borbita?l?\w*",
    r"\bintra[ck]rani\w*", r"\bbrain\b", r"\bhirn\w*", r"\blung\w*", r"\besophag\w*", r"\bösophag\w*",
)  # fmt: skip
NODE_IN_GLAND: Final = _any_of(r"\bintraparotid\w* (?:lymph ?nodes?|lymphknoten)")
LARGE: Final = _any_of(r"enlarg", r"vergrößer", r"\d ?[mc]m\b", r"suspicious", r"suspekt", r"metasta")
MASS: Final = _any_of(
    r"\bmass(?:es)?\b(?! effect)", r"\blesions?\b", r"\bnodul\w*", r"tumou?r\w*", r"\bneoplas\w*", r"\badenoma?s?\b",
    r"\bwarthin\w*", r"[ck]ar[cz]inom\w*", r"\bcancers?\b", r"\bmalignan\w*", r"\bmetasta\w*", r"\bcyst(?:s|ic)?\b",
    r"zyst(?:e|en|isch\w*)\b", r"\bfoc(?:us|i)\b", r"focal (?:abnormalit|finding)\w*", r"raumforderung\w*",
    r"läsion\w*", r"knoten\b", r"herd(?:e|es|en|befund\w*)?\b", r"neoplasie\w*", r"neubildung\w*", r"\bformation\b",
    r"\blymphom\w*", r"\bspace-occupying\b",
)  # fmt: skip
NORMAL: Final = _any_of(
    r"\bunremarkable\b", r"\bnormal\b", r"\bclear\b", r"\bsymmetric(?:al)?\b", r"\bhomogen\w*", r"\bunauffällig\w*",
    r"\bno (?:\w+ )?abnormalit", r"\bkeine auffälligkeit",
    r"\bregelrecht\w*", r"\bseitengleich\w*", r"\bsymmetrisch\w*", r"ohne pathologischen befund", r"\bo\. ?b\.",
)  # fmt: skip
BEFORE: Final = _any_of(
    r"\bno\b", r"\bnot\b", r"\bwithout\b", r"\bneither\b", r"\bnor\b", r"\bfree of\b", r"\bnegative for\b",
    r"\babsence of\b", r"\brule out\b", r"\bkein\w*", r"\bohne\b", r"\bweder\b", r"\bfrei von\b",
    r"\baus[sz]chlu(?:ss|ß)\w*",
)  # fmt: skip
"""Denies a mass that follows in the same clause."""
AFTER: Final = _any_of(
    r"\b(?:not|no longer) (?:\w+ )?(?:seen|identified|present|visible|visuali[sz]ed|detected|found|shown|evident)",
    r"\bruled out\b", r"\bexcluded\b", r"\babsent\b", r"\bausgeschlossen\b", r"\bkein\w* (?:anhalt|nachweis|hinweis)",
    r"\bnicht (?:mehr |sicher )?(?:nachweis|nachgewiesen|abgrenzbar|erkennbar|sichtbar|vorhanden|zu sehen|darstellbar)",
    r"\bnicht (?:sicher )?(?:abgrenzen|nachweisen|erkennen)",
)  # fmt: skip
"""Denies a mass that stands before it in the same clause."""
NO_DENIAL: Final = _any_of(
    r"\b(?:no|without)(?: any)?(?: significant| interval| relevant)* (?:change|growth|increase|enlargement|progress)",
    r"\bnot (?:significantly )?(?:changed|increased|enlarged|grown|larger)", r"\b(?:does|do) not enhance",
    r"\bkeine?\w* (?:größen|wesentliche )?(?:änderung|zunahme|progredienz|wachstum\w*)",
    r"\bohne (?:größen|wesentliche )?(?:änderung|zunahme|progredienz|wachstum)",
    r"\bnot (?:seen|present|visible|described) (?:on|in) (?:the )?(?:prior|previous)",
    r"\bin der voruntersuchung (?:noch )?nicht \w+",
    r"\bnicht (?:größen)?progredient\w*", r"\bnicht größer\b", r"\bnicht verändert\b",
)  # fmt: skip
"""Looks like a denial and says that something which is there has not changed."""
POSSIBLE: Final = _any_of(
    r"\b(?:can ?not|can't) be (?:excluded|ruled out)", r"\bcannot exclude\b", r"\bnot excluded\b",
    r"\bnicht (?:sicher )?(?:auszuschlie(?:ß|ss)en|ausgeschlossen|ausschlie(?:ß|ss)bar)",
)  # fmt: skip
HIDDEN: Final = _any_of(r"artifact", r"artefa[ck]t", r"\blimited\b", r"obscured", r"eingeschränkt", r"überlagert")
BESIDE: Final = re.compile(
    r"\b(?:adjacent to|abutting|displacing|next to|upon|angrenzend an|neben)(?: (?:the|der|die))?(?: \w+)? paroti\w+"
    r"|\bparoti\w+ (?:anliegend|angrenzend|benachbart)\w*"
)
"""The gland is where something lies beside, not in."""
HISTORY: Final = re.compile(
    r"(?:\bhistory of\b|\bstatus post\b|\bs/p\b|\bafter (?:resection|removal|irradiation)\b|\bz\. ?n\.|\bzustand nach\b"
    r"|\bpar(?:otid)(?:ectomy|ektomie)\b)[^,;]*"
)
"""What was, and is no longer: up to the next comma."""
BREAK: Final = re.compile(
    r";|\bbut\b|\bhowever\b|\balthough\b|\bwhile\b|\bwhereas\b|\bjedoch\b|\baber\b|\bhingegen\b|\bdagegen\b"
    r"|\bwährend\b|\bsondern\b|\bother than\b|\bexcept(?: for)?\b|\bapart from\b"
    r"|,\s(?=(?:an?|there|the|in|im|on|within|eine?\w?|der|die|das|es|rechts|links|right|left|now|\d[\d.,]*)\b)"
    r"|\band (?=(?:an?|there)\b)|\bund (?=(?:eine?\w?|es)\b)"
)
"""A new clause begins: a denial before it says nothing of what follows."""
_SIDES: Final = (
    (
        _any_of(
            r"\bright and left\b",
            r"\bleft and right\b",
            r"\brechten und linken\b",
            r"\blinken und rechten\b",
            r"\bbilateral\w*",
            r"\bboth\b",
            r"\bbeid\w*",
            r"\bbds\b",
        ),
        frozenset(Side),
    ),
    (_any_of(r"\bright\b", r"\brecht(?:e|s)\w*"), frozenset({Side.RIGHT})),
    (_any_of(r"\bleft\b", r"\blink(?:e|s)\w*"), frozenset({Side.LEFT})),
)
MOST_SENTENCE: Final = 2000
"""Characters; a longer sentence is none that a person wrote: it is not read, and would take time without end."""
_ELSEWHERE: Final = " sinus "
"""What stands for a place that is not the gland: any word of OTHER."""
_BEFORE_FINDINGS: Final = re.compile(
    r"(?:indication|reason for|clinical|history|technique|procedure|comparison|question|fragestellung|klinik|klinisch"
    r"|anamnese|technik|methode|indikation|rechtfertigende|vorunters)[^:]{0,40}:"
)
_HEADING: Final = re.compile(r"[a-zäöü][\w /.&-]{2,40}:")
_POINTS_BACK: Final = re.compile(r"(?:it|this|these|within|there|herein|dar?in|dort|hier|diese\w?|sie|er)\b")
_SENTENCE_END: Final = re.compile(
    r"(?<=[.!?])\s+(?=[\"(]?[A-ZÄÖÜ0-9])|\n\s*\n|(?<=[:.])\n|\n(?=\s*(?:[-*•]|\d+[.)]))"
    r"|\n(?=[ \t]*[A-ZÄÖÜ][\w /.&-]{2,40}:)"  # a heading
)
_ABBREVIATION: Final = re.compile(r"\b(?:gl|ca|dr|prof|fig|no|z|n|b|bzw|vs|approx|evtl|max|re|li|im|ser)\.$", re.I)
_LONGEST_ABBREVIATION: Final = len(" approx.")
_LIST_NUMBER: Final = re.compile(r"\d+\.")


def read_report(text: str) -> Mention:
    """Give the answer for a report's text: one mention outweighs every denial, and sides add up."""
    said: list[tuple[int, _Said]] = []
    context = _Context()
    for number, sentence in _list_findings(text):
        said += [(number, each) for each in _read_sentence(sentence, context)]
    for verdict in (Verdict.MENTIONED, Verdict.DENIED):
        mine = [(number, each) for number, each in said if each.verdict is verdict]
        if mine:
            untold = any(not each.sides for _, each in mine)
            sides = frozenset[Side]() if untold else frozenset().union(*(each.sides for _, each in mine))
            return Mention(verdict=verdict, sentence_number=mine[0][0], sides=sides)
    return Mention(verdict=Verdict.NOT_MENTIONED)


def split_sentences(text: str) -> list[str]:
    """Split a report's text: at full stops, not at those of abbreviations and numbers, and at empty lines."""
    sentences: list[str] = []
    begun: list[str] = []
    for piece in filter(None, (" ".join(each.split()) for each in _SENTENCE_END.split(text))):
        is_number = not begun and _LIST_NUMBER.fullmatch(piece) is not None
        begun.append(piece)
        if not is_number and not _ends_in_abbreviation(piece):
            sentences.append(" ".join(begun))
            begun.clear()
    return [*sentences, " ".join(begun)] if begun else sentences


def _ends_in_abbreviation(piece: str) -> bool:
    return _ABBREVIATION.search(piece, max(0, len(piece) - _LONGEST_ABBREVIATION)) is not None


def _list_findings(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text, in lower case, of the sentences that say what was seen; not why it was looked for."""
    is_finding = True
    for number, sentence in enumerate(split_sentences(text), 1):
        lower = sentence.lower()
        if _HEADING.match(lower):
            is_finding = _BEFORE_FINDINGS.match(lower) is None
        if is_finding and len(lower) <= MOST_SENTENCE and not _is_question(lower):
            yield number, lower


def is_before_findings(heading: str) -> bool:
    """Tell whether what stands under a heading says why or how it was looked, not what was seen."""
    return _BEFORE_FINDINGS.match(f"{heading.lower()}:") is not None


def _is_question(sentence: str) -> bool:
    """Tell whether it asks for a mass; one that weighs what a measured mass may be does not."""
    return sentence.endswith("?") and not re.search(r"\bdd\b|\d ?[mc]m\b", sentence)


def _read_sentence(sentence: str, context: _Context) -> Iterator[_Said]:
    is_hidden = HIDDEN.search(sentence) is not None and POSSIBLE.search(sentence) is not None
    for pattern in (HISTORY, NO_DENIAL, POSSIBLE):
        sentence = pattern.sub(" ", sentence)
    if not _POINTS_BACK.match(sentence):
        context.organ, context.sides = "", frozenset()
    for clause in _split_clauses(BESIDE.sub(_ELSEWHERE, sentence)):
        said = _read_clause(clause, context)
        if said is not None and not (is_hidden and said.verdict is Verdict.MENTIONED):
            yield said


def _split_clauses(sentence: str) -> list[str]:
    """Split where a new statement begins.

    A side alone belongs to what follows, whatever else states nothing by itself to what stands before it.
    """
    clauses: list[str] = []
    begun = ""
    for part in BREAK.split(sentence):
        is_statement = MASS.search(part) is not None or NORMAL.search(part) is not None
        if is_statement or not clauses:
            clauses.append(begun + part)
            begun = ""
        elif _find_sides(part, []) and not _find_organs(part):
            begun = f"{part}, "
        else:
            clauses[-1] += f", {part}"
    if begun and clauses:
        clauses[-1] += f", {begun}"
    return clauses


def _read_clause(clause: str, context: _Context) -> _Said | None:
    """Read one clause; `context` then holds the organ that it spoke of."""
    masses = _find_masses(clause)
    organs = _find_organs(clause)
    answers = []
    for mass in masses:
        organ = min(organs, key=lambda each: _distance(mass, each[1]))[0] if organs else context.organ
        is_denied = _is_denied(clause, mass)
        if organ == "gland" or (organ == "salivary" and is_denied):
            answers.append(Verdict.DENIED if is_denied else Verdict.MENTIONED)
    names = [name for name, _ in organs]
    if not masses and NORMAL.search(clause) and ("gland" in names or "salivary" in names):
        answers.append(Verdict.DENIED)
    sides = _find_sides(clause, masses) or (context.sides if not organs else frozenset())
    if names:
        context.organ = "gland" if "gland" in names else names[-1]
    if sides:
        context.sides = sides
    if not answers:
        return None
    verdict = Verdict.MENTIONED if Verdict.MENTIONED in answers else Verdict.DENIED
    return _Said(verdict, sides)


def _find_masses(clause: str) -> list[re.Match[str]]:
    """Find the words for a mass; a lymph node in the gland is one where it is called large."""
    nodes = list(NODE_IN_GLAND.finditer(clause)) if LARGE.search(clause) else []
    return [*MASS.finditer(NODE_IN_GLAND.sub(_blank_node, clause)), *nodes]


def _find_organs(clause: str) -> list[tuple[str, re.Match[str]]]:
    """Find what is spoken of; the lymph node in a gland is the gland."""
    clause = NODE_IN_GLAND.sub(_blank_node, clause)
    kinds = (("gland", GLAND), ("salivary", SALIVARY), ("other", OTHER))
    return [(name, match) for name, pattern in kinds for match in pattern.finditer(clause)]


def _blank_node(match: re.Match[str]) -> str:
    """Keep the first word and as much space as the rest took, so that places stay what they are."""
    word = match[0].partition(" ")[0]
    return word.ljust(len(match[0]))


def _is_denied(clause: str, mass: re.Match[str]) -> bool:
    return BEFORE.search(clause, 0, mass.start()) is not None or AFTER.search(clause, mass.end()) is not None


def _find_sides(clause: str, masses: Sequence[re.Match[str]]) -> frozenset[Side]:
    """Find the side that stands nearest to the first mass, or the first one where there is none."""
    found = [(match, sides) for pattern, sides in _SIDES for match in pattern.finditer(clause)]
    if not found:
        return frozenset()
    if not masses:
        return min(found, key=lambda each: each[0].start())[1]
    return min(found, key=lambda each: _distance(masses[0], each[0]))[1]


def _distance(one: re.Match[str], other: re.Match[str]) -> int:
    """Count the characters between two words."""
    return max(one.start() - other.end(), other.start() - one.end(), 0)
