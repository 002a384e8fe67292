"""A case reads the same however it is stored, and one that cannot be read says why and stops no other."""

import logging
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

import highdicom as hd
import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from screener.outcomes import NeedsPerson, Outcome
from screener.phantom import make_phantom, write_phantom
from screener.study import Candidate, Mass, Parotid, Side
from tests.unit.ct_study import SHARED
from workers.ct.mask_body import mask_body
from workers.results.encode_seg import encode_seg
from workers.results.identity import make_identity
from workers.training.read_cases import drop_specks, find_sides, list_cases, read_case, read_cases
from workers.training.read_patients import as_patient, read_patient, read_patients

SPACING_MM = (4.0, 4.0, 5.0)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(mass_mm=24.0, mass_side=Side.LEFT, spacing_mm=SPACING_MM, rows=64, uid_salt="cases")


def label_map(phantom):
    return (phantom.right_parotid * 1 + phantom.left_parotid * 2).astype(np.uint8)


def save(path, array, affine, turn="LPS", dtype=None, slope=1, intercept=0):
    """Write `array` (z, y, x) in LPS with axes that run as `turn` says; the same voxels, the same places."""
    if (slope, intercept) != (1, 0):
        array = np.rint((np.asarray(array) - intercept) / slope).astype(np.int16)
    image = nibabel.Nifti1Image(np.asarray(array).transpose(2, 1, 0), TO_RAS @ affine)
    orientations = nibabel.orientations
    change = orientations.ornt_transform(orientations.axcodes2ornt("LPS"), orientations.axcodes2ornt(turn))
    image = image.as_reoriented(change)
    if dtype is not None:
        image.set_data_dtype(dtype)
    if (slope, intercept) != (1, 0):
        image.header.set_slope_inter(slope, intercept)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_case(folder, phantom, *, turn="LPS", affine=None, mass=True, **image):
    affine = phantom.affine if affine is None else affine
    save(folder / "image.nii.gz", phantom.hu, affine, turn, **image)
    save(folder / "labels.nii.gz", label_map(phantom), affine, turn)
    if mass:
        save(folder / "mass.nii.gz", phantom.mass.astype(np.uint8), affine, turn)
    return folder


def shift(phantom, *, voxel=None, column=None, air=None):
    """Return values as scanners store them, 1024 above Hounsfield units, but for one voxel, one column, or all air."""
    values = phantom.hu + 1024.0
    if voxel is not None:
        values[0, 0, 0] = voxel
    if column is not None:
        values[:, :, 0] = column
    if air is not None:
        values[phantom.hu < -300] = air
    return values


@pytest.mark.parametrize("turn", ["LPS", "RAS", "PIR", "SLA", "ARI"])
def test_every_axis_order_and_sign_is_the_same_patient(phantom, tmp_path, turn):
    case = read_case(write_case(tmp_path / "case", phantom, turn=turn))
    assert (case.volume.hu == phantom.hu).all()
    assert case.volume.affine == pytest.approx(phantom.affine, abs=1e-3)
    assert (case.glands[Side.RIGHT] == phantom.right_parotid).all()
    assert (case.glands[Side.LEFT] == phantom.left_parotid).all()
    assert (case.mass == phantom.mass).all()
    assert case.mass_sides == (Side.LEFT,)
    assert len(case.volume.sop_instance_uids) == len(phantom.hu)


@pytest.mark.parametrize(
    "stored", [{"dtype": np.float64}, {"dtype": np.float32}, {"dtype": np.int32}, {"slope": 2.0, "intercept": -1024.0}]
)
def test_every_type_and_scaling_is_the_same_hounsfield_units(phantom, tmp_path, stored):
    case = read_case(write_case(tmp_path / "case", phantom, **stored))
    assert np.abs(case.volume.hu.astype(int) - phantom.hu).max() <= stored.get("slope", 0) / 2


