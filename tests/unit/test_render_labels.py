"""Rendering CT from label maps, on a small made-up head."""

import json

import nibabel
import numpy as np
import pytest

from workers.ct.mask_body import mask_body
from workers.training import render_labels
from workers.training.read_patients import read_patient
from workers.training.render_labels import OUTSIDE_HU, prepare_labels, render_ct, resample_labels

SPACING_MM = (4.0, 2.0, 2.0)
SHAPE = (52, 100, 100)
RIGHT_LABELS, LEFT_LABELS = (1, 7, 10), (2, 8, 11)


def make_head():
    """Return a label map (z, y, x): ellipsoids about where the organs of a head lie."""
    z, y, x = (
        np.arange(n).reshape([-1 if k == axis else 1 for k in range(3)]) * s - offset
        for axis, (n, s, offset) in enumerate(zip(SHAPE, SPACING_MM, (80.0, 90.0, 99.0), strict=True))
    )
    head = np.zeros(SHAPE, dtype=np.uint8)

    def put(label, center, radii):
        place = sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), center, radii, strict=True))
        head[place < 1] = label

    put(6, (85, 10, 0), (65, 85, 65))
    put(4, (35, 22, 0), (20, 12, 12))
    head[(np.hypot(y - 25, x) < 9) & (z < 20)] = 9
    head[(np.hypot(y - 25, x) < 5) & (z < 20)] = 5
    arch = np.abs(np.hypot(x, (y + 15) * 0.75) - 48) < 4
    head[arch & (y < -15) & (np.abs(z + 25) < 14)] = 3
    for right, left in zip(RIGHT_LABELS, LEFT_LABELS, strict=True):
        center, radii = {
            1: ((0, 0, 58), (24, 14, 9)),
            7: ((-42, -30, 30), (12, 10, 8)),
            10: ((55, -66, 31), (12,) * 3),
        }[right]
        put(right, (center[0], center[1], -center[2]), radii)
        put(left, center, radii)
    ramus = (np.abs(np.abs(x) - 45) < 4) & (np.abs(y + 25) < 13) & (np.abs(z) < 30)
    head[ramus & (head == 0)] = 3
    return head


@pytest.fixture(scope="module")
def head():
    return make_head()


@pytest.fixture(scope="module")
def rendered(head):
    return render_ct(head, SPACING_MM, np.random.default_rng(3))[0]


def inner(mask):
    """Return the mask without its rim, where a voxel holds something else too."""
    return mask & np.roll(mask, 1, 1) & np.roll(mask, -1, 1) & np.roll(mask, 1, 2) & np.roll(mask, -1, 2)


def test_labels_come_back_exactly_as_they_went_in(head):
    before = head.copy()
    _, labels = render_ct(head, SPACING_MM, np.random.default_rng(1))
    assert np.array_equal(labels, before)


def test_one_seed_makes_one_image_and_another_seed_another(head, rendered):
    again = render_ct(head, SPACING_MM, np.random.default_rng(3))[0]
    other = render_ct(head, SPACING_MM, np.random.default_rng(4))[0]
    assert np.array_equal(again, rendered)
    assert np.abs(other - rendered).mean() > 5


@pytest.mark.parametrize("seed", range(4))
def test_organs_have_plausible_densities(head, seed):
    hu = render_ct(head, SPACING_MM, np.random.default_rng(seed))[0]
    assert np.isfinite(hu).all()
    assert -110 < np.median(hu[inner((head == 1) | (head == 2))]) < 110
    assert 10 < np.median(hu[inner(head == 6)]) < 60
    assert np.median(hu[head == 3]) > 250


def test_glands_lie_beneath_skin_and_fat(head, rendered):
    glands = np.argwhere(np.isin(head, (1, 2)))
    z = int(np.median(glands[:, 0]))
    row = rendered[z, int(np.median(glands[:, 1]))]
    columns = np.flatnonzero(np.isin(head[z], (1, 2)).any(axis=0))
    body = np.flatnonzero(row > OUTSIDE_HU + 300)
    for beneath in (columns[0] - body[0], body[-1] - columns[-1]):
        assert 2 <= beneath * SPACING_MM[2] <= 40


def test_the_body_is_found_and_holds_every_gland(head, rendered):
    body = mask_body(np.round(rendered).astype(np.int16), SPACING_MM[::-1])
    assert body[np.isin(head, (1, 2))].mean() > 0.99
    assert 0.05 < body.mean() < 0.8
    assert (rendered == OUTSIDE_HU).mean() > 0.2


