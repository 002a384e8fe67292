"""A series whose values or places cannot be trusted is refused: a wrong volume is worse than none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from screener.outcomes import NeedsPerson, SetAside
from tests.unit.ct_study import small_phantom, write_study
from workers.ct.load_volume import load_volume
from workers.ct.select_series import select_series


def _pixels(ds: Dataset) -> np.ndarray:
    return np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).astype(np.int32)


def _store(ds: Dataset, values: np.ndarray, **changes: object) -> None:
    ds.PixelData = values.astype(np.int64).astype("<u2").tobytes()
    for keyword, value in changes.items():
        setattr(ds, keyword, value)


def _refusal(folder: Path, change: Callable[[Dataset, int], object]) -> NeedsPerson:
    instances = write_study(folder, small_phantom().datasets, change)
    with pytest.raises(NeedsPerson) as caught:
        load_volume(instances, instances[0].series_instance_uid)
    return caught.value


def _hu(folder: Path, change: Callable[[Dataset, int], object]) -> np.ndarray:
    instances = write_study(folder, small_phantom().datasets, change)
    return load_volume(instances, instances[0].series_instance_uid).hu


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_rescale_that_is_no_number_is_refused(tmp_path: Path, keyword: str, value: str) -> None:
    assert _refusal(tmp_path, lambda ds, _: setattr(ds, keyword, value)).code == "missing_rescale"


@pytest.mark.parametrize("slope", ["0", "-1"])
def test_a_slope_that_flattens_or_inverts_the_image_is_refused(tmp_path: Path, slope: str) -> None:
    assert _refusal(tmp_path, lambda ds, _: setattr(ds, "RescaleSlope", slope)).code == "missing_rescale"


def test_values_without_their_intercept_are_refused(tmp_path: Path) -> None:
    outcome = _refusal(tmp_path, lambda ds, _: setattr(ds, "RescaleIntercept", "0"))
    assert outcome.code == "implausible_values"
    assert "air" in outcome.reason


def test_signed_values_that_call_themselves_unsigned_are_refused(tmp_path: Path) -> None:
    def lie(ds: Dataset, _: int) -> None:
        _store(ds, _pixels(ds) - 1024, RescaleIntercept="0", PixelRepresentation=0)

    assert _refusal(tmp_path, lie).code == "implausible_values"


def test_one_slice_scaled_otherwise_than_its_neighbors_is_refused_and_its_place_is_told(tmp_path: Path) -> None:
    def forget(ds: Dataset, number: int) -> None:
        if number == 5:
            ds.RescaleIntercept = "0"

    outcome = _refusal(tmp_path, forget)
    assert outcome.code == "implausible_values"
    assert f"{float(small_phantom().datasets[5].ImagePositionPatient[2]):.2f}" in outcome.reason


def test_values_that_do_not_fit_in_the_bits_stored_are_refused(tmp_path: Path) -> None:
    """The decoder would wrap them: bone would become air."""

    def overflow(ds: Dataset, _: int) -> None:
        _store(ds, _pixels(ds), PixelRepresentation=1, BitsStored=12, HighBit=11)

    assert max(_pixels(ds).max() for ds in small_phantom().datasets) > 2047
    assert _refusal(tmp_path, overflow).code == "undecodable"


def test_values_that_do_not_end_at_the_lowest_bit_are_refused(tmp_path: Path) -> None:
    def shift(ds: Dataset, _: int) -> None:
        _store(ds, _pixels(ds) << 4, BitsStored=12, HighBit=15)

    assert _refusal(tmp_path, shift).code == "undecodable"


@pytest.mark.parametrize("has_sign_bits", [True, False])
def test_signed_values_of_12_bits_keep_their_sign(tmp_path: Path, has_sign_bits: bool) -> None:
    def shrink(ds: Dataset, _: int) -> None:
        values = np.clip(_pixels(ds) - 1024, -1024, 2047)
        stored = values if has_sign_bits else values & 0xFFF
        _store(ds, stored, PixelRepresentation=1, BitsStored=12, HighBit=11, RescaleIntercept="0")

    assert np.array_equal(_hu(tmp_path, shrink), small_phantom().hu)


def test_an_overlay_in_the_unused_bits_is_no_part_of_the_values(tmp_path: Path) -> None:
    def draw(ds: Dataset, _: int) -> None:
        values = _pixels(ds)
        values[:10] |= 0x1000
        _store(ds, values, BitsStored=12, HighBit=11)
        ds.add_new((0x6000, 0x0100), "US", 16)
        ds.add_new((0x6000, 0x0102), "US", 12)

    assert np.array_equal(_hu(tmp_path, draw), small_phantom().hu)


def test_a_negative_padding_value_beside_unsigned_values_is_understood(tmp_path: Path) -> None:
    def pad(ds: Dataset, _: int) -> None:
        values = _pixels(ds)
        values[:, :4] = -2000
        _store(ds, values)
        ds.add_new("PixelPaddingValue", "SS", -2000)

    hu = _hu(tmp_path, pad)
    assert np.all(hu[:, :, :4] == -1024)
    assert np.array_equal(hu[:, :, 4:], small_phantom().hu[:, :, 4:])


def test_pixels_that_are_not_square_keep_their_two_sizes_apart(tmp_path: Path) -> None:
    phantom = small_phantom(spacing_mm=(3.0, 4.0, 5.0))
    instances = write_study(tmp_path, phantom.datasets)
    volume = load_volume(instances, instances[0].series_instance_uid)
    assert volume.spacing_mm == pytest.approx((3.0, 4.0, 5.0))
    assert np.allclose(volume.affine, phantom.affine, atol=1e-3)


def test_rows_that_are_not_perpendicular_to_columns_are_refused(tmp_path: Path) -> None:
    skewed = [1, 0, 0, 0.17, 0.98544, 0]
    assert _refusal(tmp_path, lambda ds, _: setattr(ds, "ImageOrientationPatient", skewed)).code == "missing_position"


def test_two_acquisitions_that_interleave_are_refused(tmp_path: Path) -> None:
    """Two phases, each with every other slice: evenly spaced, and the patient swallowed between them."""
    outcome = _refusal(tmp_path, lambda ds, number: setattr(ds, "AcquisitionNumber", 1 + number % 2))
    assert outcome.code == "mixed_acquisitions"


@pytest.mark.parametrize("slices_each", [1, 4, 20])
def test_acquisitions_that_follow_each_other_are_one_volume(tmp_path: Path, slices_each: int) -> None:
    def step(ds: Dataset, number: int) -> None:
        ds.AcquisitionNumber = 1 + number // slices_each

    assert np.array_equal(_hu(tmp_path, step), small_phantom().hu)


def test_slices_of_two_patients_are_refused_and_neither_is_named(tmp_path: Path) -> None:
    def swap(ds: Dataset, number: int) -> None:
        if number == 7:
            ds.PatientID = "CANARY-ID-OTHER"

    outcome = _refusal(tmp_path, swap)
    assert outcome.code == "mixed_patients"
    assert "PatientID" in outcome.reason
    assert "CANARY" not in outcome.reason


@pytest.mark.parametrize("unit", ["Z_EFF", "ED", "MGML", "PCT", "OD"])
def test_a_map_in_other_units_than_hounsfields_is_not_chosen(tmp_path: Path, unit: str) -> None:
    instances = write_study(tmp_path, small_phantom().datasets, lambda ds, _: setattr(ds, "RescaleType", unit))
    with pytest.raises(SetAside) as caught:
        select_series(instances)
    (choice,) = caught.value.choices
    assert not choice.is_chosen
    assert any(unit in reason for reason in choice.reasons)


@pytest.mark.parametrize("unit", ["HU", "US", None])
def test_an_unspecified_unit_is_taken_for_hounsfields(tmp_path: Path, unit: str | None) -> None:
    def forget(ds: Dataset, _: int) -> None:
        if unit is None:
            del ds.RescaleType
        else:
            ds.RescaleType = unit

    instances = write_study(tmp_path, small_phantom().datasets, forget)
    assert select_series(instances)[0] == instances[0].series_instance_uid
