"""A threshold is changed in config.toml itself: its comments stay, and nothing wrong is ever written."""

from pathlib import Path

import pytest

from screener.change_setting import change_settings, digest_text, set_values
from screener.config import ConfigError, load_config

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = (PROJECT / "config.toml").read_text(encoding="utf-8")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(SHIPPED, encoding="utf-8")
    return path


def test_one_line_of_the_file_that_ships_changes_and_no_comment(path: Path) -> None:
    path.chmod(0o640)
    config = change_settings(path, {"min_voxels": 300}, file_sha256=digest_text(SHIPPED))
    before, after = SHIPPED.splitlines(), path.read_text(encoding="utf-8").splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ("min_voxels = 500", "min_voxels = 300")
    ]
    assert config.decision.min_voxels == load_config(path, {}).decision.min_voxels == 300
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


def test_a_comment_behind_the_value_stays() -> None:
    changed = set_values("# top\n[decision]\ngamma = 5 # local\n[web]\n", {"gamma": 3, "us_findings": "decide"})
    assert "# top" in changed
    assert "gamma = 3 # local" in changed
    assert 'us_findings = "decide"' in changed


def test_a_file_without_the_table_gets_it() -> None:
    assert "[decision]\nmin_voxels = 300" in set_values("[storage]\nfolder = 'x'\n", {"min_voxels": 300})


@pytest.mark.parametrize("changes", [{"min_voxels": 3}, {"min_voxel": 300}, {"us_findings": "ask"}, {"gamma": "x"}])
def test_what_the_daemon_would_refuse_is_never_written(path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"decision\."):
        change_settings(path, changes, file_sha256=digest_text(SHIPPED))
    assert path.read_text(encoding="utf-8") == SHIPPED


def test_a_file_that_somebody_else_has_changed_is_left_alone(path: Path) -> None:
    path.write_text(SHIPPED + "# news\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="somebody else"):
        change_settings(path, {"min_voxels": 300}, file_sha256=digest_text(SHIPPED))
    assert path.read_text(encoding="utf-8") == SHIPPED + "# news\n"


def test_a_file_that_cannot_be_written_is_named_and_stays_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ConfigError, match=r"cannot be written \(Read-only file system\): change it by hand"):
        change_settings(path, {"min_voxels": 300}, file_sha256=digest_text(SHIPPED))
    assert path.read_text(encoding="utf-8") == SHIPPED
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


def test_a_link_to_the_file_stays_a_link(path: Path) -> None:
    link = path.with_name("link.toml")
    link.symlink_to(path)
    change_settings(link, {"min_voxels": 300}, file_sha256=digest_text(SHIPPED))
    assert link.is_symlink()
    assert load_config(path, {}).decision.min_voxels == 300
