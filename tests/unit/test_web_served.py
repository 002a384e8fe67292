"""The pages as a process: started and watched by the daemon, over TLS, gone when the daemon is gone."""

import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener import run_web
from screener.config import Config, load_config
from screener.run_web import WebProcess
from tests.peers.certificates import make_certificate
from tests.peers.hospital import wait_until
from tests.peers.ports import free_port, is_open
from tests.peers.stores import open_new_store

SECONDS = 120
NOW = datetime(2026, 5, 6, tzinfo=UTC)


def write_config(folder: Path, web: str = "") -> Path:
    path = folder / "config.toml"
    path.write_text(f"[web]\nenabled = true\nport = {free_port()}\n{web}")
    (folder / "var").mkdir(exist_ok=True)
    open_new_store(f"sqlite:///{folder}/var/screener.sqlite").engine.dispose()
    return path


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def pages(config_path: Path) -> Iterator[WebProcess]:
    started = WebProcess(config_path)
    yield started
    started.stop()


def port_of(path: Path) -> int:
    config: Config = load_config(path)
    return config.web.port


def wait_for_door(path: Path) -> None:
    wait_until(lambda: is_open(port_of(path)), SECONDS, "the pages are served")


def test_the_daemon_starts_the_pages_again_when_they_end(config_path: Path, pages: WebProcess) -> None:
    pages.watch(NOW)
    wait_for_door(config_path)
    process = pages._process
    assert process is not None
    process.kill()
    process.wait()
    pages.watch(NOW + timedelta(seconds=1))
    assert pages._process is process  # not yet: what ends at once must not keep the machine busy
    pages.watch(NOW + timedelta(seconds=6))
    wait_for_door(config_path)
    pages.stop()
    assert not is_open(port_of(config_path))


def test_the_pages_end_with_a_daemon_that_was_killed(config_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from datetime import datetime, UTC;"
        "from screener.run_web import WebProcess; WebProcess(Path(sys.argv[1])).watch(datetime.now(UTC));"
        "time.sleep(600)"
    )
    daemon = subprocess.Popen([sys.executable, "-c", code, str(config_path)])
    wait_for_door(config_path)
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    wait_until(lambda: not is_open(port_of(config_path)), SECONDS, "the pages have ended")


def test_the_pages_are_served_over_tls_alone(tmp_path: Path) -> None:
    authority = make_certificate(tmp_path, "authority")
    certificate, key = make_certificate(tmp_path, "pages", signed_by=authority)
    path = write_config(tmp_path, f'tls_certificate = "{certificate}"\ntls_key = "{key}"\n')
    pages = WebProcess(path)
    try:
        pages.watch(NOW)
        wait_for_door(path)
        context = ssl.create_default_context(cafile=str(authority.certificate))
        address = f"127.0.0.1:{port_of(path)}/sign-in"
        with urllib.request.urlopen(f"https://{address}", context=context) as answer:
            assert answer.headers["Strict-Transport-Security"]
        with pytest.raises((urllib.error.URLError, OSError)):
            urllib.request.urlopen(f"http://{address}", timeout=10)
    finally:
        pages.stop()


def test_a_taken_port_is_named(config_path: Path, pages: WebProcess) -> None:
    pages.watch(NOW)
    wait_for_door(config_path)
    command = [*run_web.COMMAND, "--config", str(config_path)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert second.returncode == 1
    assert "web.port" in second.stderr
