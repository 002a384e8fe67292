"""A series of more than one volume gives one of them whole, or is refused; what is no slice of it is left out."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from screener.outcomes import NeedsPerson, SetAside
from screener.study import Instance
from tests.unit.ct_study import small_phantom, write_study
from workers.ct.load_volume import load_volume
from workers.ct.select_series import select_series


def load(instances: list[Instance]) -> np.ndarray:
    return load_volume(instances, select_series(instances)[0]).hu


def code_of(instances: list[Instance]) -> str:
    with pytest.raises((NeedsPerson, SetAside)) as refused:
        load(instances)
    return refused.value.code


def write_phases(folder: Path, first: dict[str, object], second: dict[str, object]) -> list[Instance]:
    """Two phases at the same places in one series; the second has taken up contrast medium."""
    datasets = []
    for phase, elements in ((0, first), (1, second)):
        for number, ds in enumerate(small_phantom().datasets):
            copy = deepcopy(ds)
            copy.SOPInstanceUID = f"2.25.{9 - phase}.{number}"
            values = np.frombuffer(ds.PixelData, "<u2").copy()
            values[values > 1100] += 30 * phase
            copy.PixelData = values.tobytes()
            for keyword, value in elements.items():
                setattr(copy, keyword, value)
            datasets.append(copy)
    return write_study(folder, datasets)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}),
        ({"KVP": "120"}, {"KVP": "80"}),
        ({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}),
    ],
)
def test_of_two_phases_in_one_series_one_is_read_whole(tmp_path: Path, first: dict, second: dict) -> None:
    hu = load(write_phases(tmp_path, first, second))
    phantom = small_phantom().hu
    assert hu.shape == phantom.shape
    brighter = phantom + 30 * (phantom > 76)
    assert np.array_equal(hu, phantom) or np.array_equal(hu, brighter)


def test_two_phases_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    assert code_of(write_phases(tmp_path, {}, {})) == "duplicate_position"


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("KVP", ("80", "140")),
        ("ConvolutionKernel", ("B30f", "H70h")),
        ("TemporalPositionIdentifier", (1, 2)),
        ("AcquisitionNumber", (1, 2)),
    ],
)
@pytest.mark.parametrize("block", [1, 4])
def test_slices_that_alternate_are_refused(tmp_path: Path, keyword: str, values: tuple, block: int) -> None:
    def alternate(ds: Dataset, number: int) -> None:
        ds.AcquisitionNumber = 1
        setattr(ds, keyword, values[number // block % 2])

    assert code_of(write_study(tmp_path, small_phantom().datasets, alternate)) == "mixed_acquisitions"


@pytest.mark.parametrize("keyword", ["KVP", "AcquisitionNumber", "TemporalPositionIdentifier"])
def test_what_changes_once_along_the_body_is_one_volume(tmp_path: Path, keyword: str) -> None:
    def change(ds: Dataset, number: int) -> None:
        setattr(ds, keyword, 80 if number < 15 else 120)

    assert np.array_equal(load(write_study(tmp_path, small_phantom().datasets, change)), small_phantom().hu)


@pytest.mark.parametrize("keyword", ["KVP", "AcquisitionNumber", "ConvolutionKernel"])
def test_an_element_that_some_slices_lack_tells_nothing_apart(tmp_path: Path, keyword: str) -> None:
    def forget(ds: Dataset, number: int) -> None:
        setattr(ds, keyword, "1")
        if number % 3 == 0:
            delattr(ds, keyword)

    assert np.array_equal(load(write_study(tmp_path, small_phantom().datasets, forget)), small_phantom().hu)


def capture(ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, keyword)


def turn(ds: Dataset) -> None:
    ds.ImageType = ["DERIVED", "SECONDARY", "REFORMATTED"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


@pytest.mark.parametrize("spoil", [capture, turn], ids=["secondary capture", "coronal"])
@pytest.mark.parametrize("uid", ["1.2.0", "9.9.9"])
def test_an_image_of_another_kind_in_the_series_is_left_out(
    tmp_path: Path, spoil: Callable[[Dataset], None], uid: str
) -> None:
    extra = deepcopy(small_phantom().datasets[3])
    extra.SOPInstanceUID = uid
    spoil(extra)
    instances = write_study(tmp_path, [*small_phantom().datasets, extra])
    assert np.array_equal(load(instances), small_phantom().hu)
    _, (choice,) = select_series(instances)
    assert "1 image of another kind" in " ".join(choice.reasons)


@pytest.mark.parametrize(("drift_mm", "is_tilt"), [(0.0, True), (2.5, True), (15.0, False), (-15.0, False)])
def test_a_drift_that_no_gantry_makes_is_refused(tmp_path: Path, drift_mm: float, is_tilt: bool) -> None:
    def drift(ds: Dataset, number: int) -> None:
        x, y, z = (float(value) for value in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [str(x), str(y + drift_mm * number), str(z)]

    instances = write_study(tmp_path, small_phantom().datasets, drift)
    if is_tilt:
        assert np.array_equal(load(instances), small_phantom().hu)
    else:
        assert code_of(instances) == "mixed_spacing"
