"""Rules at work on PostgreSQL: the same rows, the same answers."""

from tests.unit.test_notice_rules import (
    test_an_escalation_on_its_way_outlives_a_later_run_that_finds_the_same,
    test_one_who_acknowledges_ends_the_escalation,
    test_what_is_above_the_daily_limit_is_in_the_next_digest_and_none_is_lost,
    test_what_nobody_acknowledges_is_passed_on_step_by_step_and_then_rests,
)
from tests.unit.test_store_postgresql import store, url

__all__ = [
    "store",
    "test_an_escalation_on_its_way_outlives_a_later_run_that_finds_the_same",
    "test_one_who_acknowledges_ends_the_escalation",
    "test_what_is_above_the_daily_limit_is_in_the_next_digest_and_none_is_lost",
    "test_what_nobody_acknowledges_is_passed_on_step_by_step_and_then_rests",
    "url",
]
