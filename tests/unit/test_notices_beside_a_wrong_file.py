"""Beside a wrong config.toml, `screener notices` judges by the rules in force, or says that it does not know them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.config import load_config
from screener.show_config import list_settings
from screener.store import Store
from screener.store.settings_log import SettingsEvent, SettingsLine
from tests.unit.test_store import QUIET, START, THRESHOLDS
from tests.unit.test_why_withdrawn import find

GOOD = (
    '[storage]\nfolder = "."\n[notices.email]\nhost = "mail"\n[[notices.rules]]\nname = "ent"\nemails = ["e@x.test"]\n'
)
NOT_KNOWN = "the rules are not known while config.toml is wrong"


def ask(store: Store, folder: Path, capsys: pytest.CaptureFixture[str], more: dict[str, str] | None) -> tuple[str, str]:
    """Ask for the notices of a flagged study; the log has kept the good file and `more`, or nothing for None."""
    find(store, 1, 900, THRESHOLDS, START + QUIET)
    path = folder / "config.toml"
    path.write_text(GOOD, encoding="utf-8")
    if more is not None:
        keep_settings(store, list_settings(load_config(path, {})) | more)
    path.write_text(f"{GOOD}[decision]\nmin_voxels = 3\n", encoding="utf-8")
    assert main(["notices", "--study", "1", "--config", str(path)]) == 0
    told = capsys.readouterr()
    return told.out, told.err


def keep_settings(store: Store, settings: dict[str, str]) -> None:
    line = SettingsLine(
        at=datetime.now(UTC),
        kind=SettingsEvent.START,
        revision="r",
        file_sha256="",
        changes=(),
        waits=(),
        problem="",
        settings=settings,
    )
    store.add_settings_line(line)


def test_a_key_of_another_version_elsewhere_leaves_the_rules_known(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, said = ask(store, tmp_path, capsys, {"decision.of_old": "1"})
    assert "ent: takes it" in told
    assert "not known of them: decision.of_old" in said


def test_rules_that_are_known_in_part_are_not_judged_by(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, said = ask(store, tmp_path, capsys, {"notices.rules[0].of_old": "1"})
    assert NOT_KNOWN in told
    assert "takes it" not in told
    assert "not known of them: notices.rules.0.of_old" in said


def test_rules_that_no_daemon_has_told_are_not_said_to_be_none(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, said = ask(store, tmp_path, capsys, None)
    assert NOT_KNOWN in told
    assert "has no [[notices.rules]]" not in told
    assert "notices" in said.partition("not known of them: ")[2]


def test_rules_are_judged_while_the_disk_is_away_and_it_says_so(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_images = store.images_of
    monkeypatch.setattr(
        Store, "images_of", lambda _, study_id, folder: find_images(study_id, folder / "not" / "mounted")
    )
    told, _ = ask(store, tmp_path, capsys, {})
    assert "ent: takes it" in told
    assert "cannot be read now (FileNotFoundError): what rules say of places is not known" in told
