"""Since when a setting is in force is told without interruption, and a change that was taken back is called so."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from screener.__main__ import main
from screener.config import load_config
from screener.store import Store
from screener.store.web_accounts import Role
from screener.watch_config import SettingsInForce
from screener.web.fill_pages import write_moment
from screener.web.site import make_site
from tests.unit.test_web_thresholds import HTML, enter

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
GOOD = '[storage]\nfolder = "."\n[decision]\nmin_voxels = 500\n'
STRICT = GOOD.replace("500", "800")
PORT = f"{GOOD}[listener]\nport = 104\n"
SECRET = f'{GOOD}[queue]\nbroker = "redis://:alpha@q:6379/0"\n'
OTHER_SECRET = SECRET.replace("alpha", "beta")
HOUR = timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


@pytest.fixture
def daemon(path: Path, store: Store) -> SettingsInForce:
    return start(path, store, 0)


def start(path: Path, store: Store, hours: int) -> SettingsInForce:
    daemon = SettingsInForce(load_config(path, {}), path, store, {})
    daemon.begin(START + hours * HOUR)
    return daemon


def take(daemon: SettingsInForce, path: Path, *texts: str) -> None:
    """Let the file hold one text after the other, an hour apart from one o'clock on."""
    for number, text in enumerate(texts, 1):
        path.write_text(text, encoding="utf-8")
        for _ in range(2):
            daemon.watch(START + number * HOUR)


def history(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["config", "history", "--config", str(path)]) == 0
    return capsys.readouterr().out


def at(hours: int) -> str:
    return (START + hours * HOUR).astimezone().isoformat(sep=" ")


@pytest.mark.parametrize("between", [PORT, "[decision", f"# a remark\n{GOOD}"], ids=["port", "wrong", "remark"])
def test_what_does_not_touch_the_thresholds_does_not_interrupt_them(
    daemon: SettingsInForce, path: Path, store: Store, capsys: pytest.CaptureFixture[str], between: str
) -> None:
    take(daemon, path, between, GOOD)
    told = history(path, capsys).splitlines()[0]
    assert told == f"settings: revision {daemon.thresholds().config_revision} in force since {at(0)}"


def test_a_threshold_that_came_back_is_in_force_since_it_came_back(
    daemon: SettingsInForce, path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, STRICT, GOOD, PORT)
    assert f"in force since {at(2)}" in history(path, capsys).splitlines()[0]
    since = store.values_since()
    assert since["decision.min_voxels"] == START + 2 * HOUR
    assert since["decision.gamma"] == START


def test_a_refused_file_leaves_the_time_of_what_is_in_force(
    daemon: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, STRICT, GOOD.replace("500", "3"))
    told = history(path, capsys).splitlines()[0]
    assert f"config.toml as of {at(2)} is WRONG" in told
    assert f"stays in force, as since {at(1)}" in told


def test_what_waits_in_the_last_good_file_is_not_said_of_a_wrong_one(
    daemon: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, PORT, GOOD.replace("500", "3"))
    told = history(path, capsys)
    assert "changed in config.toml" not in told
    assert "  changed in the last good config.toml, needs a good one and a restart of daemon and workers: " in told


def test_status_says_so_of_a_wrong_file_that_the_daemon_has_not_seen_yet(
    daemon: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, PORT)
    path.write_text(GOOD.replace("500", "3"), encoding="utf-8")
    assert main(["status", "--config", str(path)]) == 1
    told = capsys.readouterr().out
    assert "changed in config.toml" not in told
    assert "changed in the last good config.toml" in told


def test_a_threshold_that_was_taken_back_is_called_so(
    daemon: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, STRICT, GOOD)
    told = history(path, capsys)
    assert f"decision.min_voxels: 500 -> 800 (taken back {at(2)})" in told
    assert f"decision.min_voxels: 800 -> 500 (takes back the change of {at(1)})" in told


