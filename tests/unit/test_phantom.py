"""The synthetic patient: anatomy that can be checked by number, and DICOM that a validator accepts."""

import math
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from pydicom import dcmread

from screener.phantom import Phantom, make_phantom, write_phantom
from screener.study import Side

SMALL = {"spacing_mm": (2.0, 2.0, 5.0), "rows": 128}


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return make_phantom(**SMALL)


@pytest.fixture(scope="module")
def with_mass() -> Phantom:
    return make_phantom(**SMALL, mass_mm=25.0)


def _center_mm(phantom: Phantom, mask: np.ndarray) -> np.ndarray:
    z, y, x = np.argwhere(mask).mean(axis=0)
    return (phantom.affine @ [x, y, z, 1.0])[:3]


def test_the_same_seed_makes_the_same_voxels(plain: Phantom) -> None:
    assert np.array_equal(make_phantom(**SMALL).hu, plain.hu)


def test_another_seed_makes_another_patient(plain: Phantom) -> None:
    other = make_phantom(**SMALL, seed=1)
    assert np.mean(other.hu != plain.hu) > 0.5
    assert not np.array_equal(other.right_parotid, plain.right_parotid)


def test_the_right_parotid_lies_on_the_patients_right(plain: Phantom) -> None:
    right, left = _center_mm(plain, plain.right_parotid), _center_mm(plain, plain.left_parotid)
    assert 95.0 < left[0] - right[0] < 140.0  # LPS: left is positive
    assert right[0] < 0.0 < left[0]


@pytest.mark.parametrize("seed", range(4))
def test_a_gland_is_as_large_and_as_fatty_as_in_people(seed: int) -> None:
    phantom = make_phantom(**SMALL, seed=seed)
    voxel_ml = abs(np.linalg.det(phantom.affine[:3, :3])) / 1000.0
    for gland in (phantom.right_parotid, phantom.left_parotid):
        assert 15.0 < gland.sum() * voxel_ml < 45.0
        assert -90.0 < np.median(phantom.hu[gland]) < 40.0


@pytest.mark.parametrize("mass_mm", [6.0, 12.0, 25.0, 40.0])
@pytest.mark.parametrize("side", Side)
def test_a_mass_has_the_volume_of_its_sphere_and_lies_in_the_gland_asked_for(mass_mm: float, side: Side) -> None:
    phantom = make_phantom(**SMALL, mass_mm=mass_mm, mass_side=side, seed=3)
    assert phantom.mass is not None
    voxel_mm3 = abs(np.linalg.det(phantom.affine[:3, :3]))
    assert phantom.mass.sum() * voxel_mm3 == pytest.approx(math.pi / 6 * mass_mm**3, abs=voxel_mm3)
    gland = phantom.right_parotid if side is Side.RIGHT else phantom.left_parotid
    assert not np.any(phantom.mass & ~gland)


def test_a_mass_is_denser_than_its_gland(with_mass: Phantom) -> None:
    gland = with_mass.right_parotid & ~with_mass.mass
    assert np.median(with_mass.hu[with_mass.mass]) > np.median(with_mass.hu[gland]) + 20.0


def test_without_a_mass_nothing_else_changes(plain: Phantom, with_mass: Phantom) -> None:
    assert plain.mass is None
    assert np.array_equal(plain.left_parotid, with_mass.left_parotid)


def test_mirroring_swaps_the_sides_and_nothing_else(with_mass: Phantom) -> None:
    mirrored = make_phantom(**SMALL, mass_mm=25.0, mirrored=True)
    assert np.array_equal(mirrored.hu, with_mass.hu[:, :, ::-1])
    assert np.array_equal(mirrored.right_parotid, with_mass.left_parotid[:, :, ::-1])
    assert np.array_equal(mirrored.left_parotid, with_mass.right_parotid[:, :, ::-1])
    assert np.array_equal(mirrored.mass, with_mass.mass[:, :, ::-1])
    assert np.array_equal(mirrored.affine, with_mass.affine)


def test_a_neck_scanned_too_low_holds_no_parotid() -> None:
    phantom = make_phantom(**SMALL, z_range_mm=(-160.0, -60.0))
    assert not phantom.right_parotid.any()
    assert not phantom.left_parotid.any()


def test_uids_follow_from_the_salt_and_are_new_without_one(plain: Phantom) -> None:
    first, second = (make_phantom(**SMALL, uid_salt="salt") for _ in range(2))
    assert [ds.SOPInstanceUID for ds in first.datasets] == [ds.SOPInstanceUID for ds in second.datasets]
    assert make_phantom(**SMALL).study_instance_uid != plain.study_instance_uid
    assert len({ds.SOPInstanceUID for ds in first.datasets}) == len(first.datasets)


def test_the_files_hold_the_voxels_and_say_where_they_lie(tmp_path, with_mass: Phantom) -> None:
    paths = write_phantom(with_mass, tmp_path)
    for index, path in enumerate(paths):
        ds = dcmread(path)
        hu = ds.pixel_array.astype(int) * ds.RescaleSlope + ds.RescaleIntercept
        assert np.array_equal(hu, with_mass.hu[index])
        assert np.allclose(ds.ImagePositionPatient, (with_mass.affine @ [0, 0, index, 1])[:3], atol=1e-3)


def _validate(paths: list) -> Iterator[str]:
    for path in paths:
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        yield from (line for line in (said.stdout + said.stderr).splitlines() if line.startswith(("Error", "Warning")))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_the_validator_finds_nothing_wrong_with_any_image(tmp_path) -> None:
    phantom = make_phantom(**SMALL, with_localizer=True, z_range_mm=(-20.0, 20.0))
    assert phantom.datasets[-1].ImageType[2] == "LOCALIZER"
    assert list(_validate(write_phantom(phantom, tmp_path))) == []
