"""`screener config show` prints what the file holds, and remarks what of it is not in force yet."""

import errno
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import load_config
from screener.store import Store
from screener.watch_config import SettingsInForce
from tests.peers.stores import open_new_store

GOOD = "[listener]\nport = 104\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(GOOD, encoding="utf-8")
    return tmp_path / "config.toml"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    (path.parent / "var").mkdir()
    opened = open_new_store(f"sqlite:///{path.parent}/var/screener.sqlite")
    SettingsInForce(load_config(path, {}), path, opened).begin(datetime.now(UTC))
    yield opened
    opened.engine.dispose()


def show(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    assert main(["config", "show", "--config", str(path)]) == 0
    told = capsys.readouterr()
    return told.out, told.err


@pytest.mark.usefixtures("store")
def test_what_needs_a_restart_is_remarked_beside_what_the_file_holds(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text('[listener]\nport = 105\n[log]\nlevel = "DEBUG"\n[decision]\nmin_voxels = 300\n', encoding="utf-8")
    shown, remarked = show(path, capsys)
    assert "listener.port = 105" in shown
    assert remarked == (
        "remark: not in force yet, needs a restart of daemon and workers: "
        'listener.port (104 in force), log.level ("INFO" in force)\n'
    )


def test_another_secret_that_waits_is_remarked_though_it_is_masked(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f'{GOOD}[queue]\nbroker = "redis://:alpha@q:6379/0"\n'
    path.write_text(text, encoding="utf-8")
    daemon = SettingsInForce(load_config(path, {}), path, store, {})
    daemon.begin(datetime.now(UTC))
    path.write_text(text.replace("alpha", "beta"), encoding="utf-8")
    for _ in range(2):
        daemon.watch(datetime.now(UTC))
    remarked = show(path, capsys)[1]
    assert "needs a restart of daemon and workers: queue.broker (another secret, as the daemon has seen)" in remarked


@pytest.mark.usefixtures("store")
def test_a_file_that_is_in_force_is_shown_without_a_remark(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(path, capsys)[1] == ""


def test_a_file_is_shown_before_any_daemon_has_started(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(path, capsys)[1] == ""
    with path.open("a", encoding="utf-8") as file:
        file.write('[database]\nurl = "postgresql+psycopg://nobody@127.0.0.1:1/none"\n')
    shown, remarked = show(path, capsys)
    assert "listener.port = 104" in shown
    assert remarked == "remark: nobody can tell what waits for a restart: the database does not answer\n"


def test_the_help_says_that_it_is_the_file_which_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["config", "show", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "what config.toml says" in told
    assert "in force" not in told.partition("config.toml")[0]


@pytest.fixture
def closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage folder that the caller may not enter: the tests may run as root, who may."""
    look = Path.exists

    def refuse(self: Path, **more: bool) -> bool:
        if self.name == "screener.sqlite":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return look(self, **more)

    monkeypatch.setattr(Path, "exists", refuse)
    return path


def test_a_file_is_shown_to_whom_the_storage_folder_is_closed(closed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, remarked = show(closed, capsys)
    assert "listener.port = 104" in shown
    folder = closed.parent / "var"
    assert remarked == f"remark: nobody can tell what waits for a restart: {folder}: Permission denied\n"


def test_a_command_says_that_the_storage_folder_is_closed(closed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(closed)]) == 1
    assert capsys.readouterr().err == f"{closed.parent / 'var'}: Permission denied\n"
