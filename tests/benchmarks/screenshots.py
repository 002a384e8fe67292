"""Pictures of the pages for the README, with synthetic patients only: deploy/screenshots/*.png.

    python tests/benchmarks/screenshots.py

CT: the phantom's own truth stands for what the networks would find.
Ultrasound: the networks that ship have answered. No picture takes more than
150 kB.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from screener.phantom import make_phantom
from screener.phantom_us import make_us_phantom
from screener.study import Side
from tests.peers.browser import open_browser, sign_in
from tests.peers.reading_room import ReadingRoom, open_reading_room

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "screenshots"
MAX_BYTES = 150_000
COLORS = 128
TIMEOUT_SECONDS = 180
DESKTOP, PHONE = (1280, 860), (390, 844)
FLAGGED, ULTRASOUND = 2, 3
SHOTS = {
    "worklist": ("/", DESKTOP, ""),
    "case": (f"/studies/{FLAGGED}", DESKTOP, ""),
    "measurements": (f"/studies/{FLAGGED}", DESKTOP, "Measurements against thresholds"),
    "ultrasound": (f"/studies/{ULTRASOUND}", DESKTOP, ""),
    "worklist-phone": ("/", PHONE, ""),
    "case-phone": (f"/studies/{FLAGGED}", PHONE, ""),
}
"""The page, the window, and the heading that stands at its top."""


def fill(room: ReadingRoom) -> None:
    """A mass that has grown in a year, an ultrasound study, a patient without a mass, and one under way."""
    now = datetime.now(UTC)
    for days, size in ((9, 18.0), (0, 24.0)):
        patient = {"patient_name": "PHANTOM^ONE", "patient_id": "SYNTHETIC-1"}
        phantom = make_phantom(mass_mm=size, mass_side=Side.LEFT, seed=3, **patient)
        room.screen(phantom, now - timedelta(days=days, hours=2))
    ultrasound = make_us_phantom(lesion_mm=18, seed=4, patient_name="PHANTOM^TWO", patient_id="SYNTHETIC-2")
    room.screen_ultrasound(ultrasound, now - timedelta(hours=1))
    for number, name in ((4, "PHANTOM^THREE"), (5, "PHANTOM^FOUR")):
        phantom = make_phantom(seed=number, patient_name=name, patient_id=f"SYNTHETIC-{number - 1}")
        if number == 4:
            room.screen(phantom, now - timedelta(minutes=40))
        else:
            room.receive(phantom.datasets[:20], now)
    earlier = room.store.flagged_run(1)
    assert earlier is not None
    room.store.acknowledge(earlier, by="rachel", how="web", now=now - timedelta(days=8))


def shoot(browser: Any, room: ReadingRoom, path: str, size: tuple[int, int], heading: str) -> bytes:
    """Give what a radiologist's window shows of a page, as PNG."""
    window = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = window.new_page()
    page.set_default_timeout(TIMEOUT_SECONDS * 1000)
    sign_in(page, room, "rachel", path)
    page.wait_for_load_state("networkidle")
    if heading:
        page.locator("h2", has_text=heading).evaluate("heading => heading.scrollIntoView()")
    shown: bytes = page.screenshot()
    window.close()
    return shown


def make_small(shown: bytes) -> bytes:
    """The same picture in few colors, and smaller where speckle makes it large."""
    picture = Image.open(BytesIO(shown)).convert("RGB")
    while True:
        file = BytesIO()
        picture.quantize(COLORS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() <= MAX_BYTES:
            return file.getvalue()
        picture.thumbnail((picture.width * 9 // 10, picture.height * 9 // 10))


def main() -> int:
    """Serve, fill, look, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    viewer = 'viewer = "https://viewer.hospital.example/?study={study_instance_uid}"\n'
    with tempfile.TemporaryDirectory() as name, open_reading_room(Path(name) / "room", viewer) as room:
        fill(room)
        with open_browser() as browser:
            for title, (path, size, heading) in SHOTS.items():
                content = make_small(shoot(browser, room, path, size, heading))
                (folder / f"{title}.png").write_bytes(content)
                print(f"{title}.png: {len(content) / 1000:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