def test_an_oblique_scan_keeps_its_places_and_runs_from_feet_to_head(phantom, tmp_path):
    angle = np.radians(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ phantom.affine
    case = read_case(write_case(tmp_path / "case", phantom, turn="RSA", affine=affine))
    assert case.volume.affine == pytest.approx(affine, abs=1e-3)
    assert case.volume.affine[2, 2] > 0
    assert (case.mass == phantom.mass).all()


def test_a_table_reaches_no_network(phantom, tmp_path):
    with_table = phantom.hu.copy()
    with_table[:, -3:-1, 4:-4] = 300
    save(tmp_path / "case" / "image.nii.gz", with_table, phantom.affine)
    case = read_case(tmp_path / "case")
    assert not case.volume.body[:, -3:-1].any()
    assert case.volume.body[phantom.left_parotid].all()
    assert (read_patient(tmp_path / "case").hu[:, -3:-1] < -900).all()


def test_no_labels_is_an_answer_and_so_is_an_empty_mass(phantom, tmp_path):
    save(tmp_path / "case" / "image.nii", phantom.hu, phantom.affine)
    save(tmp_path / "case" / "mass.nii.gz", np.zeros(phantom.hu.shape, np.uint8), phantom.affine)
    case = read_case(tmp_path / "case")
    assert (case.glands, case.labels, case.mass, case.mass_sides) == ({}, None, None, ())


def test_a_mass_without_outlined_glands_lies_on_a_side_of_the_midline(phantom, tmp_path):
    folder = write_case(tmp_path / "case", phantom, turn="RAS")
    (folder / "labels.nii.gz").unlink()
    assert read_case(folder).mass_sides == (Side.LEFT,)


def test_a_mass_belongs_to_the_gland_that_it_shares_most_with_or_lies_nearest(phantom, tmp_path):
    case = read_case(write_case(tmp_path / "case", phantom))
    glands, volume = case.glands, case.volume
    assert find_sides(glands[Side.RIGHT] | glands[Side.LEFT], glands, volume) == (Side.RIGHT, Side.LEFT)
    beside = np.zeros_like(case.mass)
    z, y, x = np.argwhere(glands[Side.RIGHT]).min(axis=0)
    beside[z, y, x - 2 : x - 1] = True
    assert find_sides(beside, glands, volume) == (Side.RIGHT,)
    assert find_sides(phantom.right_parotid, {Side.LEFT: glands[Side.LEFT]}, volume) == (Side.RIGHT,)


def test_a_mass_of_many_small_pieces_has_the_side_that_holds_most_of_it(phantom, tmp_path):
    case = read_case(write_case(tmp_path / "case", phantom, mass=False))
    scattered = np.zeros(phantom.hu.shape, bool)
    scattered[::2, ::2, ::2] = True
    left, right = scattered & phantom.left_parotid, scattered & phantom.right_parotid
    assert left.sum() > 20
    assert find_sides(left, case.glands, case.volume) == (Side.LEFT,)
    assert find_sides(left, {}, case.volume) == (Side.LEFT,)
    assert find_sides(left | right, case.glands, case.volume) == (Side.RIGHT, Side.LEFT)


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("labels.nii.gz", lambda p, path: save(path, label_map(p)[1:], p.affine), "voxels"),
        ("labels.nii.gz", lambda p, path: save(path, label_map(p), np.diag([4.0, 4, 5.2, 1])), "affines differ"),
        ("labels.nii.gz", lambda p, path: save(path, label_map(p) / 2, p.affine), "whole numbers"),
        ("mass.nii.gz", lambda p, path: save(path, np.full(p.hu.shape, np.nan), p.affine), "no numbers"),
        ("image.nii.gz", lambda _, path: path.write_bytes(path.read_bytes()[:2000]), "cannot be read"),
        ("image.nii.gz", lambda _, path: path.write_bytes(b"no image"), "cannot be read"),
        ("image.nii.gz", lambda p, path: save(path, p.hu.astype(float) + 1024, p.affine), "Hounsfield"),
        ("image.nii.gz", lambda p, path: save(path, shift(p, voxel=np.nan), p.affine), "Hounsfield"),
        ("image.nii.gz", lambda p, path: save(path, shift(p, column=-2000), p.affine), "Hounsfield"),
        ("image.nii.gz", lambda p, path: save(path, shift(p, column=-976), p.affine), "Hounsfield"),
        ("image.nii.gz", lambda p, path: save(path, shift(p, air=0), p.affine), "Hounsfield"),
        ("image.nii.gz", lambda p, path: save(path, p.hu + 400.0, p.affine), "Hounsfield"),
        ("image.nii.gz", lambda p, path: save(path, np.full(p.hu.shape, 40.0), p.affine), "Hounsfield"),
    ],
)
def test_what_does_not_fit_is_named_and_the_other_cases_go_on(phantom, tmp_path, caplog, name, spoil, words):
    write_case(tmp_path / "b_good", phantom)
    spoil(phantom, write_case(tmp_path / "a_bad", phantom) / name)
    with pytest.raises(NeedsPerson, match=words) as raised:
        read_case(tmp_path / "a_bad")
    assert str(tmp_path / "a_bad" / name) in raised.value.reason
    with caplog.at_level(logging.WARNING):
        assert [case.name for case in read_cases(tmp_path)] == ["b_good"]
    assert "a_bad passed over" in caplog.text


