"""What `screener status` tells of the work that waits and the work in hand."""

from datetime import timedelta

from screener.explain import describe_backlog
from screener.journey import Queue
from screener.store import Store
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, QUIET, START, claimed, dispatch, finish


def receive(store: Store, number: int) -> None:
    store.record_instance(an_instance(number, study_instance_uid=f"1.2.{number}"), START + timedelta(minutes=number))
    dispatch(store, START + timedelta(minutes=number) + QUIET)


def test_nothing_waits_in_a_new_store(store: Store) -> None:
    backlog = store.backlog()
    assert (sum(backlog.queues.values()), backlog.oldest, backlog.leases) == (0, (), ())


def test_the_queues_the_oldest_study_and_the_leases_are_told(store: Store) -> None:
    for number in (1, 2, 3):
        receive(store, number)
    run = claimed(store, START + timedelta(hours=1))
    backlog = store.backlog()
    assert backlog.queues[Queue.CT] == 2
    assert [(lease.study_id, lease.owner) for lease in backlog.leases] == [(run.study_id, "worker")]
    told = describe_backlog(backlog, START + timedelta(hours=1))
    assert "ct 2" in told
    assert "oldest waiting to be screened: study 2, for 57 min" in told
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


def oldest(store: Store, minutes: float) -> list[str]:
    """What has waited longest, as it is told so long after START."""
    told = describe_backlog(store.backlog(), START + timedelta(minutes=minutes)).splitlines()
    return [line.removeprefix("oldest ") for line in told if line.startswith("oldest ")]


def test_a_study_that_never_becomes_complete_is_in_sight(store: Store) -> None:
    for number in (1, 2):
        store.record_instance(an_instance(number, study_instance_uid=f"1.2.{number}"), START)
    assert oldest(store, 90) == ["not yet complete: study 1, for 90 min"]


def test_a_delivery_and_a_notice_that_are_owed_are_in_sight_until_they_are_through(store: Store) -> None:
    receive(store, 1)
    finish(store, claimed(store, START + timedelta(hours=1)), now=START + timedelta(hours=1))
    notice = "notice owed: study 1, for 30 min"
    assert oldest(store, 90) == ["delivery owed: study 1, for 30 min", notice]
    now = START + timedelta(minutes=80)
    delivery = store.claim_delivery("sender", now, LEASE)
    assert delivery is not None
    store.delivery_sent(delivery, seconds=1, now=now, ask_at=now)
    assert oldest(store, 90) == ["delivery not yet confirmed: study 1, for 30 min", notice]
    confirming = store.claim_delivery("sender", now, LEASE)
    assert confirming is not None
    store.delivery_confirmed(confirming, by="find", now=now)
    (owed,) = store.owed_notices(now)
    store.notice_sent(owed, now)
    assert oldest(store, 90) == []


def test_no_wait_is_told_as_less_than_nothing_where_the_clock_was_set_back(store: Store) -> None:
    store.record_instance(an_instance(), START)
    assert oldest(store, -60) == ["not yet complete: study 1, for 0 min"]
