"""The settings last in force are made again of what the log of the settings has kept."""

from pathlib import Path

from screener.config import Completeness, load_config
from screener.restore_config import Restored, restore_config
from screener.show_config import list_settings
from tests.unit.test_commands_beside_a_wrong_file import FOLDER, GOOD

PROJECT = Path(__file__).resolve().parents[2]


def test_all_settings_but_masked_ones_are_known_from_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD, encoding="utf-8")
    for file in (path, PROJECT / "config.toml"):
        config = load_config(file, {})
        restored = restore_config(list_settings(config), config).config
        assert restored.model_dump() == config.model_dump() | {"queue": restored.queue.model_dump()}
        assert restored.queue.broker == ""


def restore_with(folder: Path, more: dict[str, str]) -> Restored:
    """Restore what was kept of a good file, and `more`."""
    (folder / "config.toml").write_text(GOOD, encoding="utf-8")
    config = load_config(folder / "config.toml", {})
    return restore_config(list_settings(config) | more, config)


def test_a_key_of_another_version_costs_nothing_but_itself(tmp_path: Path) -> None:
    restored = restore_with(tmp_path, {"completeness.of_old": "1", "gone.key": "2"})
    assert restored.config.completeness.quiet_seconds == 77777
    assert restored.unknown == ("completeness.of_old",)
    assert not restored.knows("completeness")
    assert restored.knows("notices")


def test_a_value_that_is_no_longer_allowed_costs_nothing_but_itself(tmp_path: Path) -> None:
    restored = restore_with(tmp_path, {"completeness.max_wait_seconds": "-1", "completeness.pacs[0].port": "-1"})
    assert restored.config.completeness.quiet_seconds == 77777
    assert restored.config.completeness.max_wait_seconds == Completeness().max_wait_seconds
    assert restored.config.completeness.pacs == []
    assert restored.unknown == ("completeness.pacs.0.port", "completeness.pacs.0", "completeness.max_wait_seconds")


def test_doors_that_may_no_longer_share_a_port_leave_all_known(tmp_path: Path) -> None:
    restored = restore_with(tmp_path, {"reports.enabled": "true", "reports.port": "11112"})
    assert restored.config.reports.port == 11112
    assert restored.unknown == ()


def test_where_nothing_was_kept_every_table_is_unknown_and_the_disk_is_where_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(FOLDER, encoding="utf-8")
    config = load_config(tmp_path / "config.toml", {})
    restored = restore_config({}, config)
    assert restored.config == config
    assert {"notices", "decision", "completeness"} < set(restored.unknown)
