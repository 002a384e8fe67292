"""What a stopped worker leaves is put back, and in the end given to a person."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from screener.config import Results
from screener.journey import Ending
from screener.recover import recover_expired_deliveries
from screener.store import Store
from tests.peers.stores import open_new_store
from tests.unit.test_store import LEASE, QUIET, START, an_instance, claimed, dispatch, finish

SETTINGS = Results(retry_seconds=30, max_retry_seconds=3600, give_up_hours=2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    opened.record_instance(an_instance(), START)
    dispatch(opened, START + QUIET)
    finish(opened, claimed(opened), voxels=1)
    yield opened
    opened.engine.dispose()


def test_a_delivery_that_ends_every_worker_is_given_up_in_the_end(store: Store) -> None:
    now = START
    while now <= START + timedelta(hours=2 * SETTINGS.give_up_hours):
        store.claim_delivery("dies", now, LEASE)
        now += LEASE + timedelta(seconds=1)
        recover_expired_deliveries(store, SETTINGS, now)
    report = store.study_report(1)
    assert (report.ending, report.code) == (Ending.FAILED, "delivery_given_up")
    (delivery,) = report.runs[0].deliveries
    assert "without an answer" in delivery.last_error


def test_a_worker_never_takes_an_expired_delivery_before_recovery_has_counted_it(store: Store) -> None:
    assert store.claim_delivery("dies", START, LEASE) is not None
    assert store.claim_delivery("next", START + LEASE + timedelta(seconds=1), LEASE) is None


def test_a_delivery_that_ended_its_worker_waits_before_the_next_try(store: Store) -> None:
    assert store.claim_delivery("dies", START, LEASE) is not None
    now = START + LEASE + timedelta(seconds=1)
    assert recover_expired_deliveries(store, SETTINGS, now) == 1
    assert store.claim_delivery("next", now, LEASE) is None
    assert store.claim_delivery("next", now + timedelta(seconds=SETTINGS.retry_seconds), LEASE) is not None


def test_a_delivery_in_hand_is_left_alone(store: Store) -> None:
    assert store.claim_delivery("works", START, LEASE) is not None
    assert recover_expired_deliveries(store, SETTINGS, START + LEASE) == 0


def test_a_sender_that_was_given_up_cannot_put_back_the_claim_of_the_next(store: Store) -> None:
    slow = store.claim_delivery("slow", START, LEASE)
    assert slow is not None
    recover_expired_deliveries(store, SETTINGS, START + LEASE + timedelta(seconds=1))
    later = START + timedelta(hours=1)
    assert store.claim_delivery("next", later, LEASE) is not None
    store.delivery_failed(slow, error="away", not_before=later, now=later)
    assert store.claim_delivery("third", later, LEASE) is None


def test_a_delivery_that_takes_long_keeps_its_claim_by_renewing_it(store: Store) -> None:
    slow = store.claim_delivery("slow", START, LEASE)
    assert slow is not None
    assert store.renew_delivery(slow, START + 3 * LEASE)
    assert recover_expired_deliveries(store, SETTINGS, START + 2 * LEASE) == 0


def test_a_claim_that_was_put_back_cannot_be_renewed(store: Store) -> None:
    slow = store.claim_delivery("slow", START, LEASE)
    assert slow is not None
    later = START + timedelta(hours=1)
    recover_expired_deliveries(store, SETTINGS, later)
    assert not store.renew_delivery(slow, later + LEASE)
    assert store.claim_delivery("next", later + LEASE, LEASE) is not None
    assert not store.renew_delivery(slow, later + 2 * LEASE)


def test_a_delivery_that_is_superseded_in_a_workers_hand_is_nobodys_any_more(store: Store) -> None:
    slow = store.claim_delivery("slow", START, LEASE)
    assert slow is not None
    later = START + timedelta(hours=1)
    store.record_instance(an_instance(2), later)
    dispatch(store, later + QUIET)
    finish(store, claimed(store, later + QUIET), now=later + QUIET)
    assert store.backlog().leases == ()
    assert not store.renew_delivery(slow, later + LEASE)
    store.delivery_sent(slow, seconds=1.0, now=later + QUIET)
    assert [run.deliveries[0].state for run in store.study_report(1).runs] == ["superseded", "owed"]
