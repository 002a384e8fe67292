"""`screener users`: accounts from the command line, their passwords from a file or a terminal, never an argument."""

from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import ConfigError, make_config
from screener.store import Store, open_store
from screener.web.passwords import is_password
from tests.peers.stores import open_new_store

EVERYWHERE = "0.0.0.0"  # noqa: S104 - no test listens there


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("")
    (tmp_path / "var").mkdir()
    open_new_store(f"sqlite:///{tmp_path}/var/screener.sqlite").engine.dispose()
    return path


@pytest.fixture
def store(config: Path) -> Store:
    return open_store(f"sqlite:///{config.parent}/var/screener.sqlite")


def users(config: Path, *arguments: str) -> int:
    return main(["users", *arguments, "--config", str(config)])


def a_file(folder: Path, password: str) -> str:
    path = folder / "password"
    path.write_text(f"{password}\n")
    return str(path)


def test_an_account_is_added_listed_and_disabled(
    config: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = a_file(config.parent, "correct horse battery")
    assert users(config, "add", "alice", "--role", "radiologist", "--password-file", secret) == 0
    account = store.find_account("alice")
    assert account is not None
    assert is_password("correct horse battery", account.password_hash)
    assert not is_password("correct horse batterz", account.password_hash)
    assert users(config, "disable", "alice") == 0
    assert users(config, "list") == 0
    out = capsys.readouterr().out
    assert "alice" in out
    assert "disabled" in out
    assert "correct horse" not in out
    assert [line.action for line in store.audit_lines()] == ["account disabled", "account added"]


def test_a_new_password_lets_a_disabled_account_in_again(config: Path, store: Store) -> None:
    users(config, "add", "alice", "--role", "reader", "--password-file", a_file(config.parent, "the first password"))
    users(config, "disable", "alice")
    assert users(config, "password", "alice", "--password-file", a_file(config.parent, "the second password")) == 0
    account = store.find_account("alice")
    assert account is not None
    assert not account.is_disabled
    assert is_password("the second password", account.password_hash)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "alice", "--role", "reader"), "no terminal"),
        (("add", "a b", "--role", "reader"), "a name has"),
        (("disable", "nobody"), "there is no account nobody"),
        (("password", "nobody"), "there is no account nobody"),
    ],
)
def test_what_cannot_be_done_is_said(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert users(config, *arguments) == 1
    assert sentence in capsys.readouterr().err


def test_a_short_password_is_refused(config: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert users(config, "add", "alice", "--role", "reader", "--password-file", a_file(config.parent, "short")) == 1
    assert "12 to 256 characters" in capsys.readouterr().err
    assert store.accounts() == []


def test_a_password_on_the_command_line_is_no_argument(config: Path) -> None:
    with pytest.raises(SystemExit):
        users(config, "add", "alice", "--role", "reader", "--password", "correct horse battery")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"host": EVERYWHERE}, "tls_certificate"),
        ({"tls_certificate": "a.pem"}, "belong together"),
        ({"viewer": "javascript:alert(1)"}, "viewer"),
        ({"proxies": ["nonsense"]}, "proxies"),
    ],
)
def test_settings_that_would_show_passwords_are_refused(tmp_path: Path, settings: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        make_config({"web": settings}, base=tmp_path, environment={})


def test_a_proxy_that_speaks_tls_allows_any_address(tmp_path: Path) -> None:
    settings = {"host": EVERYWHERE, "proxies": ["10.0.0.1"]}
    assert make_config({"web": settings}, base=tmp_path, environment={}).web.host == EVERYWHERE
