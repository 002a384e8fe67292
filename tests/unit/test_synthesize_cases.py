"""Cases with synthetic masses and look-alikes, as they are written and read again."""

import json

import numpy as np
import pytest
from scipy import ndimage

nibabel = pytest.importorskip("nibabel")

from screener.phantom import make_phantom  # noqa: E402
from screener.study import Side  # noqa: E402
from tests.unit.heads import make_head  # noqa: E402
from workers.training import synthesize_cases  # noqa: E402
from workers.training.read_cases import read_case  # noqa: E402

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def patients(tmp_path):
    """Two patients without a mass, lying at a place of their own, with one more organ outlined."""
    head = make_head(origin_mm=(30.0, -20.0, 10.0))
    matrix = head.affine[:3, :3][::-1, ::-1]
    places = np.moveaxis(np.indices(head.hu.shape), 0, -1) @ matrix.T + head.affine[:3, 3][::-1] - (30.0, -20.0, 10.0)
    labels = np.zeros(head.hu.shape, np.uint8)
    for value, center in ((1, (0, 0, -45)), (2, (0, 0, 45)), (5, (0, 40, 0))):
        labels[np.linalg.norm(places - center, axis=-1) <= 15] = value
    for name in ("a", "b"):
        folder = tmp_path / "patients" / name
        folder.mkdir(parents=True)
        for stem, values in (("image", head.hu), ("labels", labels)):
            nibabel.save(
                nibabel.Nifti1Image(values.transpose(2, 1, 0), TO_RAS @ head.affine), folder / f"{stem}.nii.gz"
            )
    return tmp_path / "patients"


def synthesize(patients, out, *options):
    assert synthesize_cases.main([str(patients), str(out), *options]) == 0
    return {folder.name: read_case(folder) for folder in sorted(out.iterdir())}


def test_each_patient_comes_plain_with_masses_and_with_look_alikes(patients, tmp_path):
    cases = synthesize(patients, tmp_path / "out", "--masses", "2", "--look-alikes")
    assert list(cases) == [f"{name}{what}" for name in "ab" for what in ("", "+look1", "+mass1", "+mass2")]
    assert [name for name, case in cases.items() if case.mass is not None] == [
        "a+mass1",
        "a+mass2",
        "b+mass1",
        "b+mass2",
    ]


def test_the_plain_copy_is_the_patient_voxel_for_voxel(patients, tmp_path):
    plain, copy = read_case(patients / "a"), synthesize(patients, tmp_path / "out", "--masses", "0")["a"]
    assert np.array_equal(plain.volume.hu, copy.volume.hu)
    assert np.array_equal(plain.labels, copy.labels)
    assert np.allclose(plain.volume.affine, copy.volume.affine, atol=1e-4)


def test_a_mass_belongs_to_its_gland_and_changes_nothing_far_from_it(patients, tmp_path):
    cases = synthesize(patients, tmp_path / "out", "--masses", "2")
    plain, ill = cases["a"], cases["a+mass1"]
    (side,) = ill.mass_sides
    assert not (ill.mass & ~ill.glands[side]).any()
    assert np.array_equal(ill.glands[side], plain.glands[side] | ill.mass)
    other = Side.LEFT if side is Side.RIGHT else Side.RIGHT
    assert np.array_equal(ill.glands[other] & ~ill.mass, plain.glands[other] & ~ill.mass)
    assert (ill.labels == 5).sum() > 0
    assert ill.volume.hu[ill.mass].mean() != pytest.approx(plain.volume.hu[ill.mass].mean(), abs=1)


def test_sides_alternate_over_copies_and_patients(patients, tmp_path):
    out = tmp_path / "out"
    synthesize(patients, out, "--masses", "2")
    names = ("a+mass1", "a+mass2", "b+mass1", "b+mass2")
    sides = [json.loads((out / name / "case.json").read_text())["mass"]["side"] for name in names]
    assert sides == ["right", "left", "left", "right"]


