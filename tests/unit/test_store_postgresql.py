"""Two writers at once on PostgreSQL, where, unlike on SQLite, transactions run beside each other."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from screener.dispatch import dispatch_study
from screener.journey import Ending, Queue, Stage
from screener.store import Receipt, Run, Store, open_store
from screener.store import tables as t
from screener.study import SeriesChoice
from tests.peers.servers import open_postgresql
from tests.unit.test_store import (
    LEASE,
    QUIET,
    START,
    THRESHOLDS,
    a_screening,
    an_instance,
    check_migration_from_the_first_version,
    dispatch,
)

DEADLINE_SECONDS = 30.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with open_postgresql() as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url, is_migrating=True)
    yield opened
    with opened.engine.begin() as connection:
        for table in reversed(t.metadata.sorted_tables):
            connection.execute(table.delete())
    opened.engine.dispose()


def a_claimed_run(store: Store) -> Run:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    run = store.claim_run(Queue.CT, "worker", START + QUIET, LEASE)
    assert run is not None
    return run


class Meanwhile:
    """Calls that begin while the test holds a study's row, each on a thread of its own; all must succeed."""

    def __init__(self, store: Store, *calls: Callable[[], object]) -> None:
        self._store = store
        self._errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._run, args=(call,)) for call in calls]
        for thread in self._threads:
            thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - told to the test, below
            self._errors.append(error)

    def wait_for_blocked(self) -> None:
        """Return once every call waits for a lock."""
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            with self._store.engine.connect() as connection:
                if connection.execute(waiting).scalar_one() == len(self._threads):
                    return
        raise AssertionError("the calls do not wait for the study")

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()
        assert self._errors == []


def hold(connection: sa.Connection, study_id: int) -> None:
    connection.execute(t.studies.select().where(t.studies.c.id == study_id).with_for_update())


def test_rows_of_the_first_version_are_read_after_the_migration(url: str) -> None:
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE of_the_first_version"))
    server.dispose()
    check_migration_from_the_first_version(
        sa.make_url(url).set(database="of_the_first_version").render_as_string(hide_password=False)
    )


def test_an_image_is_told_from_one_that_is_sent_again(store: Store) -> None:
    receipts = [store.record_instance(an_instance(number), START) for number in (1, 2, 2)]
    assert receipts == [Receipt.NEW, Receipt.NEW, Receipt.RESENT]


def test_a_late_image_reopens_the_study(store: Store) -> None:
    run = a_claimed_run(store)
    store.end_run(run, Ending.SET_ASIDE, code="x", reason="too few slices", now=START + QUIET)
    store.record_instance(an_instance(2), START + 2 * QUIET)
    assert store.study_report(run.study_id).ending is None
    assert dispatch(store, START + 3 * QUIET) == 1


def test_a_study_ends_whichever_of_its_last_effects_is_marked_last(store: Store) -> None:
    run = a_claimed_run(store)
    recipients = [("email", "ent@hospital.test")]
    store.finish_run(run, a_screening(), destinations=["a", "b"], recipients=recipients, seconds=1.0, now=START)
    deliveries = [store.claim_delivery(owner, START, LEASE) for owner in ("one", "two")]
    (notice,) = store.owed_notices(START)
    with store.engine.begin() as connection:
        hold(connection, run.study_id)
        meanwhile = Meanwhile(
            store,
            lambda: store.delivery_sent(deliveries[0], seconds=0.1, now=START),  # type: ignore[arg-type]
            lambda: store.delivery_sent(deliveries[1], seconds=0.1, now=START),  # type: ignore[arg-type]
            lambda: store.notice_sent(notice, START),
        )
        meanwhile.wait_for_blocked()
    meanwhile.finish()
    assert store.study_report(run.study_id).ending is Ending.DONE


def test_a_worker_never_locks_against_the_dispatch_of_a_late_image(store: Store) -> None:
    run = a_claimed_run(store)
    with store.engine.begin() as connection:
        hold(connection, run.study_id)  # as `open_run` does, which supersedes the study's runs next
        meanwhile = Meanwhile(store, lambda: store.reached(run, Stage.LOADED, sentence="", seconds=1.0, now=START))
        meanwhile.wait_for_blocked()
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{DEADLINE_SECONDS:g}s'"))
        connection.execute(t.runs.update().where(t.runs.c.study_id == run.study_id).values(reason="a newer image"))
    meanwhile.finish()


def test_a_run_reads_no_image_whose_row_waited_for_its_opening(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    (study,) = store.quiet_studies(START + QUIET, quiet=QUIET, max_wait=timedelta(days=1))
    with store.engine.begin() as connection:
        hold(connection, study.study_id)
        meanwhile = Meanwhile(store, lambda: store.record_instance(an_instance(2), START + QUIET))
        meanwhile.wait_for_blocked()
    meanwhile.finish()
    assert dispatch_study(store, study, THRESHOLDS, START + QUIET) is None
    dispatch(store, START + 2 * QUIET)
    store.record_instance(an_instance(3), START + 2 * QUIET)
    run = store.claim_run(Queue.CT, "worker", START + 2 * QUIET, LEASE)
    assert run is not None
    read = [image.sop_instance_uid for image in store.images_of(run.study_id, Path(), run.newest_instance_id)]
    assert read == [an_instance(number).sop_instance_uid for number in (1, 2)]


def test_recovery_never_locks_against_the_dispatch_of_a_late_image(store: Store) -> None:
    run = a_claimed_run(store)
    with store.engine.begin() as connection:
        hold(connection, run.study_id)
        meanwhile = Meanwhile(store, lambda: store.recover_runs(START + QUIET + LEASE + timedelta(seconds=1), 3))
        meanwhile.wait_for_blocked()
        connection.execute(t.runs.update().where(t.runs.c.study_id == run.study_id).values(state="superseded"))
    meanwhile.finish()
    assert [run.state for run in store.study_report(run.study_id).runs] == ["superseded"]


def test_a_modality_that_breaks_its_rule_never_fails_the_study(store: Store) -> None:
    run = a_claimed_run(store)
    choice = SeriesChoice(
        series_instance_uid="1.2.3.1",
        modality="\0COMPUTED TOMOGRAPHY",
        score=0.0,
        is_chosen=False,
        reasons=("Modality COMPUTED TOMOGRAPHY is not CT",),
        instance_count=1,
    )
    store.record_series(run, [choice], None)
    (series,) = store.study_report(run.study_id).runs[0].series
    assert series.modality == "COMPUTED TOMOGRAPHY"[:16]


def test_the_equation_adds_up_while_studies_arrive(store: Store) -> None:
    store.record_instance(an_instance(), START)
    other = open_store(store.engine.url.render_as_string(hide_password=False))
    arrived: list[int] = []

    def arrive(*_: object) -> None:
        arrived.append(len(arrived))
        uid = f"1.2.4.{len(arrived)}"
        other.record_instance(replace(an_instance(), study_instance_uid=uid, sop_instance_uid=f"{uid}.1"), START)

    sa.event.listen(store.engine, "after_cursor_execute", arrive)
    counts = store.counts()
    sa.event.remove(store.engine, "after_cursor_execute", arrive)
    other.engine.dispose()
    assert arrived
    assert counts.is_balanced
