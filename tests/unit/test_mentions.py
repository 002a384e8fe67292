"""What a report says of a parotid mass: every sentence of the list, and the traps between sentences."""

import csv
import time

import pytest

from screener.mentions import Mention, Verdict, read_report, split_sentences
from screener.read_reports import SENTENCES, measure_rules
from screener.study import Side

ROWS = list(csv.DictReader(SENTENCES.read_text(encoding="utf-8").splitlines()))
BOTH = frozenset(Side)


@pytest.mark.parametrize("row", [row for row in ROWS if row["part"] != "fresh"], ids=lambda row: str(row["text"])[:60])
def test_a_sentence_of_the_list_gets_its_answer_and_sides(row: dict[str, str]) -> None:
    mention = read_report(row["text"])
    sides = "+".join(sorted(mention.sides, reverse=True))
    assert (mention.verdict, sides) == (row["verdict"], row["sides"])


def test_sentences_that_the_rules_were_not_made_for_are_answered_well_enough() -> None:
    (fresh,) = [each for each in measure_rules(SENTENCES) if each.part == "fresh"]
    assert (fresh.sentences, fresh.mentioned) == (24, 12)
    assert fresh.found >= 11
    assert fresh.kept_apart == 12  # a wrong "mentioned" hides what nobody has seen
    assert fresh.same >= 21


def test_the_list_is_long_enough_and_in_both_languages() -> None:
    assert len(ROWS) >= 80
    assert len({row["text"] for row in ROWS}) == len(ROWS)
    assert {(row["language"], row["verdict"]) for row in ROWS} == {
        (language, verdict) for language in ("en", "de") for verdict in Verdict
    }


def test_sentences_are_counted_over_lines_abbreviations_and_numbers() -> None:
    text = "CT of the neck.\nApprox. 2.3 cm mass,\nright parotid.\n\nIMPRESSION:\n1. Parotid mass.\n2. No. 3 is fine"
    assert split_sentences(text) == [
        "CT of the neck.",
        "Approx. 2.3 cm mass, right parotid.",
        "IMPRESSION:",
        "1. Parotid mass.",
        "2. No. 3 is fine",
    ]


def test_the_sentence_that_speaks_of_it_is_named() -> None:
    text = "Orbits normal. No sinusitis. Nodule of 9 mm in the left parotid. Left parotid mass needs ultrasound."
    assert read_report(text) == Mention(verdict=Verdict.MENTIONED, sentence_number=3, sides=frozenset({Side.LEFT}))


def test_a_mention_outweighs_a_denial_of_the_other_side() -> None:
    mention = read_report("No mass in the left parotid. Mass in the right parotid.")
    assert (mention.verdict, mention.sentence_number, mention.sides) == (Verdict.MENTIONED, 2, {Side.RIGHT})


def test_what_was_asked_is_not_what_was_found_until_the_findings_begin() -> None:
    asked = "CLINICAL INFORMATION: palpable mass.\nRight parotid tumor of 3 cm suspected.\n"
    assert read_report(asked).verdict is Verdict.NOT_MENTIONED
    assert read_report(f"{asked}FINDINGS:\nParotid mass on the right.").sentence_number == 4
    assert read_report(f"{asked}FINDINGS:\nThe parotid glands are normal.").verdict is Verdict.DENIED


def test_a_mention_of_one_side_does_not_cover_the_other() -> None:
    left = Mention(verdict=Verdict.MENTIONED, sentence_number=1, sides=frozenset({Side.LEFT}))
    assert left.covers(frozenset({Side.LEFT}))
    assert not left.covers(frozenset({Side.RIGHT}))
    assert not left.covers(BOTH)
    assert Mention(verdict=Verdict.MENTIONED, sentence_number=1).covers(BOTH)
    assert not Mention(verdict=Verdict.DENIED, sentence_number=1).covers(BOTH)


@pytest.mark.parametrize("text", ["", " \n ", "?", "parotid", "Befund:", "mass " * 5000, "a" * 100_000, "\x00\ufffd"])
def test_what_is_no_report_is_not_mentioned(text: str) -> None:
    assert read_report(text).verdict is Verdict.NOT_MENTIONED


def test_a_heading_begins_a_sentence_also_where_the_line_before_has_no_end() -> None:
    text = "CT of the neck\nINDICATION: mass in the left parotid\nFINDINGS: Both parotid glands are normal"
    assert split_sentences(text) == text.split("\n")
    assert read_report(text).verdict is Verdict.DENIED


@pytest.mark.timeout(20)
@pytest.mark.parametrize("words", ["mass parotid ", "left mass ", "no mass, ", "history of ", "mass, but "])
def test_a_sentence_without_end_costs_no_time_and_hides_no_other(words: str) -> None:
    endless = words * (200_000 // len(words))
    assert read_report(f"{endless}. A mass lies in the right parotid.").sides == {Side.RIGHT}


def seconds_to_split(words: str, count: int) -> float:
    """The least processor time of several tries."""
    taken = []
    for _ in range(10):
        before = time.thread_time()
        split_sentences(words * count)
        taken.append(time.thread_time() - before)
    return min(taken)


@pytest.mark.parametrize("words", ["Dr. ", "z. B. ", "Siehe Dr. Ca. "])
def test_abbreviations_without_end_cost_no_more_than_their_number(words: str) -> None:
    assert seconds_to_split(words, 4000) < 24 * seconds_to_split(words, 500), "eight times the text"


def test_a_sentence_that_goes_on_after_abbreviations_without_end_is_one() -> None:
    endless = "Dr. " * 2000
    assert split_sentences(f"1. {endless}Mass. Next") == [f"1. {endless}Mass.", "Next"]
    assert split_sentences(f"{endless}3. Next")[0] == f"{endless}3.", "a number that begins no sentence ends one"
