"""Holes in rows of slices, told apart from other spacings, phases, scouts and reformats."""

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.find_gaps import STRETCH, Gap, Place, find_gaps

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def a_series(places_mm: Iterable[float], name: str = "1.2", **changes: object) -> list[Place]:
    """Slices at these heights, numbered in order as a scanner does."""
    return [
        Place(
            **{  # type: ignore[arg-type]
                "series_instance_uid": name,
                "position_mm": (-120.0, -120.0, float(z)),
                "orientation": AXIAL,
                "instance_number": number,
                "acquisition_number": "1",
                "image_type": frozenset({"ORIGINAL", "PRIMARY", "AXIAL"}),
            }
            | changes
        )
        for number, z in enumerate(places_mm, 1)
    ]


def even(count: int, spacing_mm: float, begin_mm: float = 0.0) -> list[float]:
    return [begin_mm + spacing_mm * index for index in range(count)]


def without(series: Sequence[Place], *indices: int) -> list[Place]:
    return [place for index, place in enumerate(series) if index not in indices]


def missing(places: Iterable[Place]) -> int:
    return sum(gap.missing for gap in find_gaps(places))


def test_an_even_row_has_no_gap() -> None:
    assert find_gaps(a_series(even(60, 2.5))) == ()


def test_a_hole_is_told_with_its_place() -> None:
    series = a_series(even(60, 2.5))
    gap = Gap(series_instance_uid="1.2", slices=58, missing=2, begin_mm=47.5, end_mm=55.0, spacing_mm=2.5)
    (found,) = find_gaps(without(series, 20, 21))
    assert found == gap
    assert "z = 47.50 and 55.00 mm" in str(found)


@given(
    count=st.integers(20, 80),
    spacing_mm=st.sampled_from([0.5, 0.625, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0]),
    tilt=st.floats(-0.5, 0.5),
    lost=st.sets(st.integers(2, 17), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    has_numbers=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_few_holes_are_counted_in_any_order_at_any_tilt(
    count: int, spacing_mm: float, tilt: float, lost: set[int], seed: int, *, has_numbers: bool
) -> None:
    rows, columns = (1.0, 0.0, 0.0), (0.0, (1 - tilt**2) ** 0.5, tilt)
    series = a_series(even(count, spacing_mm), orientation=(rows, columns))
    kept = without(series, *lost)
    if not has_numbers:
        kept = a_series([place.position_mm[2] for place in kept if place.position_mm], instance_number=None)
    random.Random(seed).shuffle(kept)  # noqa: S311 - an order, not a secret
    is_thinned = any({first, first + 2, first + 4} <= lost for first in lost) and not has_numbers
    if not is_thinned:  # every other slice, STRETCH times in a row, may be another spacing
        assert missing(kept) == len(lost)


def test_two_spacings_are_no_loss() -> None:
    neck = even(30, 2.5)
    for wide_mm in (5.0, 3.0, 7.5):
        assert find_gaps(a_series([*neck, *even(20, wide_mm, neck[-1] + wide_mm)])) == ()
        assert find_gaps(a_series([*neck, *even(20, wide_mm, neck[-1] + 2.5)])) == ()


def test_a_hole_in_one_of_two_spacings_is_found() -> None:
    series = a_series([*even(30, 2.5), *even(20, 5.0, 77.5)])
    for lost in (10, 40, 30):
        assert missing(without(series, lost)) == 1, lost


def test_every_other_slice_missing_is_a_loss_by_the_numbers_and_a_spacing_without_them() -> None:
    series = a_series(even(60, 2.0))
    thinned = without(series, *range(31, 60, 2))
    assert missing(thinned) == len(range(31, 59, 2))
    renumbered = a_series([place.position_mm[2] for place in thinned if place.position_mm])
    assert find_gaps(renumbered) == ()


def test_a_hole_is_found_where_the_numbers_were_made_anew() -> None:
    kept = without(a_series(even(40, 3.0)), 12)
    assert missing(a_series([place.position_mm[2] for place in kept if place.position_mm])) == 1


def test_two_blocks_with_a_jump_are_no_loss_but_a_lost_block_is() -> None:
    assert find_gaps(a_series([*even(20, 3.0), *even(20, 3.0, 77.3)])) == ()
    assert missing(without(a_series(even(60, 3.0)), *range(20, 45))) == 25


def test_rounded_positions_and_a_couch_that_shakes_are_no_gap() -> None:
    shaken = [z + random.Random(index).uniform(-0.02, 0.02) for index, z in enumerate(even(50, 1.0))]  # noqa: S311
    assert find_gaps(a_series([round(z, 1) for z in even(80, 0.625)])) == ()
    assert find_gaps(a_series(shaken)) == ()


def test_scouts_and_reformats_count_for_nothing() -> None:
    series = a_series(even(30, 2.0))
    scout = a_series([500.0], image_type=frozenset({"ORIGINAL", "PRIMARY", "LOCALIZER"}))
    holey = [0.0, 2.0, 4.0, 6.0, 10.0, 12.0, 14.0]
    coronal = a_series(holey, "1.3", orientation=CORONAL)
    mpr = a_series(holey, "1.4", image_type=frozenset({"DERIVED", "SECONDARY", "MPR"}))
    assert find_gaps([*series, *scout, *coronal, *mpr]) == ()
    assert missing(a_series(holey, "1.5")) == 1


def test_phases_are_rows_of_their_own() -> None:
    first = a_series(even(30, 3.0), acquisition_number="1")
    second = a_series(even(30, 3.0, 1.0), acquisition_number="2")
    same = a_series(even(30, 3.0), acquisition_number="2")
    assert find_gaps([*first, *second]) == ()
    assert find_gaps([*first, *same]) == ()
    assert missing([*first, *without(same, 9)]) == 1


def test_a_slice_that_does_not_say_where_it_lies_fills_a_hole() -> None:
    series = a_series(even(30, 3.0))
    lost = a_series([0.0], position_mm=None)
    assert find_gaps([*without(series, 7), *lost]) == ()
    assert missing([*without(series, 7, 9), *lost]) == 2


@pytest.mark.parametrize("count", range(STRETCH + 1))
def test_a_few_slices_tell_nothing(count: int) -> None:
    assert find_gaps(a_series([0.0, 2.0, 9.0, 10.0][:count])) == ()


@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_whatever_the_places_are_something_is_said(places_mm: list[float], every: int) -> None:
    series = a_series(places_mm, instance_number=None if every else 7)
    assert all(gap.missing > 0 for gap in find_gaps(series))
