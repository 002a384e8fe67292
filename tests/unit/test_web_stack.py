"""The stack of slices on the case page: order, sides, planes, outlines, and what cannot be shown."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate

from screener.store.web_case import Picture
from screener.study import Side
from screener.web.draw_slices import draw_outline, draw_planes, draw_slice
from screener.web.read_patient import PatientReader, _age
from screener.web.read_stack import CannotShowError, Stack, StackReader
from tests.conformance.studies import IN_PLANE, Directions, Study, make_study, world_of
from tests.unit.enhanced_ct import enhance

MASS = (255, 176, 0)
BOTH = [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]


def stack_of(study: Study, folder: Path) -> Stack:
    seg = study.seg()
    assert seg is not None
    path = folder / "seg.dcm"
    seg.save_as(path, enforce_file_format=True)
    return StackReader().read(pictures_of(study.source_paths), path)


def pictures_of(paths: list[Path]) -> list[Picture]:
    return [Picture(path=path, sop_instance_uid=str(dcmread(path).SOPInstanceUID)) for path in paths]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def mean_place(picture: np.ndarray, color: tuple[int, int, int]) -> tuple[float, float]:
    """Where pixels of a color lie, as shares of height and width."""
    found = np.argwhere((picture[..., :3] == color).all(axis=-1))
    assert len(found), "nothing of this color"
    row, column = found.mean(axis=0)
    return row / picture.shape[0], column / picture.shape[1]


def mass_slice(stack: Stack) -> int:
    return next(z for z in range(len(stack.slices)) if any(region.is_mass for region in stack.regions_of(z)))


@pytest.mark.parametrize("is_descending", [False, True])
def test_slices_run_from_the_feet_to_the_head(tmp_path: Path, is_descending: bool) -> None:
    stack = stack_of(make_study(tmp_path, descending=is_descending), tmp_path)
    heights = [each.height_mm for each in stack.slices]
    assert heights == sorted(heights)
    assert stack.step_mm == pytest.approx(3.0)


@pytest.mark.parametrize(("side", "is_at_left"), [(Side.RIGHT, True), (Side.LEFT, False)])
@pytest.mark.parametrize(("x", "y"), BOTH)
def test_the_patients_right_is_at_the_left(tmp_path: Path, side: Side, is_at_left: bool, x: float, y: float) -> None:
    directions = ((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, 1.0))
    stack = stack_of(make_study(tmp_path, directions=directions, present=(side,)), tmp_path)
    _, column = mean_place(pixels(draw_outline(stack, mass_slice(stack))), MASS)
    assert bool(column < 0.5) == is_at_left


@pytest.mark.parametrize(("x", "y"), BOTH)
def test_a_slice_shows_the_same_patient_however_its_rows_run(tmp_path: Path, x: float, y: float) -> None:
    directions = ((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, 1.0))
    stack = stack_of(make_study(tmp_path, directions=directions), tmp_path)
    shown = pixels(draw_slice(stack, 3, "soft"))
    stored = stack.hu(3)[:: int(y), :: int(x)]
    expected = np.clip((stored - 40.0) / 350.0 + 0.5, 0, 1) * 255
    assert np.abs(shown.astype(float) - expected).max() <= 1


@pytest.mark.parametrize("directions", IN_PLANE)
def test_the_edges_are_the_sides_that_their_letters_name(tmp_path: Path, directions: Directions) -> None:
    study = make_study(tmp_path, directions=directions)
    towards = world_of(study.volume)
    towards = towards - towards.reshape(-1, 3).mean(axis=0)
    # Axial: right at the left edge, front at the upper. Coronal: right at the left. Sagittal: front at the left.
    for world, sides in ((0, {0: 1, 1: 1}), (1, {0: 0, 2: 1})):
        paint(study, np.where(towards[..., world] < 0, 500, -500))
        stack = stack_of(study, tmp_path)
        center = tuple(size // 2 for size in (len(stack.slices), *stack.shape))
        pictures = [pixels(png) for png in (draw_slice(stack, center[0], "soft"), *draw_planes(stack, center, "soft"))]
        for picture, axis in sides.items():
            first, last = np.array_split(pictures[picture], 2, axis=axis)
            assert first.mean() > 2 * last.mean(), f"{'xyz'[world]} in picture {picture}"


def paint(study: Study, hu: np.ndarray) -> None:
    for path, plane in zip(study.source_paths, hu, strict=True):
        ds = dcmread(path)
        ds.PixelData = plane.astype(np.int16).tobytes()
        ds.save_as(path)


@pytest.mark.parametrize("directions", IN_PLANE)
def test_the_outline_lies_on_the_mass_however_the_slices_lie(tmp_path: Path, directions: Directions) -> None:
    study = make_study(tmp_path, directions=directions)
    paint(study, np.where(study.masses[0].mask, 500, -500))
    stack = stack_of(study, tmp_path)
    center = stack.index_of(study.masses[0].candidate.center_mm)
    drawn = [(pixels(draw_slice(stack, center[0], "soft")), pixels(draw_outline(stack, center[0])))]
    drawn += [(picture, picture) for picture in map(pixels, draw_planes(stack, center, "soft"))]
    for shown, outlined in drawn:
        gray = shown if shown.ndim == 2 else np.where(np.ptp(shown, axis=-1) == 0, shown[..., 0], 0)
        bright = np.argwhere(gray > 200).mean(axis=0) / gray.shape
        assert mean_place(outlined, MASS) == pytest.approx(tuple(bright), abs=0.03)
    assert bool(np.argwhere(drawn[0][0] > 200)[:, 1].mean() < 0.4 * drawn[0][0].shape[1])


def test_the_outline_surrounds_what_the_segmentation_covers(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    stack = stack_of(study, tmp_path)
    z = mass_slice(stack)
    mask = study.masses[0].mask[z]
    row, column = (axis.mean() for axis in np.nonzero(mask))
    place = mean_place(pixels(draw_outline(stack, z)), MASS)
    assert place == pytest.approx((row / mask.shape[0], column / mask.shape[1]), abs=0.03)
    labels = {region.label for region in stack.regions_of(z)}
    assert any(label.startswith("Mass 1") for label in labels)


def test_both_planes_go_through_the_mass_and_stand_head_up(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    stack = stack_of(study, tmp_path)
    center = stack.index_of(study.masses[0].candidate.center_mm)
    mask = study.masses[0].mask
    assert mask[center]
    coronal, sagittal = (pixels(png) for png in draw_planes(stack, center, "soft"))
    z, y, x = (axis.mean() for axis in np.nonzero(mask))
    from_top = 1 - z / mask.shape[0]
    assert mean_place(coronal, MASS) == pytest.approx((from_top, x / mask.shape[2]), abs=0.06)
    assert mean_place(sagittal, MASS) == pytest.approx((from_top, y / mask.shape[1]), abs=0.06)
    height, width = coronal.shape[:2]
    true = (mask.shape[0] * 3.0) / (mask.shape[2] * 1.5)
    assert height / width == pytest.approx(true, rel=0.02)


def test_a_scout_view_among_the_slices_is_left_out(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    ds = dcmread(study.source_paths[0])
    ds.SOPInstanceUID = "2.25.77"
    ds.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
    ds.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    ds.save_as(tmp_path / "scout.dcm", enforce_file_format=True)
    stack = StackReader().read(pictures_of([*study.source_paths, tmp_path / "scout.dcm"]), None)
    assert len(stack.slices) == len(study.source_paths)


def test_the_frames_of_one_image_are_a_stack_too(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    single = StackReader().read(pictures_of(study.source_paths), None)
    enhanced = enhance([dcmread(path) for path in study.source_paths])
    enhanced.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    stack = StackReader().read(pictures_of([tmp_path / "enhanced.dcm"]), None)
    assert [each.position_mm for each in stack.slices] == [each.position_mm for each in single.slices]
    assert np.array_equal(stack.hu(5), single.hu(5))


def test_images_that_have_been_removed_are_said_to_be() -> None:
    with pytest.raises(CannotShowError, match="not here any more"):
        StackReader().read([Picture(path=Path("/gone.dcm"), sop_instance_uid="1.2")], None)


def test_a_disk_that_was_away_leaves_no_hole_in_the_stack(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    seg = study.seg()
    assert seg is not None
    (tmp_path / "results").mkdir()
    seg.save_as(tmp_path / "results" / "seg.dcm", enforce_file_format=True)
    pictures, reader, path = pictures_of(study.source_paths), StackReader(), tmp_path / "results" / "seg.dcm"
    home, away = study.source_paths[0].parent, tmp_path.parent / f"{tmp_path.name}-away"
    home.rename(away)
    with pytest.raises(CannotShowError, match="cannot be read now"):
        reader.read(pictures, None)
    away.rename(home)
    path.parent.rename(away)
    assert not reader.read(pictures, path).regions
    away.rename(path.parent)
    stack = reader.read(pictures, path)
    assert len(stack.slices) == len(study.source_paths)
    assert stack.regions
    assert reader.read(pictures, path) is stack


def test_one_image_whose_rows_are_no_number_leaves_the_others(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    content = study.source_paths[0].read_bytes()
    at = content.index(b"\x28\x00\x10\x00US\x02\x00")
    study.source_paths[0].write_bytes(
        content[: at + 6] + b"\x03\x00" + content[at + 8 : at + 10] + b"\x00" + content[at + 10 :]
    )
    pictures = [Picture(path=path, sop_instance_uid="1.2") for path in study.source_paths]
    assert len(StackReader().read(pictures, None).slices) == len(study.source_paths) - 1


def test_a_segmentation_that_cannot_be_read_leaves_the_slices(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    (tmp_path / "seg.dcm").write_bytes(b"spoiled")
    stack = StackReader().read(pictures_of(study.source_paths), tmp_path / "seg.dcm")
    assert stack.regions == {}
    assert pixels(draw_slice(stack, 0, "bone")).shape == stack.shape


def test_what_no_decoder_here_reads_is_said_plainly(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    path = study.source_paths[0]
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2: no picture by picture decoder anywhere
    ds["PixelData"].is_undefined_length = True
    ds.PixelData = encapsulate([b"\0\0\1\xb3" + bytes(60)])
    ds.save_as(path, enforce_file_format=True)
    stack = StackReader().read(pictures_of(study.source_paths), None)
    with pytest.raises(CannotShowError, match=r"MPEG2.*see them in the PACS"):
        stack.hu(0)


def test_an_age_is_told_as_the_scanner_said_or_from_the_dates() -> None:
    assert _age("063Y", "", "") == "63 y"
    assert _age("", "19600506", "20260505") == "65 y"
    assert _age("", "20300101", "20260505") == ""
    assert _age("", "", "") == ""


def test_two_studies_of_a_patient_have_one_key_that_does_not_tell_who(tmp_path: Path) -> None:
    study = make_study(tmp_path / "a")
    reader = PatientReader(tmp_path)
    patient = reader.read(str(study.source_paths[0].relative_to(tmp_path)))
    assert patient is not None
    key = reader.key(patient)
    assert key == PatientReader(tmp_path).key(patient)
    assert patient.patient_id not in key
    assert (tmp_path / "patients.key").stat().st_mode & 0o077 == 0
    (tmp_path / "patients.key").unlink()
    assert PatientReader(tmp_path).key(patient) != key  # another installation's key says nothing of this one's
