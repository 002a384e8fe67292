"""Radiomics are those of the standard, do not hang on gain or place, and say of a speck that it cannot be measured."""

import logging

import numpy as np
import pytest

pytest.importorskip("mirp")
pytest.importorskip("skimage")

from screener.us_study import Box, Frame, Lesion
from workers.us.measure_radiomics import BINS, GRAY_DEVIATION, GRAY_MEAN, measure_radiomics, measure_region


def draw_lesion(height=30, width=44, shape=(120, 160), middle=(60, 80)):
    """Return gray with a dark ellipse, brighter below it, and its mask."""
    rows, columns = np.indices(shape)
    mask = ((rows - middle[0]) / (height / 2)) ** 2 + ((columns - middle[1]) / (width / 2)) ** 2 < 1
    noise = np.random.default_rng(5).normal(0, 8, shape)
    gray = np.where(mask, 60, 120) + noise
    gray[middle[0] + height // 2 + 1 :, middle[1] - width // 3 : middle[1] + width // 3] += 40
    return gray.clip(0, 255).round().astype(np.uint8), mask


@pytest.fixture(scope="module")
def features():
    return measure_region(*draw_lesion())


def test_texture_follows_the_definition_of_the_standard(features) -> None:
    """IBSI reference manual: entropy and uniformity of the histogram of BINS gray levels (TLU2, BJ5W)."""
    gray, mask = draw_lesion()
    from workers.us import measure_radiomics as module

    view = module._prepare(gray, mask)
    values = view.gray[view.lesion].astype(float)
    low, high = values.min(), values.max()
    levels = np.minimum(np.floor(BINS * (values - low) / (high - low)) + 1, BINS).astype(int)
    share = np.bincount(levels)[1:] / len(levels)
    share = share[share > 0]
    assert features["lesion_stat_mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert features[f"lesion_ih_uniformity_fbn_n{BINS}"] == pytest.approx((share**2).sum(), rel=0.02)
    assert features[f"lesion_ih_entropy_fbn_n{BINS}"] == pytest.approx(-(share * np.log2(share)).sum(), rel=0.02)


def test_what_lies_around_and_behind_is_told_apart_from_the_lesion(features) -> None:
    assert features["lesion_stat_mean"] < GRAY_MEAN - GRAY_DEVIATION
    assert features["ring_stat_mean"] > features["lesion_stat_mean"] + GRAY_DEVIATION
    assert features["behind_to_lesion"] > features["behind_to_all"] > 0
    assert features["shape_height_to_width"] == pytest.approx(30 / 44, abs=0.03)
    assert features["shape_axis_ratio"] == pytest.approx(30 / 44, abs=0.03)


def test_gain_and_place_change_nothing() -> None:
    gray, mask = draw_lesion()
    before = measure_region(gray, mask)
    louder = measure_region((gray.astype(int) * 1.2).clip(0, 255).round().astype(np.uint8), mask)
    moved = measure_region(np.pad(gray, ((8, 0), (0, 8)), mode="reflect"), np.pad(mask, ((8, 0), (0, 8))))
    for name in ("lesion_stat_mean", "ring_stat_iqr", "lesion_stat_p90", "behind_to_all", "shape_axis_ratio"):
        assert louder[name] == pytest.approx(before[name], abs=1.5), name
        assert moved[name] == pytest.approx(before[name], abs=1.5), name


def test_how_roughly_an_outline_was_drawn_changes_next_to_nothing() -> None:
    """Who drew the public outlines knew the diagnosis: spikes must not be what a machine learns."""
    from workers.us import measure_radiomics as module

    _, mask = draw_lesion()
    rough = mask & (np.indices(mask.shape).sum(0) % 12 != 0)
    rough[58:62, 100:106] = True
    smooth, spiky = (module._fit_ellipse(outline) for outline in (mask, rough))
    drawn = (mask & rough).sum() / (mask | rough).sum()
    shared = (smooth[0] & spiky[0]).sum() / (smooth[0] | spiky[0]).sum()
    assert drawn < 0.92
    assert shared > 0.95
    assert spiky[1] == pytest.approx(smooth[1], abs=0.04)


def test_a_slanted_lesion_has_a_slanted_ellipse() -> None:
    from workers.us import measure_radiomics as module

    rows, columns = np.indices((120, 160))
    along, across = (rows - 60) + (columns - 80), (rows - 60) - (columns - 80)
    slanted = (along / 50) ** 2 + (across / 20) ** 2 < 1
    view = module._prepare(draw_lesion()[0], slanted)
    square = module.surround_lesion(module.find_box(slanted))
    outline = module.cut_square(slanted.astype(np.float32), square, module.GRID_PX)[0] > 0.5
    assert (view.lesion & outline).sum() / (view.lesion | outline).sum() > 0.9
    assert view.axis_ratio == pytest.approx(0.4, abs=0.03)


def test_a_line_cannot_be_measured() -> None:
    gray, mask = draw_lesion()
    assert measure_region(gray, np.where(np.indices(mask.shape)[0] == 60, True, False)) is None


@pytest.mark.parametrize("radius", [1, 3])
def test_a_speck_cannot_be_measured(radius) -> None:
    gray, _ = draw_lesion()
    mask = np.zeros(gray.shape, bool)
    mask[60 : 60 + radius, 60 : 60 + 2 * radius] = True
    assert measure_region(gray, mask) is None


def test_an_even_picture_cannot_be_measured() -> None:
    gray, mask = draw_lesion()
    assert measure_region(np.full(gray.shape, 90, np.uint8), mask) is None


def test_nothing_of_it_is_logged_and_the_log_is_as_before(caplog) -> None:
    gray, mask = draw_lesion()
    frame = Frame(
        sop_instance_uid="1.2", frame_number=0, box=Box(top=0, left=0, bottom=120, right=160),
        picture_shape=(120, 160), gray=gray, spacing_mm=None,
    )  # fmt: skip
    lesion = Lesion(frame=frame, mask=mask, mean_probability=0.9, area_px=int(mask.sum()), longest_diameter_mm=None)
    filters, level = list(logging.getLogger().filters), logging.getLogger().level
    with caplog.at_level(logging.INFO):
        assert measure_radiomics(lesion) == measure_region(gray, mask)
    assert not caplog.records
    assert (logging.getLogger().filters, logging.getLogger().level) == (filters, level)
