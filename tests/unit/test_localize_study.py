"""Where the best series covers no gland the next is searched; one that a person must look at is never passed over."""

import gc
from copy import deepcopy
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch

from screener.outcomes import NeedsPerson, SetAside
from screener.phantom import make_phantom
from screener.study import Instance, SeriesChoice, Volume
from tests.unit.ct_study import write_study
from tests.unit.heads import make_head, see_glands
from workers.ct.load_study import load_study
from workers.ct.localize_parotids import Floats, Localizer
from workers.ct.localize_study import MOST_TRIED, localize_study
from workers.ct.select_series import select_series
from workers.models.weights import load_bundle

NECK = make_phantom(spacing_mm=(2.0, 2.0, 2.5), rows=128, z_range_mm=(-130, 75))
CHEST = make_phantom(spacing_mm=(2.0, 2.0, 5.0), rows=128, z_range_mm=(-230, -70))

A_CHOICE = {"modality": "CT", "score": 9.0, "is_chosen": False, "reasons": (), "instance_count": 50}


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return load_bundle("parotid_localizer", torch.device("cpu"))


def write_series(folder: Path, phantom: object, number: int, kernel: str, *, left_out: int = -1) -> list[Instance]:
    datasets = []
    for place, ds in enumerate(phantom.datasets):
        copy = deepcopy(ds)
        copy.StudyInstanceUID = NECK.datasets[0].StudyInstanceUID
        copy.SeriesInstanceUID, copy.SOPInstanceUID = f"2.25.{number}", f"2.25.{number}.{place + 1}"
        copy.ConvolutionKernel, copy.SeriesDescription, copy.BodyPartExamined = kernel, "Neck", "NECK"
        if place != left_out:
            datasets.append(copy)
    return write_study(folder, datasets)


def test_the_next_series_is_searched_where_the_best_covers_no_gland(tmp_path: Path, localizer: Localizer) -> None:
    images = write_series(tmp_path, CHEST, 1, "B30f") + write_series(tmp_path, NECK, 2, "B70f")
    _, choices = select_series(images)
    loaded = load_study(images, choices)
    assert loaded.volume.series_instance_uid == "2.25.1"
    found, parotids = localize_study(images, loaded, localizer)
    assert found.volume.series_instance_uid == "2.25.2"
    assert all(parotid.is_assessed for parotid in parotids)
    told = {choice.series_instance_uid: choice for choice in found.choices}
    assert [told[one].is_chosen for one in ("2.25.1", "2.25.2")] == [False, True]
    assert "Neither parotid gland is covered" in told["2.25.1"].reasons[-1]


def test_the_best_series_is_searched_where_it_covers_a_gland(tmp_path: Path, localizer: Localizer) -> None:
    images = write_series(tmp_path, NECK, 1, "B30f") + write_series(tmp_path, CHEST, 2, "B70f")
    _, choices = select_series(images)
    loaded = load_study(images, choices)
    found, _ = localize_study(images, loaded, localizer)
    assert found is loaded


def test_a_study_of_which_no_series_covers_a_gland_is_set_aside(tmp_path: Path, localizer: Localizer) -> None:
    images = [image for number in range(1, 7) for image in write_series(tmp_path, CHEST, number, "B30f")]
    _, choices = select_series(images)
    with pytest.raises(SetAside) as refused:
        localize_study(images, load_study(images, choices), localizer)
    assert refused.value.code == "no_parotid_covered"
    told = [choice for choice in refused.value.choices if "Neither parotid gland" in choice.reasons[-1]]
    assert len(told) == MOST_TRIED


def test_no_more_than_two_series_are_held_at_once(tmp_path: Path, localizer: Localizer) -> None:
    images = [image for number in range(1, 5) for image in write_series(tmp_path, CHEST, number, "B30f")]
    _, choices = select_series(images)
    held = []

    def count_volumes() -> int:
        return sum(type(one) is Volume for one in gc.get_objects())

    gc.collect()  # of the tests before
    others = count_volumes()

    def watch(image: Floats) -> Floats:
        held.append(count_volumes() - others)
        return localizer(image)

    loaded = load_study(images, choices)
    with pytest.raises(SetAside):
        localize_study(images, loaded, watch)
    assert len(held) == 2 * MOST_TRIED  # each as it lies and mirrored
    assert max(held) <= 2


def test_what_a_person_must_look_at_counts_more_than_what_is_no_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"2.25.1": SetAside("Few.", code="too_few_slices"), "2.25.2": NeedsPerson("A gap.", code="gap")}
    choices = [SeriesChoice(series_instance_uid=uid, **A_CHOICE) for uid in (*answers, "2.25.3")]

    def load_volume(images: object, uid: str) -> Volume:
        if uid in answers:
            raise answers[uid]
        return replace(make_head(), series_instance_uid=uid)

    monkeypatch.setattr("workers.ct.load_study.load_volume", load_volume)
    for order in permutations(choices):
        with pytest.raises(NeedsPerson, match="A gap"):
            localize_study((), load_study((), order), lambda image: 0 * see_glands(image))
    with pytest.raises(NeedsPerson, match="A gap"):
        load_study((), choices[:2])


@pytest.mark.parametrize(("broken", "kernels"), [("the better", ("B30f", "B70f")), ("the worse", ("B70f", "B30f"))])
def test_a_series_that_a_person_must_look_at_is_not_passed_over(
    broken: str, kernels: tuple[str, str], tmp_path: Path, localizer: Localizer
) -> None:
    images = write_series(tmp_path, NECK, 1, kernels[0], left_out=40) + write_series(tmp_path, CHEST, 2, kernels[1])
    _, choices = select_series(images)
    assert (choices[0].series_instance_uid == "2.25.1") == (broken == "the better")
    with pytest.raises(NeedsPerson) as refused:
        localize_study(images, load_study(images, choices), localizer)
    assert refused.value.code == "gap"
    assert len(refused.value.choices) == 2
