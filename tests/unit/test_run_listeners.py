"""Several processes on one port: as one door from outside, and none of them is needed for the others."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.uid import CTImageStorage
from pynetdicom import build_context

from screener.config import ConfigError, load_config
from screener.run_listeners import ListenerProcesses, _Child, _is_ready
from screener.store import Store
from screener.store.tables import instances
from tests.peers.scanner import AssociationFailed, Scanner, make_ct
from tests.peers.stores import open_new_store

DEADLINE_SECONDS = 240.0
ROOT = Path(__file__).resolve().parents[2]


class Doors:
    """Two processes behind one port."""

    def __init__(self, folder: Path) -> None:
        settings = {"port": 0, "processes": 2, "maximum_associations": 8}
        lines = ["[listener]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        lines += ["[storage]", "reserve_mib = 0", "clean_below_mib = 0"]
        self.path = folder / "config.toml"
        self.path.write_text("\n".join(lines))
        self.config = load_config(self.path, {})
        (self.config.storage_folder / "received").mkdir(parents=True)  # as a daemon begins it
        self.store: Store = open_new_store(self.config.database_url)
        self.listener = ListenerProcesses(self.config)

    @property
    def scanner(self) -> Scanner:
        return Scanner(self.listener.port)

    def stored(self) -> set[str]:
        with self.store.engine.connect() as connection:
            return set(connection.execute(sa.select(instances.c.sop_instance_uid)).scalars())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    monkeypatch.chdir(ROOT)  # where `python -m screener...` finds it
    doors = Doors(tmp_path)
    doors.listener.start()
    yield doors
    doors.listener.stop()
    doors.store.engine.dispose()


def hold(doors: Doors):  # type: ignore[no-untyped-def]
    return doors.scanner._associate([build_context(CTImageStorage)], "HOLDER")


@pytest.mark.slow
def test_all_that_is_sent_to_the_port_is_stored_and_the_limit_is_one_for_all(doors: Doors) -> None:
    slices = [make_ct() for _ in range(32)]
    answers = doors.scanner.send(slices, associations=8)
    assert {answer.status for answer in answers} == {0}
    assert doors.stored() == {ds.SOPInstanceUID for ds in slices}
    held = [hold(doors) for _ in range(8)]
    with pytest.raises(AssociationFailed, match="rejected"):
        hold(doors)
    for assoc in held:
        assoc.release()


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_takes_nobody_with_it(doors: Doors) -> None:
    assert doors.scanner.echo() == 0
    killed, other = doors.listener.process_ids
    os.kill(killed, signal.SIGKILL)
    ds = make_ct()
    [answer] = doors.scanner.send([ds])
    assert answer.status == 0
    wait_until(lambda: doors.listener._children[0].process.poll() is not None)
    doors.listener.watch(datetime.now(UTC) + timedelta(minutes=1))
    assert doors.listener.process_ids[0] != killed
    assert doors.listener.process_ids[1] == other
    assert doors.scanner.echo() == 0
    doors.listener.stop()
    assert not any(lives(process_id) for process_id in doors.listener.process_ids)
    doors.listener.watch(datetime.now(UTC) + timedelta(minutes=2))
    assert not any(lives(process_id) for process_id in doors.listener.process_ids)


def test_a_child_that_ended_is_started_again_although_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Doors(tmp_path).listener
    now = datetime.now(UTC)
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    listener._children = [_Child(ended, now)]
    monkeypatch.setattr(listener, "_start_child", lambda: subprocess.Popen([sys.executable, "-c", "pass"]))
    listener.watch(now)
    assert listener.process_ids == [ended.pid], "one that ends at once waits a moment"
    listener.watch(now - timedelta(hours=1))
    assert listener.process_ids != [ended.pid]
    listener._children[0].process.wait()


@pytest.mark.slow
def test_a_process_that_is_started_again_works_by_the_settings_of_the_daemon(doors: Doors) -> None:
    doors.path.write_text('[listener]\nae_title = "OTHER"\n[storage]\nfolder = "elsewhere"\n')
    for process_id in doors.listener.process_ids:
        os.kill(process_id, signal.SIGKILL)
    wait_until(lambda: all(child.process.poll() is not None for child in doors.listener._children))
    doors.listener.watch(datetime.now(UTC) + timedelta(minutes=1))
    assert all(_is_ready(child.process, DEADLINE_SECONDS) for child in doors.listener._children)
    ds = make_ct()
    [answer] = doors.scanner.send([ds])
    assert answer.status == 0
    assert doors.stored() == {ds.SOPInstanceUID}


@pytest.mark.slow
def test_a_door_of_which_no_process_starts_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "config.toml"
    path.write_text('[listener]\nport = 0\nprocesses = 2\ntls_certificate = "none.pem"\ntls_key = "none.pem"\n')
    listener = ListenerProcesses(load_config(path, {}))
    with pytest.raises(ConfigError, match=r"listener\.processes: none of 2 starts"):
        listener.start()
    assert not any(lives(process_id) for process_id in listener.process_ids)


def test_no_secret_and_no_address_of_the_database_stands_on_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    path = tmp_path / "config.toml"
    path.write_text('[listener]\nport = 0\nprocesses = 2\n[database]\nurl = "postgresql://screener:secret@db/x"\n')

    def start(command: list[str], **_: object) -> None:
        commands.append(command)
        raise OSError("no more processes")

    monkeypatch.setattr("screener.run_listeners.subprocess.Popen", start)
    listener = ListenerProcesses(load_config(path, {}))
    with pytest.raises(OSError, match="no more processes"):
        listener.start()
    listener.stop()
    assert "secret" not in " ".join(commands[0])
