"""A daemon whose disk is not mounted does not begin anew in the empty folder."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from screener.config import Config, ConfigError, load_config
from screener.daemon import Daemon
from tests.peers.ports import free_port, is_open
from tests.peers.values import an_instance


def settings(folder: Path) -> Config:
    path = folder / "config.toml"
    path.write_text(
        f"""[storage]
folder = "{folder}/mounted"
reserve_mib = 10
clean_below_mib = 10
[database]
url = "sqlite:///{folder}/screener.sqlite"
[listener]
port = {free_port()}
"""
    )
    return load_config(path)


def test_a_daemon_whose_images_are_not_there_does_not_begin(tmp_path: Path) -> None:
    config = settings(tmp_path)
    daemon = Daemon(config, tmp_path / "config.toml", has_workers=False)
    daemon.start()
    try:
        daemon.store.record_instance(an_instance(), datetime.now(UTC))
    finally:
        daemon.stop()
    (tmp_path / "mounted").rename(tmp_path / "away")
    (tmp_path / "mounted").mkdir()
    with pytest.raises(ConfigError, match=r"storage\.folder: .*mounted.* is its disk mounted"):
        Daemon(config, tmp_path / "config.toml", has_workers=False)
    assert not list((tmp_path / "mounted").iterdir())
    assert not is_open(config.listener.port)
    (tmp_path / "mounted").rmdir()
    (tmp_path / "away").rename(tmp_path / "mounted")
    daemon = Daemon(config, tmp_path / "config.toml", has_workers=False)
    daemon.start()
    daemon.stop()
