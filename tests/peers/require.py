"""Programs of other makers that a test talks to: skipped at home when absent, failed where they were promised."""

import os
import shutil
import sys
from pathlib import Path

import pytest

# Debian keeps servers outside an ordinary user's PATH; initdb and postgres lie in a folder per version.
FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))[::-1]))


def require(program: str) -> str:
    """Return the path of `program`, such as "Orthanc", "redis-server", "initdb", "storescu" or "dciodvfy".

    Absent: the test skips; where CI=true or SCREENER_TESTS_REQUIRE_PEERS=1 it fails instead.
    """
    # Not what lies beside our interpreter, where a PATH may begin: pynetdicom names its programs as DCMTK does.
    ours = str(Path(sys.executable).parent)
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder != ours]
    path = shutil.which(program, path=os.pathsep.join((*folders, *FOLDERS)))
    if path is not None:
        return path
    sentence = f"{program} is not on this machine; `make test` installs it"
    if os.environ.get("CI") == "true" or os.environ.get("SCREENER_TESTS_REQUIRE_PEERS") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
