"""An administrator tries another threshold in a browser and changes it: the next study is decided by it and says so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import highdicom as hd
import pytest

from screener.change_setting import digest_text
from screener.phantom import Phantom, make_phantom
from screener.store.settings_log import SettingsEvent
from screener.store.values import RunReport
from screener.study import Presence, Side
from screener.web.passwords import hash_password
from tests.peers.browser import open_browser
from tests.peers.browser import sign_in as enter
from tests.peers.hospital import Hospital, wait_until
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port, is_open
from tests.peers.reading_room import PASSWORD, PEOPLE
from workers.results.encode_sr import CONFIG_REVISION

pytest.importorskip("playwright.sync_api")

SECONDS = 60
MIN_VOXELS = 100_000
"""More than any mass has."""


@dataclass
class Clinic:
    """A hospital whose daemon serves the pages too."""

    hospital: Hospital
    pacs: Pacs
    address: str


@pytest.fixture
def clinic(build_hospital: Callable[..., tuple[Hospital, Pacs]]) -> Clinic:
    port = free_port()
    hospital, pacs = build_hospital(web={"enabled": True, "port": port})
    for name, role in PEOPLE.items():
        hospital.store.add_account(name, role, hash_password(PASSWORD), datetime.now(UTC))
    wait_until(lambda: is_open(port), SECONDS, "the daemon's pages are served")
    return Clinic(hospital, pacs, f"http://127.0.0.1:{port}")


@pytest.fixture
def browser() -> Iterator[object]:
    with open_browser() as opened:
        yield opened


def sign_in(browser, clinic: Clinic, name: str, path: str):
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(SECONDS * 1000)
    enter(page, clinic, name, path)
    return page


def screen(clinic: Clinic, phantom: Phantom) -> RunReport:
    clinic.hospital.scanner.send(phantom.datasets)
    (run,) = clinic.hospital.wait_for_ending(phantom.study_instance_uid).runs
    return run


def read_report(clinic: Clinic, run: RunReport) -> hd.sr.ComprehensiveSR:
    """The SR of a run, as the storage folder keeps it."""
    (path,) = [clinic.hospital.folder / "var" / result.path for result in run.results if result.role == "sr"]
    return hd.sr.srread(path)


def revisions_in(report: hd.sr.ComprehensiveSR) -> set[str]:
    """Every settings revision that the report names, at any depth."""
    return {str(item.value) for item in walk(report.content) if item.name == CONFIG_REVISION}


def walk(items) -> Iterator[object]:
    for item in items:
        yield item
        yield from walk(item.get("ContentSequence", []))


def try_threshold(page, voxels: int) -> str:
    page.fill("[name=min_voxels]", str(voxels))
    page.click("button:has-text('Try on what is stored')")
    page.wait_for_selector("#trial")
    return page.inner_text("#trial .verdict")


def test_a_threshold_is_replayed_then_changed_and_decides_the_next_study(clinic: Clinic, browser: object) -> None:
    hospital, store = clinic.hospital, clinic.hospital.store
    first = screen(clinic, make_phantom(mass_mm=25.0, mass_side=Side.LEFT, seed=11))
    assert (first.is_flagged, first.thresholds.min_voxels) == (True, 500)
    before = hospital.config_path.read_text(encoding="utf-8")

    page = sign_in(browser, clinic, "adam", "/thresholds")
    told = try_threshold(page, MIN_VOXELS)
    assert told.startswith(f"With {MIN_VOXELS} instead of 500 voxels, the last 90 days would have sent 0 notices ")
    assert "instead of 1;" in told
    assert hospital.config_path.read_text(encoding="utf-8") == before, "a trial wrote the file"

    page.click("#trial form button")
    page.wait_for_url(f"{clinic.address}/thresholds")
    assert f"min_voxels = {MIN_VOXELS}" in hospital.config_path.read_text(encoding="utf-8")
    wait_until(lambda: len(store.settings_lines()) == 2, SECONDS, "the daemon takes the change over")
    taken = store.last_settings_line()
    assert taken is not None
    assert taken.kind is SettingsEvent.CHANGE
    assert taken.revision != first.thresholds.config_revision
    page.goto(f"{clinic.address}/thresholds")
    assert f"Revision {taken.revision} is in force" in page.inner_text("main")
    assert f"decision.min_voxels: 500 → {MIN_VOXELS}" in page.inner_text("main")
    page.goto(f"{clinic.address}/audit")
    assert f"min_voxels 500 -> {MIN_VOXELS}; revision {taken.revision}" in page.inner_text("table")

    second = screen(clinic, make_phantom(mass_mm=25.0, mass_side=Side.LEFT, seed=12))
    assert (second.is_flagged, second.thresholds.min_voxels) == (False, MIN_VOXELS)
    assert {gland.presence for gland in second.glands} == {Presence.ABSENT}
    for run in (first, second):
        report = read_report(clinic, run)
        assert revisions_in(report) == {run.thresholds.config_revision}
        assert str(report.SOPInstanceUID) in {str(ds.SOPInstanceUID) for ds in clinic.pacs.received}
    assert second.thresholds.config_revision == taken.revision
    page.goto(f"{clinic.address}/studies/2")
    assert f"revision {taken.revision}" in page.inner_text("main")
    assert f"< {MIN_VOXELS}" in page.inner_text("main")

    refuse_everybody_else(browser, clinic, taken.revision)


def refuse_everybody_else(browser: object, clinic: Clinic, revision: str) -> None:
    """A reader and a radiologist are offered no thresholds, and a form that they forge changes nothing."""
    for name in ("rita", "rachel"):
        page = sign_in(browser, clinic, name, "/quality")
        assert page.query_selector("nav a[href='/thresholds']") is None
        token = page.get_attribute(".who [name=csrf_token]", "value")
        answer = page.goto(f"{clinic.address}/thresholds?min_voxels=300")
        assert answer.status == 403
        assert page.query_selector("form[action='/thresholds']") is None
        text = clinic.hospital.config_path.read_text(encoding="utf-8")
        forged = {"csrf_token": token, "changes": '{"min_voxels": 300}', "file_sha256": digest_text(text)}
        assert page.request.post(f"{clinic.address}/thresholds", form=forged).status == 403
        assert clinic.hospital.config_path.read_text(encoding="utf-8") == text
    last = clinic.hospital.store.last_settings_line()
    assert last is not None
    assert last.revision == revision
