"""Tell from where slices lie whether some of a series have not come: holes in a grid, not another spacing.

A series may be taken with two spacings, or in blocks with a jump between them;
what was lost on the way leaves a hole in an even row, a whole number of steps
wide. The numbers of the images decide only where the positions leave it open.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median
from typing import Final

Vector = tuple[float, float, float]

NO_SLICES: Final = frozenset(
    {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "MPR", "REFORMATTED", "3D", "MIP", "MINIP", "VRT", "CURVED",
     "PROJECTION IMAGE", "SCREEN SAVE", "DOSE_INFO"}
)  # fmt: skip
"""Values of ImageType of scouts, and of what is computed from slices: nobody screens it where slices are."""
MIN_AXIAL: Final = 0.8
"""Of the normal along the patient: a gantry tilts by 30 degrees at most."""
MIN_SLICES: Final = 4
"""Fewer say nothing of their spacing."""
SAME_PLACE_MM: Final = 0.05
JITTER_MM: Final = 0.1
JITTER_SHARE: Final = 0.05
"""Steps that differ by the larger of the two are the same, as rounding and couch encoders make them."""
STRETCH: Final = 3
"""As many equal steps in a row are a spacing that was meant."""
WHOLE_SHARE: Final = 0.15
"""How far, in steps, a hole may be from a whole number of steps."""
WIDER: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one image of a series lies, as its header says."""

    series_instance_uid: str
    position_mm: Vector | None
    """ImagePositionPatient; None where it is absent or broken."""
    orientation: tuple[Vector, Vector] | None
    """ImageOrientationPatient: of rows, of columns; None where it is absent or broken."""
    instance_number: int | None
    acquisition_number: str
    image_type: frozenset[str]
    """The values of ImageType."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Slices of one series that have not come."""

    series_instance_uid: str
    slices: int
    """That have come, in the stack of slices that has the holes."""
    missing: int
    """By the spacing beside each hole."""
    begin_mm: float
    """z of the last slice before the first hole."""
    end_mm: float
    """z of the first slice behind the first hole."""
    spacing_mm: float
    """Beside the first hole."""

    def __str__(self) -> str:
        """Tell the operator."""
        are = "slice is" if self.missing == 1 else "slices are"
        return (
            f"{self.missing} {are} missing beside {self.slices} of series {self.series_instance_uid}: "
            f"nothing lies between z = {self.begin_mm:.2f} and {self.end_mm:.2f} mm, "
            f"where slices are {self.spacing_mm:.2f} mm apart"
        )


@dataclass(frozen=True, slots=True)
class _Slice:
    along_mm: float
    z_mm: float
    number: int | None
    acquisition: str


def find_gaps(places: Iterable[Place]) -> tuple[Gap, ...]:
    """Find the holes of every axial series, the largest of its stacks' first; the order of `places` does not matter.

    Scouts, reformats and images without a position count for nothing; where
    as many of these have come as would fill the holes, nothing is missing.
    """
    by_series: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        if not place.image_type & NO_SLICES:
            by_series[place.series_instance_uid].append(place)
    gaps = []
    for series in by_series.values():
        unplaced = sum(place.position_mm is None or place.orientation is None for place in series)
        found = [gap for stack in _stacks(series) if (gap := _find_gap(series[0].series_instance_uid, stack))]
        if sum(gap.missing for gap in found) > unplaced:
            gaps.append(max(found, key=lambda gap: gap.missing))
    return tuple(sorted(gaps, key=lambda gap: gap.series_instance_uid))


def _stacks(series: Iterable[Place]) -> Iterator[list[_Slice]]:
    """Sort axial slices into stacks of one orientation, in order along their normal, one slice at each place."""
    by_orientation: dict[tuple[float, ...], list[_Slice]] = defaultdict(list)
    for place in series:
        if place.position_mm is None or place.orientation is None:
            continue
        rows, columns = place.orientation
        normal = _cross(rows, columns)
        if abs(normal[2]) < MIN_AXIAL:
            continue
        key = tuple(round(value, 2) + 0.0 for value in (*rows, *columns))
        along_mm = sum(one * other for one, other in zip(normal, place.position_mm, strict=True))
        by_orientation[key].append(
            _Slice(along_mm, place.position_mm[2], place.instance_number, place.acquisition_number)
        )
    for slices in by_orientation.values():
        slices.sort(key=lambda one: one.along_mm)
        for stack in _untangle(slices):
            steps = pairwise(stack)
            yield [stack[0], *(one for before, one in steps if one.along_mm - before.along_mm > SAME_PLACE_MM)]


