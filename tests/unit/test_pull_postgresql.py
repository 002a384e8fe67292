"""The night list on PostgreSQL: the same rows, the same answers."""

from datetime import timedelta

import pytest

from screener.journey import Queue
from screener.store import Store
from tests.unit.test_pull import (
    FIRST,
    LAST,
    LEASE,
    NIGHT,
    QUIET,
    Archive,
    a_series,
    dispatch,
    night_list,
    order,
    receive,
    report,
)
from tests.unit.test_store import a_screening
from tests.unit.test_store_postgresql import store, url

__all__ = ["store", "url"]

MORNING = NIGHT + timedelta(hours=9)


def test_a_backfill_comes_to_its_end_and_its_findings_into_a_digest(store: Store) -> None:
    archive = Archive(store)
    archive.add("1.2.1", FIRST, a_series(1), a_series(2))
    archive.add("1.2.2", LAST, a_series(3, body_part="CHEST"))
    archive.loses = {"1.9.2"}
    number = order(store, body_parts=("HEAD",))
    night_list(store, archive).work()
    assert report(store, number).states == {"fetching": 1, "skipped": 1}
    assert dispatch(store, NIGHT + QUIET) == 0, "a study that is half here was screened"
    archive.loses = set()
    night_list(store, archive, NIGHT + timedelta(hours=1)).work()
    assert report(store, number).states == {"fetched": 1, "skipped": 1}
    assert dispatch(store, NIGHT + timedelta(hours=2)) == 1
    assert store.backlog_in_flight() == 1
    receive(store, "1.2.99", a_series(99), NIGHT + timedelta(hours=2), sender="SCANNER")
    dispatch(store, NIGHT + timedelta(hours=3))
    for study in ("1.2.99", "1.2.1"):
        run = store.claim_run(Queue.CT, "worker", NIGHT + timedelta(hours=3), LEASE)
        assert run is not None
        assert run.study_instance_uid == study
        recipients = [("email", "ent@hospital.test")]
        store.finish_run(run, a_screening(), destinations=[], recipients=recipients, seconds=1.0, now=NIGHT)
    (alone,) = store.owed_notices(MORNING)
    assert alone.study_id == store.find_study("1.2.99")
    assert store.open_digests(MORNING.date(), MORNING) == 1
    (digest,) = store.owed_digests(MORNING)
    assert [notice.study_id for notice in digest.notices] == [store.find_study("1.2.1")]
    store.digest_sent(digest, MORNING)
    assert store.owed_digests(MORNING) == []
    assert report(store, number).flagged == (store.find_study("1.2.1"),)


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_backfill_is_paused_and_goes_on(store: Store, is_paused: bool) -> None:
    number = order(store)
    assert store.pause_backfill(number, is_paused)
    assert (store.next_search(["old"], NIGHT.date(), is_open=True) is None) is is_paused
