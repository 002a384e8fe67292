"""A config.toml that is wrong takes no command away that only reads: the last good settings stand in for it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy.exc import ArgumentError, ProgrammingError

from screener.__main__ import main
from screener.config import load_config
from screener.store import Store
from screener.watch_config import SettingsInForce
from tests.peers.stores import open_new_store
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
    "backfill",
    "replay --min-voxels 300",
    "config replay --set decision.min_voxels=300",
]
CHANGING = [
    "reprocess 1",
    "discard 1",
    "run",
    "config check",
    "backfill --from 2019-01-01 --to 2019-01-02",
    "backfill --pause 1",
    "backfill --resume 1",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def lay_database(folder: Path) -> Store:
    folder.mkdir()
    return open_new_store(f"sqlite:///{folder}/screener.sqlite")


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = lay_database(path.parent / "data")
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
    lay_database(path.parent / "var").engine.dispose()
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


@pytest.mark.usefixtures("store")
def test_the_report_of_a_backfill_is_looked_for_beside_a_wrong_file(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(WRONG_KEY, encoding="utf-8")
    assert main(["backfill", "--report", "1", "--config", str(path)]) == 1
    assert capsys.readouterr().err.endswith("there is no backfill 1\n")


@pytest.mark.parametrize("command", CHANGING)
@pytest.mark.usefixtures("store")
def test_what_changes_anything_waits_for_a_good_file(
    path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path.write_text(WRONG_KEY, encoding="utf-8")
    assert main([*command.split(), "--config", str(path)]) == 1
    assert capsys.readouterr().err == "listener.prot: unknown key, did you mean port? (line 4)\n"


@pytest.mark.parametrize("command", ["explain 1", "status", "notices"])
def test_the_wrong_key_is_told_before_a_database_that_does_not_answer(
    path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    path.write_text(f'{WRONG_KEY}[storage]\n[database]\nurl = "{url}"\n'.replace(FOLDER, ""), encoding="utf-8")
    assert main([*command.split(), "--config", str(path)]) == 1
    first, then, *_ = capsys.readouterr().err.splitlines()
    assert "listener.prot: unknown key" in first
    assert then.startswith("the database does not answer: ")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ProgrammingError("SELECT", {}, Exception("no relation\nLINE 1")), "the database does not answer: no relation"),
        (ArgumentError("secret"), "database.url: not a SQLAlchemy URL"),
    ],
)
@pytest.mark.usefixtures("store")
def test_the_wrong_key_is_told_before_what_a_database_without_our_tables_says(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sentence: str,
) -> None:
    monkeypatch.setattr(Store, "last_settings_line", Mock(side_effect=error))
    path.write_text(WRONG_KEY, encoding="utf-8")
    assert main(["explain", "1", "--config", str(path)]) == 1
    first, then = capsys.readouterr().err.splitlines()
    assert "listener.prot: unknown key" in first
    assert then == sentence


def test_the_wrong_key_is_told_before_a_folder_that_is_closed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(WRONG_KEY.replace("data", "d" * 300), encoding="utf-8")
    assert main(["explain", "1", "--config", str(path)]) == 1
    first, then = capsys.readouterr().err.splitlines()
    assert "listener.prot: unknown key" in first
    assert then.endswith("ddd: File name too long")


@pytest.mark.parametrize("command", [*READING, "status", "reprocess 1", "config check", "config show"])
@pytest.mark.usefixtures("store")
def test_a_file_that_is_gone_is_said_to_have_named_the_database(
    path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path.rename(path.with_name("c.x"))
    assert main([*command.split(), "--config", str(path)]) == 1
    told = capsys.readouterr()
    assert told.err == (
        f"{path}: no such file; name it by --config or SCREENER_CONFIG. Only it says where the database is, so that "
        "nothing can be told without it; a daemon that runs goes on with the last good settings\n"
    )
    assert told.out == ""


def test_a_relative_name_of_a_file_that_is_gone_is_told_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCREENER_CONFIG", raising=False)
    assert main(["status"]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path}/config.toml: no such file; ")


def test_a_start_without_the_file_says_no_more_than_how_to_name_it(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--config", str(path)]) == 1
    assert capsys.readouterr().err == f"{path}: no such file; name it by --config or SCREENER_CONFIG\n"
