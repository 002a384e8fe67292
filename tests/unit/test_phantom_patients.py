"""Whoever has no scanner gets test patients by a command, which `screener send` takes."""

from pathlib import Path

import pydicom
import pytest

from screener.__main__ import main


def test_three_patients_are_written_who_share_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantoms", str(tmp_path / "patients")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(", ")[2] for line in lines] == [
        "CT with a mass of 25 mm", "CT without a mass", "ultrasound with a lesion of 18 mm",
    ]  # fmt: skip
    folders = sorted((tmp_path / "patients").iterdir())
    assert [Path(line.partition(":")[0]) for line in lines] == folders
    keywords = ("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID")
    for folder in folders:
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
        assert len(headers) >= 3
        assert all(len({str(ds[keyword].value) for ds in headers}) == 1 for keyword in keywords)
    first = [pydicom.dcmread(next(folder.rglob("*.dcm")), stop_before_pixels=True) for folder in folders]
    assert all(len({str(ds[keyword].value) for ds in first}) == 3 for keyword in keywords)
    assert [ds.Modality for ds in first] == ["CT", "CT", "US"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["phantoms", str(tmp_path / "file")]) == 1
    assert "Not a directory" in capsys.readouterr().err
