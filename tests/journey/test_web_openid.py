"""A person walks in through the hospital's OpenID provider and out again, in a browser that holds to the policy."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from screener.web.gate import COOKIE
from tests.journey.test_web_accessible import judge
from tests.peers.browser import open_browser
from tests.peers.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, open_provider
from tests.peers.ports import free_port
from tests.peers.reading_room import ReadingRoom, open_reading_room

pytest.importorskip("playwright.sync_api")

PEOPLE = {
    "rosa": {"preferred_username": "rosa@hospital.test", "roles": ["radiologist"]},
    "otto": {"preferred_username": "otto@hospital.test"},
}


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    with open_provider(OpenIdProvider(PEOPLE, "", host="localhost")) as opened:  # another site than 127.0.0.1
        yield opened


@pytest.fixture(scope="module")
def room(provider: OpenIdProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingRoom]:
    folder, port = tmp_path_factory.mktemp("room"), free_port()
    (folder / "secret").write_text(CLIENT_SECRET)
    openid = f'issuer = "{provider.issuer}"\nclient_id = "{CLIENT_ID}"\nradiologists = ["radiologist"]\n'
    web = f'url = "http://127.0.0.1:{port}"\n[web.openid]\ntimeout_seconds = 60\n{openid}'
    provider.back = f"http://127.0.0.1:{port}/sign-in/openid/return"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "SCREENER_OPENID_SECRET_FILE", str(folder / "secret"))
        with open_reading_room(folder, web, port=port) as opened:
            yield opened


def test_a_person_walks_in_and_out(room: ReadingRoom, provider: OpenIdProvider) -> None:
    complaints: list[str] = []
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("console", lambda message: complaints.append(message.text) if is_ours(message, room) else None)
        page.goto(f"{room.address}/system")
        assert judge(page) == []
        take_picture(page, room, "sign_in")
        page.click("text=Sign in with the hospital's account")
        page.click("#rosa")
        page.wait_for_selector(".who")
        assert page.url == f"{room.address}/system"
        assert "rosa@hospital.test" in page.inner_text(".who")
        assert {cookie["name"] for cookie in page.context.cookies()} == {COOKIE}
        page.click("text=Worklist")
        page.wait_for_selector("#rows")
        page.click("text=Sign out")
        page.wait_for_url(f"{room.address}/sign-in")
        (asked,) = provider.signed_out
        assert asked["id_token_hint"].count(".") == 2
        page.goto(room.address)
        page.click("text=Sign in with the hospital's account")
        page.wait_for_selector("#rosa")  # the provider asks again: its session has ended, too
        page.click("#otto")
        page.wait_for_selector("[role=alert]")
        assert "have no role here" in page.inner_text("[role=alert]")
        take_picture(page, room, "no_role")
    assert complaints == []
    assert [line.account for line in room.store.audit_lines() if line.action == "signed in"] == ["rosa@hospital.test"]
    log = (room.folder / "web.log").read_text()
    assert "the OpenID provider answers" in log
    assert "rosa" not in log
    assert "Traceback" not in log


def test_where_the_provider_cannot_be_left_the_page_says_so(room: ReadingRoom, provider: OpenIdProvider) -> None:
    provider.signed_in = ""
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.route("**/realm/sign-out*", lambda route: route.fulfill(status=204))  # the browser stays where it is
        page.goto(room.address)
        page.click("text=Sign in with the hospital's account")
        page.click("#rosa")
        page.wait_for_selector(".who")
        page.click("text=Sign out")
        page.wait_for_selector("text=Sign out of the hospital's account, too")
        assert judge(page) == []
        take_picture(page, room, "signed_out")
        page.goto(f"{room.address}/system")
        assert page.url.endswith("/sign-in?next=%2Fsystem")


def is_ours(message: Any, room: ReadingRoom) -> bool:
    """True: the browser complains of a page of ours, and not of a status that is meant."""
    return message.type == "error" and message.location["url"].startswith(room.address) and "403" not in message.text


def take_picture(page: Any, room: ReadingRoom, name: str) -> None:
    """For the eye: into the room's folder."""
    page.screenshot(path=str(room.folder / f"{name}.png"))
