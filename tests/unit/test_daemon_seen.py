"""`screener status` says first whether a daemon works on the database."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from screener.__main__ import main
from screener.explain import describe_daemon
from screener.store.daemon_lock import is_taken, open_daemon_lock
from tests.peers.stores import open_new_store


@pytest.fixture(params=["file", "session"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"sqlite:///{tmp_path}/screener.sqlite"
    server: str = request.getfixturevalue("postgresql")
    return server


def test_a_daemon_is_seen_while_it_holds_the_lock_and_looking_takes_nothing_from_it(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    lock = open_daemon_lock(url)
    assert not is_taken(engine)
    assert lock.take()
    assert is_taken(engine)
    assert lock.take()
    lock.release()
    assert not is_taken(engine)
    assert lock.take()
    lock.release()


def test_the_first_line_of_status_says_whether_a_daemon_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[storage]\nfolder = "var"\n')
    (tmp_path / "var").mkdir()
    url = f"sqlite:///{tmp_path}/var/screener.sqlite"
    open_new_store(url).engine.dispose()
    lock = open_daemon_lock(url)
    assert lock.take()
    assert main(["status", "--config", str(config)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "daemon: running"
    lock.release()
    assert main(["status", "--config", str(config)]) == 3
    assert capsys.readouterr().out.startswith("daemon: NOT RUNNING")


def test_the_help_tells_what_a_command_ends_with(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert "ends with 0" in told
    assert "status ends with 3 where all is well and no daemon runs" in " ".join(told.split())


def test_a_lock_that_may_not_be_looked_at_is_not_told_as_a_dead_daemon() -> None:
    def look() -> bool:
        raise PermissionError(13, "Permission denied", "/var/screener.sqlite.daemon")

    assert describe_daemon(look) == "daemon: nobody can tell (/var/screener.sqlite.daemon: Permission denied)"