def cut_out(phantom, outside_hu):
    """Return Hounsfield units whose air around the patient was replaced."""
    hu = phantom.hu.astype(float)
    hu[~mask_body(phantom.hu, SPACING_MM)] = outside_hu
    return hu


@pytest.mark.parametrize("outside_hu", [-3024, -1024, -1000, 0, np.nan])
def test_hounsfield_units_are_known_by_the_air_within_the_patient_whatever_is_outside(phantom, tmp_path, outside_hu):
    save(tmp_path / "case" / "image.nii.gz", cut_out(phantom, outside_hu), phantom.affine)
    case = read_case(tmp_path / "case")
    assert (case.volume.hu[phantom.mass] == phantom.hu[phantom.mass]).all()


def test_a_file_that_does_not_say_how_it_lies_is_refused(phantom, tmp_path):
    image = nibabel.Nifti1Image(phantom.hu.transpose(2, 1, 0), TO_RAS @ phantom.affine)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    (tmp_path / "case").mkdir()
    nibabel.save(image, tmp_path / "case" / "image.nii.gz")
    with pytest.raises(NeedsPerson, match="does not say how it lies"):
        read_case(tmp_path / "case")


def test_cases_are_listed_by_name_and_other_folders_are_not_cases(phantom, tmp_path):
    for name in ("pt_2", "pt_1"):
        save(tmp_path / name / "image.nii.gz", phantom.hu[:3], phantom.affine)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no case")
    write_phantom(phantom, tmp_path / "pt_3" / "deep")
    assert [path.name for path in list_cases(tmp_path)] == ["pt_1", "pt_2", "pt_3"]
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")  # of a disc: it lists the others' files
    assert [path.name for path in list_cases(tmp_path)] == ["pt_1", "pt_2", "pt_3"]
    for case in (tmp_path / "pt_1", tmp_path / "pt_3" / "deep"):
        assert list_cases(case) == [case]
    with pytest.raises(NeedsPerson):
        list_cases(tmp_path / "nothing")


