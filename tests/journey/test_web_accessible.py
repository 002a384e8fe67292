"""The pages for people who see little, use a keyboard or a screen reader: axe finds no serious fault on any of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from screener.phantom_us import make_us_phantom
from screener.study import Side
from screener.web.routes import ROUTES
from tests.peers.browser import open_browser, sign_in
from tests.peers.reading_room import ReadingRoom, a_patient, open_reading_room

pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

WIDTHS = {"desktop": 1280, "phone": 390}
SECONDS = 60
FLAGGED, ULTRASOUND, UNDER_WAY = 2, 3, 4
OPEN_TO_ALL = {route.path for route in ROUTES if route.role is None}
PAGES = sorted(
    {route.path for route in ROUTES if route.method == "GET" and not re.search(r"[{.]", route.path)} - OPEN_TO_ALL
) + [f"/studies/{number}" for number in (FLAGGED, ULTRASOUND, UNDER_WAY, 99)]
"""Every page of the table, the kinds of cases, and what is shown where there is none."""
SEEN_AT_ONCE = {"/": "#rows a", f"/studies/{FLAGGED}": "#slice[src]", f"/studies/{ULTRASOUND}": ".key-image"}
"""What must be there before a page is judged: an empty one has no fault."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingRoom]:
    """A growing mass, told by a mail; an ultrasound study; one that has just come."""
    with open_reading_room(
        tmp_path_factory.mktemp("room"), 'viewer = "https://pacs.test/{study_instance_uid}"\n'
    ) as room:
        now = datetime.now(UTC)
        for hours, size in ((300, 20.0), (3, 25.0)):
            patient = a_patient(mass_mm=size, mass_side=Side.LEFT, seed=3)
            room.screen(patient, now - timedelta(hours=hours), [("email", "ent@hospital.test")])
        room.screen_ultrasound(make_us_phantom(lesion_mm=18, seed=4), now - timedelta(hours=2))
        room.receive(a_patient(seed=5, patient_id="CANARY-ID-3").datasets[:3], now)
        yield room


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module", params=WIDTHS)
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return {"width": WIDTHS[request.param], "height": 900}


@pytest.fixture(scope="module")
def page(room: ReadingRoom, browser, size: dict[str, int]) -> Iterator[object]:
    """An administrator's window."""
    with open_window(browser, size) as opened:
        sign_in(opened, room, "adam")
        yield opened


@pytest.fixture(scope="module")
def stranger(browser, size: dict[str, int]) -> Iterator[object]:
    """The window of somebody who has not signed in."""
    with open_window(browser, size) as opened:
        yield opened


@contextmanager
def open_window(browser, size: dict[str, int]) -> Iterator[object]:
    window = browser.new_context(viewport=size)
    opened = window.new_page()
    opened.set_default_timeout(SECONDS * 1000)
    yield opened
    window.close()


def judge(page) -> list[str]:
    """The serious and critical faults that axe finds: rule, impact, and the elements."""
    faults = axe.Axe().run(page).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {[node['html'][:160] for node in fault['nodes']]}"
        for fault in faults
        if fault["impact"] in {"serious", "critical"}
    ]


def test_axe_does_find_faults(stranger, room: ReadingRoom) -> None:
    stranger.goto(f"{room.address}/sign-in")
    stranger.evaluate(
        "document.querySelector('[type=password]').parentElement.replaceWith(document.createElement('input'))"
    )
    stranger.evaluate("document.querySelector('h1').style.color = '#333'")
    assert {fault.split()[0] for fault in judge(stranger)} == {"label", "color-contrast"}


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_serious_fault(page, room: ReadingRoom, path: str) -> None:
    page.goto(room.address + path)
    page.wait_for_selector(SEEN_AT_ONCE.get(path, "main h1"))
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert judge(page) == []


def test_the_sign_in_has_no_serious_fault(stranger, room: ReadingRoom) -> None:
    stranger.goto(f"{room.address}/sign-in")
    stranger.fill("[name=name]", "rita")
    stranger.fill("[name=password]", "wrong")
    stranger.click("button.main")
    stranger.wait_for_selector("[role=alert]")
    assert judge(stranger) == []


def test_the_page_behind_a_mail_has_no_serious_fault(stranger, room: ReadingRoom) -> None:
    stranger.goto(room.address + room.link_of(FLAGGED))
    stranger.wait_for_selector("button.main")
    assert judge(stranger) == []


def test_all_of_a_case_is_reached_by_keyboard(page, room: ReadingRoom) -> None:
    page.goto(f"{room.address}/studies/{FLAGGED}")
    page.wait_for_selector("#slice[src]")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"acknowledge", "Agree", "stage", "slider", "window", "outlines", "to-mass"} <= reached
    assert page.get_attribute("#stage", "aria-valuetext")