def _untangle(slices: list[_Slice]) -> list[list[_Slice]]:
    """Take acquisitions apart that lie between each other's slices: they are phases, each with a row of its own."""
    changes = sum(one.acquisition != before.acquisition for before, one in pairwise(slices))
    acquisitions: dict[str, list[_Slice]] = defaultdict(list)
    for one in slices:
        acquisitions[one.acquisition].append(one)
    return list(acquisitions.values()) if changes + 1 > len(acquisitions) else [slices]


def _find_gap(series_instance_uid: str, stack: list[_Slice]) -> Gap | None:
    """Find the holes in one stack, which is in order."""
    if len(stack) < MIN_SLICES:
        return None
    steps_mm = [one.along_mm - before.along_mm for before, one in pairwise(stack)]
    numbers = [_difference(before, one) for before, one in pairwise(stack)]
    holes = dict(_find_holes(steps_mm, numbers))
    if not holes:
        return None
    first = min(holes)
    return Gap(
        series_instance_uid=series_instance_uid,
        slices=len(stack),
        missing=sum(missing for missing, _ in holes.values()),
        begin_mm=stack[first].z_mm,
        end_mm=stack[first + 1].z_mm,
        spacing_mm=holes[first][1],
    )


def _difference(before: _Slice, one: _Slice) -> int | None:
    return None if before.number is None or one.number is None else abs(one.number - before.number)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Equal steps in a row."""

    steps: range
    spacing_mm: float
    number: float
    """How far the numbers of its images lie apart; 0 where they do not say."""


def _find_holes(steps_mm: list[float], numbers: list[int | None]) -> Iterator[tuple[int, tuple[int, float]]]:
    """Yield index, missing slices and the spacing beside of each step that is a hole."""
    stretches = _find_stretches(steps_mm, numbers)
    if not stretches:
        least_mm = min(steps_mm)
        if sum(_is_like(step_mm, least_mm) for step_mm in steps_mm) * 2 <= len(steps_mm):
            return  # no spacing prevails
        stretches = [_Stretch(range(0), least_mm, 0.0)]
    meant = {index for stretch in stretches for index in stretch.steps}
    for place, stretch in enumerate(stretches):
        if times := _times_thinned(stretch, stretches):
            stretches[place] = replace(stretch, spacing_mm=stretch.spacing_mm / times, number=stretch.number / times)
            yield from ((index, (times - 1, stretches[place].spacing_mm)) for index in stretch.steps)
    for index, step_mm in enumerate(steps_mm):
        if index not in meant:
            before = next((one for one in reversed(stretches) if one.steps.stop <= index), None)
            behind = next((one for one in stretches if one.steps.start > index), None)
            missing, spacing_mm = _missing_in(step_mm, numbers[index], [one for one in (before, behind) if one])
            if missing:
                yield index, (missing, spacing_mm)


def _find_stretches(steps_mm: list[float], numbers: list[int | None]) -> list[_Stretch]:
    stretches = []
    begin = 0
    for end in range(1, len(steps_mm) + 1):
        if end < len(steps_mm) and _is_like(steps_mm[end], fmean(steps_mm[begin:end])):
            continue
        if end - begin >= STRETCH:
            told = [number for number in numbers[begin:end] if number is not None]
            number = float(median(told)) if len(told) == end - begin else 0.0
            stretches.append(_Stretch(range(begin, end), fmean(steps_mm[begin:end]), number))
        begin = end
    return stretches


def _times_thinned(stretch: _Stretch, stretches: list[_Stretch]) -> int:
    """How many times wider a stretch is than another because every other slice of it is missing; 0: it is meant so.

    Its images' numbers then leave out as many as its places do.
    """
    for other in stretches:
        times = round(stretch.spacing_mm / other.spacing_mm)
        is_whole = abs(stretch.spacing_mm / other.spacing_mm - times) <= WHOLE_SHARE
        if times > 1 and is_whole and other.number > 0 and stretch.number == times * other.number:
            return times
    return 0


def _missing_in(step_mm: float, number: int | None, beside: list[_Stretch]) -> tuple[int, float]:
    """How many slices are missing in one step between (or behind, or before) stretches, and their spacing."""
    wide = max(beside, key=lambda one: one.spacing_mm)
    steps = step_mm / wide.spacing_mm
    if steps < WIDER:
        return 0, wide.spacing_mm
    is_boundary = any(not _is_like(one.spacing_mm, wide.spacing_mm) for one in beside)  # any sum of the two will do
    is_whole = abs(steps - round(steps)) <= WHOLE_SHARE
    is_left_out = number is not None and 0 < wide.number * WIDER <= number
    missing = max(1, round(steps) - 1) if is_boundary or is_whole or is_left_out else 0
    return missing, wide.spacing_mm


def _is_like(step_mm: float, other_mm: float) -> bool:
    return abs(step_mm - other_mm) <= max(JITTER_MM, JITTER_SHARE * other_mm)


def _cross(one: Vector, other: Vector) -> Vector:
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )
