"""The synthetic ultrasound patient is what it says of itself, and the product reads it as such."""

from pathlib import Path

import numpy as np
import pytest

from screener.phantom import write_phantom
from screener.phantom_us import BOX, SPACING_MM, UltrasoundPhantom, make_us_phantom
from tests.unit.ct_study import describe
from workers.us.select_frames import select_frames

LESION_MM = 18.0


@pytest.fixture(scope="module")
def phantom() -> UltrasoundPhantom:
    return make_us_phantom(lesion_mm=LESION_MM, pictures=2, seed=3, uid_salt="test")


def test_the_frames_are_taken_with_their_calibration(phantom: UltrasoundPhantom, tmp_path: Path) -> None:
    choices, frames, *_ = select_frames([describe(path) for path in write_phantom(phantom, tmp_path)])
    assert [choice.is_taken for choice in choices] == [True, True]
    assert [frame.spacing_mm for frame in frames] == [pytest.approx((SPACING_MM, SPACING_MM))] * 2
    assert frames[0].box.left == pytest.approx(BOX.left, abs=3)
    assert frames[0].box.bottom == pytest.approx(BOX.bottom, abs=3)


def test_the_lesion_is_as_large_as_told_and_largest_in_the_second_picture(phantom: UltrasoundPhantom) -> None:
    widths_mm = [SPACING_MM * lesion.any(axis=0).sum() for lesion in phantom.lesions]
    assert widths_mm[1] == pytest.approx(LESION_MM, rel=0.1)
    assert phantom.lesions[0].sum() < phantom.lesions[1].sum()


def test_the_lesion_is_dark_and_bright_behind(phantom: UltrasoundPhantom) -> None:
    pixels = np.asarray(phantom.datasets[1].pixel_array, float)[..., 0]
    lesion = phantom.lesions[1]
    column = int(np.median(np.nonzero(lesion.any(axis=0))[0]))
    bottom = int(np.nonzero(lesion[:, column])[0].max())
    behind = pixels[bottom + 10 : bottom + 40, column - 30 : column + 30].mean()
    beside = pixels[bottom + 10 : bottom + 40, BOX.left + 5 : BOX.left + 65].mean()
    assert pixels[lesion].mean() < 0.7 * beside
    assert behind > beside + 15


def test_the_same_arguments_make_the_same_bytes(phantom: UltrasoundPhantom) -> None:
    again = make_us_phantom(lesion_mm=LESION_MM, pictures=1, seed=3, uid_salt="test")
    assert again.datasets[0].PixelData == phantom.datasets[0].PixelData
    assert again.datasets[0].SOPInstanceUID == phantom.datasets[0].SOPInstanceUID
    other = make_us_phantom(lesion_mm=LESION_MM, pictures=1, seed=4, uid_salt="test")
    assert other.datasets[0].PixelData != phantom.datasets[0].PixelData


def test_without_a_lesion_there_is_none() -> None:
    assert not make_us_phantom(pictures=1).lesions[0].any()


@pytest.mark.parametrize("pictures", [0, 11])
def test_more_pictures_than_there_are_slices_are_refused(pictures: int) -> None:
    with pytest.raises(ValueError, match="1 to 10"):
        make_us_phantom(pictures=pictures)
