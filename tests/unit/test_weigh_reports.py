"""A finding counts as mentioned only where nothing speaks against it."""

import pytest

from screener.mentions import Mention, Verdict
from screener.study import Side
from screener.weigh_reports import Standing, weigh_reports

L, R = Side.LEFT, Side.RIGHT
SILENT = Mention(verdict=Verdict.NOT_MENTIONED)
OF_RIGHT_ONLY = "The radiology report denies a mass in the right parotid only; no mention of one was found in it."


def mentioned(*sides: Side) -> Mention:
    return Mention(verdict=Verdict.MENTIONED, sentence_number=1, sides=frozenset(sides))


def denied(*sides: Side) -> Mention:
    return Mention(verdict=Verdict.DENIED, sentence_number=1, sides=frozenset(sides))


@pytest.mark.parametrize(("reports", "places", "standing"), [
    ([], [L], Standing.NO_REPORT),
    ([SILENT], [L], Standing.NOT_MENTIONED),
    ([denied()], [L], Standing.NOT_MENTIONED),
    ([denied(R)], [L], Standing.NOT_MENTIONED),
    ([mentioned(L)], [L], Standing.MENTIONED),
    ([SILENT, mentioned(L)], [L], Standing.MENTIONED),
    ([mentioned(L, R)], [L], Standing.MENTIONED),
    ([mentioned(L), mentioned(R)], [L, R], Standing.MENTIONED),
    ([mentioned(L)], [R], Standing.NOT_MENTIONED),
    ([mentioned(L)], [L, R], Standing.NOT_MENTIONED),
    ([mentioned()], [L], Standing.DOUBTFUL),
    ([mentioned(L), mentioned()], [L, R], Standing.DOUBTFUL),
    ([mentioned(L)], [None], Standing.DOUBTFUL),
    ([mentioned(L)], [L, L], Standing.DOUBTFUL),
    ([mentioned(L), denied()], [L], Standing.DOUBTFUL),
    ([mentioned(L), denied(L)], [L], Standing.DOUBTFUL),
    ([mentioned(L), denied(R)], [L], Standing.MENTIONED),
    ([mentioned(R)], [], Standing.MENTIONED),
    ([mentioned()], [], Standing.MENTIONED),
    ([SILENT], [], Standing.NOT_MENTIONED),
])  # fmt: skip
def test_a_finding_is_held_against_the_reports(
    reports: list[Mention], places: list[Side | None], standing: Standing
) -> None:
    assert weigh_reports(reports, places).standing is standing


@pytest.mark.parametrize(("reports", "places", "sentence"), [
    ([], [L], "No final radiology report is known here."),
    ([SILENT], [L], "No mention of a parotid mass was found in the radiology report."),
    ([SILENT, denied()], [L], "The radiology report denies a parotid mass."),
    ([denied(L)], [L], "The radiology report denies a parotid mass."),
    ([denied(R), denied(L)], [L, R], "The radiology report denies a parotid mass."),
    ([denied(L, R)], [], "The radiology report denies a parotid mass."),
    ([denied()], [None], "The radiology report denies a parotid mass."),
    ([denied(R)], [L], OF_RIGHT_ONLY),
    ([denied(R)], [L, R], OF_RIGHT_ONLY),
    ([denied(R)], [None], OF_RIGHT_ONLY),
    ([SILENT, denied(R)], [], OF_RIGHT_ONLY),
    ([mentioned(L)], [L], "The radiology report mentions a parotid mass in the left parotid (sentence 1)."),
    ([mentioned(L)], [R], "The radiology report mentions a mass in the left parotid, but none in the right parotid."),
    ([mentioned()], [R], "The radiology report mentions a parotid mass (sentence 1), but does not say on which side."),
    (
        [mentioned(L), mentioned(R), denied(R)],
        [R],
        "The radiology report mentions a parotid mass in the right and the left parotid, "
        "but another report of the same study denies one.",
    ),
])  # fmt: skip
def test_the_sentence_says_what_the_report_says(
    reports: list[Mention], places: list[Side | None], sentence: str
) -> None:
    assert weigh_reports(reports, places).sentence == sentence
