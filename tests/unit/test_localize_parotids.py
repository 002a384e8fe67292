"""Both glands are found where they are, on the patient's own sides, or the reason is given why not."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from screener.outcomes import SetAside
from screener.phantom import make_phantom
from screener.study import Side
from tests.unit.heads import add_limb, make_head, see_glands, see_nothing
from workers.ct.judge_coverage import estimate_covered_share
from workers.ct.localize_parotids import accept_parotids, find_parotids, localize_parotids, refuse_metal
from workers.models.weights import load_bundle

VALIDATION = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ct" / "openkbp_validation"


@pytest.fixture(scope="module")
def localizer():
    return load_bundle("parotid_localizer", torch.device("cpu"))


@pytest.mark.parametrize("spacing_mm", [(1.2, 1.2, 1.2), (5.0, 1.0, 1.0), (2.5, 3.9, 3.9)])
def test_both_glands_are_found_where_they_are_whatever_the_spacing(spacing_mm):
    right, left = localize_parotids(make_head(spacing_mm), see_glands)
    assert (right.side, left.side) == (Side.RIGHT, Side.LEFT)
    assert right.center_mm == pytest.approx((-45, 0, 0), abs=2)
    assert left.center_mm == pytest.approx((45, 0, 0), abs=2)
    assert right.volume_mm3 == pytest.approx(np.pi / 6 * 30**3, rel=0.25)


def test_mirroring_the_patient_swaps_the_sides_and_nothing_else():
    head = make_head(glands=((10, 5, -45), (-8, 0, 45)))
    mirrored = replace(head, hu=head.hu[:, :, ::-1], body=head.body[:, :, ::-1])
    right, left = localize_parotids(head, see_glands)
    mirrored_right, mirrored_left = localize_parotids(mirrored, see_glands)
    for one, other in ((right, mirrored_left), (left, mirrored_right)):
        x, y, z = one.center_mm
        assert other.center_mm == pytest.approx((-x, y, z), abs=1.0)


def test_an_image_stored_from_left_to_right_keeps_the_patients_sides():
    head = make_head(glands=((10, 5, -45), (-8, 0, 45)))
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (head.hu.shape[2] - 1)
    affine[:3, 0] *= -1
    turned = replace(head, hu=head.hu[:, :, ::-1], body=head.body[:, :, ::-1], affine=affine)
    for one, other in zip(localize_parotids(head, see_glands), localize_parotids(turned, see_glands), strict=True):
        assert other.center_mm == pytest.approx(one.center_mm, abs=0.5)
        assert (other.mask[:, :, ::-1] == one.mask).mean() > 0.999


def test_a_tilted_gantry_moves_no_gland():
    tilt = np.array([[1, 0, 0], [np.tan(np.radians(20)), 1, 0], [0, 0, 1]])
    right, left = localize_parotids(make_head(turn=tilt), see_glands)
    assert right.center_mm == pytest.approx((-45, 0, 0), abs=2)
    assert left.center_mm == pytest.approx((45, 0, 0), abs=2)


def test_a_patient_far_from_the_scanners_center_is_found_all_the_same():
    right, left = localize_parotids(make_head(origin_mm=(-900, 120, 200)), see_glands)
    assert right.center_mm == pytest.approx((155, 120, -900), abs=2)
    assert left.center_mm == pytest.approx((245, 120, -900), abs=2)


def test_a_missing_gland_is_not_assessed_and_says_so():
    right, left = localize_parotids(make_head(glands=((0, 0, 45),)), see_glands)
    assert left.is_assessed
    assert not left.reason
    assert not right.is_assessed
    assert "right" in right.reason
    assert right.mask is None


def test_glands_cut_off_by_the_scans_end_are_not_assessed():
    with pytest.raises(SetAside) as raised:
        localize_parotids(make_head(z_range_mm=(5, 90)), see_glands)
    assert raised.value.code == "no_parotid_covered"
    assert "begins inside the right parotid" in raised.value.reason


def test_glands_too_little_of_which_is_covered_are_found_all_the_same():
    head = make_head(z_range_mm=(5, 90))
    found = find_parotids(head, see_glands)
    assert all(parotid.mask.any() and not parotid.is_assessed for parotid in found)
    with pytest.raises(SetAside):
        accept_parotids(found, head)


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_gland_that_a_tilted_scan_cuts_is_partial_whichever_way_it_tilts(degrees):
    shear = np.eye(3)
    shear[0, 1] = math.tan(math.radians(degrees))
    for y_mm in (-40, 40):
        # The scan's first slice passes the glands this much higher than it passes the middle of the image.
        rise_mm = shear[0, 1] * y_mm
        glands = ((0, y_mm, -45), (0, y_mm, 45))
        cut, whole = (
            make_head(glands=glands, gland_mm=40, z_range_mm=(start_mm - rise_mm, 90), turn=shear)
            for start_mm in (-2, -34)
        )
        right, left = find_parotids(cut, see_glands)
        assert right.is_partial
        assert left.is_partial
        assert right.covered_share < 0.8
        assert not any(parotid.is_partial for parotid in find_parotids(whole, see_glands))


def test_a_gland_that_is_cut_is_assessed_and_marked_as_partial():
    for parotid in localize_parotids(make_head(z_range_mm=(-12, 90), gland_mm=56), see_glands):
        assert parotid.is_assessed
        assert parotid.is_partial
        assert parotid.assessment.is_partial
        assert 0.4 < parotid.covered_share < 0.9


def test_a_gland_that_is_not_cut_is_covered_whole():
    for parotid in localize_parotids(make_head(), see_glands):
        assert (parotid.covered_share, parotid.is_partial) == (1.0, False)


def test_more_of_the_gland_is_never_a_smaller_share():
    shares = []
    for cut_mm in (-20, -12, -4, 4, 12):
        right, _ = localize_parotids(make_head(z_range_mm=(cut_mm, 90), gland_mm=56), see_glands)
        shares.append(right.covered_share)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1] + 0.2


@pytest.mark.parametrize("end", ["below", "above"])
def test_the_share_of_a_cut_phantoms_gland_is_about_right(end):
    phantom = make_phantom(seed=3, spacing_mm=(2.0, 2.0, 2.5), rows=128, z_range_mm=(-60.0, 60.0), uid_salt="cut")
    estimates = []
    for kept in range(10, 45, 4):
        gland = phantom.right_parotid if end == "below" else phantom.right_parotid[::-1]
        part = gland[:kept]
        truth = part.sum() / gland.sum()
        if not 0.2 <= truth <= 0.95:
            continue
        height_mm = 2.5 * part.any(axis=(1, 2)).sum()
        volume_mm3 = 2.0 * 2.0 * 2.5 * part.sum()
        estimates.append(estimate_covered_share(height_mm, volume_mm3))
        assert estimates[-1] == pytest.approx(truth, abs=0.2)
    assert len(estimates) >= 3
    assert estimates == sorted(estimates)


def test_a_whole_opposite_gland_is_the_measure_unless_it_is_unlike_any():
    plain = estimate_covered_share(30, 10_000)
    assert estimate_covered_share(30, 10_000, whole_height_mm=48, whole_volume_mm3=16_000) > plain
    assert estimate_covered_share(30, 10_000, whole_height_mm=64, whole_volume_mm3=25_000) < plain
    with_a_mass = estimate_covered_share(30, 10_000, whole_height_mm=90, whole_volume_mm3=110_000)
    assert with_a_mass > 0.7 * plain


def with_metal(head, *, streaks):
    """A filling in front of the right gland and, with `streaks`, the rays of it through the gland."""
    hu = head.hu.copy()
    depth, rows, columns = hu.shape
    z, y, x = depth // 2, rows // 2, columns // 2
    hu[z - 2 : z + 3, y - 14 : y - 10, x - 14 : x - 8] = 3071
    if streaks:
        rays = np.zeros(hu.shape, dtype=bool)
        rays[:, ::4, : x - 8] = rays[:, 1::4, : x - 8] = True
        hu[rays & head.body] = (
            np.where(np.arange(depth) % 2, -700, 900)[:, None, None]
            .repeat(rows, 1)
            .repeat(columns, 2)[rays & head.body]
        )
    return replace(head, hu=hu)


def test_glands_whose_sides_are_in_doubt_are_covered_and_not_assessed():
    def confuse(image):
        background, gland, _ = see_glands(image)
        is_right = np.arange(gland.shape[2]) < gland.shape[2] / 2
        return np.stack([background, gland * ~is_right, gland * is_right])

    for gland in localize_parotids(make_head(), confuse):
        assert not gland.is_assessed
        assert f"the {gland.side} parotid gland or that of the other side is in doubt" in gland.reason


@pytest.mark.parametrize("highest_hu", [3071, 2500, 2047])
def test_metal_that_spoils_a_gland_leaves_it_not_assessed(highest_hu):
    head = make_head()
    parotids = localize_parotids(head, see_glands)
    spoiled = with_metal(head, streaks=True)
    spoiled = replace(spoiled, hu=np.minimum(spoiled.hu, highest_hu))
    right, left = (refuse_metal(parotid, spoiled) for parotid in parotids)
    assert not right.is_assessed
    assert "Metal artifacts" in right.reason
    assert left.is_assessed


def test_metal_whose_streaks_miss_the_gland_spoils_nothing():
    head = with_metal(make_head(), streaks=False)
    assert all(parotid.is_assessed for parotid in localize_parotids(head, see_glands))


def test_streaks_without_metal_are_none():
    head = make_head()
    hu = head.hu.copy()
    hu[:, ::2] = -700
    parotids = localize_parotids(head, see_glands)
    assert all(refuse_metal(parotid, replace(head, hu=hu)).is_assessed for parotid in parotids)


def test_a_gland_that_is_mostly_covered_is_assessed():
    right, left = localize_parotids(make_head(z_range_mm=(-6, 90)), see_glands)
    assert right.is_assessed
    assert left.is_assessed


@pytest.mark.parametrize("x_mm", [-175, -130, 130, 175])
def test_an_arm_beside_the_head_moves_no_gland_to_the_other_side(x_mm):
    right, left = localize_parotids(add_limb(make_head(), x_mm, 45), see_glands)
    assert (right.is_assessed, left.is_assessed) == (True, True)
    assert right.center_mm == pytest.approx((-45, 0, 0), abs=2)
    assert left.center_mm == pytest.approx((45, 0, 0), abs=2)


def test_arms_beside_the_head_hide_no_gland():
    head = make_head((3.0, 3.0, 3.0))
    right, left = localize_parotids(add_limb(add_limb(head, -160, 72), 160, 72), see_glands)
    assert (right.is_assessed, left.is_assessed) == (True, True)


def test_a_gland_of_which_network_and_midline_name_different_sides_is_not_assessed():
    def see_the_other_side(image):
        background, right, left = see_sides(image)
        return np.stack([background, left, right])

    right, left = find_parotids(make_head(), see_sides)
    assert (right.is_assessed, left.is_assessed) == (True, True)
    for parotid in find_parotids(make_head(), see_the_other_side):
        assert not parotid.is_assessed
        assert "side" in parotid.reason


@pytest.mark.parametrize("columns", [slice(11, None), slice(None, -11), slice(8, None), slice(None, -8)])
def test_a_gland_that_the_side_of_the_image_cuts_is_partial(columns):
    head = make_head((3.0, 3.0, 3.0), gland_mm=36)  # of 50 columns, the right gland in the 4th to the 16th
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (columns.start or 0)
    cut = replace(head, hu=head.hu[:, :, columns], body=head.body[:, :, columns], affine=affine)
    right, left = find_parotids(cut, see_glands)
    one, other = (right, left) if columns.start else (left, right)
    assert (one.is_partial, other.is_partial) == (True, False)
    assert one.covered_share == pytest.approx(one.volume_mm3 / other.volume_mm3, abs=0.1)
    assert other.covered_share == 1


def test_an_image_that_ends_at_the_skin_cuts_no_gland():
    head = make_head((3.0, 3.0, 3.0))
    seen = slice(1, -1)
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 0] + affine[:3, 1]
    cropped = replace(head, hu=head.hu[:, seen, seen], body=head.body[:, seen, seen], affine=affine)
    assert not any(parotid.is_partial for parotid in find_parotids(cropped, see_glands))


@pytest.mark.parametrize("radius_mm", [52, 45, 42])
@pytest.mark.parametrize("is_cropped", [True, False])
def test_a_gland_that_a_round_field_cuts_is_partial(radius_mm, is_cropped):
    head = make_head((3.0, 3.0, 3.0), gland_mm=36)
    whole_mm3 = find_parotids(head, see_glands)[0].volume_mm3
    field = show_round(head, radius_mm)
    for parotid in find_parotids(crop(field, radius_mm) if is_cropped else field, see_glands):
        assert parotid.is_partial
        assert parotid.covered_share == pytest.approx(parotid.volume_mm3 / whole_mm3, abs=0.25)
        assert parotid.covered_share <= 0.9


def test_a_round_field_around_the_head_cuts_no_gland():
    field = show_round(make_head((3.0, 3.0, 3.0)), 72)
    assert not any(parotid.is_partial for parotid in find_parotids(field, see_glands))


def test_a_head_of_which_the_surroundings_were_taken_away_is_no_round_field():
    head = make_head((3.0, 3.0, 3.0), glands=((0, 0, -62), (0, 0, 62)), gland_mm=24)
    masked = replace(head, hu=np.where(head.body, head.hu, -1024).astype(np.int16))
    wide = replace(masked, hu=np.pad(masked.hu, ((0, 0), (0, 0), (20, 0)), constant_values=-1024),
                   body=np.pad(masked.body, ((0, 0), (0, 0), (20, 0))))  # fmt: skip
    assert not any(parotid.is_partial for parotid in find_parotids(wide, see_glands))


def show_round(head, radius_mm):
    """Return the volume with nothing shown outside a circle around the middle of its images."""
    step_mm, (rows, columns) = head.affine[0, 0], head.hu.shape[1:]
    y, x = np.ogrid[:rows, :columns]
    hidden = np.hypot(y - (rows - 1) / 2, x - (columns - 1) / 2) * step_mm > radius_mm
    return replace(head, hu=np.where(hidden, np.int16(-1024), head.hu), body=head.body & ~hidden)


def crop(head, half_mm):
    """Return the middle of the volume's images, twice `half_mm` wide."""
    step_mm = head.affine[0, 0]
    margin = int((head.hu.shape[1] - 2 * half_mm / step_mm) / 2)
    seen, affine = slice(margin, -margin), head.affine.copy()
    affine[:3, 3] += (affine[:3, 0] + affine[:3, 1]) * margin
    return replace(head, hu=head.hu[:, seen, seen], body=head.body[:, seen, seen], affine=affine)


