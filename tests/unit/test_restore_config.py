"""The settings last in force are made again of what the log of the settings has kept."""

from pathlib import Path

from screener.config import load_config
from screener.restore_config import restore_config
from screener.show_config import list_settings
from tests.unit.test_commands_beside_a_wrong_file import FOLDER, GOOD

PROJECT = Path(__file__).resolve().parents[2]


def test_all_settings_but_masked_ones_are_known_from_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD, encoding="utf-8")
    for file in (path, PROJECT / "config.toml"):
        config = load_config(file, {})
        restored = restore_config(list_settings(config), config)
        assert restored.model_dump() == config.model_dump() | {"queue": restored.queue.model_dump()}
        assert restored.queue.broker == ""


def test_settings_of_another_version_leave_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(FOLDER, encoding="utf-8")
    config = load_config(tmp_path / "config.toml", {})
    assert restore_config({"listener.of_old": "1"}, config) is config
