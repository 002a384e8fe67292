"""The body mask holds the patient, ears and windpipe included, and nothing that the patient lies on."""

import numpy as np
import pytest

from tests.unit.ct_study import DICOM, describe_folder, small_phantom
from workers.ct.load_volume import load_volume
from workers.ct.mask_body import mask_body

needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason="the development data are not on this machine")
SPACING_MM = (2.0, 2.0, 5.0)


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    return small_phantom(spacing_mm=SPACING_MM, rows=128, z_range_mm=(-120.0, 60.0)).hu


def _lay_on_table(hu: np.ndarray, *, gap_voxels: int) -> tuple[np.ndarray, np.ndarray]:
    """A table top of two shells with foam between, under the patient; the volume and where the table is."""
    lowest = int(np.argwhere((hu > -300).any(axis=(0, 2))).max())
    with_table = np.full((hu.shape[0], lowest + gap_voxels + 12, hu.shape[2]), -1000, np.int16)
    with_table[:, : lowest + 1] = hu[:, : lowest + 1]
    table = np.zeros(with_table.shape, bool)
    table[:, lowest + gap_voxels + 1 : lowest + gap_voxels + 11, 10:-10] = True
    with_table[table] = -930
    for row in (1, 10):
        with_table[:, lowest + gap_voxels + row, 10:-10] = 150
    return with_table, table


def test_tissue_is_inside_and_the_air_around_is_not(hu: np.ndarray) -> None:
    body = mask_body(hu, SPACING_MM)
    assert body[hu > 0].mean() > 0.99
    assert not body[:, :2].any()
    assert not body[5:, :, :2].any()  # lower down the shoulders leave the field of view


def test_windpipe_and_sinuses_belong_to_the_patient(hu: np.ndarray) -> None:
    body = mask_body(hu, SPACING_MM)
    middle = slice(hu.shape[2] // 2 - 20, hu.shape[2] // 2 + 20)
    throat = (hu[:10, :, middle] < -500) & body[:10, :, middle]
    assert np.all(throat.any(axis=(1, 2)))  # in each of the lowest slices, where the scan cuts the windpipe open


def test_both_glands_are_inside() -> None:
    phantom = small_phantom(spacing_mm=SPACING_MM, rows=128, mass_mm=30.0)
    body = mask_body(phantom.hu, SPACING_MM)
    assert not np.any((phantom.right_parotid | phantom.left_parotid) & ~body)


def test_ears_belong_to_the_patient(hu: np.ndarray) -> None:
    body = mask_body(hu, SPACING_MM)
    head = hu[26:32]
    ears = np.zeros(head.shape, bool)
    ears[:, :, :24] = head[:, :, :24] > -100  # beyond the skull's side
    assert ears.any()
    assert body[26:32][ears].mean() > 0.8


@pytest.mark.parametrize("gap_voxels", [0, 2, 10])
def test_the_table_is_outside_whether_it_touches_or_not(hu: np.ndarray, gap_voxels: int) -> None:
    with_table, table = _lay_on_table(hu, gap_voxels=gap_voxels)
    body = mask_body(with_table, SPACING_MM)
    shells = table & (with_table > 0)
    assert body[shells].mean() < (0.5 if gap_voxels == 0 else 0.12)
    patient = (with_table > 0) & ~table
    assert body[patient].mean() > 0.99


def test_the_mask_does_not_depend_on_the_voxel_size() -> None:
    fine = small_phantom(spacing_mm=(1.0, 1.0, 2.5), rows=256, z_range_mm=(-20.0, 20.0), seed=2)
    coarse = small_phantom(spacing_mm=(2.0, 2.0, 5.0), rows=128, z_range_mm=(-20.0, 20.0), seed=2)
    volumes_ml = [
        mask_body(one.hu, spacing).sum() * np.prod(spacing) / 1000.0 / len(one.hu) / spacing[2]
        for one, spacing in ((fine, (1.0, 1.0, 2.5)), (coarse, (2.0, 2.0, 5.0)))
    ]
    assert volumes_ml[0] == pytest.approx(volumes_ml[1], rel=0.03)


def test_a_scan_of_air_holds_nobody() -> None:
    assert not mask_body(np.full((20, 64, 64), -1000, np.int16), (4.0, 4.0, 5.0)).any()


@needs_shared
def test_the_real_patient_is_taken_with_ears_and_without_the_table() -> None:
    instances = [one for one in describe_folder(DICOM / "neck_ct_hn_chus_052") if one.path.name.startswith("CT")]
    volume = load_volume(instances, instances[0].series_instance_uid)
    # Seen in the images: the back ends at y = 150 mm, the table top lies at 170; the cushion reaches up to the head.
    y_mm = volume.affine[1, 3] + volume.affine[1, 1] * np.arange(volume.hu.shape[1])
    assert not volume.body[:, y_mm > 152.0].any()
    assert not volume.body[60:110, y_mm > 124.0].any()
    head = volume.body[80:88].any(axis=0)  # through the ears
    assert 165.0 < np.ptp(np.flatnonzero(head.any(axis=0))) * volume.spacing_mm[0] < 215.0


def test_both_parts_of_a_neck_parted_by_air_belong_to_the_patient(hu: np.ndarray) -> None:
    parted = hu.copy()
    cut = slice(hu.shape[2] * 2 // 5, hu.shape[2] * 2 // 5 + 12)
    parted[:, :, cut] = -1000
    body = mask_body(parted, SPACING_MM)
    assert body[parted > 0].mean() > 0.98
    assert not body[:, 2, cut].any()


def test_a_solid_plate_under_the_patient_does_not_belong_to_it(hu: np.ndarray) -> None:
    lowest = int(np.argwhere((hu > -300).any(axis=(0, 2))).max())
    with_plate = np.full((hu.shape[0], lowest + 25, hu.shape[2]), -1000, np.int16)
    with_plate[:, : lowest + 1] = hu[:, : lowest + 1]
    plate = (slice(None), slice(lowest + 8, lowest + 23), slice(5, -5))  # 30 mm thick
    with_plate[plate] = 100
    assert mask_body(with_plate, SPACING_MM)[plate].mean() < 0.05
