"""Debian's chromium, driven by playwright, and a person who signs in with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.peers.reading_room import PASSWORD, ReadingRoom
from tests.peers.require import require


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start a browser without a window; the test skips where none is installed."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=require("chromium"), args=["--no-sandbox"])
        yield opened
        opened.close()


def sign_in(page: Any, room: ReadingRoom, name: str, path: str = "/") -> None:
    """Ask for a page, sign in as `name`, and wait until the page and its scripts are there."""
    page.goto(room.address + path)
    page.fill("[name=name]", name)
    page.fill("[name=password]", PASSWORD)
    page.click("button.main")
    page.wait_for_selector(".who")
    page.wait_for_load_state("load")  # its scripts have begun to listen
