"""The key image shows the right side at the left, true proportions and no identity."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from screener.study import Side
from tests.conformance.studies import IN_PLANE, Directions, Study, make_study, without_findings, world_of
from workers.results.draw_key_image import _GLAND_COLOR, draw_key_image
from workers.results.draw_panels import MASS_COLOR


def draw(study: Study) -> np.ndarray:
    png = draw_key_image(study.volume, study.parotids, study.masses, study.verdict)
    return np.asarray(Image.open(io.BytesIO(png)))  # (row, column, rgb)


def centers(picture: np.ndarray, color: tuple[int, int, int]) -> list[float]:
    """Mean column of the pixels of `color`, as a share of the panel, for the axial and the coronal panel."""
    found = (picture == color).all(axis=-1)
    panels = split_panels(picture)
    return [
        float(np.argwhere(found[rows, columns])[:, 1].mean()) / (columns.stop - columns.start)
        for rows, columns in panels
    ]


def split_panels(picture: np.ndarray) -> list[tuple[slice, slice]]:
    """Bounds of the two panels: every pixel of a panel of the test's studies is gray, what surrounds it black."""
    filled = picture[:560].max(axis=-1) > 40
    columns = np.flatnonzero(filled.mean(axis=0) > 0.2)
    gap = int(np.diff(columns).argmax())
    bounds = ((columns[0], columns[gap]), (columns[gap + 1], columns[-1]))
    panels = []
    for low, high in bounds:
        rows = np.flatnonzero(filled[:, low:high].mean(axis=1) > 0.2)
        panels.append((slice(int(rows[0]), int(rows[-1]) + 1), slice(int(low), int(high) + 1)))
    return panels


@pytest.mark.parametrize(("side", "is_at_left"), [(Side.RIGHT, True), (Side.LEFT, False)])
@pytest.mark.parametrize("x_direction", [1.0, -1.0])
@pytest.mark.parametrize("y_direction", [1.0, -1.0])
def test_the_patients_right_is_at_the_images_left(tmp_path: Path, side, is_at_left, x_direction, y_direction):
    directions = ((x_direction, 0.0, 0.0), (0.0, y_direction, 0.0), (0.0, 0.0, 1.0))
    picture = draw(make_study(tmp_path, directions=directions, present=(side,)))
    assert [center < 0.5 for center in centers(picture, MASS_COLOR)] == [is_at_left] * 2


def test_proportions_are_those_of_the_patient(tmp_path: Path):
    study = make_study(tmp_path)
    x_mm, y_mm, z_mm = study.volume.spacing_mm
    z, y, x = study.volume.hu.shape
    shapes = [(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in split_panels(draw(study))]
    proportions = [height / width for height, width in shapes]
    assert proportions == pytest.approx([y * y_mm / (x * x_mm), z * z_mm / (x * x_mm)], rel=0.02)


def test_the_mass_is_drawn_inside_its_gland(tmp_path: Path):
    picture = draw(make_study(tmp_path, unassessed=(Side.LEFT,)))
    for rows, columns in split_panels(picture):
        panel = picture[rows, columns]
        gland, mass = (np.argwhere((panel == color).all(axis=-1)) for color in (_GLAND_COLOR, MASS_COLOR))
        assert (gland.min(axis=0) < mass.min(axis=0)).all()
        assert (gland.max(axis=0) > mass.max(axis=0)).all()


def test_without_a_mass_the_glands_are_shown_and_nothing_is_amber(tmp_path: Path):
    picture = draw(make_study(tmp_path, present=()))
    assert (picture == _GLAND_COLOR).all(axis=-1).any()
    assert not (picture == MASS_COLOR).all(axis=-1).any()


def test_a_study_without_glands_still_gets_a_picture(tmp_path: Path):
    picture = draw(without_findings(make_study(tmp_path)))
    assert not (picture == _GLAND_COLOR).all(axis=-1).any()


def test_the_same_study_gives_the_same_bytes_without_metadata(tmp_path: Path):
    study = make_study(tmp_path)
    pngs = [draw_key_image(study.volume, study.parotids, study.masses, study.verdict) for _ in range(2)]
    assert pngs[0] == pngs[1]
    assert Image.open(io.BytesIO(pngs[0])).info == {}


@pytest.mark.parametrize("directions", IN_PLANE)
def test_both_planes_show_the_sides_that_their_letters_name(tmp_path: Path, directions: Directions):
    study = make_study(tmp_path, directions=directions)
    towards = world_of(study.volume)
    towards = towards - towards.reshape(-1, 3).mean(axis=0)
    panels = split_panels(draw(study))
    # Right and left at the left and right edge of both; front and back, head and feet at the upper and lower edge.
    for world, panel, axis, sign in ((0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 0, 1), (2, 1, 0, -1)):
        hu = np.where(sign * towards[..., world] < 0, 180, -80).astype(np.int16)
        rows, columns = panels[panel]
        shown = draw(replace(study, volume=replace(study.volume, hu=hu)))[rows, columns].mean(axis=-1)
        first, last = np.array_split(shown, 2, axis=axis)
        assert first.mean() > 2 * last.mean(), f"{'xyz'[world]} in panel {panel}"


@pytest.mark.parametrize("directions", IN_PLANE)
def test_the_mass_is_shown_however_the_slices_lie_in_their_files(tmp_path: Path, directions: Directions):
    picture = draw(make_study(tmp_path, directions=directions, present=(Side.RIGHT,)))
    assert all(center < 0.4 for center in centers(picture, MASS_COLOR))


@pytest.mark.parametrize("y_direction", [1.0, -1.0])
def test_the_face_looks_up_and_the_head_is_on_top(tmp_path: Path, y_direction):
    study = make_study(tmp_path, directions=((1.0, 0.0, 0.0), (0.0, y_direction, 0.0), (0.0, 0.0, 1.0)))
    places = world_of(study.volume)
    _, y_mm, z_mm = places.reshape(-1, 3).mean(axis=0)
    panels = split_panels(draw(study))
    for axis, panel, is_bright in ((1, 0, places[..., 1] < y_mm), (2, 1, places[..., 2] > z_mm)):
        hu = np.where(is_bright, 180, -80).astype(np.int16)
        picture = draw(replace(study, volume=replace(study.volume, hu=hu)))
        rows, columns = panels[panel]
        shown = picture[rows, columns].mean(axis=-1)
        middle = shown.shape[0] // 2
        assert shown[:middle].mean() > 2 * shown[middle:].mean(), f"axis {axis}"