def test_flesh_about_the_glands_differs_between_patients(head):
    near = np.isin(head, (1, 2))
    around = np.zeros_like(near)
    for axis in (1, 2):
        around |= np.roll(near, 3, axis) | np.roll(near, -3, axis)
    around &= head == 0
    shown = [render_ct(head, SPACING_MM, np.random.default_rng(seed))[0][around] for seed in range(5)]
    assert all(np.quantile(one, 0.1) < 0 < np.quantile(one, 0.9) for one in shown)
    assert np.std([np.median(one) for one in shown]) > 5


def test_a_single_gland_is_enough_and_none_is_refused(head):
    alone = np.where(head == 2, 0, head).astype(np.uint8)
    assert np.isfinite(render_ct(alone, SPACING_MM, np.random.default_rng(0))[0]).all()
    with pytest.raises(ValueError, match="no parotid"):
        render_ct(np.where(head < 3, 0, head).astype(np.uint8), SPACING_MM, np.random.default_rng(0))


def test_resampling_keeps_the_volume_and_the_place_of_an_organ(head):
    wanted = (3.0, 1.3, 1.3)
    finer = resample_labels(head, SPACING_MM, wanted)
    for label in (1, 2, 3, 6):
        volume = (head == label).sum() * np.prod(SPACING_MM)
        assert (finer == label).sum() * np.prod(wanted) == pytest.approx(volume, rel=0.12)
        before = np.argwhere(head == label).mean(axis=0) * SPACING_MM
        after = np.argwhere(finer == label).mean(axis=0) * wanted
        assert np.abs(before - after).max() < 1.5


@pytest.mark.parametrize("seed", range(6))
def test_cutting_leaves_both_glands_whole(head, seed):
    labels, spacing_mm = prepare_labels(head, SPACING_MM, np.random.default_rng(seed))
    volume = np.isin(head, (1, 2)).sum() * np.prod(SPACING_MM)
    assert np.isin(labels, (1, 2)).sum() * np.prod(spacing_mm) == pytest.approx(volume, rel=0.15)
    assert {1, 2} <= set(np.unique(labels))


def test_written_cases_are_read_as_patients(head, tmp_path):
    (tmp_path / "maps").mkdir()
    affine = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
    nibabel.save(nibabel.Nifti1Image(head.transpose(2, 1, 0), affine), tmp_path / "maps" / "a.nii.gz")
    out = tmp_path / "out"
    assert render_labels.main([str(tmp_path / "maps"), str(out), "--per-patient", "2", "--seed", "7"]) == 0
    assert sorted(folder.name for folder in out.iterdir()) == ["a+r1", "a+r2"]
    for folder in out.iterdir():
        patient = read_patient(folder)
        assert patient.hu.shape == patient.labels.shape
        assert set(np.unique(patient.labels)) == set(range(6))
        right, left = (np.argwhere(patient.labels == label).mean(axis=0) for label in (1, 2))
        assert right[2] < left[2]
        assert json.loads((folder / "case.json").read_text())["spacing_mm"] == pytest.approx(patient.spacing_mm)


def test_a_held_out_map_is_left_out_by_its_name_and_changes_no_other(head, tmp_path, monkeypatch):
    small = np.zeros((4, 4, 4), np.uint8)
    small[1:3, 1:3, 1:3] = 1
    (tmp_path / "maps").mkdir()
    for name in "abc":
        nibabel.save(nibabel.Nifti1Image(small, np.eye(4)), tmp_path / "maps" / f"{name}.nii.gz")
    monkeypatch.setattr(render_labels, "prepare_labels", lambda labels, spacing_mm, _: (labels, spacing_mm))
    monkeypatch.setattr(render_labels, "render_ct", lambda labels, _, rng: (rng.normal(0, 100, labels.shape), labels))

    def render(out, *options):
        status = render_labels.main([str(tmp_path / "maps"), str(tmp_path / out), "--per-patient", "1", *options])
        folders = sorted((tmp_path / out).iterdir()) if status == 0 else []
        return status, {folder.name: np.asarray(nibabel.load(folder / "image.nii.gz").dataobj) for folder in folders}

    _, everyone = render("all")
    _, rest = render("rest", "--without", "a", "--without", "b")
    assert list(everyone) == ["a+r1", "b+r1", "c+r1"]
    assert list(rest) == ["c+r1"]
    assert np.array_equal(rest["c+r1"], everyone["c+r1"])
    assert render("none", "--without", "misspelt") == (1, {})


def test_a_map_stored_in_other_axes_reads_the_same(head, tmp_path):
    upright = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
    turned = np.diag([SPACING_MM[2], SPACING_MM[1], -SPACING_MM[0], 1.0])
    nibabel.save(nibabel.Nifti1Image(head.transpose(2, 1, 0), upright), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(head.transpose(2, 1, 0)[::-1, ::-1, ::-1], turned), tmp_path / "b.nii.gz")
    first, second = (render_labels.read_label_map(tmp_path / f"{name}.nii.gz") for name in "ab")
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1] == SPACING_MM