def segment(sources, segments, *, kind="BINARY"):
    """A segmentation as another program writes it; `segments` are (label, property type, mask)."""
    masks = np.stack([mask for _, _, mask in segments], axis=-1)
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=masks.astype(float) if kind == "FRACTIONAL" else masks,
        segmentation_type=kind,
        segment_descriptions=[
            hd.seg.SegmentDescription(number, label, codes.SCT.Tissue, code, "MANUAL")
            for number, (label, code, _) in enumerate(segments, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=5,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="A hospital",
        manufacturer_model_name="A drawing program",
        software_versions="1",
        device_serial_number="1",
    )


@pytest.fixture
def dicom_case(phantom, tmp_path):
    """A case of loose DICOM files, and its images in the order of slices."""
    write_phantom(phantom, tmp_path / "case" / "series" / "of images")
    (tmp_path / "case" / "notes.txt").write_text("not DICOM")
    return tmp_path / "case", phantom.datasets


def test_dicom_files_are_the_volume_that_is_screened(phantom, dicom_case):
    case = read_case(dicom_case[0])
    assert (case.volume.hu == phantom.hu).all()
    assert case.volume.sop_instance_uids == tuple(str(ds.SOPInstanceUID) for ds in dicom_case[1])
    assert (case.glands, case.mass, case.labels) == ({}, None, None)


@pytest.mark.parametrize(
    "axes",
    [(-1, 1, False), (1, -1, False), (-1, -1, False), (1, 1, True), (-1, 1, True)],
    ids=["rows", "columns", "both", "swapped", "turned"],
)
def test_a_patient_to_learn_from_lies_the_same_however_rows_and_columns_run(phantom, tmp_path, axes):
    step_x, step_y, is_swapped = axes

    def stored(array):
        array = array[:, ::step_y, ::step_x]
        return array.transpose(0, 2, 1) if is_swapped else array

    affine = phantom.affine.copy()
    for axis, step in ((0, step_x), (1, step_y)):
        if step < 0:
            affine[:3, 3] += affine[:3, axis] * (phantom.hu.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
    if is_swapped:
        affine[:, [0, 1]] = affine[:, [1, 0]]
    as_it_lies = read_case(write_case(tmp_path / "case", phantom))
    case = replace(
        as_it_lies,
        volume=replace(as_it_lies.volume, hu=stored(phantom.hu), body=stored(as_it_lies.volume.body), affine=affine),
        glands={side: stored(gland) for side, gland in as_it_lies.glands.items()},
        mass=stored(as_it_lies.mass),
        labels=None,
    )
    patient, expected = as_patient(case), as_patient(as_it_lies)
    assert (expected.labels == label_map(phantom)).all()
    for name in ("hu", "labels", "mass"):
        assert (getattr(patient, name) == getattr(expected, name)).all()
    assert patient.spacing_mm == expected.spacing_mm


def test_a_prone_patients_dicom_files_teach_the_same_sides(phantom, tmp_path):
    prone = replace(phantom, datasets=deepcopy(phantom.datasets))
    for ds in prone.datasets:
        width_mm, height_mm = (float(ds.PixelSpacing[0]) * (n - 1) for n in (ds.Columns, ds.Rows))
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x + width_mm, y + height_mm, z]
        ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        ds.PixelData = ds.pixel_array[::-1, ::-1].tobytes()
    write_phantom(prone, tmp_path / "case")
    masks = (phantom.right_parotid, phantom.left_parotid, phantom.mass)
    names = ("Parotid_R", "Parotid_L", "GTV")
    drawn = [(name, codes.SCT.Organ, mask[:, ::-1, ::-1]) for name, mask in zip(names, masks, strict=True)]
    segment(prone.datasets, drawn).save_as(tmp_path / "case" / "outlines")
    patient = read_patient(tmp_path / "case")
    assert (patient.labels == label_map(phantom)).all()
    assert (patient.mass == phantom.mass).all()
    assert (patient.hu[phantom.mass] == phantom.hu[phantom.mass]).all()


def test_what_is_learned_from_are_the_glands_that_are_judged_by_and_other_organs(phantom, tmp_path):
    labels = label_map(phantom)
    labels[-3:, :5, :5] = 5
    with_slip = labels.copy()
    with_slip[0, 0, 0] = 1
    save(write_case(tmp_path / "case", phantom) / "labels.nii.gz", with_slip, phantom.affine)
    assert (read_patient(tmp_path / "case").labels == labels).all()


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize(
    "labels", [("Parotid_R", "ParotidL", "GTV"), ("right parotid gland", "Lt. Parotid", "Pleomorphic adenoma")]
)
def test_outlines_of_any_program_are_understood(phantom, dicom_case, kind, labels):
    folder, sources = dicom_case
    masks = (phantom.right_parotid, phantom.left_parotid, phantom.mass)
    drawn = [(label, codes.SCT.Organ, mask) for label, mask in zip(labels, masks, strict=True)]
    drawn.append(("Mandible", codes.SCT.Bone, phantom.hu > 1000))
    segment(sources, drawn, kind=kind).save_as(folder / "outlines")
    case = read_case(folder)
    assert (case.glands[Side.RIGHT] == phantom.right_parotid).all()
    assert (case.glands[Side.LEFT] == phantom.left_parotid).all()
    assert (case.mass == phantom.mass).all()
    assert case.mass_sides == (Side.LEFT,)


def test_a_folder_of_images_with_their_outlines_beside_it_is_one_case(phantom, dicom_case):
    folder, sources = dicom_case
    segment(sources, [("GTV", codes.SCT.Organ, phantom.mass)]).save_as(folder / "segmentation.dcm")
    assert list_cases(folder) == [folder]
    assert [case.mass_sides for case in read_cases(folder)] == [(Side.LEFT,)]


def test_a_chewing_muscle_beside_the_glands_is_no_mass(phantom, dicom_case):
    folder, sources = dicom_case
    muscles = [np.roll(gland, 4, axis=1) for gland in (phantom.right_parotid, phantom.left_parotid)]
    masks = (phantom.right_parotid, phantom.left_parotid, *muscles)
    names = ("Parotid_R", "Parotid_L", "Masseter_R", "Masseter_L")
    segment(sources, [(name, codes.SCT.Organ, mask) for name, mask in zip(names, masks, strict=True)]).save_as(
        folder / "seg.dcm"
    )
    case = read_case(folder)
    assert (case.glands[Side.RIGHT] == phantom.right_parotid).all()
    assert (case.glands[Side.LEFT] == phantom.left_parotid).all()
    assert case.mass is None


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("GTVp", "mass"),
        ("GTVp1_L", "mass"),
        ("gtv 2", "mass"),
        ("Mass_R", "mass"),
        ("MassL", "mass"),
        ("two masses in the parotid", "mass"),
        ("Tumour", "mass"),
        ("Parotid tumor, no necrosis", "mass"),
        ("GTVn", "other"),
        ("GTV_N2 parotid", "other"),
        ("GTVn1 left parotid", "other"),
        ("Masseter_L", "other"),
        ("massive osteophyte", "other"),
        ("no mass", "other"),
        ("Parotid gland without mass", "gland"),
        ("Parotid_L_minus_GTV", "gland"),
        ("ParotidL", "gland"),
    ],
)
def test_a_segment_is_what_its_words_say_and_not_what_they_deny(phantom, dicom_case, label, kind):
    folder, sources = dicom_case
    segment(sources, [(label, codes.SCT.Organ, phantom.left_parotid)]).save_as(folder / "seg.dcm")
    case = read_case(folder)
    assert ("gland" if case.glands else "mass" if case.mass is not None else "other") == kind


