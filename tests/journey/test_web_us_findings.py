"""A radiologist enters what is seen of an ultrasound lesion in a real browser, and sees what it comes to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.journey import Queue
from screener.web.enter_findings import WILL_DECIDE
from tests.peers.browser import open_browser, sign_in
from tests.peers.reading_room import ReadingRoom, open_reading_room
from tests.unit.test_screen_us import an_object, models_with
from tests.unit.test_us_findings import LOGIT
from workers.bench import Bench
from workers.screen_us import screen_us

pytest.importorskip("playwright.sync_api")

SECONDS = 60


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingRoom]:
    """One ultrasound study without a worksheet, screened an hour ago: probability 0.45, called benign."""
    folder = tmp_path_factory.mktemp("room")
    with open_reading_room(folder / "site") as opened:
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        opened.receive([an_object(folder, 60)], hour_ago)
        screen(opened, hour_ago + timedelta(minutes=1))
        yield opened


def screen(room: ReadingRoom, now: datetime) -> None:
    """Screen the study that waits, by networks that were made for the test."""
    bench = Bench(config=room.config, store=room.store, archive=room.archive, clock=lambda: now)
    bench._ultrasound_models = models_with(LOGIT)
    screen_us(bench, room.claim(now, Queue.US))


@pytest.fixture
def page() -> Iterator[object]:
    with open_browser() as browser:
        opened = browser.new_context(viewport={"width": 390, "height": 900}).new_page()
        opened.set_default_timeout(SECONDS * 1000)
        yield opened


def test_findings_are_entered_and_the_next_run_shows_what_they_come_to(page, room: ReadingRoom, tmp_path: Path) -> None:
    sign_in(page, room, "rachel", "/studies/1")
    text = page.inner_text("main")
    assert "none: findings are missing" in text
    assert "not known are irregular shape, poorly defined margin, posterior enhancement" in text
    for name, answer in {"shape": "irregular", "margin": "poor", "enhancement": "absent"}.items():
        page.select_option(f"#findings [name={name}]", answer)
    page.click("#findings button")
    page.wait_for_selector("#findings [role=status]")
    page.wait_for_load_state()
    assert page.inner_text("#findings [role=status]") == WILL_DECIDE
    assert "rachel entered: irregular shape yes, poorly defined margin yes" in page.inner_text("#findings .reviews")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    screen(room, datetime.now(UTC) + timedelta(minutes=1))
    page.reload()
    text = page.inner_text("main")
    assert WILL_DECIDE not in text
    assert "0.45 decided: called malignant from 0.5" in text
    assert "0.58 decided nothing" in text
    assert "Entered by a person: irregular shape yes" in text
    page.screenshot(path=tmp_path / "findings.png", full_page=True)
