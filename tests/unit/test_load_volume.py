"""A series becomes one volume whose voxels lie where the images say, or is refused with the reason."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGExtended12Bit

from screener.outcomes import NeedsPerson, SetAside
from screener.study import Instance, Volume
from tests.unit.ct_study import DICOM, describe_folder, small_phantom, write_study
from workers.ct.load_volume import MAX_VOXELS, SIZES, load_volume
from workers.ct.select_series import MIN_SLICES

needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason="the development data are not on this machine")


def _load(instances: list[Instance], **options: int) -> Volume:
    return load_volume(instances, instances[0].series_instance_uid, **options)


def _refusal(instances: list[Instance], **options: int) -> NeedsPerson:
    with pytest.raises(NeedsPerson) as caught:
        _load(instances, **options)
    return caught.value


def _pixels(ds: Dataset) -> np.ndarray:
    return np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).copy()


def test_the_volume_is_the_phantom(tmp_path: Path) -> None:
    phantom = small_phantom()
    volume = _load(write_study(tmp_path, phantom.datasets))
    assert np.array_equal(volume.hu, phantom.hu)
    assert volume.hu.dtype == np.int16
    assert np.allclose(volume.affine, phantom.affine, atol=1e-3)
    assert volume.sop_instance_uids == tuple(ds.SOPInstanceUID for ds in phantom.datasets)
    assert volume.frame_of_reference_uid == phantom.datasets[0].FrameOfReferenceUID


def test_slices_run_from_feet_to_head_whatever_the_instance_numbers_say(tmp_path: Path) -> None:
    phantom = small_phantom()

    def count_down(ds: Dataset, number: int) -> None:
        ds.InstanceNumber = 1000 - number
        ds.SOPInstanceUID = f"2.25.7.{1000 - number}"

    volume = _load(write_study(tmp_path, phantom.datasets, count_down))
    assert volume.affine[2, 2] > 0
    assert np.array_equal(volume.hu, phantom.hu)


def test_images_stored_from_left_to_right_place_the_same_patient(tmp_path: Path) -> None:
    phantom = small_phantom()

    def flip(ds: Dataset, number: int) -> None:
        ds.PixelData = _pixels(ds)[:, ::-1].tobytes()
        ds.ImagePositionPatient = [-float(ds.ImagePositionPatient[0]), *ds.ImagePositionPatient[1:]]
        ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]

    volume = _load(write_study(tmp_path, phantom.datasets, flip))
    assert np.array_equal(volume.hu[:, :, ::-1], phantom.hu)
    corner = np.array([volume.hu.shape[2] - 1, 0, 0, 1.0])
    assert np.allclose(volume.affine @ corner, phantom.affine @ [0, 0, 0, 1.0], atol=1e-3)
    assert volume.affine[2, 2] > 0


def test_a_tilted_gantry_stays_in_the_affine_as_shear(tmp_path: Path) -> None:
    angle = np.radians(20.0)

    def tilt(ds: Dataset, number: int) -> None:
        ds.ImageOrientationPatient = [1, 0, 0, 0, round(float(np.cos(angle)), 6), round(-float(np.sin(angle)), 6)]

    phantom = small_phantom()
    volume = _load(write_study(tmp_path, phantom.datasets, tilt))
    assert np.array_equal(volume.hu, phantom.hu)
    assert np.allclose(volume.affine[:3, 2], [0, 0, 5.0], atol=1e-6)
    step = phantom.affine[1, 1]
    assert np.allclose(volume.affine[:3, 1], [0, step * np.cos(angle), -step * np.sin(angle)], atol=1e-4)
    assert volume.voxel_volume_mm3 == pytest.approx(np.linalg.det(phantom.affine[:3, :3]) * np.cos(angle), rel=1e-5)


def test_a_matrix_that_is_not_square_keeps_rows_and_columns_apart(tmp_path: Path) -> None:
    def crop(ds: Dataset, number: int) -> None:
        ds.PixelData = np.ascontiguousarray(_pixels(ds)[:, 5:]).tobytes()
        ds.Columns -= 5

    phantom = small_phantom()
    assert np.array_equal(_load(write_study(tmp_path, phantom.datasets, crop)).hu, phantom.hu[:, :, 5:])


def test_padding_and_everything_below_air_become_air(tmp_path: Path) -> None:
    def pad(ds: Dataset, number: int) -> None:
        values = _pixels(ds).astype(np.int32) - 1024
        values[0, :10] = 3000
        values[1, :10] = -1900
        ds.PixelData = values.astype("<i2").tobytes()
        ds.PixelRepresentation = 1
        ds.RescaleIntercept = "0"
        ds.PixelPaddingValue = 3000

    volume = _load(write_study(tmp_path, small_phantom().datasets, pad))
    assert np.all(volume.hu[:, :2, :10] == -1024)


def test_each_slice_is_scaled_by_its_own_slope(tmp_path: Path) -> None:
    def rescale(ds: Dataset, number: int) -> None:
        if number % 2:
            ds.PixelData = (_pixels(ds) * 2).tobytes()
            ds.RescaleSlope = "0.5"

    phantom = small_phantom()
    assert np.array_equal(_load(write_study(tmp_path, phantom.datasets, rescale)).hu, phantom.hu)


def test_a_scout_in_the_same_series_is_left_out(tmp_path: Path) -> None:
    phantom = small_phantom(with_localizer=True)

    def join(ds: Dataset, number: int) -> None:
        ds.SeriesInstanceUID = "2.25.5"

    assert np.array_equal(_load(write_study(tmp_path, phantom.datasets, join)).hu, phantom.hu)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_an_image_that_does_not_say_where_it_lies_is_refused(tmp_path: Path, keyword: str) -> None:
    def forget(ds: Dataset, number: int) -> None:
        if number == 3:
            delattr(ds, keyword)

    outcome = _refusal(write_study(tmp_path, small_phantom().datasets, forget))
    assert outcome.code == "missing_position"
    assert keyword in outcome.reason


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("PixelSpacing", None, "missing_spacing"),
        ("PixelSpacing", [0, 0], "missing_spacing"),
        ("RescaleIntercept", None, "missing_rescale"),
        ("NumberOfFrames", 4, "multi_frame"),
        ("FrameOfReferenceUID", "2.25.99", "mixed_geometry"),
        ("PixelSpacing", [3, 3], "mixed_geometry"),
        ("ImageOrientationPatient", [0.995, 0.0998, 0, -0.0998, 0.995, 0], "mixed_geometry"),
        ("Rows", 32, "mixed_geometry"),
    ],
)
def test_one_image_that_does_not_fit_is_refused(tmp_path: Path, keyword: str, value: object, code: str) -> None:
    def spoil(ds: Dataset, number: int) -> None:
        if number == 3:
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    assert _refusal(write_study(tmp_path, small_phantom().datasets, spoil)).code == code


@pytest.mark.parametrize("size", [1, 5000])
def test_absurd_dimensions_are_refused_before_anything_is_decoded(tmp_path: Path, size: int) -> None:
    def swell(ds: Dataset, number: int) -> None:
        ds.Rows = ds.Columns = size

    assert _refusal(write_study(tmp_path, small_phantom().datasets, swell)).code == "absurd_size"


@pytest.mark.parametrize(
    ("pixel_mm", "distance_mm", "sentence"), [(9.9, 5.0, "PixelSpacing"), (4.0, 25.0, "cannot be searched")]
)
def test_a_patient_of_absurd_size_is_refused(
    tmp_path: Path, pixel_mm: float, distance_mm: float, sentence: str
) -> None:
    def swell(ds: Dataset, number: int) -> None:
        ds.PixelSpacing = [pixel_mm, pixel_mm]
        ds.ImagePositionPatient = [0, 0, distance_mm * number]
        if pixel_mm != 4.0:
            ds.Rows = ds.Columns = 2 * ds.Rows
            ds.PixelData = bytes(2 * ds.Rows * ds.Columns)

    outcome = _refusal(write_study(tmp_path, small_phantom().datasets, swell))
    assert outcome.code == "absurd_size"
    assert sentence in outcome.reason


def test_more_voxels_than_a_worker_can_hold_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    count = MAX_VOXELS // SIZES[-1] ** 2 + 1
    datasets = [small_phantom().datasets[0]] * count

    def place(ds: Dataset, number: int) -> None:
        ds.Rows = ds.Columns = SIZES[-1]  # as the header says: the pixels themselves are far fewer
        ds.PixelSpacing = [0.2, 0.2]
        ds.SOPInstanceUID = f"2.25.9.{number + 1}"
        ds.ImagePositionPatient = [0, 0, number]

    outcome = _refusal(write_study(tmp_path, datasets, place))
    assert outcome.code == "absurd_size"
    assert str(count) in outcome.reason


@pytest.mark.parametrize("spacing_mm", [(0.4, 0.4, 1.0), (0.4, 0.4, 5.0), (5.0, 5.0, 1.0), (5.0, 5.0, 5.0)])
def test_voxels_of_every_usual_size_load_with_the_patient_inside_the_body(
    tmp_path: Path, spacing_mm: tuple[float, float, float]
) -> None:
    rows = round(240.0 / spacing_mm[0])
    phantom = small_phantom(spacing_mm=spacing_mm, rows=rows, z_range_mm=(-10.0, 10.0))
    volume = _load(write_study(tmp_path, phantom.datasets), min_slices=2)
    assert np.array_equal(volume.hu, phantom.hu)
    assert volume.spacing_mm == pytest.approx(spacing_mm)
    assert not np.any((phantom.right_parotid | phantom.left_parotid) & ~volume.body)
    assert not volume.body[:, :2, :2].any()


def test_a_coronal_stack_is_refused(tmp_path: Path) -> None:
    def turn(ds: Dataset, number: int) -> None:
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        ds.ImagePositionPatient = [0, 5 * number, 0]

    assert _refusal(write_study(tmp_path, small_phantom().datasets, turn)).code == "not_axial"


def test_two_different_slices_at_one_position_are_refused(tmp_path: Path) -> None:
    def collide(ds: Dataset, number: int) -> None:
        if number == 7:
            ds.ImagePositionPatient = small_phantom().datasets[6].ImagePositionPatient

    outcome = _refusal(write_study(tmp_path, small_phantom().datasets, collide))
    assert outcome.code == "duplicate_position"
    assert f"{float(small_phantom().datasets[6].ImagePositionPatient[2]):.2f} mm" in outcome.reason


def test_a_second_copy_of_the_same_slice_is_left_out(tmp_path: Path) -> None:
    phantom = small_phantom()
    instances = write_study(tmp_path, phantom.datasets)

    def rename(ds: Dataset, number: int) -> None:
        ds.SOPInstanceUID = "2.25.77"

    volume = _load(instances + write_study(tmp_path, phantom.datasets[5:6], rename))
    assert np.array_equal(volume.hu, phantom.hu)


@pytest.mark.parametrize(
    ("removed", "count"), [((10,), "1 slice is"), ((10, 11), "2 slices are"), ((4, 20), "2 slices are")]
)
def test_a_missing_slice_is_refused_and_its_place_is_told(tmp_path: Path, removed: tuple[int, ...], count: str) -> None:
    datasets = small_phantom().datasets
    instances = write_study(tmp_path, [ds for index, ds in enumerate(datasets) if index not in removed])
    outcome = _refusal(instances)
    assert outcome.code == "gap"
    assert count in outcome.reason
    assert f"z = {float(datasets[removed[0] - 1].ImagePositionPatient[2]):.2f} and" in outcome.reason


def test_slices_at_changing_distances_are_refused(tmp_path: Path) -> None:
    def stretch(ds: Dataset, number: int) -> None:
        ds.ImagePositionPatient[2] = f"{5.0 * number + 1.5 * max(0, number - 20):.3f}"

    outcome = _refusal(write_study(tmp_path, small_phantom().datasets, stretch))
    assert outcome.code == "mixed_spacing"
    assert "5.00 to 6.50 mm" in outcome.reason


def test_a_slice_beside_the_line_is_refused(tmp_path: Path) -> None:
    def shove(ds: Dataset, number: int) -> None:
        if number == 9:
            ds.ImagePositionPatient[0] = float(ds.ImagePositionPatient[0]) + 4.0

    assert _refusal(write_study(tmp_path, small_phantom().datasets, shove)).code == "mixed_spacing"


def test_the_jitter_of_a_couch_is_no_gap(tmp_path: Path) -> None:
    def jitter(ds: Dataset, number: int) -> None:
        ds.ImagePositionPatient[2] = float(ds.ImagePositionPatient[2]) + (0.02 if number % 2 else -0.02)

    volume = _load(write_study(tmp_path, small_phantom().datasets, jitter))
    assert volume.spacing_mm[2] == pytest.approx(5.0, abs=0.01)


def test_pixels_cut_short_are_refused_and_the_image_is_named(tmp_path: Path) -> None:
    instances = write_study(tmp_path, small_phantom().datasets)
    cut = instances[5]
    cut.path.write_bytes(cut.path.read_bytes()[:-100])
    outcome = _refusal(instances)
    assert outcome.code == "truncated_pixel_data"
    assert cut.sop_instance_uid in outcome.reason


def test_a_header_cut_short_is_refused(tmp_path: Path) -> None:
    instances = write_study(tmp_path, small_phantom().datasets)
    instances[5].path.write_bytes(instances[5].path.read_bytes()[:600])
    assert _refusal(instances).code == "unreadable_file"


def test_a_transfer_syntax_without_a_decoder_is_named(tmp_path: Path) -> None:
    def garble(ds: Dataset, number: int) -> None:
        ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit
        ds.PixelData = encapsulate([b"\xff\xd8 no image \xff\xd9"])
        ds["PixelData"].is_undefined_length = True

    outcome = _refusal(write_study(tmp_path, small_phantom().datasets, garble))
    assert outcome.code == "undecodable"
    assert JPEGExtended12Bit.name in outcome.reason


def test_too_few_slices_are_set_aside(tmp_path: Path) -> None:
    instances = write_study(tmp_path, small_phantom().datasets[: MIN_SLICES - 1])
    with pytest.raises(SetAside) as caught:
        _load(instances)
    assert caught.value.code == "too_few_slices"


def test_a_series_of_nothing_is_set_aside() -> None:
    with pytest.raises(SetAside):
        load_volume([], "2.25.1")


@needs_shared
def test_the_real_ct_loads_with_its_table_outside_the_body() -> None:
    instances = [one for one in describe_folder(DICOM / "neck_ct_hn_chus_052") if one.path.name.startswith("CT")]
    volume = _load(instances)
    assert volume.hu.shape == (len(instances), 512, 512)
    assert volume.spacing_mm == pytest.approx((1.171875, 1.171875, 3.0))
    assert 0.05 < volume.body.mean() < 0.12


@needs_shared
def test_the_old_scanners_neck_loads_with_elements_missing() -> None:
    volume = _load(describe_folder(DICOM / "neck_ct_pycerr"))
    assert volume.hu.shape == (90, 511, 511)
    assert volume.spacing_mm == pytest.approx((1.0, 1.0, 3.0))
    assert volume.affine[2, 2] > 0


@needs_shared
def test_a_really_tilted_gantry_is_kept_as_shear(tmp_path: Path) -> None:
    """The files' makers have put noise in the patient's place, which is refused; the places are real."""
    tilted = describe_folder(DICOM / "awkward" / "gantrytilting")
    assert _refusal(tilted, min_slices=2).code == "implausible_values"

    def draw(ds: Dataset, number: int) -> None:
        values = np.full((ds.Rows, ds.Columns), -1000 - int(ds.RescaleIntercept), "<i2")
        values[100:400, 100:400] += 1040
        ds.PixelData = values.tobytes()

    volume = _load(write_study(tmp_path, [dcmread(one.path) for one in tilted], draw), min_slices=2)
    across = volume.affine[:3, 1] @ volume.affine[:3, 2]
    assert abs(across) > 0.1  # rows and slices are not perpendicular
    assert volume.voxel_volume_mm3 < np.prod(volume.spacing_mm)


@needs_shared
@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("notavolume", "duplicate_position"),
        ("slicecount", "not_axial"),
        ("sliceincrement/001", "gap"),
        ("sliceincrement/002", "gap"),
        ("sliceorientation", "mixed_geometry"),
    ],
)
def test_awkward_series_are_refused_with_a_code(folder: str, code: str) -> None:
    assert _refusal(describe_folder(DICOM / "awkward" / folder), min_slices=2).code == code


@needs_shared
@pytest.mark.parametrize(
    "name",
    [
        "CTImage.dcm_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
        "CTImage.dcm_DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm",
        "CTImage.dcm_JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm",
        "CTImage.dcm_JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm",
        "CTImage.dcm_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
        "CTImage.dcm_JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm",
        "CTImage.dcm_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm",
        "CTImage.dcm_LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2.dcm",
        "CTImage.dcm_RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm",
    ],
)
def test_every_lossless_transfer_syntax_gives_the_same_values(name: str) -> None:
    folder = DICOM / "awkward" / "transfer_syntaxes"
    copies = [one for one in describe_folder(folder) if one.path.name in {"CTImage.dcm", name}]
    assert len(copies) == 2
    # Two images at one position are taken only if every pixel agrees; then one slice is left.
    with pytest.raises(SetAside, match="only 1 slice"):
        _load(copies, min_slices=2)
