"""What belongs to two patients is screened of neither; the same patient, written in another way, is no second one."""

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from screener.outcomes import NeedsPerson
from screener.study import Instance
from tests.conformance.us_studies import make_picture, make_us_study
from tests.unit.ct_study import small_phantom, write_study
from tests.unit.us_objects import TISSUE, draw_picture, make_object, write_object
from workers.ct.load_study import load_study
from workers.ct.select_series import select_series
from workers.us.select_frames import select_frames

ANNA = {"PatientID": "CANARY-ID-1", "PatientName": "CANARY^DONOTLOG", "PatientBirthDate": "19500101"}
BOB = {"PatientID": "CANARY-ID-2", "PatientName": "BAKER^CANARY", "PatientBirthDate": "19620304"}
SERIES = iter(range(1, 1000))


def but(**changes: str | None) -> dict[str, str | None]:
    """The first patient, some elements of whom are written otherwise; None: the header lacks it."""
    return {**ANNA, **changes}


def nameless(patient: dict[str, Any]) -> dict[str, Any]:
    return {**patient, "PatientID": ""}


def write_series(folder: Path, *patients: dict[str, Any], kernel: str = "B30f") -> list[Instance]:
    """Write a CT series whose slices belong to `patients` one after the other."""
    uid = f"2.25.77{next(SERIES)}"
    datasets = []
    for number, ds in enumerate(small_phantom().datasets):
        copy = deepcopy(ds)
        copy.SeriesInstanceUID, copy.SOPInstanceUID, copy.ConvolutionKernel = uid, f"{uid}.{number + 1}", kernel
        dress(copy, patients[min(len(patients) - 1, number // 20)])
        datasets.append(copy)
    return write_study(folder, datasets)


def dress(ds: Any, patient: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dates that are none
        for keyword, value in patient.items():
            setattr(ds, keyword, value)
            if value is None:
                delattr(ds, keyword)
    return ds


def write_pictures(folder: Path, *patients: dict[str, Any]) -> list[Instance]:
    """Write one B-mode picture of each patient."""
    return [write_object(folder, dress(make_object(draw_picture(TISSUE)), patient)) for patient in patients]


def load(images: list[Instance]) -> str:
    """Select and load a CT study; return the Series Instance UID."""
    _, choices = select_series(images)
    return load_study(images, choices).volume.series_instance_uid


def refusal(screen: Any, images: list[Instance]) -> NeedsPerson:
    with pytest.raises(NeedsPerson) as refused:
        screen(images)
    assert refused.value.code == "mixed_patients"
    assert refused.value.choices
    assert not any(value in refused.value.reason for patient in (ANNA, BOB) for value in patient.values())
    return refused.value


OTHERS = {
    "all differ": (ANNA, BOB),
    "the ID alone": (ANNA, but(PatientID="CANARY-ID-2")),
    "no ID, another name": (nameless(ANNA), nameless(but(PatientName="BAKER^CANARY"))),
    "no ID, another birth date": (nameless(ANNA), nameless(but(PatientBirthDate="19620304"))),
    "no ID, a brother": (nameless(ANNA), nameless(but(PatientName="CANARY^BOB"))),
    "one without an ID": (ANNA, nameless(BOB)),
    "an ID that stands for none": (but(PatientID="UNKNOWN"), {**BOB, "PatientID": "UNKNOWN"}),
    "the first says nothing": (dict.fromkeys(ANNA, ""), ANNA, BOB),
    "another script": (
        nameless(but(PatientName="Иванов^Иван", SpecificCharacterSet="ISO_IR 192")),
        nameless(but(PatientName="Петров^Пётр", SpecificCharacterSet="ISO_IR 192")),
    ),
}
SAME = {
    "padding and case": but(PatientID=" canary-id-1 ", PatientName="Canary^DoNotLog ", PatientBirthDate="1950.01.01"),
    "nothing given": dict.fromkeys(ANNA, ""),
    "elements absent": dict.fromkeys(ANNA, None),
    "no ID": nameless(ANNA),
    "trailing components": but(PatientID="", PatientName="CANARY^DONOTLOG^^DR^"),
    "one component": but(PatientID="", PatientName="CANARY DONOTLOG"),
    "only separators": but(PatientID="", PatientName="^^^^"),
    "name corrected": but(PatientName="BAKER^CANARY"),
    "birth date corrected": but(PatientBirthDate="19620304"),
    "no date": but(PatientID="", PatientBirthDate="00000000"),
}
SPELLINGS = {
    "umlaut": ("Müller^Jörg", "Mueller^Joerg"),
    "accent": ("Núñez^José", "NUNEZ^JOSE"),
    "stroke": ("Sørensen^Bo", "Soerensen^Bo"),
    "question mark": ("Müller^Jörg", "M?ller^J?rg"),
    "other groups": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "YAMADA^TAROU"),
    "another script": ("Yamada^Tarou", "山田^太郎"),
}


@pytest.mark.parametrize("patients", OTHERS.values(), ids=OTHERS)
def test_a_series_of_two_patients_needs_a_person(tmp_path: Path, patients: tuple[dict, ...]) -> None:
    refusal(load, write_series(tmp_path, *patients))


@pytest.mark.parametrize("patients", OTHERS.values(), ids=OTHERS)
def test_pictures_of_two_patients_need_a_person(tmp_path: Path, patients: tuple[dict, ...]) -> None:
    refusal(select_frames, write_pictures(tmp_path, *patients))


@pytest.mark.parametrize("same", SAME.values(), ids=SAME)
def test_one_patient_written_in_two_ways_is_screened(tmp_path: Path, same: dict) -> None:
    images = write_series(tmp_path / "ct", ANNA, same)
    assert load(images) == images[0].series_instance_uid
    _, frames, *_ = select_frames(write_pictures(tmp_path, ANNA, same))
    assert len(frames) == 2


@pytest.mark.parametrize("spellings", SPELLINGS.values(), ids=SPELLINGS)
def test_a_name_spelled_in_another_character_set_is_no_second_patient(
    tmp_path: Path, spellings: tuple[str, str]
) -> None:
    one, other = ({"SpecificCharacterSet": "ISO_IR 192", "PatientID": "", "PatientName": name} for name in spellings)
    assert len(select_frames(write_pictures(tmp_path, one, other))[1]) == 2


def test_a_name_whose_character_set_is_not_told_is_no_second_patient(tmp_path: Path) -> None:
    told = {"SpecificCharacterSet": "ISO_IR 100", "PatientID": "", "PatientName": "Müller^Jörg"}
    images = write_pictures(tmp_path, told, {**told, "SpecificCharacterSet": "ISO_IR 192"})
    path = images[1].path
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"ISO_IR 100"))
    assert len(select_frames(images)[1]) == 2


def test_series_of_two_patients_need_a_person_though_each_is_sound(tmp_path: Path) -> None:
    outcome = refusal(load, write_series(tmp_path, ANNA) + write_series(tmp_path, BOB))
    assert "patient" in outcome.reason


@pytest.mark.parametrize(
    "other",
    [but(PatientID="4711"), but(PatientName="BAKER^CANARY"), nameless(BOB), *SAME.values()],
    ids=["the ID in another way", "the name corrected", "no ID", *SAME],
)
def test_a_series_that_is_not_screened_may_write_the_same_patient_in_another_way(tmp_path: Path, other: dict) -> None:
    best = write_series(tmp_path, ANNA)
    assert load(best + write_series(tmp_path, other, kernel="B70f")) == best[0].series_instance_uid


def test_a_series_of_two_patients_is_not_passed_over_for_the_next(tmp_path: Path) -> None:
    refusal(load, write_series(tmp_path, ANNA, but(PatientID="4711")) + write_series(tmp_path, ANNA, kernel="B70f"))


def test_a_capture_of_another_patient_beside_the_pictures_needs_a_person(tmp_path: Path) -> None:
    capture = make_object(draw_picture(TISSUE), SOPClassUID=SecondaryCaptureImageStorage, Modality="OT")
    beside = write_object(tmp_path, dress(capture, BOB))
    refusal(select_frames, [*write_pictures(tmp_path, ANNA), beside])


def test_a_capture_that_writes_the_ID_in_another_way_does_not_matter(tmp_path: Path) -> None:
    capture = make_object(draw_picture(TISSUE), SOPClassUID=SecondaryCaptureImageStorage, Modality="OT")
    beside = write_object(tmp_path, dress(capture, but(PatientID="4711")))
    assert len(select_frames([*write_pictures(tmp_path, ANNA), beside])[1]) == 1


def test_no_result_is_made_of_the_pictures_of_two_patients(tmp_path: Path) -> None:
    study = make_us_study(tmp_path)
    dress(make_picture(1), BOB).save_as(study.source_paths[0], enforce_file_format=True)
    with pytest.raises(NeedsPerson) as refused:
        study.objects()
    assert refused.value.code == "mixed_patients"
