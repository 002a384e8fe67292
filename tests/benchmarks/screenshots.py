"""Pictures of the pages for the README, with synthetic patients only: deploy/screenshots/*.png.

    python tests/benchmarks/screenshots.py

CT: the phantom's own truth stands for what the networks would find.
Ultrasound: the networks that ship have answered. What stands on the pages of
system, quality and thresholds is drawn at random and says nothing of how the
screener does. No picture takes more than 150 kB, nor all of them together
more than 1.5 MB.
"""

import argparse
import random
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
from screener.store.daemon_lock import open_daemon_lock
from screener.store.quality import Scanner
from screener.study import Side
from screener.watch_config import SettingsInForce
from tests.peers.browser import open_browser, sign_in
from tests.peers.reading_room import THRESHOLDS, ReadingRoom, open_reading_room
from tests.unit.test_replay_all import mass, screen
from tests.unit.test_sweep_threshold import review_all

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "screenshots"
MAX_BYTES = 150_000
MAX_BYTES_OF_ALL = 1_500_000
COLORS = 256
TIMEOUT_SECONDS = 180
DESKTOP, PHONE = (1280, 860), (390, 844)
FLAGGED, ULTRASOUND = 2, 3
SHOTS = {
    "worklist": ("/", DESKTOP, ""),
    "case": (f"/studies/{FLAGGED}", DESKTOP, ""),
    "glands": (f"/studies/{FLAGGED}", DESKTOP, "Both glands"),
    "measurements": (f"/studies/{FLAGGED}", DESKTOP, "Measurements against thresholds"),
    "ultrasound": (f"/studies/{ULTRASOUND}", DESKTOP, ""),
    "worklist-phone": ("/", PHONE, ""),
    "case-phone": (f"/studies/{FLAGGED}", PHONE, ""),
}
"""The page, the window, and the heading that stands at its top."""
BUSY_SHOTS = {
    "system": ("/system", DESKTOP, ""),
    "quality": ("/quality", DESKTOP, "CT 1"),
    "thresholds": ("/thresholds?min_voxels=300", DESKTOP, "What it would have done"),
    "curves": ("/thresholds?min_voxels=300", DESKTOP, "What the reviews say of other values"),
    "system-phone": ("/system", PHONE, ""),
    "quality-phone": ("/quality", PHONE, "CT 1"),
    "thresholds-phone": ("/thresholds?min_voxels=300", PHONE, "What the reviews say of other values"),
}
"""The same of pages that tell of many studies."""
WEEKS = 12
SCANNERS = {"CT 1": ("NECK", "HEAD NECK"), "CT 2": ("NECK",), "CT 3": ("NECK", "TRAUMA")}
"""Stations and their protocols."""


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


def fill_busy(room: ReadingRoom) -> None:
    """Twelve weeks of three scanners, drawn at random and in part reviewed; CT 1 flags more in the last week."""
    draw = random.Random(5)  # noqa: S311 - an example, no secret
    now, number = datetime.now(UTC), 0
    SettingsInForce(room.config, room.folder / "config.toml", room.store, {}).begin(now - timedelta(days=7 * WEEKS))
    for hours in range(7 * 24 * WEEKS, 2, -11):
        for station, protocols in SCANNERS.items():
            if draw.random() < 0.3:
                continue
            number += 1
            is_drifting = station == "CT 1" and hours < 7 * 24
            has_mass = draw.random() < (0.5 if is_drifting else 0.12)
            voxels = int(draw.lognormvariate(7.0 if has_mass else 4.6, 0.9)) + 31
            came_at = now - timedelta(hours=hours, minutes=draw.randrange(60))
            study_id = screen(room.store, number, mass(voxels), THRESHOLDS, came_at=came_at)
            room.store.record_scanner(study_id, Scanner(station=station, protocol=draw.choice(protocols)))
            if (voxels >= THRESHOLDS.min_voxels and draw.random() < 0.8) or draw.random() < 0.25:
                review_all(room.store, {study_id: has_mass and draw.random() < 0.85})


def shoot(browser: Any, room: ReadingRoom, who: str, path: str, size: tuple[int, int], heading: str) -> bytes:
    """Give what the window of `who` shows of a page, as PNG."""
    window = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = window.new_page()
    page.set_default_timeout(TIMEOUT_SECONDS * 1000)
    sign_in(page, room, who, path)
    page.wait_for_load_state("networkidle")
    if heading:
        page.locator("h2", has_text=heading).first.evaluate("heading => heading.scrollIntoView()")
    shown: bytes = page.screenshot()
    window.close()
    return shown


def make_small(shown: bytes) -> bytes:
    """The same picture in few colors, and smaller where speckle makes it large."""
    picture = Image.open(BytesIO(shown)).convert("RGB")
    while True:
        file = BytesIO()
        few = picture.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # rare colors too
        few.save(file, "PNG", optimize=True)
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
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        with open_reading_room(Path(name) / "room", viewer) as room:
            fill(room)
            written = shoot_all(browser, room, "rachel", SHOTS, folder)
        with open_reading_room(Path(name) / "busy", viewer) as room:
            fill_busy(room)
            lock = open_daemon_lock(room.config.database_url)
            lock.take()  # the page of the system then says that a daemon runs
            written += shoot_all(browser, room, "adam", BUSY_SHOTS, folder)
    print(f"together: {written / 1000:.0f} kB")
    return 0 if written <= MAX_BYTES_OF_ALL else 1


def shoot_all(
    browser: Any, room: ReadingRoom, who: str, shots: dict[str, tuple[str, tuple[int, int], str]], folder: Path
) -> int:
    """Write each picture into `folder`; how many bytes they come to."""
    written = 0
    for title, (path, size, heading) in shots.items():
        content = make_small(shoot(browser, room, who, path, size, heading))
        (folder / f"{title}.png").write_bytes(content)
        print(f"{title}.png: {len(content) / 1000:.0f} kB", flush=True)
        written += len(content)
    return written


if __name__ == "__main__":
    sys.exit(main())