def test_glands_of_no_stated_side_lie_where_they_lie(phantom, dicom_case):
    folder, sources = dicom_case
    both = phantom.right_parotid | phantom.left_parotid
    segment(sources, [("Glands", codes.SCT.ParotidGland, both)]).save_as(folder / "seg.dcm")
    case = read_case(folder)
    assert (case.glands[Side.RIGHT] == phantom.right_parotid).all()
    assert (case.glands[Side.LEFT] == phantom.left_parotid).all()
    assert case.mass is None
    labels = read_patient(folder).labels
    assert [int((labels == label).sum()) for label in (1, 2)] == [
        phantom.right_parotid.sum(),
        phantom.left_parotid.sum(),
    ]


def test_what_the_screener_wrote_itself_reads_back(phantom, dicom_case):
    folder, _ = dicom_case
    volume = read_case(folder).volume
    paths = {str(dcmread(path).SOPInstanceUID): path for path in folder.rglob("*.dcm")}
    parotids = [
        Parotid(side=side, is_assessed=True, reason="", center_mm=None, mask=mask, volume_mm3=1.0, mean_hu=0.0)
        for side, mask in ((Side.RIGHT, phantom.right_parotid), (Side.LEFT, phantom.left_parotid))
    ]
    candidate = Candidate(
        side=Side.LEFT, number=1, voxels=1, volume_mm3=1.0, longest_diameter_mm=1.0, mean_hu=1.0,
        max_probability=1.0, mean_probability=1.0, center_mm=(0.0, 0.0, 0.0),
    )  # fmt: skip
    seg = encode_seg(
        [paths[uid] for uid in volume.sop_instance_uids],
        volume,
        parotids,
        [Mass(candidate=candidate, mask=phantom.mass)],
        identity=make_identity(
            weight_digests={"a": "0" * 64}, preprocessing_version="1", version="0", device_serial_number="1"
        ),
        run_key="run 1",
        started_at=datetime(2026, 3, 4, tzinfo=UTC),
        algorithm_parameters="",
    )
    seg.save_as(folder / "ours.dcm", enforce_file_format=True)
    case = read_case(folder)
    assert (case.glands[Side.LEFT] == phantom.left_parotid).all()
    assert (case.mass == phantom.mass).all()


