"""Studies that the conformance tests encode, and the validators of the Standard's tools."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset

from tests.conformance.studies import Study, make_study

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Both glands found, a mass in the right one."""
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def encoded(study: Study) -> tuple[Dataset, Dataset]:
    return study.both()


@pytest.fixture
def find_errors(tmp_path: Path) -> Callable[[Dataset], list[str]]:
    """Give the errors that dciodvfy finds in an object."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")

    def find(ds: Dataset) -> list[str]:
        path = tmp_path / "object.dcm"
        ds.save_as(path, enforce_file_format=True)
        report = subprocess.run(["dciodvfy", str(path)], capture_output=True, errors="replace", check=False)
        lines = (report.stdout + report.stderr).splitlines()
        assert lines, "dciodvfy says at least which IOD it found"
        return [line for line in lines if line.startswith("Error")]

    return find
