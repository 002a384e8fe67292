"""What people do on the pages, in a real browser against a real server."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.store.reviews import Opinion
from screener.store.web_accounts import Role
from screener.study import Side
from screener.web.passwords import hash_password
from tests.conftest import PATIENT
from tests.peers.browser import open_browser
from tests.peers.browser import sign_in as enter
from tests.peers.hospital import wait_until
from tests.peers.reading_room import PASSWORD, ReadingRoom, a_patient, open_reading_room

pytest.importorskip("playwright.sync_api")

SECONDS = 60


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingRoom]:
    """Two studies of one patient with a growing mass, one of another with none, and one that has just come."""
    viewer = 'viewer = "https://pacs.hospital.test/{study_instance_uid}"\n'
    with open_reading_room(tmp_path_factory.mktemp("room"), viewer) as opened:
        now = datetime.now(UTC)
        grown = [a_patient(mass_mm=size, mass_side=Side.LEFT, seed=3) for size in (20.0, 25.0)]
        for hours, phantom in zip((300, 3), grown, strict=True):
            opened.screen(phantom, now - timedelta(hours=hours))
        opened.screen(a_patient(seed=4, patient_id="CANARY-ID-2"), now - timedelta(hours=2))
        opened.receive(a_patient(seed=5, patient_id="CANARY-ID-3").datasets[:3], now)
        yield opened
    assert not PATIENT.search((opened.folder / "web.log").read_text()), "the log of the pages names the patient"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def sign_in(room: ReadingRoom, browser, tmp_path: Path) -> Iterator[Callable[..., object]]:
    """Open a window and sign in; a script that the policy stops, or an error of one, fails the test."""
    said: list[str] = []
    windows = []

    def sign_in(name: str, path: str = "/", width: int = 1280):
        window = browser.new_context(viewport={"width": width, "height": 900})
        windows.append(window)
        page = window.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        enter(page, room, name, path)
        return page

    yield sign_in
    for window in windows:
        window.close()
    assert said == []


def slice_number(page) -> int:
    return int(page.inner_text("#slice-number").split()[0])


def is_drawn(page, selector: str) -> bool:
    return page.evaluate(f"document.querySelector({selector!r}).naturalWidth > 0")


def test_the_worklist_begins_with_what_is_flagged_and_open(sign_in) -> None:
    page = sign_in("rita")
    numbers = page.eval_on_selector_all("tr[data-study]", "rows => rows.map(row => row.dataset.study)")
    assert numbers == ["2", "1", "4", "3"]
    assert "2 flagged, not acknowledged" in page.inner_text("#open-count")
    first = page.inner_text("tr[data-study='2']")
    assert "left" in first
    assert "25 mm" in first
    assert "DONOTLOG" in first  # who is signed in sees whose it is


def test_the_worklist_is_walked_by_keyboard(sign_in, room: ReadingRoom) -> None:
    page = sign_in("rita")
    for key in ("j", "j", "j", "k"):
        page.keyboard.press(key)
    assert page.get_attribute("tr.chosen", "data-study") == "1"
    page.keyboard.press("Enter")
    page.wait_for_url(f"{room.address}/studies/1")


def test_a_flagged_case_is_scrolled_and_its_mass_outlined(sign_in) -> None:
    page = sign_in("rita", "/studies/2")
    page.wait_for_selector("#slice[src]")
    begin = slice_number(page)
    wait_until(lambda: is_drawn(page, "#slice") and is_drawn(page, "#outline"), SECONDS, "slice and outline are drawn")
    page.hover("#stage")
    page.mouse.wheel(0, -100)
    page.focus("#stage")
    page.keyboard.press("ArrowUp")
    assert slice_number(page) == begin + 2
    page.keyboard.press("Home")
    assert slice_number(page) == 1
    page.keyboard.press("m")
    assert slice_number(page) == begin
    page.keyboard.press("o")
    assert not page.is_visible("#outline")
    wait_until(lambda: is_drawn(page, "#planes figure:nth-child(2) img"), SECONDS, "the sagittal plane is drawn")


def test_both_glands_stand_side_by_side_and_the_mirrored_one_says_so(sign_in) -> None:
    page = sign_in("rita", "/studies/2")
    for side, words in (("right", "Right parotid slice"), ("left", "Left parotid, mirrored slice")):
        picture = f"#glands [data-side={side}]"
        page.wait_for_selector(f"{picture} img[src]")
        wait_until(lambda picture=picture: is_drawn(page, f"{picture} img"), SECONDS, "the gland is drawn")
        assert words in page.inner_text(f"{picture} figcaption")
    right, left = (page.locator(f"#glands [data-side={side}]").bounding_box() for side in ("right", "left"))
    assert right["y"] == left["y"]
    assert right["x"] < left["x"]
    assert not page.is_visible("#glands-note")


def test_the_case_tells_growth_thresholds_story_and_viewer(sign_in, room: ReadingRoom) -> None:
    report = room.store.study_report(2)
    wait_until(lambda: len(room.store.studies_of_same_patient(2)) == 2, SECONDS, "the patient is known")
    page = sign_in("rita", "/studies/2")
    text = page.inner_text("main")
    assert "mass above the threshold" in text
    assert "≥ 500" in text
    assert "+95 %" in text.replace("\u202f", "")
    assert "not validated for clinical diagnosis" in text
    assert ".." not in text  # the sentences of the models end once
    page.click("summary:has-text('story')")
    assert report.study_instance_uid in page.inner_text("pre.story")
    link = page.get_attribute("a.button", "href")
    assert link == f"https://pacs.hospital.test/{report.study_instance_uid}"


def test_a_radiologist_acknowledges_and_all_windows_learn_of_it(sign_in, room: ReadingRoom) -> None:
    watching = sign_in("rita")
    page = sign_in("rachel", "/studies/1")
    page.click("#acknowledge")
    page.wait_for_selector(".badge.seen")
    run_id = room.store.flagged_run(1)
    assert run_id is not None
    acknowledged = room.store.acknowledgement_of(run_id)
    assert acknowledged is not None
    assert (acknowledged.by, acknowledged.how) == ("rachel", "web")
    watching.wait_for_selector("tr[data-study='1'] .seen")
    assert "1 flagged, not acknowledged" in watching.inner_text("#open-count")


def test_a_radiologist_disagrees_and_must_say_why(sign_in, room: ReadingRoom) -> None:
    page = sign_in("rachel", "/studies/2")
    page.click("summary:has-text('Disagree')")
    page.fill("textarea", "a lymph node <b>beside</b> the gland")
    page.click("button[value=disagree]")
    page.wait_for_selector(".reviews")
    (review,) = room.store.reviews_of(2)
    assert (review.opinion, review.by, review.text) == ("disagree", "rachel", "a lymph node <b>beside</b> the gland")
    assert "<b>beside</b>" in page.inner_text(".reviews")  # shown as it was written, not run as markup


def test_a_reader_is_offered_nothing_to_decide(sign_in) -> None:
    page = sign_in("rita", "/studies/2")
    assert page.query_selector(".actions") is None
    assert page.query_selector("nav a[href='/audit']") is None


def test_the_system_page_says_that_no_daemon_runs(sign_in) -> None:
    text = sign_in("rita", "/system").inner_text("main")
    assert "NOT RUNNING" in text
    assert "received 4 = done 3 + set aside 0 + failed 0 + in flight 1" in text


def test_an_administrator_sees_who_looked_at_what(sign_in) -> None:
    page = sign_in("adam", "/audit?study=2")
    text = page.inner_text("table")
    assert "rita" in text
    assert "case" in text
    assert not PATIENT.search(text)


@pytest.mark.parametrize("path", ["/", "/studies/2", "/system"])
def test_nothing_is_cut_off_on_a_phone(sign_in, path: str) -> None:
    page = sign_in("rita", path, width=390)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_long_names_and_words_push_nothing_off_a_phone(sign_in, room: ReadingRoom) -> None:
    name = f"firstname.lastname@{'w' * 40}.test"
    room.store.add_account(name, Role.READER, hash_password(PASSWORD), datetime.now(UTC))
    run_id = room.store.flagged_run(1)
    assert run_id is not None
    text = f"one line\n{'w' * 200}"
    room.store.add_review(run_id, Opinion.COMMENT, by=name, text=text, now=datetime.now(UTC))
    page = sign_in(name, "/studies/1", width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert text in page.inner_text(".reviews")  # in the lines that it was written in


def test_whoever_signs_out_is_asked_to_sign_in_again(sign_in, room: ReadingRoom) -> None:
    page = sign_in("rita")
    page.click("text=Sign out")
    page.goto(f"{room.address}/studies/2")
    page.wait_for_selector("[name=password]")
    assert "DONOTLOG" not in page.content()
