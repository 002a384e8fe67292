"""The units that ship let the daemon see its workers, and let a worker stop in order."""

from configparser import ConfigParser
from pathlib import Path

from workers import __main__ as program

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"


def read_service(name: str) -> dict[str, str]:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(FOLDER / name, encoding="utf-8")
    return dict(parser["Service"])


def test_the_daemon_sees_whether_a_worker_lives() -> None:
    """systemd.exec(5): with PrivateUsers, `invisible` hides the processes of every other unit."""
    daemon = read_service("parotid-screener.service")
    assert daemon["PrivateUsers"] == "yes"
    assert daemon["ProtectProc"] == "default"


def test_a_worker_puts_back_its_study_before_systemd_kills_it() -> None:
    timeout = float(read_service("parotid-screener-worker@.service")["TimeoutStopSec"])
    assert timeout >= program.STOP_SECONDS + 10
