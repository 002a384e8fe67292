"""A PACS of others takes the ultrasound results, gives back the same data sets and shows the capture."""

import io
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from screener.config import Destination
from tests.conformance.us_studies import make_us_study
from tests.peers.orthanc import Orthanc
from workers.results.send_results import send_results


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    started = Orthanc(tmp_path / "orthanc").start()
    yield started
    started.stop()


def test_orthanc_keeps_the_results_and_shows_the_capture(tmp_path: Path, orthanc: Orthanc):
    encoded = {file.role: file.content for file in make_us_study(tmp_path, frames=3, frame_number=2).files()}
    roles = {"seg": "SEG", "sr": "SR", "capture": "OT"}
    paths = [tmp_path / f"{role}.dcm" for role in roles]
    for role, path in zip(roles, paths, strict=True):
        path.write_bytes(encoded[role])
    destination = Destination(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port)
    for _ in range(2):  # a second sending is harmless
        send_results(paths, destination, calling_ae_title="SCREENER")
    study_instance_uid = str(dcmread(paths[0]).StudyInstanceUID)
    for role, modality in roles.items():
        (kept,) = orthanc.wait_for(study_instance_uid, modality)
        assert kept == dcmread(io.BytesIO(encoded[role]))
    (instance,) = orthanc.instances(study_instance_uid, "OT")
    with urlopen(f"http://127.0.0.1:{orthanc.http_port}/instances/{instance}/preview", timeout=60) as answer:
        shown = np.asarray(Image.open(io.BytesIO(answer.read())))
    assert np.array_equal(shown, np.asarray(Image.open(io.BytesIO(encoded["key_image"]))))