def test_a_threshold_that_was_replaced_tells_until_when_it_held(
    daemon: SettingsInForce, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, STRICT, GOOD.replace("500", "900"))
    told = history(path, capsys)
    assert f"decision.min_voxels: 500 -> 800 (until {at(2)})\n" in told
    assert "decision.min_voxels: 800 -> 900\n" in told


def test_what_never_came_into_force_is_told_once_with_its_end(
    daemon: SettingsInForce, path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, PORT, f"# a remark\n{PORT}", PORT.replace("500", "800"), STRICT)
    told = history(path, capsys)
    assert f"listener.port: 11112 -> 104 (needs a restart; never in force, taken back {at(4)})" in told
    assert "listener.port: 104 was taken back before it came into force" in told
    assert told.count("11112 -> 104") == 1
    assert len(store.settings_lines()) == 4, "a remark leaves no entry"


def test_what_waited_and_was_replaced_is_not_called_taken_back(
    daemon: SettingsInForce, path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, PORT, PORT.replace("104", "105"))
    path.write_text(PORT.replace("104", "106"), encoding="utf-8")
    start(path, store, 3)
    told = history(path, capsys)
    assert f"listener.port: 11112 -> 104 (needs a restart; never in force, replaced {at(2)})" in told
    assert f"listener.port: 11112 -> 105 (needs a restart; never in force, replaced {at(3)})" in told
    assert "taken back" not in told


def test_what_waited_tells_when_it_came_into_force(
    daemon: SettingsInForce, path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, PORT)
    start(path, store, 2)
    told = history(path, capsys)
    assert f"listener.port: 11112 -> 104 (needs a restart; in force from {at(2)} on)" in told
    assert "a daemon started\n  listener.port: 11112 -> 104\n" in told


def test_what_was_taken_back_while_no_daemon_ran_is_called_so(
    daemon: SettingsInForce, path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, PORT)
    path.write_text(GOOD, encoding="utf-8")
    start(path, store, 2)
    assert "listener.port: 104 was taken back before it came into force" in history(path, capsys)


def test_another_secret_is_read_anew_with_the_next_start_and_not_called_taken_back(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masked both look alike: which of them a start has read is not known afterwards, only that it has read one."""
    path.write_text(SECRET, encoding="utf-8")
    take(start(path, store, 0), path, OTHER_SECRET)
    start(path, store, 2)
    told = history(path, capsys)
    assert f"queue.broker: another secret (needs a restart; read anew with the start of {at(2)})" in told
    assert "a daemon started\n  queue.broker: its secret was read anew\n" in told
    assert "taken back" not in told
    assert "beta" not in told


def test_a_secret_that_was_put_back_while_the_daemon_ran_is_called_so(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(SECRET, encoding="utf-8")
    take(start(path, store, 0), path, OTHER_SECRET, SECRET)
    told = history(path, capsys)
    assert f"queue.broker: another secret (needs a restart; never in force, taken back {at(2)})" in told
    assert "queue.broker: the other secret was taken back before it came into force" in told


def test_a_long_history_calls_no_later_entry_the_first(
    daemon: SettingsInForce, path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    take(daemon, path, *(["[decision", GOOD] * 26))
    told = history(path, capsys)
    assert told.count("revision") == 51, "the head and fifty entries"
    assert "first start" not in told
    assert f"since {at(0)}" in told


def test_the_page_tells_the_same(daemon: SettingsInForce, path: Path, store: Store) -> None:
    take(daemon, path, STRICT, GOOD, PORT, GOOD)
    site = make_site(load_config(path, {}), store, lambda: datetime.now(UTC))
    client = TestClient(site, base_url="https://screener.test", follow_redirects=False, headers=HTML)
    enter(client, store, Role.ADMINISTRATOR)
    page = client.get("/thresholds").text
    assert f"</strong> is in force since {write_moment(START + 2 * HOUR)}" in page
    assert f"In force: 5, since {write_moment(START)}." in page
    assert f"500 → 800 (taken back {at(2)})" in page
    assert "listener.port: 104 was taken back before it came into force" in page
    assert "good again" not in page
    assert page.count("first start") == 1
