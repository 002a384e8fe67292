"""What holds for every test: no patient in any log, no settings from outside, development data only where it lies."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared"
PATIENT = re.compile(r"CANARY\^DONOTLOG|CANARY-ID", re.IGNORECASE)
"""Every test patient's name and ID: what no log may ever hold."""

# On a busy machine any example may stand still; where CI is set hypothesis has a profile of its own that says the same.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if "CI" not in os.environ:
    settings.load_profile("busy")

for _name in [name for name in os.environ if name.startswith("SCREENER_") and not name.startswith("SCREENER_TESTS_")]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def no_patient_in_logs(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail the test if a log record, or a *.log file that it left in tmp_path, names the patient."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    for logger in ("screener", "workers"):
        caplog.set_level(logging.DEBUG, logger=logger)
    yield
    records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    leaks = [f"{record.name}:{record.lineno}" for record in records if PATIENT.search(caplog.handler.format(record))]
    files = sorted(folder.rglob("*.log")) if folder else []
    leaks += [str(path) for path in files if path.is_file() and PATIENT.search(path.read_text(errors="replace"))]
    if leaks:
        pytest.fail(f"a log names the patient: {', '.join(leaks)}", pytrace=False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data; a test that needs them skips where they are absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the development data are not on this machine")
    return SHARED