def see_sides(image):
    """Stand in for a localizer that knows the sides of an upright image with the patient in its middle."""
    background, gland, _ = see_glands(image)
    is_right = np.arange(image.shape[-1]) < image.shape[-1] / 2
    return np.stack([background, gland * is_right, gland * ~is_right])


def test_a_scan_without_glands_is_set_aside():
    with pytest.raises(SetAside) as raised:
        localize_parotids(make_head(), see_nothing)
    assert raised.value.code == "no_parotid_covered"


def test_what_looks_like_a_gland_in_a_trunk_is_none():
    trunk = make_head((4.0, 3.0, 3.0), radius_mm=150)
    with pytest.raises(SetAside):
        localize_parotids(trunk, see_glands)


def test_two_glands_at_heights_that_no_patient_has_are_not_both_believed():
    head = make_head(glands=((30, 0, -45), (-30, 0, 45)), gland_mm=24, height_mm=140)
    right, left = localize_parotids(head, see_glands)
    assert right.is_assessed != left.is_assessed


def test_a_blob_in_the_midline_is_no_gland():
    with pytest.raises(SetAside):
        localize_parotids(make_head(glands=((0, 0, 5),)), see_glands)


def test_the_mask_lies_inside_the_body():
    head = make_head(glands=((0, 0, -62), (0, 0, 62)), gland_mm=34)
    for parotid in localize_parotids(head, see_glands):
        assert not (parotid.mask & ~head.body).any()


