"""The ultrasound picture is found within a stored one, and what scanners draw around it is cut off."""

import csv

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from screener.us_study import Box
from tests.unit.ct_study import SHARED
from tests.unit.us_objects import LEFT, RIGHT, SHAPE, TISSUE, add_clutter, draw_picture, draw_speckle
from workers.us.find_pictures import find_pictures, to_gray, trim_region

IMAGES = SHARED / "data" / "ultrasound"
TOLERANCE_PX = 12
"""At each side: half the surroundings by which a pixel is judged."""
MAX_LOST = 0.02
"""Of a lesion."""
LABEL_ON_TEXT = "ddti_338_2_1"
"""Its mask lies on a line of text below the picture."""

needs_shared = pytest.mark.skipif(not IMAGES.is_dir(), reason="the development data are not on this machine")


def _sides(box: Box) -> np.ndarray:
    return np.array([box.top, box.left, box.bottom, box.right])


def _differ(found: Box, true: Box) -> int:
    return int(np.abs(_sides(found) - _sides(true)).max())


def test_text_rulers_bars_and_banners_around_the_picture_are_cut_off() -> None:
    (box,) = find_pictures(add_clutter(draw_picture(TISSUE))).boxes
    assert _differ(box, TISSUE) <= TOLERANCE_PX


def test_a_dark_gray_screen_is_background_too() -> None:
    picture = draw_picture(TISSUE)
    picture[~picture.any(axis=2)] = 36
    picture[TISSUE.top : TISSUE.bottom, TISSUE.left : TISSUE.right] += 40
    (box,) = find_pictures(picture).boxes
    assert _differ(box, TISSUE) <= TOLERANCE_PX


def test_a_picture_that_fills_all_is_taken_whole() -> None:
    (box,) = find_pictures(draw_speckle((300, 400))).boxes
    assert (box.top, box.left, box.bottom, box.right) == (0, 0, 300, 400)


def test_a_sector_keeps_its_points() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius, angle = np.hypot(y - 40, x - 320), np.arctan2(x - 320, y - 40)
    picture = np.where((radius < 380) & (np.abs(angle) < 0.7), draw_speckle(SHAPE), 0).astype(np.uint8)
    rows, columns = np.flatnonzero(picture.any(axis=1)), np.flatnonzero(picture.any(axis=0))
    (box,) = find_pictures(picture).boxes
    assert box.top - rows[0] < 40
    assert abs(box.bottom - rows[-1]) < TOLERANCE_PX
    assert max(abs(box.left - columns[0]), abs(box.right - columns[-1])) < 30


def test_two_pictures_beside_each_other_are_two() -> None:
    first, second = find_pictures(add_clutter(draw_picture(LEFT, RIGHT))).boxes
    assert _differ(first, LEFT) <= TOLERANCE_PX
    assert _differ(second, RIGHT) <= TOLERANCE_PX


def test_a_picture_with_a_shadow_in_its_middle_stays_one() -> None:
    picture = draw_picture(TISSUE)
    picture[TISSUE.top + 30 : TISSUE.bottom, 340:360] = 0
    assert len(find_pictures(picture).boxes) == 1


def test_what_lies_below_a_black_band_is_left_out() -> None:
    upper, trace = Box(top=60, left=150, bottom=260, right=550), Box(top=290, left=150, bottom=440, right=550)
    found = find_pictures(draw_picture(upper, trace))
    assert found.has_below
    assert _differ(found.boxes[0], upper) <= TOLERANCE_PX
    assert not find_pictures(draw_picture(upper)).has_below


@pytest.mark.parametrize("size", [12, 20, 28])
def test_a_page_of_text_holds_no_picture(size: int) -> None:
    image = Image.new("RGB", (640, 480))
    for line in range(480 // (size + 6)):
        ImageDraw.Draw(image).text((20, line * (size + 6)), "Measurement 12.3 mm  " * 3, fill="white", font_size=size)
    assert find_pictures(np.asarray(image)).boxes == ()


@pytest.mark.parametrize("value", [0, 90, 255])
def test_an_even_screen_holds_no_picture(value: int) -> None:
    assert find_pictures(np.full((*SHAPE, 3), value, np.uint8)).boxes == ()


def test_the_empty_sides_of_a_region_are_cut_off_and_an_empty_one_shows_nothing() -> None:
    region = Box(top=60, left=100, bottom=470, right=630)
    trimmed = trim_region(draw_picture(TISSUE), region)
    assert trimmed is not None
    assert _differ(trimmed, TISSUE) <= TOLERANCE_PX
    assert trim_region(add_clutter(draw_picture()), region) is None


def test_luminance_weighs_the_colors_as_a_monitor_does() -> None:
    assert to_gray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).tolist() == [[76, 150, 29]]


@needs_shared
def test_no_lesion_of_the_development_data_is_cut_off() -> None:
    with (IMAGES / "index.csv").open(newline="") as file:
        names = [row["id"] for row in csv.DictReader(file) if row["has_lesion_mask"] == "1"]
    lost = {}
    for name in names[::12]:
        picture = np.asarray(Image.open(IMAGES / f"{name}.jpg").convert("L"))
        lesion = np.asarray(Image.open(IMAGES / f"{name}_mask.png").convert("L")) > 0
        found = np.zeros(lesion.shape, bool)
        for box in find_pictures(picture).boxes:
            found[box.top : box.bottom, box.left : box.right] = True
        lost[name] = 1 - np.count_nonzero(lesion & found) / np.count_nonzero(lesion)
    lost.pop(LABEL_ON_TEXT, None)
    assert max(lost.values()) <= MAX_LOST


@needs_shared
@pytest.mark.parametrize(
    "name", ["sgus_035", "sgus_118", "sgus_173", "sgus_126"], ids=["Samsung", "Philips", "GE", "Esaote"]
)
def test_a_picture_of_each_machine_is_found_on_a_larger_screen(name: str) -> None:
    picture = np.asarray(Image.open(IMAGES / f"{name}.jpg").convert("L"))
    picture = ndimage.zoom(picture, 400 / picture.shape[1], order=1)
    screen = np.zeros((*SHAPE, 3), np.uint8)
    screen[80 : 80 + picture.shape[0], 150:550] = picture[..., None]
    (box,) = find_pictures(add_clutter(screen)).boxes
    assert box.left >= 150 - TOLERANCE_PX
    assert box.right <= 550 + TOLERANCE_PX
    assert box.top >= 80 - TOLERANCE_PX
    assert (box.bottom - box.top) * (box.right - box.left) > 0.6 * picture.size