def test_the_same_seed_makes_the_same_mass_and_another_seed_another(patients, tmp_path):
    once, again, other = (
        synthesize(patients, tmp_path / out, "--masses", "1", "--limit", "1", "--seed", seed)["a+mass1"]
        for out, seed in (("1", "5"), ("2", "5"), ("3", "6"))
    )
    assert np.array_equal(once.volume.hu, again.volume.hu)
    assert not np.array_equal(once.mass, other.mass)


def test_case_json_says_that_the_mass_is_synthetic_and_which_look_alikes_there_are(patients, tmp_path):
    out = tmp_path / "out"
    synthesize(patients, out, "--masses", "1", "--look-alikes", "--limit", "1")
    ill, alike = (json.loads((out / name / "case.json").read_text()) for name in ("a+mass1", "a+look1"))
    assert ill["mass"]["synthetic"] is True
    assert ill["mass"]["diameter_mm"] > 0
    assert (ill["source"], ill["patient"]) == ("patients", "a")
    assert "mass" not in alike
    assert {one["side"] for one in alike["look_alikes"]} == {"left", "right"}


def test_a_mixed_copy_holds_look_alikes_at_both_glands_and_one_mass(patients, tmp_path):
    out = tmp_path / "out"
    cases = synthesize(patients, out, "--masses", "0", "--mixed", "1", "--limit", "1")
    about = json.loads((out / "a+mixed1" / "case.json").read_text())
    assert list(cases) == ["a", "a+mixed1"]
    assert cases["a+mixed1"].mass_sides == (about["mass"]["side"],)
    assert {one["side"] for one in about["look_alikes"]} == {"left", "right"}


def test_glands_that_nobody_outlined_are_found_and_are_no_truth(tmp_path):
    phantom = make_phantom(seed=3)
    folder = tmp_path / "patients" / "a"
    folder.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(phantom.hu.transpose(2, 1, 0), TO_RAS @ phantom.affine), folder / "image.nii.gz")
    assert list(synthesize(tmp_path / "patients", tmp_path / "without")) == ["a"]  # no mass without a gland

    cases = synthesize(tmp_path / "patients", tmp_path / "out", "--localize", "--masses", "2", "--look-alikes")
    assert list(cases) == ["a", "a+look1", "a+mass1", "a+mass2"]
    assert all(not case.glands for case in cases.values())
    assert not np.array_equal(cases["a+look1"].volume.hu, phantom.hu)
    for name, side, gland in (
        ("a+mass1", Side.RIGHT, phantom.right_parotid),
        ("a+mass2", Side.LEFT, phantom.left_parotid),
    ):
        mass = cases[name].mass
        near = ndimage.distance_transform_edt(~gland, sampling=(2.5, 1.0, 1.0)) < 20
        assert cases[name].mass_sides == (side,)
        assert mass[near].sum() > 0.9 * mass.sum()


def test_no_gland_is_looked_for_in_a_patient_who_holds_a_mass(patients, tmp_path):
    where = patients / "a" / "labels.nii.gz"
    labels = nibabel.load(where)
    low = labels.slicer[:, :, : labels.shape[2] // 3]  # ends far below the glands
    scan = nibabel.load(patients / "a" / "image.nii.gz").slicer[:, :, : labels.shape[2] // 3]
    nibabel.save(scan, patients / "a" / "image.nii.gz")
    mass = np.zeros(low.shape, np.uint8)
    mass[low.shape[0] // 2, low.shape[1] // 2, low.shape[2] // 2] = 1
    nibabel.save(nibabel.Nifti1Image(mass, low.affine), patients / "a" / "mass.nii.gz")
    where.unlink()

    case = synthesize(patients, tmp_path / "out", "--localize", "--masses", "2", "--limit", "1")["a"]
    assert np.array_equal(case.mass, read_case(patients / "a").mass)


def test_a_localizer_that_is_not_there_is_an_error(patients, tmp_path):
    options = ["--localize", "--bundles", str(tmp_path / "none")]
    assert synthesize_cases.main([str(patients), str(tmp_path / "out"), *options]) == 1


def test_a_folder_without_cases_is_an_error(tmp_path):
    assert synthesize_cases.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert synthesize_cases.main([str(tmp_path / "none"), str(tmp_path / "out")]) == 1
