"""A radiology report comes by HL7 while somebody looks at the worklist: list and case say what it says."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.know_orders import know_new_orders
from screener.order_keys import load_order_keys
from screener.report_settings import Reports
from screener.study import Side
from screener.take_reports import ReportDoor
from tests.conftest import PATIENT
from tests.journey.test_web_accessible import judge
from tests.peers.browser import open_browser, sign_in
from tests.peers.reading_room import ReadingRoom, a_patient, open_reading_room
from tests.peers.report_sender import ReportSender, open_sender
from tests.unit.test_read_oru import message, msh, obr, obx

pytest.importorskip("playwright.sync_api")

SECONDS = 60


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingRoom]:
    """Two flagged studies of two patients, each under an accession number of its own."""
    with open_reading_room(tmp_path_factory.mktemp("room")) as opened:
        for number in (1, 2):
            phantom = a_patient(mass_mm=20.0, mass_side=Side.LEFT, seed=number, patient_id=f"CANARY-ID-{number}")
            for ds in phantom.datasets:
                ds.AccessionNumber = f"CANARY-ACC-{number}"
            opened.screen(phantom, datetime.now(UTC) - timedelta(hours=6 - number))
        yield opened
    assert not PATIENT.search((opened.folder / "web.log").read_text()), "the log of the pages names the patient"


@pytest.fixture
def sender(room: ReadingRoom) -> Iterator[ReportSender]:
    """An interface engine at the door for reports, which knows the orders of the studies."""
    folder: Path = room.config.storage_folder
    keys = load_order_keys(folder)
    know_new_orders(room.store, folder, keys, datetime.now(UTC))
    door = ReportDoor(Reports(enabled=True, port=0), room.store, keys, lambda: datetime.now(UTC))
    door.start()
    with open_sender(door.port) as opened:
        yield opened
    door.stop()


@pytest.fixture
def page() -> Iterator[object]:
    with open_browser() as browser:
        opened = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        opened.set_default_timeout(SECONDS * 1000)
        yield opened


def report(number: int, text: str, status: str = "F") -> str:
    segments = obr(f"CANARY-ACC-{number}", status), obx(text)
    return message(*segments, head=msh(control_id=f"{number}{status}")).replace("CANARY-ID-1", f"CANARY-ID-{number}")


def first_row(page) -> str:
    return str(page.inner_text("#rows tr:first-child"))


def test_a_report_changes_worklist_and_case_while_they_are_looked_at(
    page, room: ReadingRoom, sender: ReportSender
) -> None:
    sign_in(page, room, "rachel")
    assert first_row(page).startswith("2"), "the newest first"
    assert "report" not in page.inner_text("#rows")
    assert sender.send(report(1, "The lungs are clear.")) == "AA"
    page.wait_for_selector("#rows tr:first-child .report-mark.not-mentioned, #news:not([hidden])")
    if page.is_visible("#show-news"):
        page.click("#show-news")
    page.wait_for_selector("#rows tr:first-child .report-mark.not-mentioned")
    assert first_row(page).startswith("1"), "what the report does not mention stands first"
    assert judge(page) == []

    page.goto(f"{room.address}/studies/1")
    assert "Radiology report: not mentioned. No mention" in page.inner_text("#radiology-report")
    assert judge(page) == []
    assert sender.send(report(1, "There is a mass of 2 cm in the left parotid.", "C")) == "AA"
    page.reload()
    assert "mentions a parotid mass in the left parotid (sentence 1)" in page.inner_text("#radiology-report")
    page.goto(f"{room.address}/studies/2")
    assert "no report known" in page.inner_text("#radiology-report")
