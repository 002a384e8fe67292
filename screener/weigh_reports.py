"""Hold what was flagged against what the radiology reports say: what they do not mention is what nobody has seen.

"Mentioned" is said only where nothing speaks against it, for it may keep a
notice until the digest: every flagged side is named by a report, holds one
flagged mass only, and no report denies a mass there. Everything else that
sounds like a mention is doubtful.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from screener.mentions import Mention, Verdict
from screener.study import Side


class Standing(StrEnum):
    """How a finding stands to the radiology reports of its study."""

    NO_REPORT = "no report known"
    NOT_MENTIONED = "not mentioned"
    """A report is known, and of at least one flagged side none mentions a mass."""
    DOUBTFUL = "doubtful"
    MENTIONED = "mentioned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """The standing, and a sentence that says why; it holds no word of the report."""

    standing: Standing
    sentence: str

    @property
    def is_news(self) -> bool:
        """True: a report is known and does not mention it, so that perhaps nobody has seen it."""
        return self.standing is Standing.NOT_MENTIONED


NO_REPORT: Final = Weighed(standing=Standing.NO_REPORT, sentence="No final radiology report is known here.")

NOT_FOUND: Final = "No mention of a parotid mass was found in the radiology report."
DENIED: Final = "The radiology report denies a parotid mass."


def weigh_reports(reports: Sequence[Mention], places: Sequence[Side | None]) -> Weighed:
    """Weigh the reports in force of one study against where its masses lie.

    `places` has one side for each flagged mass, None where the side is not known (ultrasound), and is empty where
    nothing is flagged: the answer then is of any mass.
    """
    if not reports:
        return NO_REPORT
    mentions = [report for report in reports if report.verdict is Verdict.MENTIONED]
    sides = frozenset(side for side in places if side is not None)
    if not mentions:
        return Weighed(standing=Standing.NOT_MENTIONED, sentence=_say_denied(reports, sides))
    missing = [side for side in sorted(sides) if not any(each.covers(frozenset({side})) for each in mentions)]
    if missing:
        where = " and the ".join(missing)
        sentence = f"The radiology report mentions a mass {_where(mentions)}, but none in the {where} parotid."
        return Weighed(standing=Standing.NOT_MENTIONED, sentence=sentence)
    told = " ".join(part for part in (_where(mentions), _name_sentence(mentions)) if part)
    sentence = f"The radiology report mentions a parotid mass {told}".rstrip()
    doubt = _find_doubt(reports, places, sides)
    if doubt:
        return Weighed(standing=Standing.DOUBTFUL, sentence=f"{sentence}, but {doubt}.")
    return Weighed(standing=Standing.MENTIONED, sentence=f"{sentence}.")


def _say_denied(reports: Sequence[Mention], sides: frozenset[Side]) -> str:
    """Say what reports without a mention deny: a mass, or one on a side that is not all that is asked of.

    Without `sides` it is asked of both.
    """
    denials = [report for report in reports if report.verdict is Verdict.DENIED]
    if not denials:
        return NOT_FOUND
    denied = frozenset[Side]().union(*(each.sides for each in denials))
    if any(not each.sides for each in denials) or (sides or frozenset(Side)) <= denied:
        return DENIED
    return f"The radiology report denies a mass {_where(denials)} only; no mention of one was found in it."


def _where(mentions: Sequence[Mention]) -> str:
    """Name the sides that the mentions tell; nothing where one tells none."""
    sides = frozenset[Side]().union(*(each.sides for each in mentions))
    if not sides or any(not each.sides for each in mentions):
        return ""
    return f"in the {' and the '.join(sorted(sides, reverse=True))} parotid"


def _name_sentence(mentions: Sequence[Mention]) -> str:
    """Where one report mentions it, in which of its sentences first; nothing where several do."""
    number = mentions[0].sentence_number if len(mentions) == 1 else None
    return f"(sentence {number})" if number is not None else ""


def _find_doubt(reports: Sequence[Mention], places: Sequence[Side | None], sides: frozenset[Side]) -> str:
    """Say why it may be another mass that the reports mention; empty where nothing speaks for that."""
    told = frozenset[Side]().union(*(each.sides for each in reports if each.verdict is Verdict.MENTIONED))
    if None in places:
        return "on which side the ultrasound lies is not known"
    if not sides <= told:
        return "does not say on which side"
    if len(places) > len(sides) and sides:
        return "more than one mass is flagged on one side"
    if any(each.verdict is Verdict.DENIED and (not each.sides or each.sides & sides) for each in reports):
        return "another report of the same study denies one"
    return ""
