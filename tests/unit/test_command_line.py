"""The command line as an operator meets it."""

import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.__main__ import main
from screener.journey import CT_JOURNEY
from screener.store import Store
from tests.peers.pacs import Pacs
from tests.peers.scanner import make_ct
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance

# A connection that its receiver closes is dropped by the library, its socket open.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def dropped_sockets_are_noticed_here() -> Iterator[None]:
    """Not in whatever test comes later."""
    yield
    gc.collect()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('[storage]\nfolder = "var"\n')
    return path


@pytest.fixture
def store(config: Path) -> Iterator[Store]:
    (config.parent / "var").mkdir()
    opened = open_new_store(f"sqlite:///{config.parent}/var/screener.sqlite")
    yield opened
    opened.engine.dispose()


def hang_up_on_one(server: socket.socket) -> None:
    server.accept()[0].close()


def record_study(store: Store) -> None:
    store.record_instance(
        an_instance(),
        datetime.now(UTC) - timedelta(hours=1),
    )


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for command in ("run", "demo", "send", "status", "explain", "config", "journey", "reprocess"):
        assert command in said


def test_config_check_names_every_wrong_key(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text('[listener]\nport = "x"\nprot = 1\n')
    assert main(["config", "check", "--config", str(config)]) == 1
    said = capsys.readouterr().err
    assert "listener.port" in said
    assert "listener.prot: unknown key" in said


def test_config_check_is_content_with_the_file_that_ships(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).resolve().parents[2] / "config.toml"
    assert main(["config", "check", "--config", str(shipped)]) == 0
    assert "good" in capsys.readouterr().out


def test_config_check_warns_where_images_are_refused_before_any_is_removed(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("[storage]\nreserve_mib = 2000\nclean_below_mib = 1000\n")
    assert main(["config", "check", "--config", str(config)]) == 0
    assert "warning: storage.clean_below_mib" in capsys.readouterr().out


def test_a_missing_config_is_said_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--config", str(tmp_path / "nothing.toml")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_status_before_the_first_run_says_what_to_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(config)]) == 1
    assert "screener run" in capsys.readouterr().err


def test_status_prints_the_equation(config: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    record_study(store)
    assert main(["status", "--config", str(config)]) == 3, "no daemon runs"
    assert "received 1 = done 0 + set aside 0 + failed 0 + in flight 1" in capsys.readouterr().out


def test_explain_of_an_unknown_study_says_so(config: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "1.2.3.4", "--config", str(config)]) == 1
    assert "no study 1.2.3.4 was received" in capsys.readouterr().err


def test_explain_of_a_refused_instance_gives_the_reason(
    config: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.record_oddity(
        study_instance_uid=None,
        sop_instance_uid="1.2.9",
        code="unreadable",
        reason="it is damaged",
        path="aside/x.dcm",
        sha256="0",
        now=datetime.now(UTC),
    )
    assert main(["explain", "1.2.9", "--config", str(config)]) == 0
    assert "it is damaged" in capsys.readouterr().out


def test_a_study_that_a_command_screens_again_stands_in_the_trail(config: Path, store: Store) -> None:
    record_study(store)
    assert main(["reprocess", "1", "--config", str(config)]) == 0
    assert main(["reprocess", "2", "--config", str(config)]) == 1
    (line,) = store.audit_lines()
    assert (line.action, line.study_id) == ("reprocess", 1)
    assert line.account.endswith("(command line)")


@pytest.mark.usefixtures("nameless_user")
def test_what_a_user_without_a_name_does_stands_in_the_trail_too(config: Path, store: Store) -> None:
    record_study(store)
    assert main(["reprocess", "1", "--config", str(config)]) == 0
    assert store.audit_lines()[0].account == f"user {os.getuid()} (command line)"


def test_journey_lists_every_stage_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journey"]) == 0
    said = capsys.readouterr().out
    places = [said.index(f"  {step.stage} ") for step in CT_JOURNEY]
    assert places == sorted(places)


def test_a_port_that_is_taken_is_said_plainly_and_nothing_is_begun(config: Path, store: Store) -> None:
    record_study(store)
    (config.parent / "var" / "received").mkdir(parents=True, exist_ok=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.write_text(f"[listener]\nport = {port}\n[log]\nlevel = 'DEBUG'\n")
        command = [sys.executable, "-m", "screener", "run", "--config", str(config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "listener.port" in ended.stderr
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert store.study_report(1).runs == ()


def test_send_to_nobody_says_so(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", str(tmp_path / "nowhere"), "--config", str(config)]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_send_of_an_empty_folder_says_that_it_is_empty(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nothing" / "below").mkdir(parents=True)
    assert main(["send", str(tmp_path / "nothing"), "--config", str(config)]) == 1
    assert "nothing is empty" in capsys.readouterr().err


@pytest.mark.parametrize("tls", [True, False])
def test_send_to_a_door_that_takes_tls_only_says_what_can(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tls: bool
) -> None:
    (tmp_path / "images").mkdir()
    make_ct().save_as(tmp_path / "images" / "one.dcm", enforce_file_format=True)
    config.write_text('[listener]\ntls_certificate = "door.pem"\ntls_key = "door.key"\n' if tls else "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        closing = threading.Thread(target=hang_up_on_one, args=(server,))
        closing.start()
        port = str(server.getsockname()[1])
        assert main(["send", str(tmp_path / "images"), "--port", port, "--config", str(config)]) == 1
        closing.join()
    told = capsys.readouterr().err
    assert "closed the connection" in told
    assert ("storescu +tla" in told) == tls


def test_what_was_never_offered_is_told_in_one_line(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for number in range(4):
        make_ct().save_as(tmp_path / "images" / f"{number}.dcm", enforce_file_format=True)
    with Pacs() as pacs:
        pacs.hangs_up_after = 1
        pacs.on_hang_up = lambda: setattr(pacs._ae, "require_calling_aet", ["SOMEONE"])
        command = ["send", str(tmp_path / "images"), "--called", "PACS", "--port", str(pacs.port)]
        assert main([*command, "--config", str(config)]) == 1
    told = capsys.readouterr().out
    assert "1 sent, 0 refused, 0 not DICOM" in told
    assert told.count("the connection was lost") == 1
    assert "3 not sent or not answered" in told


def test_a_model_that_is_not_there_is_named_before_any_study_comes(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[models]\nlocalizer = "nosuch"\n')
    for command in (["config", "check"], ["run"]):
        assert main([*command, "--config", str(config)]) == 1
        assert "models.localizer: there is no bundle nosuch" in capsys.readouterr().err


def test_a_database_url_that_is_none_is_said_plainly(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text('[database]\nurl = "nonsense"\n')
    assert main(["status", "--config", str(config)]) == 1
    assert "database.url" in capsys.readouterr().err


def test_mail_to_nobody_is_warned_of(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text('[notices.email]\nhost = "smtp.hospital.test"\n')
    assert main(["config", "check", "--config", str(config)]) == 0
    assert "nobody is told" in capsys.readouterr().out
