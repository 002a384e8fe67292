"""Acknowledgements and opinions on the real database."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from screener.journey import Queue
from screener.store import Run, Store
from screener.store import tables as t
from screener.store.feedback import Judgment
from screener.store.reviews import Opinion
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, QUIET, START, deliver_and_notify, dispatch, finish

LATER = START + timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_server = request.param == "postgresql"
    url = request.getfixturevalue("postgresql") if is_server else f"sqlite:///{tmp_path}/screener.sqlite"
    opened = open_new_store(url)
    yield opened
    if is_server:
        with opened.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    opened.engine.dispose()


def screened(store: Store, number: int = 1, voxels: int = 900) -> Run:
    """The study after its image `number` has come and been screened."""
    now = START + timedelta(minutes=10 * number)
    store.record_instance(an_instance(number), now)
    dispatch(store, now + QUIET)
    run = store.claim_run(Queue.CT, "worker", now + QUIET, LEASE)
    assert run is not None
    finish(store, run, voxels, now + QUIET)
    return run


def test_the_first_to_acknowledge_counts(store: Store) -> None:
    run = screened(store)
    assert store.flagged_run(run.study_id) == run.run_id
    assert store.acknowledgement_of(run.run_id) is None
    first = store.acknowledge(run.run_id, by="alice", how="web", now=START)
    second = store.acknowledge(run.run_id, by="bob@hospital.test", how="mail", now=LATER)
    assert first is not None
    assert first == second == store.acknowledgement_of(run.run_id)
    assert (first.by, first.how, first.at, first.run_number) == ("alice", "web", START, 1)
    assert store.acknowledgements_of(run.study_id) == [first]


def test_what_flags_nothing_cannot_be_acknowledged(store: Store) -> None:
    run = screened(store, voxels=100)
    assert store.flagged_run(run.study_id) is None
    assert store.acknowledge(run.run_id, by="alice", how="web", now=START) is None
    assert store.acknowledge(999, by="alice", how="web", now=START) is None
    assert store.acknowledgements_of(run.study_id) == []


def test_a_finding_that_a_later_run_takes_back_is_in_force_no_more(store: Store) -> None:
    first = screened(store)
    screened(store, 2, voxels=100)
    assert store.flagged_run(first.study_id) is None


def test_the_same_finding_on_more_images_stays_acknowledged(store: Store) -> None:
    first = screened(store)
    store.acknowledge(first.run_id, by="alice", how="web", now=START)
    second = screened(store, 2, voxels=950)
    standing = store.acknowledgement_of(second.run_id)
    assert standing is not None
    assert (standing.by, standing.how, standing.at, standing.run_number) == ("alice", "earlier run", START, 2)


def test_a_finding_that_was_gone_in_between_is_news(store: Store) -> None:
    first = screened(store)
    store.acknowledge(first.run_id, by="alice", how="web", now=START)
    screened(store, 2, voxels=100)
    third = screened(store, 3)
    assert store.acknowledgement_of(third.run_id) is None
    assert store.flagged_run(third.study_id) == third.run_id


def test_a_finding_that_nobody_acknowledged_is_open_in_the_next_run_too(store: Store) -> None:
    screened(store)
    assert store.acknowledgement_of(screened(store, 2).run_id) is None
    assert store.open_findings() == 1


def test_opinions_are_kept_in_order(store: Store) -> None:
    run = screened(store)
    assert store.add_review(run.run_id, Opinion.AGREE, by="alice", text="", now=START)
    assert store.add_review(run.run_id, Opinion.DISAGREE, by="alice", text="a lymph node", now=LATER)
    assert not store.add_review(999, Opinion.AGREE, by="alice", text="", now=START)
    told = [(review.opinion, review.by, review.text, review.at) for review in store.reviews_of(run.study_id)]
    assert told == [(Opinion.AGREE, "alice", "", START), (Opinion.DISAGREE, "alice", "a lymph node", LATER)]


def test_an_opinion_is_judged_for_the_newest_run(store: Store) -> None:
    store.add_review(screened(store).run_id, Opinion.AGREE, by="alice", text="", now=START)
    assert store.judgments() == {1: Judgment.FINDING}
    screened(store, 2, voxels=950)
    assert store.judgments() == {1: Judgment.FINDING}
    screened(store, 3, voxels=2000)
    assert store.judgments() == {1: Judgment.OTHER}


def test_what_was_said_of_a_study_is_forgotten_with_it(store: Store) -> None:
    run = screened(store)
    store.acknowledge(run.run_id, by="alice", how="web", now=START)
    store.add_review(run.run_id, Opinion.AGREE, by="alice", text="", now=START)
    deliver_and_notify(store, LATER)
    with store.engine.begin() as connection:
        for table in (t.instances, t.results):
            connection.execute(table.update().values(expired_at=LATER))
    assert store.forget_studies(LATER + timedelta(days=1)) == 1
    assert store.reviews_of(run.study_id) == []
    assert store.acknowledgement_of(run.run_id) is None
