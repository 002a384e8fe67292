"""A study without a mass: a report, and nobody is disturbed."""

import re
import subprocess
from pathlib import Path

from screener.journey import Ending
from screener.phantom import make_phantom
from tests.peers.hospital import Hospital
from tests.peers.orthanc import Orthanc
from tests.peers.require import require


def test_a_normal_study_is_reported_and_nobody_is_told(clinic: Hospital, orthanc: Orthanc, tmp_path: Path) -> None:
    phantom = make_phantom(seed=12)
    clinic.scanner.send(phantom.datasets)
    report = clinic.wait_for_ending(phantom.study_instance_uid)
    (run,) = report.runs
    assert (report.ending, run.is_flagged, run.notices) == (Ending.DONE, False, ())
    orthanc.wait_for(phantom.study_instance_uid, "SR")
    (instance,) = orthanc.instances(phantom.study_instance_uid, "SR")
    path = tmp_path / "sr.dcm"
    path.write_bytes(orthanc.file(instance))
    printed = subprocess.run([require("dsrdump"), str(path)], capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r"272519000,SCT", printed)) == 2
    assert "52101004,SCT" not in printed


def test_status_adds_up(clinic: Hospital) -> None:
    said = clinic.command("status")
    received, done, aside, failed, flying = map(
        int,
        re.search(  # type: ignore[union-attr]
            r"received (\d+) = done (\d+) \+ set aside (\d+) \+ failed (\d+) \+ in flight (\d+)", said
        ).groups(),
    )
    assert received == done + aside + failed + flying
    assert received > 0
