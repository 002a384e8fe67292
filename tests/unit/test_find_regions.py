"""A header's ultrasound regions tell B-mode from all else, and how large a pixel is."""

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from screener.us_study import Box
from tests.unit.us_objects import LEFT, RIGHT, TISSUE, make_region
from workers.us.find_regions import Regions, find_other_mode, find_regions, read_pixel_spacing

BELOW = Box(top=410, left=150, bottom=478, right=550)


def _find(*items: Dataset, rows: int = 480, columns: int = 640) -> Regions | None:
    ds = Dataset()
    ds.Rows, ds.Columns = rows, columns
    ds.SequenceOfUltrasoundRegions = Sequence(items)
    return find_regions(ds)


def _find_some(*items: Dataset, **size: int) -> Regions:
    found = _find(*items, **size)
    assert found is not None
    return found


def test_a_tissue_region_gives_its_box_and_its_spacing_in_millimeters() -> None:
    (region,) = _find_some(make_region(TISSUE, PhysicalDeltaX=0.02, PhysicalDeltaY=-0.01)).pictures
    assert region.box == TISSUE
    assert region.spacing_mm == pytest.approx((0.1, 0.2))


def test_two_tissue_regions_are_two_pictures_from_left_to_right() -> None:
    found = _find_some(make_region(RIGHT), make_region(LEFT), make_region(LEFT))
    assert [region.box for region in found.pictures] == [LEFT, RIGHT]


@pytest.mark.parametrize(
    "change",
    [{"PhysicalUnitsXDirection": 4}, {"PhysicalDeltaY": 0.0}, {"PhysicalDeltaX": 30.0}, {"PhysicalDeltaX": None}],
    ids=["seconds", "zero", "absurd", "empty"],
)
def test_a_region_without_centimeters_has_no_spacing(change: dict[str, Any]) -> None:
    (region,) = _find_some(make_region(TISSUE, **change)).pictures
    assert region.spacing_mm is None


@pytest.mark.parametrize(
    ("spatial_format", "data_type", "word"),
    [(3, 3, "PW spectral Doppler"), (3, 4, "CW spectral Doppler"), (2, 1, "M-mode"), (1, 2, "color flow")],
)
def test_an_object_with_another_mode_alone_is_refused_by_name(spatial_format: int, data_type: int, word: str) -> None:
    found = _find_some(make_region(TISSUE, data_type, spatial_format))
    assert not found.pictures
    assert word in found.refusal


def test_tissue_above_a_spectrum_is_taken_without_it() -> None:
    found = _find_some(make_region(TISSUE), make_region(BELOW, 3, 3))
    assert [region.box for region in found.pictures] == [TISSUE]
    assert found.refusal == "PW spectral Doppler left out"


def test_tissue_under_color_flow_is_refused_and_that_beside_it_is_not() -> None:
    assert not _find_some(make_region(TISSUE), make_region(Box(top=150, left=250, bottom=300, right=400), 2)).pictures
    dual = _find_some(make_region(LEFT), make_region(RIGHT), make_region(RIGHT, 2))
    assert [region.box for region in dual.pictures] == [LEFT]
    assert dual.refusal


def test_regions_of_a_picture_of_another_size_are_not_believed() -> None:
    assert _find(make_region(TISSUE), rows=240, columns=320) is None
    assert _find_some(make_region(TISSUE), rows=TISSUE.bottom - 1).pictures[0].box.bottom == TISSUE.bottom - 1


def test_bars_and_waveforms_alone_say_nothing_of_the_picture() -> None:
    assert _find(make_region(TISSUE, 0xD, 0), make_region(BELOW, 0xA, 4)) is None
    assert _find() is None


def test_a_broken_region_is_as_none() -> None:
    broken = make_region(LEFT)
    del broken.RegionDataType
    assert _find(broken) is None
    assert len(_find_some(broken, make_region(RIGHT)).pictures) == 1


def test_an_overview_within_the_picture_and_a_thumbnail_are_no_pictures() -> None:
    overview = Box(top=90, left=160, bottom=180, right=260)
    assert [one.box for one in _find_some(make_region(overview), make_region(TISSUE)).pictures] == [TISSUE]
    small = _find_some(make_region(Box(top=0, left=0, bottom=40, right=40)))
    assert (small.pictures, "64 x 64" in small.refusal) == ((), True)


@pytest.mark.parametrize(
    ("code", "mode"),
    [("0001", ""), ("0011", "color Doppler"), ("0009", "PW Doppler"), ("TUMOR", ""), ("0102", "M-mode, power Doppler")],
)
def test_image_type_names_what_is_no_b_mode(code: str, mode: str) -> None:
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "SMALL PARTS", code]
    assert find_other_mode(ds) == mode


@pytest.mark.parametrize(
    ("value", "spacing_mm"),
    [([0.08, 0.08], (0.08, 0.08)), ([1, 1], None), ([0.1, 0.3], None), ([0.0, 0.1], None), (None, None)],
)
def test_pixel_spacing_counts_where_it_is_plausible(value: Any, spacing_mm: tuple[float, float] | None) -> None:
    ds = Dataset()
    ds.PixelSpacing = value
    assert read_pixel_spacing(ds) == spacing_mm
