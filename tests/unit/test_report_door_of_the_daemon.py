"""The daemon opens a door for reports where the settings say so, and nowhere else."""

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from screener.config import Config, ConfigError, load_config
from screener.daemon import Daemon
from tests.peers.hospital import wait_until
from tests.peers.ports import free_port, is_open
from tests.peers.report_sender import open_sender
from tests.peers.values import an_instance
from tests.unit.test_notify import write_image
from tests.unit.test_read_oru import LEFT_MASS, message, obr, obx


def settings(folder: Path, port: int, *, is_enabled: bool = True) -> Config:
    tables = f"[storage]\nreserve_mib = 10\nclean_below_mib = 10\n[listener]\nport = {free_port()}\n"
    tables += f"[reports]\nenabled = {str(is_enabled).lower()}\nport = {port}\n"
    (folder / "config.toml").write_text(tables)
    return load_config(folder / "config.toml")


def test_a_report_that_waited_is_filed_by_the_daemon_once_its_study_has_come(tmp_path: Path) -> None:
    port = free_port()
    config = settings(tmp_path, port)
    daemon = Daemon(config, tmp_path / "config.toml", has_workers=False)
    daemon.start()
    try:
        with open_sender(port) as sender:
            text = message(obr(accession="CANARY-ACC"), obx(LEFT_MASS)).replace("CANARY-ID-1", "CANARY-ID")
            assert sender.send(text) == "AA"
        write_image(config.storage_folder / "image.dcm")
        daemon.store.record_instance(an_instance(path="image.dcm"), datetime.now(UTC))
        wait_until(lambda: daemon.store.mention_of(1) is not None, 20, "the report is filed")
    finally:
        daemon.stop()
    assert not is_open(port)


def test_nothing_listens_unless_the_settings_say_so(tmp_path: Path) -> None:
    port = free_port()
    daemon = Daemon(settings(tmp_path, port, is_enabled=False), tmp_path / "config.toml", has_workers=False)
    daemon.start()
    try:
        assert not is_open(port)
    finally:
        daemon.stop()
    assert not (tmp_path / "var" / "orders.key").exists()


def test_a_port_that_is_taken_names_its_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = settings(tmp_path, taken.getsockname()[1])
        daemon = Daemon(config, tmp_path / "config.toml", has_workers=False)
        with pytest.raises(ConfigError, match=r"reports\.port"):
            daemon.start()
        assert not is_open(config.listener.port)
