"""What `screener status` tells of the work that waits and the work in hand."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from screener.explain import describe_backlog
from screener.journey import Queue
from screener.store import Store, open_store
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, QUIET, START, claimed, dispatch, finish


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/screener.sqlite", is_migrating=True)
    yield opened
    opened.engine.dispose()


def receive(store: Store, number: int) -> None:
    store.record_instance(an_instance(number, study_instance_uid=f"1.2.{number}"), START + timedelta(minutes=number))
    dispatch(store, START + timedelta(minutes=number) + QUIET)


def test_nothing_waits_in_a_new_store(store: Store) -> None:
    backlog = store.backlog()
    assert (sum(backlog.queues.values()), backlog.oldest_study_id, backlog.leases) == (0, None, ())


def test_the_queues_the_oldest_study_and_the_leases_are_told(store: Store) -> None:
    for number in (1, 2, 3):
        receive(store, number)
    run = claimed(store, START + timedelta(hours=1))
    backlog = store.backlog()
    assert (backlog.queues[Queue.CT], backlog.oldest_study_id) == (2, 2)
    assert [(lease.study_id, lease.owner) for lease in backlog.leases] == [(run.study_id, "worker")]
    told = describe_backlog(backlog, START + timedelta(hours=1))
    assert "ct 2" in told
    assert "oldest waiting study: 2, for 57 min" in told
    assert "leases held: 1" in told


def test_a_delivery_waits_is_in_hand_and_waits_again_to_be_confirmed(store: Store) -> None:
    receive(store, 1)
    finish(store, claimed(store, START + timedelta(hours=1)), voxels=1)
    assert store.backlog().queues[Queue.RESULTS] == 1
    delivery = store.claim_delivery("sender", START, LEASE)
    assert delivery is not None
    assert (store.backlog().queues[Queue.RESULTS], len(store.backlog().leases)) == (0, 1)
    store.delivery_sent(delivery, seconds=1, now=START, ask_at=START + QUIET)
    assert (store.backlog().queues[Queue.RESULTS], len(store.backlog().leases)) == (1, 0)


def test_an_expired_lease_is_told_as_such(store: Store) -> None:
    receive(store, 1)
    claimed(store, START + timedelta(hours=1))
    assert "expired at" in describe_backlog(store.backlog(), START + timedelta(hours=2))
