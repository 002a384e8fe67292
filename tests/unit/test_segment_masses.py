"""A mass is counted, measured and outlined the same, however the scan was made."""

import math
from dataclasses import replace

import numpy as np
import pytest

from screener.study import GAMMAS, Side
from tests.unit.heads import GLAND_HU, MASS_HU, make_head, mark_each, see_glands, see_masses
from workers.ct.describe_candidate import FEATURES
from workers.ct.localize_parotids import localize_parotids
from workers.ct.segment_masses import average_over_shifts, search_glands, segment_masses

GLANDS = ((0, 0, -45), (0, 0, 45))
BALL_25_MM3 = math.pi / 6 * 25**3


def find(head, **thresholds):
    parotids = localize_parotids(head, see_glands)
    return segment_masses(head, parotids, see_masses, min_probability=thresholds.get("min_probability", 0.5))


def head_with_masses(spacing_mm=(3.0, 2.0, 2.0), masses=((0, 0, -45),), mass_mm=25.0, **more):
    return make_head(spacing_mm, glands=GLANDS, gland_mm=40, masses=masses, mass_mm=mass_mm, **more)


@pytest.mark.parametrize("spacing_mm", [(0.5, 2.0, 2.0), (1.0, 0.9, 0.9), (3.0, 1.2, 1.2), (5.0, 1.0, 1.0)])
def test_a_25_mm_ball_counts_the_same_whatever_the_spacing(spacing_mm):
    (mass,) = find(head_with_masses(spacing_mm))
    assert mass.candidate.voxels == pytest.approx(BALL_25_MM3, rel=0.12)
    assert mass.candidate.volume_mm3 == mass.candidate.voxels
    assert mass.candidate.longest_diameter_mm == pytest.approx(25, abs=2)
    assert mass.candidate.center_mm == pytest.approx((-45, 0, 0), abs=1.5)
    assert mass.candidate.side is Side.RIGHT


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 1.5), (3.0, 1.2, 1.2)])
def test_the_outline_lies_on_the_scans_own_voxels(spacing_mm):
    head = head_with_masses(spacing_mm)
    (mass,) = find(head)
    assert mass.mask.shape == head.hu.shape
    assert mass.mask.sum() * head.voxel_volume_mm3 == pytest.approx(BALL_25_MM3, rel=0.15)
    assert np.median(head.hu[mass.mask]) == pytest.approx(MASS_HU, abs=5)


def test_no_mass_gives_no_candidate():
    assert find(head_with_masses(masses=())) == ()


def test_candidates_of_both_sides_are_numbered_largest_first():
    masses = ((0, 0, -45), (0, 0, 45))
    head = make_head(glands=GLANDS, gland_mm=40, masses=masses[:1], mass_mm=16)
    larger = make_head(glands=GLANDS, gland_mm=40, masses=masses[1:], mass_mm=26)
    middle = head.hu.shape[2] // 2
    both = replace(head, hu=np.concatenate([head.hu[:, :, :middle], larger.hu[:, :, middle:]], axis=2))
    first, second = find(both)
    assert (first.candidate.side, second.candidate.side) == (Side.LEFT, Side.RIGHT)
    assert (first.candidate.number, second.candidate.number) == (1, 2)
    assert first.candidate.voxels > second.candidate.voxels


def test_mirroring_the_patient_swaps_the_masss_side_and_nothing_else():
    head = head_with_masses()
    mirrored = replace(head, hu=head.hu[:, :, ::-1], body=head.body[:, :, ::-1])
    (mass,), (other,) = find(head), find(mirrored)
    assert other.candidate.side is Side.LEFT
    assert other.candidate.voxels == pytest.approx(mass.candidate.voxels, rel=0.02)
    assert (other.mask[:, :, ::-1] == mass.mask).mean() > 0.999


def test_the_network_always_sees_a_right_gland():
    seen = []

    def watch(images):
        seen.extend(images)
        return see_masses(images)

    head = head_with_masses(masses=((0, 0, -45), (0, 0, 45)))
    segment_masses(head, localize_parotids(head, see_glands), watch, min_probability=0.5)
    rights, lefts = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(rights) == len(lefts) > 0
    for right, left in zip(rights, lefts, strict=True):
        assert np.abs(right[1] - left[1]).mean() < 0.01


def test_the_answer_is_put_back_where_the_crop_was_shifted_from():
    image = np.zeros((3, 24, 24, 24), dtype=np.float32)
    image[0, 10:14, 11:15, 9:13] = 1
    averaged = average_over_shifts(image, lambda images: mark_each(images, lambda shifted: shifted[0]))
    assert (averaged == image[0]).all()


def test_a_mass_far_from_the_gland_is_none_of_the_glands():
    assert find(head_with_masses(masses=((36, 0, -40),), mass_mm=14)) == ()


