"""Which series is chosen, and what is said of the others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from screener.outcomes import NeedsPerson, SetAside
from screener.study import Instance
from tests.unit.ct_study import DICOM, describe_folder, small_phantom, write_study
from workers.ct.read_kernel import Kernel, read_kernel
from workers.ct.select_series import is_localizer, select_series

needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason="the development data are not on this machine")
Change = Callable[[Dataset, int], object]


def _series(folder: Path, number: int, **elements: object) -> list[Instance]:
    """One more series of the same patient, with `elements` set on every image (None deletes)."""

    def change(ds: Dataset, index: int) -> None:
        ds.SeriesInstanceUID = f"2.25.{1000 + number}"
        ds.SOPInstanceUID = f"2.25.{1000 + number}.{index + 1}"
        for keyword, value in elements.items():
            if value is None:
                if keyword in ds:
                    delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return write_study(folder, small_phantom().datasets, change)


def _chosen(instances: list[Instance]) -> str:
    return select_series(instances)[0]


def _set_aside(instances: list[Instance]) -> SetAside:
    with pytest.raises(SetAside) as caught:
        select_series(instances)
    return caught.value


def test_the_axial_stack_is_chosen_and_the_localizer_refused(tmp_path: Path) -> None:
    instances = write_study(tmp_path, small_phantom(with_localizer=True).datasets)
    uid, choices = select_series(instances)
    assert [choice.is_chosen for choice in choices] == [True, False]
    assert choices[0].series_instance_uid == uid
    assert "localizer" in choices[1].reasons[0]
    assert sum(choice.instance_count for choice in choices) == len(instances)


def test_every_series_has_a_reason_in_whole_sentences(tmp_path: Path) -> None:
    _, choices = select_series(write_study(tmp_path, small_phantom(with_localizer=True).datasets))
    assert all(choice.reasons for choice in choices)
    assert all(reason.endswith(".") for choice in choices for reason in choice.reasons)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}),
        ({"ConvolutionKernel": "STANDARD"}, {"ConvolutionKernel": "BONEPLUS"}),
        ({"ConvolutionKernel": "Br40"}, {"ConvolutionKernel": "Br64"}),
        ({}, {"BodyPartExamined": "CHEST", "StudyDescription": "CT neck and chest"}),
        (
            {"ConvolutionKernel": "", "SeriesDescription": "Neck soft"},
            {"ConvolutionKernel": "", "SeriesDescription": "Neck bone"},
        ),
        ({}, {"ImagePositionPatient": None}),
        ({}, {"SliceThickness": "7"}),
    ],
)  # fmt: skip
def test_the_better_series_is_chosen(tmp_path: Path, better: dict, worse: dict) -> None:
    good = _series(tmp_path, 9, **better)
    assert _chosen(_series(tmp_path, 1, **worse) + good) == good[0].series_instance_uid


def test_derived_images_are_taken_where_nothing_better_is(tmp_path: Path) -> None:
    only = _series(tmp_path, 1, ImageType=["DERIVED", "SECONDARY", "AXIAL"])
    assert _chosen(only) == only[0].series_instance_uid


def test_a_coronal_reformat_is_refused(tmp_path: Path) -> None:
    coronal = _series(tmp_path, 1, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    axial = _series(tmp_path, 2)
    uid, choices = select_series(coronal + axial)
    assert uid == axial[0].series_instance_uid
    assert "coronal" in choices[1].reasons[0]
    assert _set_aside(coronal).code == "only_reformats"


def test_a_neck_without_body_part_is_screened(tmp_path: Path) -> None:
    silent = _series(tmp_path, 1, BodyPartExamined=None, SeriesDescription=None, StudyDescription=None)
    assert _chosen(silent)


@pytest.mark.parametrize(
    "elements",
    [
        {"SeriesDescription": "C-SPINE 2.0 AX", "StudyDescription": "CT TRAUMA CHEST ABDOMEN PELVIS"},
        {"BodyPartExamined": "SPINE", "StudyDescription": "CT C SPINE THORAX"},
        {"SeriesDescription": "TRONCS SUPRA-AORTIQUES"},
        {"StudyDescription": "Angio TDM troncs supra aortiques"},
        {"SeriesDescription": "TSA 1.0", "StudyDescription": "Angioscanner aortique"},
        {"SeriesDescription": "CTA ARCH TO COW", "ProtocolName": "CTA AORTIC ARCH"},
        {"SeriesDescription": "CTA AORTA TO VERTEX"},
        {"BodyPartExamined": "WHOLEBODY", "StudyDescription": "PET Lung cancer"},
        {"SeriesDescription": "WB 3.0", "StudyDescription": "CT Lymphom Thorax"},
        {"StudyDescription": "Ganzkörper CT Lunge und Abdomen"},
        {"SeriesDescription": "Whole Body 2.0", "StudyDescription": "Trauma thorax"},
        {"SeriesDescription": "CTAC 3.75", "StudyDescription": "PET/CT FDG Breast"},
    ],
)
def test_a_scan_that_may_reach_the_neck_is_screened(tmp_path: Path, elements: dict) -> None:
    plain = {"BodyPartExamined": None, "SeriesDescription": "", "StudyDescription": "", "ProtocolName": ""}
    assert _chosen(_series(tmp_path, 1, **(plain | elements)))


@pytest.mark.parametrize(
    "elements",
    [
        {"BodyPartExamined": "CHEST"},
        {"BodyPartExamined": None, "SeriesDescription": "Thorax 1.5 mm"},
        {"BodyPartExamined": None, "SeriesDescription": "Lung HRCT"},
        {"BodyPartExamined": "ABDOMEN"},
        {"BodyPartExamined": None, "SeriesDescription": "", "StudyDescription": "CT CHEST WITH ORAL CONTRAST"},
        {"BodyPartExamined": "LEG", "SeriesDescription": "femoral run-off, surface"},
        {"BodyPartExamined": None, "SeriesDescription": "T-SPINE 2.0"},
        {"BodyPartExamined": None, "SeriesDescription": "Thorax 1.5", "StudyDescription": "PET/CT FDG"},
    ],
)
def test_a_chest_or_abdomen_is_set_aside(tmp_path: Path, elements: dict) -> None:
    plain = {"SeriesDescription": "", "StudyDescription": ""}
    outcome = _set_aside(_series(tmp_path, 1, **(plain | elements)))
    assert outcome.code == "wrong_body_part"
    assert outcome.choices[0].reasons


def test_a_wrong_body_part_beside_the_word_neck_is_not_believed(tmp_path: Path) -> None:
    assert _chosen(_series(tmp_path, 1, BodyPartExamined="CHEST", SeriesDescription="Neck 2.5"))
    assert _chosen(_series(tmp_path, 2, BodyPartExamined="NECKCHESTABDOMEN"))


def test_a_study_of_a_localizer_only_is_set_aside(tmp_path: Path) -> None:
    scouts = [ds for ds in small_phantom(with_localizer=True).datasets if is_localizer(ds)]
    assert _set_aside(write_study(tmp_path, scouts)).code == "only_localizer"


def test_a_few_slices_are_set_aside(tmp_path: Path) -> None:
    few = write_study(tmp_path, small_phantom().datasets[:8])
    outcome = _set_aside(few)
    assert outcome.code == "too_few_slices"
    assert "8 slices" in outcome.choices[0].reasons[0]


def test_many_slices_over_a_short_stretch_are_set_aside(tmp_path: Path) -> None:
    short = write_study(tmp_path, small_phantom(spacing_mm=(4.0, 4.0, 1.0), z_range_mm=(0.0, 40.0)).datasets)
    assert _set_aside(short).code == "too_few_slices"


@pytest.mark.parametrize(
    ("sop_class_uid", "modality", "code", "word"),
    [
        (MRImageStorage, "MR", "no_ct_series", "MR"),
        (SecondaryCaptureImageStorage, "OT", "no_ct_series", "OT"),
        (SecondaryCaptureImageStorage, "CT", "no_ct_series", "not CT"),
    ],
)
def test_what_is_no_ct_image_is_refused_with_a_reason(
    tmp_path: Path, sop_class_uid: str, modality: str, code: str, word: str
) -> None:
    outcome = _set_aside(_series(tmp_path, 1, SOPClassUID=sop_class_uid, Modality=modality))
    assert outcome.code == code
    assert word in outcome.choices[0].reasons[0]


def test_an_enhanced_image_without_its_functional_groups_needs_a_person(tmp_path: Path) -> None:
    with pytest.raises(NeedsPerson) as caught:
        select_series(_series(tmp_path, 1, SOPClassUID=EnhancedCTImageStorage))
    assert caught.value.code == "unreadable_file"


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        {"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"SeriesDescription": "Neck MIP 10 mm"},
    ],
)
def test_maps_and_projections_are_no_slices(tmp_path: Path, elements: dict) -> None:
    assert _set_aside(_series(tmp_path, 1, **elements)).code == "only_reformats"


def test_a_low_dose_series_is_no_dose_report(tmp_path: Path) -> None:
    assert _chosen(_series(tmp_path, 1, SeriesDescription="Low dose neck"))


def test_the_order_of_arrival_decides_nothing(tmp_path: Path) -> None:
    instances = _series(tmp_path, 1) + _series(tmp_path, 2) + _series(tmp_path, 3, ConvolutionKernel="BONE")
    expected = select_series(instances)
    for order in (instances[::-1], instances[1::2] + instances[::2]):
        assert select_series(order) == expected


def test_a_header_cut_short_needs_a_person_who_is_told_which(tmp_path: Path) -> None:
    instances = _series(tmp_path, 1)
    broken = instances[4]
    broken.path.write_bytes(broken.path.read_bytes()[:420])
    with pytest.raises(NeedsPerson, match=broken.sop_instance_uid) as caught:
        select_series(instances)
    assert caught.value.code == "unreadable_file"
    assert caught.value.choices


@pytest.mark.parametrize("without", [("Rows", "Columns", "PixelData"), ("Rows",)])
def test_a_sound_file_without_an_image_is_not_called_broken(tmp_path: Path, without: tuple[str, ...]) -> None:
    instances = _series(tmp_path, 1, **dict.fromkeys(without))
    with pytest.raises(NeedsPerson, match="holds no image: its header ends without Rows") as caught:
        select_series(instances)
    assert caught.value.code == "unreadable_file"
    assert "broken" not in caught.value.reason


def test_many_files_that_cannot_be_read_are_told_in_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    instances = _series(tmp_path, 1, Rows=None)
    with pytest.raises(NeedsPerson) as caught:
        select_series(instances)
    told = " ".join(caught.value.choices[0].reasons)
    count = len(instances)
    assert f"{count} of {count} images cannot be read, the first: The file of SOP Instance UID 2.25.1001.1 " in told
    assert told.count("SOP Instance UID") == 1
    assert not caplog.records  # a line of the log would not carry the study's number


def test_a_file_that_is_no_dicom_in_another_series_stops_nothing(tmp_path: Path) -> None:
    good, bone = _series(tmp_path, 1), _series(tmp_path, 2, ConvolutionKernel="BONE")
    bone[0].path.write_bytes(b"no DICOM at all" * 40)
    uid, choices = select_series(good + bone)
    assert uid == good[0].series_instance_uid
    assert "not DICOM" in choices[1].reasons[-1]


def test_an_empty_study_is_set_aside() -> None:
    assert _set_aside([]).code == "no_ct_series"


@pytest.mark.parametrize(
    ("name", "description", "kernel"),
    [
        ("B30f", "", Kernel.SOFT), ("H70h", "", Kernel.SHARP), ("Br40d", "", Kernel.SOFT), ("Hr60", "", Kernel.SHARP),
        ("FC08", "", Kernel.SOFT), ("FC30", "", Kernel.SHARP), ("FC51", "", Kernel.SHARP), ("FC17", "", Kernel.SOFT),
        ("C", "", Kernel.SOFT), ("YC", "", Kernel.SOFT), ("L", "", Kernel.SHARP), ("UB", "", Kernel.SOFT),
        ("STANDARD", "", Kernel.SOFT), ("BONEPLUS", "", Kernel.SHARP), ("LUNG", "", Kernel.SHARP),
        ("I31f\\3", "", Kernel.SOFT), ("", "Hals 2.0 WEICHTEIL", Kernel.SOFT), ("", "Neck", Kernel.UNKNOWN),
        ("", "temporal bone detail", Kernel.SHARP),
    ],
)  # fmt: skip
def test_kernels_of_many_vendors_are_told_apart(name: str, description: str, kernel: Kernel) -> None:
    assert read_kernel(name, description) is kernel


@needs_shared
def test_the_real_pet_ct_study_gives_its_derived_ct_and_refuses_its_pet() -> None:
    instances = describe_folder(DICOM / "neck_ct_hn_chus_052")
    uid, choices = select_series(instances)
    assert {choice.modality: choice.is_chosen for choice in choices} == {"CT": True, "PT": False}
    assert {one.path.name[:2] for one in instances if one.series_instance_uid == uid} == {"CT"}
    assert "PT" in choices[1].reasons[0]


@needs_shared
def test_the_old_scanners_neck_is_chosen_without_any_word_for_it() -> None:
    assert _chosen(describe_folder(DICOM / "neck_ct_pycerr"))


@needs_shared
@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("gantrytilting", "too_few_slices"),
        ("notavolume", "too_few_slices"),
        ("sliceincrement", "too_few_slices"),
        ("slicecount", "no_ct_series"),
        ("sliceorientation", "no_ct_series"),
        ("transfer_syntaxes", "wrong_body_part"),
        ("ultrasound", "no_ct_series"),
    ],
)
def test_awkward_studies_are_set_aside_with_a_code(folder: str, code: str) -> None:
    assert _set_aside(describe_folder(DICOM / "awkward" / folder)).code == code
