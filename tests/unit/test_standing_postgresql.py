"""What is left of a finding withdrawn in part, on PostgreSQL: the same order."""

from tests.unit.test_standing import test_the_worklist_is_sorted_by_what_is_left_of_a_finding
from tests.unit.test_store_postgresql import store, url

__all__ = ["store", "test_the_worklist_is_sorted_by_what_is_left_of_a_finding", "url"]
