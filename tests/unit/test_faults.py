"""A database that is away, and an accelerator that broke, cost time: no study, and no study an hour of its own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from screener.journey import Ending
from screener.outcomes import SetAside, TryAgain
from screener.store import Store
from tests.unit.delivered import open_world
from tests.unit.test_tasks import World, raising, world
from workers import faults, tasks

__all__ = ["world"]

NOWHERE = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}


class EndedError(BaseException):
    """Stands for the end of the child."""


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "ASK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def _child(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: int) -> None:
        raise EndedError

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(tasks, "_bench", [world.bench])
    world.bench._models = object()  # type: ignore[assignment]
    monkeypatch.setattr(tasks, "hint_again", lambda _: None)


def away(store: Store, monkeypatch: pytest.MonkeyPatch, name: str, *, times: int, commits: bool = False) -> None:
    """Let the store's operation fail `times` times as where the server restarts; `commits`: only its answer is lost."""
    real: Callable[..., object] = getattr(store, name)
    left = [times]

    def call(*args: object, **kwargs: object) -> object:
        answer = real(*args, **kwargs) if commits or not left[0] else None
        if left[0]:
            left[0] -= 1
            raise OperationalError("", None, Exception("the server closed the connection unexpectedly"))
        return answer

    monkeypatch.setattr(store, name, call)


def no_connection(*_: object) -> None:
    raise TryAgain("no connection")


@pytest.mark.parametrize("commits", [False, True])
def test_the_end_of_a_run_is_written_once_the_database_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    away(world.store, monkeypatch, "end_run", times=2, commits=commits)
    world.screen(raising(SetAside("no parotid is covered")))
    assert world.report.ending is Ending.SET_ASIDE


def test_a_run_is_put_back_once_the_database_is_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    away(world.store, monkeypatch, "try_again", times=2)
    world.screen(raising(TryAgain("the disk is away")))
    assert [run.state for run in world.report.runs] == ["waiting"]


def test_a_delivery_is_put_back_once_the_database_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = open_world(tmp_path, NOWHERE)
    monkeypatch.setattr(tasks, "send", no_connection)
    away(world.store, monkeypatch, "delivery_failed", times=2)
    assert world.deliver()
    assert world.deliver(minutes=1)
    world.store.engine.dispose()


@pytest.mark.usefixtures("_child")
def test_a_child_ends_when_the_database_stays_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "ANSWER_SECONDS", 0.0)
    away(world.store, monkeypatch, "end_run", times=1000)
    monkeypatch.setattr(tasks, "screen_ct", raising(SetAside("no parotid is covered")))
    with pytest.raises(EndedError):
        tasks.work_on_ct()


@pytest.mark.usefixtures("_child")
@pytest.mark.parametrize(("name", "task"), [("claim_run", tasks.work_on_us), ("claim_delivery", tasks.work_on_results)])
def test_a_child_ends_when_it_cannot_know_whether_it_holds_a_claim(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, task: Callable[[], None]
) -> None:
    away(world.store, monkeypatch, name, times=1, commits=True)
    with pytest.raises(EndedError):
        task()


@pytest.mark.usefixtures("_child")
def test_a_child_whose_accelerator_broke_ends_with_its_run_put_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "screen_ct", raising(RuntimeError("CUDA error: device-side assert triggered")))
    with pytest.raises(EndedError):
        tasks.work_on_ct()
    (run,) = world.report.runs
    assert run.state == "waiting"


@pytest.mark.usefixtures("_child")
def test_a_child_lives_on_after_any_other_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "screen_ct", raising(RuntimeError("a bug")))
    tasks.work_on_ct()
    assert [run.state for run in world.report.runs] == ["waiting"]
