"""A shell without the daemon's secrets: what uses none runs, what uses one says which is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import ConfigError, load_config
from screener.store import Store
from screener.store.daemon_lock import open_daemon_lock
from tests.peers.stores import open_new_store
from tests.unit.test_command_line import record_study

SETTINGS = """[web]
url = "https://screener.hospital.test"
[web.openid]
issuer = "https://idp.hospital.test"
client_id = "screener"
readers = ["r"]
[notices.email]
host = "mail.hospital.test"
username = "screener"
recipients = ["ent@hospital.test"]
[[notices.webhooks]]
name = "ward-3"
url = "https://ward.hospital.test"
[[notices.apprise]]
name = "pager"
"""
VARIABLES = (
    "SCREENER_OPENID_SECRET",
    "SCREENER_EMAIL_PASSWORD",
    "SCREENER_WEBHOOK_SECRET_WARD_3",
    "SCREENER_APPRISE_URL_PAGER",
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(f"{variable}_FILE", raising=False)
    (tmp_path / "config.toml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path / "config.toml"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    (path.parent / "var").mkdir()
    opened = open_new_store(f"sqlite:///{path.parent}/var/screener.sqlite")
    record_study(opened)
    yield opened
    opened.engine.dispose()


@pytest.mark.parametrize(
    "command",
    [
        "explain 1",
        "notices",
        "reports show 1",
        "reports waiting",
        "users list",
        "performance",
        "config show",
        "config history",
        "config check",
        "reprocess 1",
    ],
)
@pytest.mark.usefixtures("store")
def test_a_command_that_uses_no_secret_runs_without_it(path: Path, command: str) -> None:
    assert main([*command.split(), "--config", str(path)]) == 0


@pytest.mark.usefixtures("store")
def test_status_calls_no_file_wrong_whose_secrets_are_elsewhere(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = open_daemon_lock(f"sqlite:///{path.parent}/var/screener.sqlite")
    assert lock.take()
    assert main(["status", "--config", str(path)]) == 0
    assert "WRONG" not in capsys.readouterr().out
    lock.release()


def test_the_check_remarks_each_secret_that_this_shell_lacks(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--config", str(path)]) == 0
    told = capsys.readouterr().out
    for variable in VARIABLES:
        assert f"neither {variable} nor {variable}_FILE is set in this shell; daemon and pages need one" in told
    assert told.count("in the environment that they are started with") == len(VARIABLES)
    assert "remark: web.openid.client_id: " in told
    assert "(line 5)" in told
    assert "good; revision" in told


def test_the_settings_are_shown_with_a_remark_on_each_missing_secret(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", "--config", str(path)]) == 0
    told = capsys.readouterr()
    assert "remark: " not in told.out
    for variable in VARIABLES:
        assert f"neither {variable} nor {variable}_FILE is set in this shell" in told.err


@pytest.mark.parametrize("command", ["run", "web"])
@pytest.mark.usefixtures("store")
def test_what_uses_a_secret_does_not_start_without_it(
    path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--config", str(path)]) == 1
    told = capsys.readouterr().err
    assert "notices.email.username: set, but neither SCREENER_EMAIL_PASSWORD nor" in told
    assert "web.openid.client_id: set, but neither SCREENER_OPENID_SECRET nor" in told


def test_every_missing_secret_is_named_at_once(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert len(str(caught.value).splitlines()) == len(VARIABLES)


def test_a_file_of_a_secret_that_is_not_there_is_told_by_its_variable_and_path(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCREENER_OPENID_SECRET_FILE", "/nowhere/secret")
    assert main(["config", "check", "--config", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("SCREENER_OPENID_SECRET_FILE: /nowhere/secret cannot be read: No such file or directory")
    assert "web.openid.client_id" in told
    assert main(["config", "show", "--config", str(path)]) == 0
    assert "/nowhere/secret cannot be read" in capsys.readouterr().err
