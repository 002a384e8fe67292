"""A config.toml that reads well and with which nothing would start: who is told to restart is told so before."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import load_config
from screener.store import Store
from screener.watch_config import SettingsInForce

GOOD = '[storage]\nfolder = "."\n'
NO_BUNDLE = f'{GOOD}[models]\nfolder = "nowhere"\n'
TLS = f'{GOOD}[listener]\ntls_certificate = "listener.pem"\ntls_key = "listener.key"\n'


@pytest.fixture
def path(tmp_path: Path, store: Store) -> Iterator[Path]:
    path = tmp_path / "config.toml"
    path.write_text(GOOD, encoding="utf-8")
    daemon = SettingsInForce(load_config(path, {}), path, store, {})
    daemon.begin(datetime.now(UTC))
    path.write_text(NO_BUNDLE, encoding="utf-8")
    for _ in range(2):
        daemon.watch(datetime.now(UTC))
    return path


def ask(path: Path, command: str) -> int:
    return main([*command.split(), "--config", str(path)])


def test_status_tells_what_the_check_says_and_ends_as_it_does(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(path, "config check") == 1
    sentence = capsys.readouterr().err.strip()
    assert sentence.startswith("models.localizer: there is no bundle")
    assert sentence.endswith("(the table at line 3)")
    assert ask(path, "status") == 1
    told = capsys.readouterr().out
    assert "needs a restart of daemon and workers: models.folder" in told
    assert f"config.toml is WRONG, no daemon and no worker would start with it:\n  {sentence}\n" in told


def test_what_waits_is_shown_with_what_keeps_it_from_a_start(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(path, "config show") == 0
    told = capsys.readouterr().err
    assert "remark: not in force yet" in told
    assert "remark: no daemon and no worker would start with it: models.localizer: there is no bundle" in told


def test_a_file_of_tls_that_is_not_there_is_told_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(TLS, encoding="utf-8")
    assert ask(path, "status") == 1
    assert f"listener.tls_certificate: {path.parent / 'listener.pem'}: No such file" in capsys.readouterr().out


def test_a_key_that_only_the_daemon_may_read_is_no_fault(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(TLS, encoding="utf-8")
    look = Path.open

    def refuse(self: Path, *more: object, **words: object) -> object:  # the tests may run as root, who may read it
        if self.name == "listener.pem":
            raise PermissionError(13, "Permission denied", str(self))
        return look(self, *more, **words)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    assert ask(path, "status") == 3, "all is well and no daemon runs"
    assert "WRONG" not in capsys.readouterr().out
