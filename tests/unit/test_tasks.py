"""Outcomes become retry, set aside or failure: on the real store, with a stage that misbehaves."""

import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from screener.archive import Archive
from screener.config import make_config
from screener.dispatch import dispatch_study
from screener.journey import Ending, Queue
from screener.outcomes import NeedsPerson, SetAside, TryAgain
from screener.store import Run, Store, StudyReport
from screener.study import Instance
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from workers import screen_ct, tasks
from workers.bench import Bench
from workers.tasks import screen_us, work_on_run

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class World:
    bench: Bench
    store: Store
    clock: Clock

    def screen(self, stage: Callable[[Bench, Run], None]) -> bool:
        return work_on_run(self.bench, Queue.CT, stage)

    @property
    def report(self) -> StudyReport:
        return self.store.study_report(1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config = make_config({"queue": {"max_attempts": 3, "retry_seconds": 10}}, base=tmp_path, environment={})
    store = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    clock = Clock()
    store.record_instance(
        an_instance(),
        START - timedelta(hours=1),
    )
    (study,) = store.quiet_studies(START, quiet=timedelta(seconds=1), max_wait=timedelta(days=1))
    dispatch_study(store, study, config.thresholds(), START)
    yield World(Bench(config=config, store=store, archive=Archive(tmp_path / "var", 0), clock=clock), store, clock)
    store.engine.dispose()


def raising(error: Exception) -> Callable[[Bench, Run], None]:
    def stage(_: Bench, __: Run) -> None:
        raise error

    return stage


def test_set_aside_keeps_its_reason(world: World) -> None:
    world.screen(raising(SetAside("no parotid is covered", code="no_parotid_covered")))
    assert (world.report.ending, world.report.code) == (Ending.SET_ASIDE, "no_parotid_covered")
    assert world.report.reason == "no parotid is covered"


def test_needs_person_fails_the_study(world: World) -> None:
    world.screen(raising(NeedsPerson("two slices at one position", code="duplicate_position")))
    assert (world.report.ending, world.report.code) == (Ending.FAILED, "duplicate_position")


def test_try_again_waits_longer_each_time(world: World) -> None:
    for wait_seconds in (10, 20, 40, 80):
        assert world.screen(raising(TryAgain("the disk is away")))
        assert world.report.ending is None
        world.clock.now += timedelta(seconds=wait_seconds - 1)
        assert not world.screen(raising(TryAgain("the disk is away")))
        world.clock.now += timedelta(seconds=1)


OUTSIDE = [
    TryAgain("the disk is away", code="disk"),
    OSError(errno.ENOSPC, "No space left on device"),
    OperationalError("", None, Exception("the server closed the connection unexpectedly")),
]


@pytest.mark.parametrize("error", OUTSIDE, ids=lambda error: type(error).__name__)
def test_a_fault_outside_the_study_is_waited_out_for_a_day_and_then_a_persons(world: World, error: Exception) -> None:
    tries = 0
    while world.report.ending is None:
        tries += world.screen(raising(error))
        world.clock.now += timedelta(minutes=10)
    assert timedelta(days=1) <= world.clock.now - START <= timedelta(days=1, hours=2)
    assert tries > 20
    assert world.report.ending is Ending.FAILED
    assert f"tried {tries} times since 2026-01-01 12:00 UTC" in world.report.reason


def test_a_study_that_waited_long_for_a_worker_is_not_given_up_at_its_first_fault(world: World) -> None:
    world.clock.now += timedelta(days=9)
    world.screen(raising(TryAgain("the disk is away")))
    world.clock.now += timedelta(days=9)
    world.screen(raising(TryAgain("the disk is away")))
    assert world.report.ending is None


def test_unexpected_errors_fail_the_study_after_as_many_attempts_as_are_set(world: World) -> None:
    errors = [TryAgain("the disk is away"), ValueError(), TryAgain("the disk is away"), ValueError(), ValueError()]
    for error in errors:
        assert world.report.ending is None
        assert world.screen(raising(error))
        world.clock.now += timedelta(hours=1)
    assert (world.report.ending, world.report.code) == (Ending.FAILED, "unexpected")
    assert "3 times" in world.report.reason


def test_a_bug_is_logged_without_its_words_and_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.screen(raising(ValueError("a name that must not be told")))
    assert world.report.ending is None
    assert "ValueError" in caplog.text
    assert "test_tasks.py" in caplog.text
    assert "must not be told" not in caplog.text


def test_a_run_that_was_superseded_while_it_ran_is_left_alone(world: World) -> None:
    def supersede(_: Bench, __: Run) -> None:
        world.store.reprocess(1, START)
        (study,) = world.store.quiet_studies(START, quiet=timedelta(0), max_wait=timedelta(0))
        dispatch_study(world.store, study, world.bench.config.thresholds(), START)
        raise SetAside("too late to say so")

    world.screen(supersede)
    assert world.report.ending is None
    assert [run.state for run in world.report.runs] == ["superseded", "waiting"]


def test_the_lease_is_renewed_while_the_work_goes_on(tmp_path: Path, world: World) -> None:
    settings = {"queue": {"lease_seconds": 0.2}}
    world.bench.config = make_config(settings, base=tmp_path, environment={})
    is_renewed = threading.Event()
    renew = world.store.renew_lease

    def seen(run: Run, until: datetime) -> bool:
        is_held = renew(run, until)
        is_renewed.set()
        return is_held

    world.store.renew_lease = seen  # type: ignore[method-assign]

    def long_stage(_: Bench, __: Run) -> None:
        assert is_renewed.wait(10)
        raise SetAside("enough")

    world.screen(long_stage)
    assert world.report.ending is Ending.SET_ASIDE


def test_an_empty_queue_is_no_work(world: World) -> None:
    world.screen(raising(SetAside("done with")))
    assert not world.screen(raising(SetAside("again")))


def test_without_models_a_study_waits_and_is_not_to_blame(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"models": {"folder": "nowhere"}}
    world.bench.config = make_config(settings, base=Path("/"), environment={})
    monkeypatch.setattr(tasks, "_bench", [world.bench])
    tasks.work_on_ct()
    assert world.report.ending is None
    assert world.report.runs[0].attempts == 0
    assert "CT studies wait" in caplog.text


def test_a_run_reads_the_images_that_were_judged_complete_and_none_that_came_while_it_waited(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []

    def stop(images: list[Instance]) -> None:
        read.append([image.sop_instance_uid for image in images])
        raise TryAgain("enough")

    monkeypatch.setattr("workers.us.select_frames.select_frames", stop)
    monkeypatch.setattr(screen_ct, "_select", lambda _, __, images: stop(images))
    world.bench._models = object()  # type: ignore[assignment]
    monkeypatch.setattr(Bench, "ultrasound_models", lambda _: object())
    (judged,) = world.store.images_of(1, Path())
    world.store.record_instance(an_instance(2), START)
    world.screen(screen_us)
    world.clock.now += timedelta(hours=1)
    world.screen(screen_ct.screen_ct)
    assert read == [[judged.sop_instance_uid]] * 2
