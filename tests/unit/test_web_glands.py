"""Both glands side by side: the right slice of each, at one scale, and mirrored so that they compare."""

from pathlib import Path

import numpy as np
import pytest

from screener.study import Side
from screener.web.draw_glands import LEAST_MM, draw_gland, find_views
from screener.web.draw_slices import mask_of
from screener.web.read_stack import Stack, StackReader, _read_side
from tests.conformance.studies import IN_PLANE, Directions, make_study
from tests.unit.test_web_stack import BOTH, MASS, mean_place, pictures_of, pixels, stack_of

GLAND = (0, 190, 255)
BOTH_SIDES = (Side.RIGHT, Side.LEFT)


@pytest.mark.parametrize("side", BOTH_SIDES)
@pytest.mark.parametrize(("x", "y"), BOTH)
def test_the_cheek_is_at_the_left_of_either_gland_however_the_rows_run(
    tmp_path: Path, side: Side, x: float, y: float
) -> None:
    directions = ((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, 1.0))
    study = make_study(tmp_path, directions=directions, present=BOTH_SIDES)
    stack = stack_of(study, tmp_path)
    view = find_views(stack, None)[side]
    marked = stack.hu
    outward = -1 if (side is Side.RIGHT) == (x > 0) else 1  # towards the cheek, in columns as stored

    def with_a_bright_cheek(z: int) -> np.ndarray:
        plane = np.full_like(marked(z), -1000.0)
        beside = view.column + outward * 8
        plane[:, min(beside, beside + outward * 8) : max(beside, beside + outward * 8)] = 1000.0
        return plane

    shown = pixels(draw_gland(Painted(stack, with_a_bright_cheek), side, view, "soft"))
    half = shown.shape[1] // 2
    assert shown[..., 0][:, :half].mean() > 4 * max(shown[..., 0][:, half:].mean(), 1.0)


@pytest.mark.parametrize("directions", IN_PLANE)
def test_each_gland_is_found_however_the_slices_lie(tmp_path: Path, directions: Directions) -> None:
    stack = stack_of(make_study(tmp_path, directions=directions, present=()), tmp_path)
    for side, view in find_views(stack, None).items():
        place = mean_place(pixels(draw_gland(stack, side, view, "soft")), GLAND)
        assert place == pytest.approx((0.5, 0.5), abs=0.05)


class Painted:
    """A stack with other gray values."""

    def __init__(self, stack: Stack, hu) -> None:
        self._stack, self.hu = stack, hu

    def __getattr__(self, name: str):
        return getattr(self._stack, name)


def test_each_gland_is_shown_in_its_middle_with_its_own_outline(tmp_path: Path) -> None:
    stack = stack_of(make_study(tmp_path, present=()), tmp_path)
    views = find_views(stack, None)
    assert set(views) == set(BOTH_SIDES)
    for side, view in views.items():
        held = [z for z in range(len(stack.slices)) if mask_of(stack, z, is_mass=False, side=side).any()]
        assert view.z == round((held[0] + held[-1]) / 2)
        assert mean_place(pixels(draw_gland(stack, side, view, "soft")), GLAND) == pytest.approx((0.5, 0.5), abs=0.05)


def test_a_mass_is_seen_and_the_other_gland_is_as_far_up_between_its_ends(tmp_path: Path) -> None:
    study = make_study(tmp_path, present=(Side.LEFT,))
    stack = stack_of(study, tmp_path)
    z = stack.index_of(study.masses[0].candidate.center_mm)[0]
    views = find_views(stack, (Side.LEFT, z))
    assert views[Side.LEFT].z == z
    assert (pixels(draw_gland(stack, Side.LEFT, views[Side.LEFT], "soft"))[..., :3] == MASS).all(axis=-1).any()
    assert not (pixels(draw_gland(stack, Side.RIGHT, views[Side.RIGHT], "soft"))[..., :3] == MASS).all(axis=-1).any()


def test_both_are_at_one_scale_and_a_view_beyond_the_image_is_black(tmp_path: Path) -> None:
    stack = stack_of(make_study(tmp_path), tmp_path)
    views = find_views(stack, None)
    assert views[Side.RIGHT].size_mm == views[Side.LEFT].size_mm >= LEAST_MM
    wide = {side: type(view)(z=view.z, row=view.row, column=view.column, size_mm=400.0) for side, view in views.items()}
    shown = pixels(draw_gland(stack, Side.RIGHT, wide[Side.RIGHT], "soft"))
    assert shown[:20].max() == 0
    assert shown.shape[0] == shown.shape[1]


def test_a_gland_that_was_not_found_has_no_view(tmp_path: Path) -> None:
    study = make_study(tmp_path, unassessed=(Side.LEFT,))
    assert set(find_views(stack_of(study, tmp_path), None)) == {Side.RIGHT}
    assert find_views(StackReader().read(pictures_of(study.source_paths), None), None) == {}


@pytest.mark.parametrize(
    ("label", "side"),
    [
        ("Right parotid gland", Side.RIGHT),
        ("Mass 1, left parotid gland", Side.LEFT),
        ("Tumor", None),
        ("Brightness", None),
    ],
)
def test_the_side_is_read_from_our_labels(label: str, side: Side | None) -> None:
    assert _read_side(label) is side