def test_a_fatty_component_is_kept_with_its_density_for_the_machines_to_judge():
    def is_fat(image):
        return ((image[0] > 0) & (image[0] < 0.35) & (image[2] > 0.5)).astype(np.float32)  # below -40 HU, in the gland

    def see_fat(images):
        return mark_each(images, is_fat)

    head = make_head(glands=GLANDS, gland_mm=40)
    z, y, x = np.ogrid[tuple(slice(-(n - 1) / 2, n / 2) for n in head.hu.shape)]
    fat = (2 * x + 45) ** 2 + (2 * y) ** 2 + (3 * z) ** 2 < 12**2
    hu = np.where(fat, -60, head.hu).astype(np.int16)
    parotids = localize_parotids(head, see_glands)
    mass, *_ = segment_masses(replace(head, hu=hu), parotids, see_fat, min_probability=0.5)
    assert mass.candidate.mean_hu < -40
    assert mass.candidate.features["contrast_to_gland_hu"] < -100
    assert mass.candidate.scores == ()


def test_each_candidate_has_every_feature_and_the_scores_that_the_judge_gives():
    seen = []

    def judge(features):
        seen.append(features)
        return (0.25,) * len(GAMMAS)

    head = head_with_masses(masses=((0, 0, -45), (0, 0, 45)))
    masses = segment_masses(head, localize_parotids(head, see_glands), see_masses, min_probability=0.5, judge=judge)
    assert [dict(mass.candidate.features) for mass in masses] == [dict(features) for features in seen]
    for mass in masses:
        assert tuple(mass.candidate.features) == FEATURES
        assert np.isfinite(list(mass.candidate.features.values())).all()
        assert mass.candidate.score(5) == 0.25


def test_the_features_say_what_the_mass_is_like():
    (mass,) = find(head_with_masses((1.5, 1.5, 1.5)))
    features = mass.candidate.features
    assert features["log_volume"] == pytest.approx(math.log(BALL_25_MM3), abs=0.12)
    assert features["sphericity"] == pytest.approx(1, abs=0.08)
    assert features["compactness"] == pytest.approx(1, abs=0.08)
    assert features["contrast_to_gland_hu"] == pytest.approx(MASS_HU - GLAND_HU, abs=15)
    assert features["inside_share"] > 0.95
    assert features["near_share"] == pytest.approx(1, abs=0.01)
    assert features["distance_from_center_mm"] < 2
    assert features["height_in_gland"] == pytest.approx(0.5, abs=0.06)
    assert features["depth_below_skin_mm"] == pytest.approx(25, abs=3)  # the head's radius of 70 less 45


def test_without_the_other_gland_the_features_hardly_change():
    head = head_with_masses()
    right, left = localize_parotids(head, see_glands)
    gone = replace(left, is_assessed=False, mask=None, mean_hu=None)
    (both,), (alone,) = (
        segment_masses(head, parotids, see_masses, min_probability=0.5) for parotids in ((right, left), (right, gone))
    )
    assert alone.candidate.features["gland_difference_hu"] == 0
    for name, value in both.candidate.features.items():
        assert alone.candidate.features[name] == pytest.approx(value, abs=30 if name == "gland_difference_hu" else 1e-6)


def test_how_near_a_gland_came_to_a_candidate_is_told_of_each_searched_gland():
    head = head_with_masses()
    parotids = localize_parotids(head, see_glands)

    def doubt(images):
        return see_masses(images) * np.float32(0.4)

    searched = search_glands(head, parotids, doubt, min_probability=0.5)
    assert searched.masses == ()
    assert searched.peak_probabilities[Side.RIGHT] == pytest.approx(0.4, abs=0.01)
    assert searched.peak_probabilities[Side.LEFT] < 0.05
    right, left = parotids
    left = replace(left, is_assessed=False, reason="The scan ends inside it.")
    searched = search_glands(head, (right, left), see_masses, min_probability=0.5)
    assert set(searched.peak_probabilities) == {Side.RIGHT}


def test_a_gland_that_is_not_assessed_is_passed_over():
    head = head_with_masses()
    right, left = localize_parotids(head, see_glands)
    right = replace(right, is_assessed=False, reason="The scan ends inside it.")
    assert segment_masses(head, (right, left), see_masses, min_probability=0.5) == ()


def test_a_small_candidate_is_kept_and_its_outline_is_not_empty():
    for mass in find(head_with_masses((5.0, 2.0, 2.0), mass_mm=12)):
        assert mass.mask.any()


def test_a_higher_probability_threshold_never_finds_more():
    head = head_with_masses()
    sizes = [sum(m.candidate.voxels for m in find(head, min_probability=p)) for p in (0.3, 0.5, 0.7, 0.9)]
    assert sizes == sorted(sizes, reverse=True)
