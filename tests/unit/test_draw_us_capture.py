"""The capture shows the outline where the lesion is, the map beside it, true proportions and no certainty."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from screener.us_study import GLAND_NOT_CHECKED, Lesion
from tests.conformance.us_studies import BENIGN, LEARNED_FROM, MALIGNANT, UsStudy, make_us_study
from workers.results.draw_panels import MASS_COLOR
from workers.results.draw_us_capture import _OUTLINE_COLOR, draw_us_capture, tell_percent


@pytest.fixture
def study(tmp_path: Path) -> UsStudy:
    return make_us_study(tmp_path)


def lesion_of(study: UsStudy) -> Lesion:
    assert study.lesion is not None
    return study.lesion


def bounds(picture: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the pixels of `color` above the caption."""
    rows, columns = np.nonzero((picture[:570] == color).all(axis=-1))
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_the_outline_lies_around_the_lesion_in_both_panels(study: UsStudy):
    lesion = lesion_of(study)
    picture = np.asarray(draw_us_capture(lesion, BENIGN, study.cam, LEARNED_FROM))
    scale = min(560 / 80, 760 / 120)
    rows, columns = np.nonzero(lesion.mask)
    expected = [rows.min() * scale, (rows.max() + 1) * scale, columns.min() * scale, (columns.max() + 1) * scale]
    left = bounds(picture, MASS_COLOR)
    assert [left[0] - 10, left[1] - 10, left[2] - 10, left[3] - 10] == pytest.approx(expected, abs=8)
    right = bounds(picture, _OUTLINE_COLOR)
    assert right[:2] == left[:2]
    assert right[2] - left[2] == right[3] - left[3] == 760 + 10


def test_without_a_map_there_is_one_panel(study: UsStudy):
    one, two = (draw_us_capture(lesion_of(study), MALIGNANT, cam, LEARNED_FROM) for cam in (None, study.cam))
    assert one.width == 760 + 20
    assert two.width == 2 * 760 + 30
    assert not (np.asarray(one) == _OUTLINE_COLOR).all(axis=-1).any()


def test_the_frame_is_gray_outside_the_map_and_colored_where_it_is_high(study: UsStudy):
    lesion = lesion_of(study)
    cam = np.zeros(lesion.mask.shape, dtype=np.float32)
    cam[:, 100:] = 1.0
    picture = np.asarray(draw_us_capture(lesion, BENIGN, cam, LEARNED_FROM)).astype(int)
    panel = picture[60:500, 10 + 760 + 10 :]
    spread = panel.max(axis=-1) - panel.min(axis=-1)
    assert spread[:, :40].max() == 0  # left of lesion and map
    assert spread[:, 660:740].mean() > 20


def test_a_map_of_another_shape_is_refused_and_one_of_no_numbers_is_drawn_as_none(study: UsStudy):
    lesion = lesion_of(study)
    with pytest.raises(ValueError, match="map"):
        draw_us_capture(lesion, MALIGNANT, np.zeros((3, 3), dtype=np.float32), LEARNED_FROM)
    nothing = [np.full(lesion.mask.shape, value, dtype=np.float32) for value in (np.nan, 0.0)]
    drawn = [np.asarray(draw_us_capture(lesion, MALIGNANT, cam, LEARNED_FROM)) for cam in nothing]
    assert np.array_equal(*drawn)


@pytest.mark.parametrize(("spacing_mm", "proportion"), [(None, 80 / 120), ((0.2, 0.1), 160 / 120), ((0.1, 0.2), 1 / 3)])
def test_proportions_are_true_where_the_frame_is_calibrated(study: UsStudy, spacing_mm, proportion):
    lesion = lesion_of(study)
    lesion = replace(lesion, mask=np.ones_like(lesion.mask), frame=replace(lesion.frame, spacing_mm=spacing_mm))
    top, bottom, left, right = bounds(np.asarray(draw_us_capture(lesion, BENIGN, None, LEARNED_FROM)), MASS_COLOR)
    assert (bottom - top + 1) / (right - left + 1) == pytest.approx(proportion, rel=0.01)


def test_the_caption_says_answer_probability_size_and_what_it_is_not(study: UsStudy, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(
        "workers.results.draw_us_capture.compose_panels", lambda _, lines: told.extend(text for text, _ in lines)
    )
    lesion = lesion_of(study)
    draw_us_capture(lesion, MALIGNANT, study.cam, LEARNED_FROM)
    whole = " ".join(told)
    words = ("malignant, probability of malignancy 83 %", "5.0 mm", GLAND_NOT_CHECKED, LEARNED_FROM, "Research use")
    for text in (*words, "Grad-CAM"):
        assert text in whole
    told.clear()
    draw_us_capture(replace(lesion, longest_diameter_mm=None), BENIGN, None, LEARNED_FROM)
    whole = " ".join(told)
    assert "not calibrated" in whole
    assert "Grad-CAM" not in whole


@pytest.mark.parametrize(
    ("probability", "told"), [(0.0, "below 1 %"), (0.014, "1 %"), (0.5, "50 %"), (0.989, "99 %"), (1.0, "above 99 %")]
)
def test_no_probability_is_told_as_certainty(probability: float, told: str):
    assert tell_percent(probability) == told


def test_an_empty_map_is_said_to_be_empty_and_another_is_not(study: UsStudy, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    titles: list[str] = []
    monkeypatch.setattr(
        "workers.results.draw_us_capture.compose_panels", lambda _, lines: told.extend(text for text, _ in lines)
    )
    monkeypatch.setattr("workers.results.draw_us_capture._draw_panel", lambda *given: titles.append(given[-1]))
    lesion = lesion_of(study)
    sentence = "nothing in the picture spoke for malignancy"
    for empty in (np.zeros(lesion.mask.shape, np.float32), np.full(lesion.mask.shape, np.nan, np.float32)):
        draw_us_capture(lesion, BENIGN, empty, LEARNED_FROM)
        assert sentence in " ".join(told)
        assert titles == ["Lesion", f"Grad-CAM: {sentence}"]
        told.clear()
        titles.clear()
    draw_us_capture(lesion, MALIGNANT, study.cam, LEARNED_FROM)
    assert sentence not in " ".join(told)
    assert titles == ["Lesion", "Grad-CAM"]


def test_where_the_fusion_answers_the_map_is_said_to_be_one_part_of_it(study: UsStudy, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(
        "workers.results.draw_us_capture.compose_panels", lambda _, lines: told.extend(text for text, _ in lines)
    )
    draw_us_capture(lesion_of(study), replace(MALIGNANT, is_by_fusion=True), study.cam, LEARNED_FROM)
    assert "malignant, probability of malignancy 83 %, by the fusion." in told[0]
    assert "the image model alone, not the fusion that answered" in " ".join(told)
    told.clear()
    draw_us_capture(lesion_of(study), MALIGNANT, study.cam, LEARNED_FROM)
    assert "fusion" not in " ".join(told)
