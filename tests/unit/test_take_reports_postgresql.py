"""Reports that come by HL7 on PostgreSQL: the same rows, the same answers."""

from datetime import timedelta

from screener.read_reports import add_report
from screener.store import Store
from screener.store.web_worklist import Wish
from screener.study import Side
from tests.peers.values import a_candidate
from tests.unit.test_notices_and_reports import (
    test_a_report_that_puts_it_in_doubt_takes_the_finding_out_of_the_digest,
)
from tests.unit.test_store import START
from tests.unit.test_store_postgresql import store, url
from tests.unit.test_take_reports import (
    sender,
    test_a_corrected_report_takes_the_place_of_those_before_it,
    test_a_message_that_is_sent_again_changes_nothing,
    test_a_report_of_another_patient_is_not_filed_though_the_accession_number_is_the_same,
    test_a_report_that_names_no_patient_is_filed_only_where_there_is_one,
    test_a_report_waits_for_its_study_and_then_tells_the_story,
    test_any_id_of_the_patient_will_do_and_none_where_the_image_names_none,
    test_what_waited_for_too_long_is_forgotten_and_what_was_filed_stays,
)
from tests.unit.test_web_answers import screen

__all__ = [
    "sender",
    "store",
    "test_a_corrected_report_takes_the_place_of_those_before_it",
    "test_a_message_that_is_sent_again_changes_nothing",
    "test_a_report_of_another_patient_is_not_filed_though_the_accession_number_is_the_same",
    "test_a_report_that_names_no_patient_is_filed_only_where_there_is_one",
    "test_a_report_that_puts_it_in_doubt_takes_the_finding_out_of_the_digest",
    "test_a_report_waits_for_its_study_and_then_tells_the_story",
    "test_any_id_of_the_patient_will_do_and_none_where_the_image_names_none",
    "test_what_waited_for_too_long_is_forgotten_and_what_was_filed_stays",
    "url",
]


def test_what_the_report_does_not_mention_on_that_side_stands_first(store: Store) -> None:
    left, right = a_candidate(1, 900, Side.LEFT), a_candidate(1, 900, Side.RIGHT)
    studies = [screen(store, number, mass) for number, mass in enumerate((left, right, left), start=1)]
    for study in studies[:2]:
        add_report(store, study, b"There is a mass of 2 cm in the left parotid.", START + timedelta(days=1))
    lines = store.worklist_page(Wish()).lines
    assert [line.study_id for line in lines] == [studies[1], studies[2], studies[0]]