def test_air_is_set_aside():
    head = make_head()
    air = replace(head, hu=np.full_like(head.hu, -1000), body=np.zeros_like(head.body))
    with pytest.raises(SetAside) as raised:
        localize_parotids(air, see_glands)
    assert raised.value.code == "no_parotid_covered"


def test_the_shipped_network_finds_no_gland_in_a_cylinder_of_flesh(localizer):
    with pytest.raises(SetAside):
        localize_parotids(make_head((4.0, 4.0, 4.0), glands=()), localizer)


def test_the_shipped_network_finds_no_gland_in_noise(localizer):
    head = make_head((4.0, 4.0, 4.0), glands=())
    noise = np.random.default_rng(3).integers(-200, 300, head.hu.shape).astype(np.int16)
    with pytest.raises(SetAside):
        localize_parotids(replace(head, hu=noise), localizer)


@pytest.mark.skipif(not VALIDATION.is_dir(), reason="the real patients are not here")
def test_real_patients_glands_are_found_within_12_mm(localizer):
    pytest.importorskip("nibabel")
    from workers.training.evaluation.screen_case import center_error_mm
    from workers.training.read_cases import read_cases

    for case in read_cases(VALIDATION, limit=3):
        # The table is already removed from these images, and of one so much else that the patient falls in two.
        volume = replace(case.volume, body=case.volume.hu > -950)
        for parotid in localize_parotids(volume, localizer):
            assert center_error_mm(case.glands[parotid.side], volume, parotid) < 12
