"""The store: what is recorded, claimed, ended and owed, on the real database."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from screener.decide import decide
from screener.dispatch import dispatch_study
from screener.explain import describe_study
from screener.journey import Ending, Queue, Stage
from screener.store import (
    Kind,
    LeaseLostError,
    Receipt,
    Result,
    Run,
    Screening,
    Store,
    open_store,
)
from screener.store.engine import migrate, open_engine
from screener.store.tables import metadata
from screener.study import Thresholds
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUIET = timedelta(seconds=60)
MAX_WAIT = timedelta(hours=1)
LEASE = timedelta(seconds=120)
THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="abc")


def dispatch(store: Store, now: datetime) -> int:
    studies = store.quiet_studies(now, quiet=QUIET, max_wait=MAX_WAIT)
    return sum(dispatch_study(store, study, THRESHOLDS, now) is not None for study in studies)


def claimed(store: Store, now: datetime = START + QUIET) -> Run:
    run = store.claim_run(Queue.CT, "worker", now, LEASE)
    assert run is not None
    return run


def a_screening(voxels: int = 900) -> Screening:
    candidates = (a_candidate(1, voxels),)
    return Screening(
        assessments=BOTH_ASSESSED,
        candidates=candidates,
        verdict=decide(BOTH_ASSESSED, candidates, THRESHOLDS),
        results=tuple(
            Result(role=role, sop_class_uid="1.2", sop_instance_uid=f"2.25.{n}", path=f"results/{role}", sha256="0")
            for n, role in enumerate(("sr", "seg"))
        ),
        model_identity="2.25.99",
    )


def finish(store: Store, run: Run, voxels: int = 900, now: datetime = START) -> None:
    store.finish_run(
        run,
        a_screening(voxels),
        destinations=["pacs"],
        recipients=[("email", "ent@hospital.test")],
        seconds=1.0,
        now=now,
    )


def deliver_and_notify(store: Store, now: datetime) -> None:
    delivery = store.claim_delivery("sender", now, LEASE)
    assert delivery is not None
    store.delivery_sent(delivery, seconds=0.1, now=now)
    for notice in store.owed_notices(now):
        store.notice_sent(notice, now)


def test_the_migrations_build_the_tables(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_rows_of_the_first_version_are_read_after_the_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.sqlite"
    check_migration_from_the_first_version(url)


def check_migration_from_the_first_version(url: str) -> None:
    """A database of version 0001 with one finished run, brought up to date: its candidates have no scores."""
    engine = open_engine(url)
    migrate(engine, "0001")
    old = sa.MetaData()
    with engine.begin() as connection:
        old.reflect(connection)
        put = {"received_at": START, "study_instance_uid": "1.2.3", "stage": "decided", "code": "", "reason": ""}
        put["reprocess_number"] = 0
        study_id = connection.execute(old.tables["studies"].insert().values(put)).inserted_primary_key[0]
        run = {"study_id": study_id, "number": 1, "queue": "ct", "state": "ended", "ending": "done", "code": "flagged"}
        run |= {"min_voxels": 500, "min_probability": 0.5, "config_revision": "abc", "reprocess_number": 0}
        run |= {"opened_at": START, "not_before": START, "ended_at": START, "attempts": 1, "reason": ""}
        run |= {"is_flagged": True, "model_identity": "2.25.1"}
        run_id = connection.execute(old.tables["runs"].insert().values(run)).inserted_primary_key[0]
        for side in ("right", "left"):
            gland = {"run_id": run_id, "side": side, "is_assessed": True, "assessment_reason": "", "reason": ""}
            gland |= {"volume_mm3": 2.5e4, "presence": "present" if side == "right" else "absent"}
            connection.execute(old.tables["glands"].insert().values(gland))
        features = {
            key: value for key, value in asdict(a_candidate(1, 900)).items() if key not in ("features", "scores")
        }
        candidate = {"run_id": run_id, "number": 1, "side": "right", "is_above_threshold": True, "voxels": 900}
        connection.execute(old.tables["candidates"].insert().values(candidate | {"features": features}))
    engine.dispose()
    store = open_store(url, is_migrating=True)
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    (decided,) = store.decided_runs()
    assert decided.candidates == (a_candidate(1, 900),)
    assert decided.thresholds == replace(THRESHOLDS, min_score=0.0)
    assert [(gland.covered_share, gland.is_partial) for gland in decided.assessments] == [(1.0, False)] * 2
    store.engine.dispose()


def test_sqlite_survives_a_power_cut(store: Store) -> None:
    with store.engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_a_resent_instance_is_stored_once(store: Store) -> None:
    receipts = [store.record_instance(an_instance(), START) for _ in range(2)]
    assert receipts == [Receipt.NEW, Receipt.RESENT]
    assert store.study_report(1).images == 1


def test_the_same_uid_with_other_content_is_a_conflict(store: Store) -> None:
    store.record_instance(an_instance(), START)
    assert store.record_instance(an_instance(sha256="f" * 64), START) is Receipt.CONFLICT


def test_a_uid_of_another_study_begins_no_study(store: Store) -> None:
    store.record_instance(an_instance(), START)
    stolen = an_instance(study_instance_uid="9.9", sha256="f" * 64)
    assert store.record_instance(stolen, START) is Receipt.CONFLICT
    assert store.counts().received == 1


def test_a_study_is_whole_after_its_quiet_period_only(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    store.record_instance(an_instance(2), START + timedelta(seconds=30))
    assert dispatch(store, START + timedelta(seconds=89)) == 0
    assert dispatch(store, START + timedelta(seconds=90)) == 1


def test_a_study_that_never_falls_silent_goes_on_after_max_wait(store: Store) -> None:
    now = START
    while now < START + MAX_WAIT:
        store.record_instance(an_instance(int((now - START).total_seconds()) + 1), now)
        now += timedelta(seconds=30)
    assert dispatch(store, START + MAX_WAIT - timedelta(seconds=1)) == 0
    assert dispatch(store, START + MAX_WAIT) == 1


def test_an_image_that_is_recorded_late_makes_no_study_quiet_sooner(store: Store) -> None:
    for number, seconds in enumerate((0, 50, 10)):
        store.record_instance(an_instance(number), START + timedelta(seconds=seconds))
    assert dispatch(store, START + timedelta(seconds=109)) == 0
    assert dispatch(store, START + timedelta(seconds=110)) == 1


def test_an_image_between_the_look_and_the_dispatch_keeps_the_study_waiting(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    (seen,) = store.quiet_studies(START + QUIET, quiet=QUIET, max_wait=MAX_WAIT)
    store.record_instance(an_instance(2), START + QUIET)
    assert dispatch_study(store, seen, THRESHOLDS, START + QUIET) is None
    assert claimed_or_none(store) is None


def claimed_or_none(store: Store) -> Run | None:
    return store.claim_run(Queue.CT, "worker", START + QUIET, LEASE)


def test_two_workers_never_hold_the_same_run(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    assert claimed_or_none(store) is not None
    assert claimed_or_none(store) is None


def test_runs_are_taken_oldest_first(store: Store) -> None:
    for minute, study in enumerate(("1.1", "1.2", "1.3")):
        store.record_instance(an_instance(minute, study_instance_uid=study), START + timedelta(minutes=minute))
        dispatch(store, START + timedelta(minutes=minute) + QUIET)
    late = START + timedelta(hours=1)
    assert [claimed(store, late).study_instance_uid for _ in range(3)] == ["1.1", "1.2", "1.3"]


def test_an_expired_lease_is_put_back_and_the_old_worker_can_no_longer_write(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    lost = claimed(store)
    later = START + QUIET + LEASE + timedelta(seconds=1)
    assert len(store.recover_runs(later, max_attempts=3)) == 1
    again = claimed(store, later)
    assert again.attempts == 2
    with pytest.raises(LeaseLostError):
        store.reached(lost, Stage.SELECTED, sentence="", seconds=0.0, now=later)
    with pytest.raises(LeaseLostError):
        finish(store, lost, now=later)
    assert not store.renew_lease(lost, later + LEASE)


def test_a_renewed_lease_is_not_put_back(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    run = claimed(store)
    assert store.renew_lease(run, START + timedelta(hours=2))
    assert store.recover_runs(START + timedelta(hours=1), max_attempts=3) == []


def test_a_study_that_kills_its_worker_three_times_fails_with_the_evidence(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    now = START + QUIET
    for _ in range(3):
        run = claimed(store, now)
        store.reached(run, Stage.LOADED, sentence="", seconds=0.0, now=now)
        now += LEASE + timedelta(seconds=1)
        store.recover_runs(now, max_attempts=3)
    report = store.study_report(1)
    assert report.ending is Ending.FAILED
    assert "loaded" in report.reason
    assert "3 times" in report.reason
    assert store.counts().is_balanced


def test_a_killed_worker_is_counted_apart_from_faults_outside_the_study(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    now = START + QUIET
    for _ in range(5):
        store.try_again(claimed(store, now), reason="the disk is away", not_before=now, now=now)
    for _ in range(2):
        claimed(store, now)
        now += LEASE + timedelta(seconds=1)
        store.recover_runs(now, max_attempts=3)
    assert store.study_report(1).ending is None


def test_a_worker_that_died_before_it_selected_a_series_is_said_to_have_died_there_on_every_attempt(
    store: Store,
) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    now = START + QUIET
    for _ in range(2):
        claimed(store, now)
        now += LEASE + timedelta(seconds=1)
        ((_, sentence),) = store.recover_runs(now, max_attempts=3)
        assert sentence.endswith("after stage 'complete'")


def test_a_study_is_done_only_when_nothing_is_owed(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    assert store.counts().in_flight == 1
    delivery = store.claim_delivery("sender", START, LEASE)
    assert delivery is not None
    assert delivery.paths == ("results/seg", "results/sr")
    store.delivery_sent(delivery, seconds=0.1, now=START)
    assert store.study_report(1).stage == Stage.SENT
    (notice,) = store.owed_notices(START)
    store.notice_sent(notice, START)
    report = store.study_report(1)
    assert (report.ending, report.stage) == (Ending.DONE, Stage.NOTIFIED)
    assert store.counts() == replace(store.counts(), done=1, in_flight=0, flagged=1)


def test_a_study_below_the_threshold_owes_no_notice(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store), voxels=499)
    assert store.owed_notices(START) == []
    assert store.counts().flagged == 0


def test_a_failed_delivery_waits_and_is_given_up_in_the_end(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store), voxels=10)
    delivery = store.claim_delivery("sender", START, LEASE)
    assert delivery is not None
    store.delivery_failed(delivery, error="away", not_before=START + timedelta(minutes=5), now=START)
    assert store.claim_delivery("sender", START + timedelta(minutes=4), LEASE) is None
    again = store.claim_delivery("sender", START + timedelta(minutes=5), LEASE)
    assert again is not None
    assert again.attempts == 2
    store.delivery_failed(again, error="away", not_before=None, now=START)
    report = store.study_report(1)
    assert (report.ending, report.code) == (Ending.FAILED, "delivery_given_up")


def test_what_a_person_has_discarded_stays_set_aside_whatever_is_told_or_sent_later(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    run, to = claimed(store), [("email", "ent@hospital.test")]
    store.finish_run(run, a_screening(), destinations=["a", "b"], recipients=to, seconds=1.0, now=START)
    refused, slow = (store.claim_delivery("sender", START, LEASE) for _ in range(2))
    assert refused is not None
    assert slow is not None
    store.delivery_failed(refused, error="refused", not_before=None, now=START)
    assert store.discard(1, START)
    store.delivery_sent(slow, seconds=0.1, now=START)
    assert store.study_report(1).ending is Ending.SET_ASIDE
    for notice in store.owed_notices(START):
        store.notice_sent(notice, START)
    report = store.study_report(1)
    assert (report.ending, report.code) == (Ending.SET_ASIDE, "discarded")
    store.reprocess(1, START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    deliver_and_notify(store, START)
    assert store.study_report(1).ending is Ending.DONE


def test_a_study_that_was_set_aside_for_what_never_came_is_not_done_by_a_mail_on_what_had(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    late = START + timedelta(hours=1)
    store.record_instance(an_instance(2), late)
    (study,) = store.quiet_studies(late + QUIET, quiet=QUIET, max_wait=MAX_WAIT)
    assert store.set_aside_study(study, code="incomplete", reason="slices are missing", now=late + QUIET)
    deliver_and_notify(store, late + QUIET)
    report = store.study_report(1)
    assert (report.ending, report.code) == (Ending.SET_ASIDE, "incomplete")


@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_study_that_is_set_aside_takes_its_unfinished_run_along(store: Store, *, is_claimed: bool) -> None:
    """That run saw a part of the images only, and what it finds would be told."""
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    run = claimed(store) if is_claimed else None
    late = START + timedelta(hours=1)
    store.record_instance(an_instance(2), late)
    (study,) = store.quiet_studies(late + QUIET, quiet=QUIET, max_wait=MAX_WAIT)
    assert store.set_aside_study(study, code="incomplete", reason="slices are missing", now=late + QUIET)
    assert store.claim_run(Queue.CT, "worker", late + QUIET, LEASE) is None
    if run is not None:
        with pytest.raises(LeaseLostError):
            finish(store, run)
    report = store.study_report(1)
    assert (report.ending, report.code) == (Ending.SET_ASIDE, "incomplete")
    story = describe_study(report)
    assert "superseded: the study was set aside" in story
    assert "by a later run" not in story


def test_a_sender_that_died_leaves_its_delivery_to_the_next(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    assert store.claim_delivery("dies", START, LEASE) is not None
    assert store.expired_deliveries(START + LEASE) == []
    later = START + LEASE + timedelta(seconds=1)
    assert store.claim_delivery("next", later, LEASE) is None
    (expired,) = store.expired_deliveries(later)
    store.delivery_failed(expired, error="no answer", not_before=later, now=later)
    assert store.claim_delivery("next", later, LEASE) is not None


def test_a_late_image_reopens_the_study_and_its_run_supersedes(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    deliver_and_notify(store, START)
    late = START + timedelta(hours=1)
    store.record_instance(an_instance(2), late)
    assert store.counts().in_flight == 1
    dispatch(store, late + QUIET)
    finish(store, claimed(store, late + QUIET), now=late + QUIET)
    deliver_and_notify(store, late + QUIET)
    report = store.study_report(1)
    assert [run.state for run in report.runs] == ["superseded", "ended"]
    assert report.ending is Ending.DONE


def test_the_same_finding_never_alerts_twice(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    deliver_and_notify(store, START)
    late = START + timedelta(hours=1)
    store.record_instance(an_instance(2), late)
    dispatch(store, late + QUIET)
    finish(store, claimed(store, late + QUIET), now=late + QUIET)
    assert store.owed_notices(late + QUIET) == []


def test_a_notice_still_owed_is_told_with_the_newer_figures(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store), voxels=900)
    store.record_instance(an_instance(2), START + timedelta(hours=1))
    later = START + timedelta(hours=1) + QUIET
    dispatch(store, later)
    finish(store, claimed(store, later), voxels=1200, now=later)
    (notice,) = store.owed_notices(later)
    assert [candidate.voxels for candidate in notice.candidates] == [1200]


def test_a_finding_that_a_newer_run_took_back_is_not_told_any_more(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store), voxels=900)
    store.record_instance(an_instance(2), START + timedelta(hours=1))
    later = START + timedelta(hours=1) + QUIET
    dispatch(store, later)
    finish(store, claimed(store, later), voxels=100, now=later)
    assert store.owed_notices(later) == []


@pytest.mark.parametrize("kind", [Kind.OWN, Kind.DOCUMENT])
def test_our_own_results_and_documents_never_reopen_a_study(store: Store, kind: Kind) -> None:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    deliver_and_notify(store, START)
    store.record_instance(an_instance(2, kind=kind, sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4"), START)
    assert store.study_report(1).ending is Ending.DONE
    assert dispatch(store, START + timedelta(days=1)) == 0


def test_a_study_of_documents_alone_is_set_aside(store: Store) -> None:
    store.record_instance(an_instance(1, kind=Kind.DOCUMENT), START)
    dispatch(store, START + QUIET)
    report = store.study_report(1)
    assert (report.ending, report.code) == (Ending.SET_ASIDE, "no_images")


def test_an_mr_study_is_set_aside_with_its_reason(store: Store) -> None:
    store.record_instance(an_instance(1, sop_class_uid="1.2.840.10008.5.1.4.1.1.4", modality="MR"), START)
    dispatch(store, START + QUIET)
    report = store.study_report(1)
    assert (report.ending, report.reason) == (
        Ending.SET_ASIDE,
        "the study holds neither CT nor ultrasound images",
    )


def test_reprocess_opens_another_run_under_a_new_number(store: Store) -> None:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    first = claimed(store)
    finish(store, first)
    deliver_and_notify(store, START)
    store.reprocess(1, START)
    assert dispatch(store, START + QUIET) == 1
    second = claimed(store)
    assert (second.number, second.reprocess_number) == (2, 1)


def test_hints_are_sent_for_new_work_and_once_a_minute_for_old(store: Store) -> None:
    for number in range(3):
        store.record_instance(an_instance(number, study_instance_uid=f"1.{number}"), START)
    dispatch(store, START + QUIET)
    now, minute = START + QUIET, timedelta(minutes=1)
    fresh = store.owed_hints(now, minute)
    assert len(fresh) == 3
    for owed in fresh:
        store.hinted(owed, now)
    assert store.owed_hints(now + timedelta(seconds=59), minute) == []
    (stale,) = store.owed_hints(now + minute, minute)
    assert (stale.queue, stale.row_id) == (Queue.CT, None)
    store.hinted(stale, now + minute)
    assert store.owed_hints(now + minute, minute) == []
    assert len(store.owed_hints(now + 2 * minute, minute)) == 1


def test_an_instant_without_time_zone_is_refused(store: Store) -> None:
    with pytest.raises(sa.exc.StatementError, match="time zone"):
        store.record_instance(an_instance(), datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


def screen_again(store: Store, number: int, voxels: int, now: datetime) -> datetime:
    """Another image, another run with another finding, everything delivered and told."""
    store.record_instance(an_instance(number), now)
    later = now + QUIET
    dispatch(store, later)
    finish(store, claimed(store, later), voxels=voxels, now=later)
    deliver_and_notify(store, later)
    return later + timedelta(hours=1)


def notices_of(store: Store) -> list[tuple[int, str]]:
    return [(run.number, notice.state) for run in store.study_report(1).runs for notice in run.notices]


def test_a_flag_that_was_told_is_withdrawn_once_when_a_later_run_takes_it_back(store: Store) -> None:
    now = screen_again(store, 1, 900, START)
    now = screen_again(store, 2, 10, now)
    now = screen_again(store, 3, 10, now)
    assert notices_of(store) == [(1, "sent"), (2, "sent")]
    assert store.study_report(1).ending is Ending.DONE


def test_a_finding_that_comes_back_after_its_withdrawal_is_told_again(store: Store) -> None:
    now = START
    for number, voxels in enumerate((900, 10, 900, 900), start=1):
        now = screen_again(store, number, voxels, now)
    assert notices_of(store) == [(1, "sent"), (2, "sent"), (3, "sent")]


def test_failed_studies_are_listed_newest_first(store: Store) -> None:
    for number in (1, 2):
        store.record_instance(an_instance(number, study_instance_uid=f"1.{number}"), START)
    dispatch(store, START + QUIET)
    for _ in range(2):
        store.end_run(claimed(store), Ending.FAILED, code="gap", reason="a slice is missing", now=START)
    assert store.latest_ending(Ending.FAILED) == [(2, "a slice is missing"), (1, "a slice is missing")]
    assert store.latest_ending(Ending.SET_ASIDE) == []


def test_a_notice_that_waits_is_due_at_once_where_the_clock_was_set_back(store: Store) -> None:
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    finish(store, claimed(store))
    (notice,) = store.owed_notices(START)
    longest = timedelta(minutes=15)
    store.notice_failed(notice.notice_id, "away", not_before=START + longest, now=START)
    assert store.owed_notices(START, longest) == []
    assert len(store.owed_notices(START - timedelta(hours=1), longest)) == 1


def test_a_hint_is_repeated_although_the_clock_was_set_back(store: Store) -> None:
    store.record_instance(an_instance(), START - timedelta(hours=2))
    dispatch(store, START - timedelta(hours=2) + QUIET)
    minute = timedelta(minutes=1)
    (fresh,) = store.owed_hints(START, minute)
    store.hinted(fresh, START)
    assert len(store.owed_hints(START - timedelta(hours=1), minute)) == 1
