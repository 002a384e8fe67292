"""Which training samples a segmenter judges wrong, and that they are drawn more often."""

import numpy as np
import pytest

from workers.training import train_segmenter
from workers.training.cache_samples import GLAND_BIT, MASS_BIT
from workers.training.find_hard_samples import HARD_SHARE, find_hard_samples, is_hard, repeat_hard_samples

SIDE = 24
SPACE = np.indices((SIDE, SIDE, SIDE))
PLACE = ((SPACE - SIDE // 2) ** 2).sum(0) < 16
ELSEWHERE = ((SPACE - 4) ** 2).sum(0) < 9


def make_image(mass_hu: int = 60) -> np.ndarray:
    return np.where(PLACE, mass_hu, -20).astype(np.int16)


def answer(*marked: np.ndarray) -> np.ndarray:
    return sum(marked, np.zeros_like(PLACE)).astype(np.float32)


@pytest.mark.parametrize(
    ("probability", "mass", "hu", "expected"),
    [
        (answer(), PLACE, make_image(), True),  # missed
        (answer(), PLACE, make_image(0), False),  # missed, and 20 HU are not to be seen
        (answer(), ELSEWHERE & (SPACE[0] > 4), make_image(), False),  # missed, and too small
        (answer(PLACE), PLACE, make_image(), False),  # found
        (answer(PLACE, SPACE[0] < 6), PLACE, make_image(), True),  # found, and much else
        (answer(PLACE), np.zeros_like(PLACE), make_image(), True),  # a mass that is none
        (answer(), np.zeros_like(PLACE), make_image(), False),  # nothing, and nothing said
    ],
)
def test_hard_is_what_leaves_something_to_learn(probability, mass, hu, expected):
    assert is_hard(probability, hu, mass) is expected


def test_the_samples_that_a_segmenter_judges_wrong_are_found():
    gland = SPACE[0] > 6
    hu = np.stack([make_image()] * 6)
    marks = np.stack([gland * GLAND_BIT | PLACE * MASS_BIT * (number % 2) for number in range(6)]).astype(np.uint8)

    def say_no(images):
        assert images.shape[1:] == (3, SIDE, SIDE, SIDE)
        assert images[0, 2, SIDE // 2, SIDE // 2, SIDE // 2] > 0.9  # the gland
        return np.zeros((len(images), 2, *images.shape[2:]), dtype=np.float32)

    assert find_hard_samples(hu, marks, say_no).tolist() == [1, 3, 5]


def test_a_quarter_of_what_is_drawn_is_hard():
    order = repeat_hard_samples(900, np.array([3, 7, 11] * 20))
    hard = np.isin(order, [3, 7, 11]).mean()
    assert set(order.tolist()) == set(range(900))
    assert hard == pytest.approx(HARD_SHARE, abs=0.03)
    assert repeat_hard_samples(5, np.array([], dtype=np.intp)).tolist() == [0, 1, 2, 3, 4]


def test_harder_needs_a_network_for_which_it_is_hard(tmp_path, capsys):
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "parotid_mass_segmenter"), "--harder"]
    with pytest.raises(SystemExit):
        train_segmenter.main(words)
    assert "--harder needs --init" in capsys.readouterr().err
