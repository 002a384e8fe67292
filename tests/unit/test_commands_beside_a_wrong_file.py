"""A config.toml that is wrong takes no command away that only reads: the last good settings stand in for it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import load_config
from screener.store import Store, open_store
from screener.watch_config import SettingsInForce
from tests.unit.test_command_line import record_study

FOLDER = '[storage]\nfolder = "data"\n'
GOOD = f"""{FOLDER}[completeness]
quiet_seconds = 77777
max_wait_seconds = 99999
[[completeness.pacs]]
name = "archive"
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = 104
[queue]
broker = "redis://:sesame@127.0.0.1:6379/0"
"""
WRONG_KEY = f"{FOLDER}[listener]\nprot = 1\n"
WRONG_TOML = f"{FOLDER}[listener]\nport = \n[web]\nenabled = True\n"
WRONG_DISK = f"{FOLDER}reserve_mib = -1\n"
READING = [
    "explain 1",
    "notices",
    "notices --study 1",
    "users list",
    "performance",
    "config history",
    "findings 1",
    "reports show 1",
    "reports waiting",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    (path.parent / "data").mkdir()
    opened = open_store(f"sqlite:///{path.parent}/data/screener.sqlite", is_migrating=True)
    record_study(opened)
    path.write_text(GOOD, encoding="utf-8")
    SettingsInForce(load_config(path, {}), path, opened).begin(datetime.now(UTC))
    yield opened
    opened.engine.dispose()


@pytest.mark.parametrize("command", READING)
@pytest.mark.usefixtures("store")
def test_a_command_that_only_reads_goes_on_and_says_that_the_file_is_wrong(
    path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path.write_text(WRONG_KEY, encoding="utf-8")
    assert main([*command.split(), "--config", str(path)]) == 0
    told = capsys.readouterr()
    assert f"{path} is WRONG" in told.err
    assert "listener.prot: unknown key, did you mean port? (line 4)" in told.err
    assert told.out


@pytest.mark.parametrize("text", [WRONG_KEY, WRONG_TOML, WRONG_DISK])
@pytest.mark.usefixtures("store")
def test_a_study_is_explained_by_the_last_good_settings(
    path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path.write_text(text, encoding="utf-8")
    assert main(["explain", "1", "--config", str(path)]) == 0
    assert "waits: 77777 s must pass without a new image" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        '[storage]\nfoldr = "data"\n',
        '[storage]\nfolder = "data\n',
        '[storge]\nfolder = "data"\n',
        '[storage\nfolder = "data"\n',
        '[storge]\nfolder = "data"\n[log]\nlevel =\n',
    ],
)
@pytest.mark.usefixtures("store")
def test_no_other_database_is_read_where_the_wrong_key_names_it(
    path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (path.parent / "var").mkdir()
    open_store(f"sqlite:///{path.parent}/var/screener.sqlite", is_migrating=True).engine.dispose()
    path.write_text(f"{text}[listener]\nprot = 1\n", encoding="utf-8")
    assert main(["config", "history", "--config", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "prot" in told.err or "line " in told.err


@pytest.mark.usefixtures("store")
def test_where_no_database_is_found_it_is_the_wrong_key_that_is_told(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("[listener]\nprot = 1\n", encoding="utf-8")
    assert main(["config", "history", "--config", str(path)]) == 1
    assert "listener.prot: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["reprocess 1", "discard 1", "run", "config check"])
@pytest.mark.usefixtures("store")
def test_what_changes_anything_waits_for_a_good_file(path: Path, command: str) -> None:
    path.write_text(WRONG_KEY, encoding="utf-8")
    assert main([*command.split(), "--config", str(path)]) == 1