def test_outlines_on_another_grid_are_refused(phantom, dicom_case):
    folder, sources = dicom_case
    seg = segment(sources, [("Parotid_R", codes.SCT.ParotidGland, phantom.right_parotid)])
    for frame in seg.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0]
        position.ImagePositionPatient = [position.ImagePositionPatient[0] + 2, *position.ImagePositionPatient[1:]]
    seg.save_as(folder / "seg.dcm")
    with pytest.raises(NeedsPerson, match="does not lie on the voxels"):
        read_case(folder)


@pytest.fixture
def two_series(tmp_path):
    """A folder with a series of thin slices and one of every second of them, and the phantoms of both."""
    thin = make_phantom(mass_mm=24.0, mass_side=Side.LEFT, spacing_mm=(4.0, 4.0, 2.5), rows=64)
    thick = replace(thin, datasets=deepcopy(thin.datasets[::2]), hu=thin.hu[::2], mass=thin.mass[::2])
    series_instance_uid = generate_uid()
    for ds in thick.datasets:
        ds.SeriesInstanceUID, ds.SeriesNumber, ds.SliceThickness = series_instance_uid, 3, 5
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for name, phantom in (("thin", thin), ("thick", thick)):
        write_phantom(phantom, tmp_path / "case" / name)
    return tmp_path / "case", {"thin": thin, "thick": thick}


@pytest.mark.parametrize("drawn_on", ["thin", "thick"])
def test_of_several_series_that_one_is_read_on_which_the_outlines_were_drawn(two_series, drawn_on):
    folder, phantoms = two_series
    phantom = phantoms[drawn_on]
    segment(phantom.datasets, [("GTV", codes.SCT.Organ, phantom.mass)]).save_as(folder / "seg.dcm")
    case = read_case(folder)
    assert case.volume.series_instance_uid == phantom.datasets[0].SeriesInstanceUID
    assert (case.volume.hu == phantom.hu).all()
    assert (case.mass == phantom.mass).all()


@pytest.mark.parametrize("other", ["in the folder", "elsewhere"])
def test_outlines_that_were_drawn_on_another_series_are_refused(two_series, other):
    folder, phantoms = two_series
    seg = segment(phantoms["thick"].datasets, [("GTV", codes.SCT.Organ, phantoms["thick"].mass)])
    if other == "elsewhere":
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()
    seg.save_as(folder / "mass.dcm")
    glands = phantoms["thin"].left_parotid
    segment(phantoms["thin"].datasets, [("Parotid_L", codes.SCT.Organ, glands)]).save_as(folder / "glands.dcm")
    with pytest.raises(NeedsPerson, match="was drawn on another series"):
        read_case(folder)


@pytest.mark.parametrize("is_named", [True, False])
def test_outlines_of_other_organs_or_that_name_no_series_hinder_none(two_series, is_named):
    folder, phantoms = two_series
    thin, thick = phantoms["thin"], phantoms["thick"]
    seg = segment(thin.datasets, [("GTV", codes.SCT.Organ, thin.mass)])
    if not is_named:
        del seg.ReferencedSeriesSequence
    seg.save_as(folder / "mass.dcm")
    segment(thick.datasets, [("Mandible", codes.SCT.Bone, thick.hu > 1000)]).save_as(folder / "bone.dcm")
    case = read_case(folder)
    assert (case.volume.hu == thin.hu).all()
    assert (case.mass == thin.mass).all()


def test_dicom_that_would_not_be_screened_is_no_case_to_learn_from(phantom, tmp_path):
    few = replace(phantom, datasets=phantom.datasets[:5])
    write_phantom(few, tmp_path / "case")
    with pytest.raises(Outcome, match="case: "):
        read_case(tmp_path / "case")
    assert list(read_patients(tmp_path)) == []


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_patients_have_their_glands_on_their_own_sides():
    for case in read_cases(SHARED / "data" / "ct" / "openkbp_validation", 3):
        for side, gland in case.glands.items():
            assert find_sides(gland, {}, case.volume) == (side,)


def test_a_slip_of_the_contour_far_from_the_gland_is_dropped_and_an_accessory_part_stays():
    gland = np.zeros((30, 40, 40), bool)
    gland[10:20, 10:20, 10:20] = True
    gland[12:16, 24:29, 10:15] = True
    with_slip = gland.copy()
    with_slip[2, 2, 38] = True
    assert (drop_specks(with_slip) == gland).all()
