"""Worlds for the journeys: one hospital that many tests share, and others for those that break theirs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import PATIENT
from tests.peers.hospital import Hospital, open_hospital
from tests.peers.mailbox import Mailbox, open_mailbox
from tests.peers.orthanc import Orthanc
from tests.peers.pacs import Pacs


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory, clinic_port: int) -> Iterator[Orthanc]:
    """Orthanc, which may send to the shared hospital's screener."""
    started = Orthanc(tmp_path_factory.mktemp("orthanc"), {"screener": ("PAROTID", "127.0.0.1", clinic_port)})
    yield started.start()
    started.stop()


@pytest.fixture(scope="session")
def clinic_port() -> int:
    from tests.peers.ports import free_port

    return free_port()


@pytest.fixture(scope="session")
def shared_clinic(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc, clinic_port: int) -> Iterator[Hospital]:
    """The embedded default, with Orthanc as PACS: started once, used by every test that leaves it whole."""
    folder = tmp_path_factory.mktemp("clinic")
    destination = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
    peers = {"listener": {"port": clinic_port}, "models": {"us_segmenter": "us_lesion_segmenter"}}
    with open_mailbox() as mailbox:
        hospital = Hospital(folder, mailbox, [destination], settings=peers, port=clinic_port)
        with open_hospital(hospital):
            yield hospital


@pytest.fixture
def clinic(shared_clinic: Hospital) -> Iterator[Hospital]:
    """The shared hospital; the test fails if the daemon's or a worker's log names the patient."""
    begin = shared_clinic.log_path.stat().st_size
    yield shared_clinic
    with shared_clinic.log_path.open("rb") as log:
        log.seek(begin)
        written = log.read().decode(errors="replace")
    assert not PATIENT.search(written), "the daemon's log names the patient"


@pytest.fixture
def build_hospital(tmp_path: Path) -> Iterator[Callable[..., tuple[Hospital, Pacs]]]:
    """Build a hospital of one's own with a small PACS; everything is stopped after the test."""
    with ExitStack() as stack:

        def build(*arguments: str, **settings: dict[str, object]) -> tuple[Hospital, Pacs]:
            pacs = Pacs()
            stack.callback(pacs.stop)
            pacs.start()
            mailbox: Mailbox = stack.enter_context(open_mailbox())
            destination = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
            hospital = Hospital(tmp_path / "hospital", mailbox, [destination], settings=settings)
            stack.enter_context(open_hospital(hospital, *arguments))
            return hospital, pacs

        yield build
