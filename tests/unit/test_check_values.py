"""Values that are no Hounsfield units are refused, of a whole series and of one slice; real anatomy never is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from screener.outcomes import NeedsPerson
from tests.unit.ct_study import DICOM, describe_folder, small_phantom, write_study
from workers.ct.check_values import check_values
from workers.ct.load_volume import load_volume

needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason="the development data are not on this machine")
ODD = 20
SIZES_MM = (4.0, 4.0, 5.0)
RESCALES = [{"RescaleIntercept": "-2048"}, {"RescaleSlope": "2"}, {"RescaleSlope": "0.5"}, {"RescaleIntercept": "0"}]
"""Wrong ones: the phantom's are 1 and -1024."""


def refusal(folder: Path, change: Callable[[Dataset, int], object]) -> NeedsPerson:
    instances = write_study(folder, small_phantom().datasets, change)
    with pytest.raises(NeedsPerson) as caught:
        load_volume(instances, instances[0].series_instance_uid)
    return caught.value


def check(hu: np.ndarray, sizes_mm: tuple[float, float, float] = SIZES_MM) -> None:
    check_values(hu, np.arange(len(hu)) * sizes_mm[2], sizes_mm)


@pytest.mark.parametrize("rescale", RESCALES, ids=str)
def test_a_series_with_a_wrong_rescale_is_refused(tmp_path: Path, rescale: dict[str, str]) -> None:
    def spoil(ds: Dataset, _: int) -> None:
        for keyword, value in rescale.items():
            setattr(ds, keyword, value)

    assert refusal(tmp_path, spoil).code == "implausible_values"


def test_gray_levels_of_a_window_are_no_hounsfield_units(tmp_path: Path) -> None:
    def show(ds: Dataset, _: int) -> None:
        hu = np.frombuffer(ds.PixelData, "<u2").astype(int) - 1024
        ds.PixelData = np.clip((hu + 160) / 400 * 255, 0, 255).astype("u1").tobytes()
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7

    assert refusal(tmp_path, show).code == "implausible_values"


@pytest.mark.parametrize("where", [ODD, 0, -1], ids=["inside", "first", "last"])
@pytest.mark.parametrize("rescale", RESCALES, ids=str)
def test_one_slice_with_a_wrong_rescale_is_refused(tmp_path: Path, rescale: dict[str, str], where: int) -> None:
    odd = range(len(small_phantom().datasets))[where]

    def spoil(ds: Dataset, number: int) -> None:
        for keyword, value in rescale.items() if number == odd else ():
            setattr(ds, keyword, value)

    outcome = refusal(tmp_path, spoil)
    assert outcome.code == "implausible_values"
    assert f"{float(small_phantom().datasets[odd].ImagePositionPatient[2]):.2f}" in outcome.reason


@pytest.mark.parametrize("rescale", RESCALES, ids=str)
def test_half_a_series_with_a_wrong_rescale_is_refused(tmp_path: Path, rescale: dict[str, str]) -> None:
    def spoil(ds: Dataset, number: int) -> None:
        for keyword, value in rescale.items() if number > ODD else ():
            setattr(ds, keyword, value)

    assert refusal(tmp_path, spoil).code == "implausible_values"


@pytest.mark.parametrize("value", [-1024, -1000])
def test_a_scan_of_air_needs_a_person(tmp_path: Path, value: int) -> None:
    def empty(ds: Dataset, _: int) -> None:
        ds.PixelData = np.full((ds.Rows, ds.Columns), value + 1024, "<u2").tobytes()

    assert refusal(tmp_path, empty).code == "implausible_values"


def make_head(slices: int, step_mm: float) -> np.ndarray:
    """A ball of tissue of 180 mm in a skull of 8 mm, whose top the scan leaves behind; pixels of 2 mm."""
    z, y, x = np.meshgrid(np.arange(slices) * step_mm, *[np.arange(-128, 128, 2.0)] * 2, indexing="ij")
    r = np.sqrt((z - slices * step_mm * 0.3) ** 2 + y**2 + x**2)
    hu = np.where(r < 90, 40, -1000)
    hu[(r >= 82) & (r < 90)] = 1200
    return (hu + np.random.default_rng(3).normal(0, 15, hu.shape)).astype(np.int16)


@pytest.mark.parametrize("step_mm", [0.6, 1.0, 3.0, 5.0, 10.0])
def test_the_end_of_a_head_is_no_jump(step_mm: float) -> None:
    check(make_head(int(280 / step_mm), step_mm), (2.0, 2.0, step_mm))


def test_shoulders_that_begin_within_a_slice_are_no_jump() -> None:
    hu = np.full((20, 128, 200), -1000, np.int16)
    for index in range(len(hu)):
        half = 25 if index > 10 else 45  # a neck of 10 cm, and shoulders of 18 cm
        hu[index, 40:88, 100 - half : 100 + half] = 40
    check(hu, (2.0, 2.0, 5.0))


def test_metal_that_streaks_is_no_jump() -> None:
    hu = make_head(56, 5.0)
    rng = np.random.default_rng(4)
    for index in (15, 17):  # fillings: streaks of either sign over a third of the head
        streaks = (rng.random(hu.shape[1:]) < 0.35) & (hu[index] > -300)
        hu[index][streaks] = np.clip(hu[index][streaks] + rng.choice([-900, 2000], int(streaks.sum())), -1024, 3071)
    check(hu, (2.0, 2.0, 5.0))


@needs_shared
@pytest.mark.parametrize("name", ["neck_ct_hn_chus_052", "neck_ct_pycerr"])
def test_a_real_scan_is_plausible_and_each_of_its_slices_scaled_otherwise_is_not(name: str) -> None:
    instances = [one for one in describe_folder(DICOM / name) if not one.path.name.startswith("PT")]
    volume = load_volume(instances, instances[0].series_instance_uid)
    for index in range(0, len(volume.hu), 13):
        stored = volume.hu[index].astype(np.int32) + 1024
        for slope, intercept in ((1, -2048), (2, -1024), (0.5, -1024), (1, 0)):
            hu = volume.hu.copy()
            hu[index] = np.clip(stored * slope + intercept, -1024, 32767)
            with pytest.raises(NeedsPerson):
                check_values(hu, np.arange(len(hu)), volume.spacing_mm)
