"""A changed config.toml is taken over while the daemon runs, refused where it is wrong, and never forgotten."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.complete import Completion
from screener.config import load_config
from screener.journey import Queue
from screener.store import Store
from screener.store.settings_log import SettingsEvent
from screener.watch_config import SettingsInForce
from tests.peers.values import an_instance

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
GOOD = '[storage]\nfolder = "."\n[decision]\nmin_voxels = 500\n'
LEASE = timedelta(minutes=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


@pytest.fixture
def settings(path: Path, store: Store) -> SettingsInForce:
    settings = SettingsInForce(load_config(path, {}), path, store, {})
    settings.begin(START)
    return settings


def look(settings: SettingsInForce, times: int = 2) -> None:
    for _ in range(times):
        settings.watch(START + timedelta(minutes=1))


def change(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_new_threshold_is_taken_over_and_kept_with_its_revision(
    settings: SettingsInForce, path: Path, store: Store
) -> None:
    before = settings.thresholds()
    look(settings)
    change(path, GOOD.replace("500", "300"))
    look(settings)
    after = settings.thresholds()
    assert (before.min_voxels, after.min_voxels) == (500, 300)
    newest, first = store.settings_lines()
    assert (first.kind, newest.kind) == (SettingsEvent.START, SettingsEvent.CHANGE)
    assert newest.revision == after.config_revision != before.config_revision
    assert [(c.key, c.before, c.after) for c in newest.changes] == [("decision.min_voxels", "500", "300")]


def test_a_file_that_is_being_written_is_not_taken_for_a_finished_one(settings: SettingsInForce, path: Path) -> None:
    look(settings)
    change(path, '[storage]\nfolder = "."\n[decision]\nmin_voxels = 30')
    look(settings, 1)
    change(path, GOOD.replace("500", "3000"))
    look(settings, 1)
    assert settings.thresholds().min_voxels == 500
    look(settings, 1)
    assert settings.thresholds().min_voxels == 3000


@pytest.mark.parametrize("text", ["[decision]\nmin_voxels = 3\n", "[decision", "", "[decision]\nmin_voxel = 300\n"])
def test_a_wrong_file_keeps_the_last_good_settings_and_shouts_once(
    settings: SettingsInForce, path: Path, store: Store, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    look(settings)
    change(path, text)
    look(settings, 6)
    assert settings.thresholds().min_voxels == 500
    assert len(errors(caplog)) == 1
    last = store.last_settings_line()
    assert last is not None
    assert (last.kind, bool(last.problem)) == (SettingsEvent.REFUSED, True)
    assert last.revision == settings.thresholds().config_revision


def test_a_file_that_is_gone_keeps_the_last_good_settings(
    settings: SettingsInForce, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look(settings)
    path.unlink()
    look(settings, 4)
    assert settings.thresholds().min_voxels == 500
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "config.toml: it is not there"),
        ("[decision", "(at end of document)"),
        (f"{GOOD}gamma = \n", "(at line 5, column 9)"),
        (f"{GOOD}gama = 3\n", "decision.gama (line 5)"),
        (f'{GOOD}[notices.email]\nusername = "user"\n', "SCREENER_EMAIL_PASSWORD"),
    ],
)
def test_the_log_says_what_is_wrong_with_the_file_and_where(
    settings: SettingsInForce, path: Path, text: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    look(settings)
    if text is None:
        path.unlink()
    else:
        change(path, text)
    look(settings)
    (told,) = errors(caplog)
    assert reason in told


def test_a_secret_that_the_daemon_lacks_is_named_as_the_daemons(
    settings: SettingsInForce, path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    look(settings)
    change(path, f'{GOOD}[notices.email]\nusername = "user"\n')
    look(settings)
    sentence = (
        "notices.email.username: the daemon's environment has neither SCREENER_EMAIL_PASSWORD nor "
        "SCREENER_EMAIL_PASSWORD_FILE; restart it with one of them (line 6)"
    )
    (told,) = errors(caplog)
    assert told.endswith(f": {sentence}")
    assert "config check" not in told, "in another shell it knows nothing of the daemon's environment"
    last = store.last_settings_line()
    assert last is not None
    assert last.problem == sentence


def test_no_value_of_a_wrong_key_is_logged(
    settings: SettingsInForce, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look(settings)
    change(path, f'{GOOD}[queue]\nbroker = ["redis://:sesame@q"]\n')
    look(settings)
    (told,) = errors(caplog)
    assert told.endswith(": queue.broker (line 6)")


def test_a_file_that_is_good_again_ends_the_shouting(settings: SettingsInForce, path: Path, store: Store) -> None:
    look(settings)
    change(path, "[decision")
    look(settings)
    change(path, GOOD)
    look(settings)
    last = store.last_settings_line()
    assert last is not None
    assert (last.kind, last.problem, last.changes) == (SettingsEvent.CHANGE, "", ())


def test_what_is_not_a_decision_waits_for_a_restart_and_is_named(
    settings: SettingsInForce, path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    look(settings)
    change(path, GOOD + "gamma = 3\n[listener]\nport = 104\n")
    look(settings)
    assert settings.thresholds().gamma == 3
    last = store.last_settings_line()
    assert last is not None
    assert [change.key for change in last.changes] == ["decision.gamma"]
    assert [change.key for change in last.waits] == ["listener.port"]
    assert "needs a restart of daemon and workers: listener.port" in caplog.text
    again = SettingsInForce(load_config(path, {}), path, store, {})
    again.begin(START + timedelta(hours=1))
    last = store.last_settings_line()
    assert last is not None
    assert (last.kind, last.waits) == (SettingsEvent.START, ())
    assert [change.key for change in last.changes] == ["listener.port"]


def test_a_comment_changes_nothing_and_leaves_no_entry(settings: SettingsInForce, path: Path, store: Store) -> None:
    look(settings)
    change(path, f"# by night\n{GOOD}")
    look(settings, 4)
    assert len(store.settings_lines()) == 1


def test_a_start_with_the_same_settings_leaves_no_entry(settings: SettingsInForce, path: Path, store: Store) -> None:
    SettingsInForce(load_config(path, {}), path, store, {}).begin(START + timedelta(hours=1))
    assert len(store.settings_lines()) == 1


def test_no_secret_of_an_address_is_kept(path: Path, store: Store) -> None:
    change(path, GOOD + '[queue]\nbroker = "redis://:open-sesame@queue:6379/0"\n')
    settings = SettingsInForce(load_config(path, {}), path, store, {})
    settings.begin(START)
    look(settings)
    change(path, GOOD + '[queue]\nbroker = "redis://:other-sesame@queue:6379/0"\n')
    look(settings)
    lines = store.settings_lines()
    assert [change.key for change in lines[0].waits] == ["queue.broker"]
    assert "sesame" not in repr(lines)


def test_the_next_study_is_decided_by_the_new_threshold(settings: SettingsInForce, path: Path, store: Store) -> None:
    completion = Completion(store, load_config(path, {}), None, settings.thresholds)
    look(settings)
    for number, voxels in ((1, 500), (2, 300)):
        change(path, GOOD.replace("500", str(voxels)))
        look(settings)
        at = START + timedelta(hours=number)
        store.record_instance(
            an_instance(number, study_instance_uid=f"1.{number}", sop_instance_uid=f"1.{number}.1"), at
        )
        completion.dispatch_complete_studies(at + timedelta(minutes=20))
        run = store.claim_run(Queue.CT, "worker", at + timedelta(minutes=30), LEASE)
        assert run is not None
        assert run.thresholds == settings.thresholds()
        assert run.thresholds.min_voxels == voxels


def status(path: Path) -> int:
    return main(["status", "--config", str(path)])


def test_status_tells_the_revision_and_ends_well(
    settings: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(path) == 3, "all is well and no daemon runs"
    assert f"settings: revision {settings.thresholds().config_revision} in force since" in capsys.readouterr().out


def test_status_of_a_wrong_file_shouts_and_tells_the_rest_all_the_same(
    settings: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(path, GOOD.replace("500", "3"))
    assert status(path) == 1
    told = capsys.readouterr().out
    assert "config.toml is WRONG" in told
    assert "received 0 = done 0" in told
    look(settings, 4)
    assert status(path) == 1
    told = capsys.readouterr().out
    assert "is WRONG and changes nothing" in told
    assert "decision.min_voxels: 3 is not allowed" in told
    change(path, GOOD)
    look(settings)
    assert status(path) == 3, "all is well and no daemon runs"


def test_history_tells_every_change(settings: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look(settings)
    change(path, GOOD.replace("500", "300") + "[listener]\nport = 104\n")
    look(settings)
    assert main(["config", "history", "--config", str(path)]) == 0
    told = capsys.readouterr().out
    assert "decision.min_voxels: 500 -> 300" in told
    assert "listener.port: 11112 -> 104 (needs a restart)" in told


def test_diff_says_what_a_running_daemon_takes_over(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = path.with_name("other.toml")
    change(other, GOOD.replace("500", "300") + "[listener]\nport = 104\n")
    assert main(["config", "diff", "--config", str(path), str(other)]) == 0
    told = capsys.readouterr().out
    hot, cold = told.partition("need a restart:")[::2]
    assert "decision.min_voxels: 500 -> 300" in hot
    assert "listener.port: 11112 -> 104" in cold
    assert main(["config", "diff", "--config", str(path), str(path)]) == 0
    assert "the same settings" in capsys.readouterr().out


def test_diff_says_of_a_secret_that_it_is_another(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = path.with_name("other.toml")
    change(path, f'{GOOD}[queue]\nbroker = "redis://:alpha@q:6379/0"\n')
    change(other, path.read_text(encoding="utf-8").replace("alpha", "beta"))
    assert main(["config", "diff", "--config", str(path), str(other)]) == 0
    assert "  queue.broker: another secret\n" in capsys.readouterr().out


def test_a_change_that_could_not_be_written_down_is_not_in_force_and_tried_again(
    settings: SettingsInForce, path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(settings)
    change(path, GOOD.replace("500", "300"))
    with monkeypatch.context() as patched:
        patched.setattr(store, "add_settings_line", refuse_to_write)
        look(settings, 1)
        with pytest.raises(OSError, match="away"):
            look(settings, 1)
    assert settings.thresholds().min_voxels == 500
    look(settings, 1)
    assert settings.thresholds().min_voxels == 300
    assert len(store.settings_lines()) == 2


def refuse_to_write(line: object) -> None:
    raise OSError("away")
