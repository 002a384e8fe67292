"""Where the best series is no sound volume the next is read, and the reason is kept."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from screener.outcomes import NeedsPerson
from screener.study import Instance
from tests.unit.ct_study import small_phantom, write_study
from workers.ct.load_study import load_study
from workers.ct.select_series import select_series

BEST, NEXT, LAST = "2.25.1001", "2.25.1002", "2.25.1003"


def write_series(folder: Path, uid: str, kernel: str, *, left_out: int | None = None) -> list[Instance]:
    datasets = []
    for number, ds in enumerate(small_phantom().datasets):
        copy = deepcopy(ds)
        copy.SeriesInstanceUID, copy.SOPInstanceUID, copy.ConvolutionKernel = uid, f"{uid}.{number + 1}", kernel
        if number != left_out:
            datasets.append(copy)
    return write_study(folder, datasets)


def test_the_best_series_is_read_where_it_is_sound(tmp_path: Path) -> None:
    images = write_series(tmp_path, BEST, "B30f") + write_series(tmp_path, NEXT, "B70f")
    _, choices = select_series(images)
    loaded = load_study(images, choices)
    assert loaded.volume.series_instance_uid == BEST
    assert (loaded.choices, loaded.index, loaded.hindered) == (choices, 0, None)


def test_the_next_series_is_read_where_the_best_has_a_gap(tmp_path: Path) -> None:
    images = write_series(tmp_path, BEST, "B30f", left_out=9) + write_series(tmp_path, NEXT, "B70f")
    uid, choices = select_series(images)
    assert uid == BEST
    loaded = load_study(images, choices)
    assert loaded.volume.series_instance_uid == NEXT
    assert np.array_equal(loaded.volume.hu, small_phantom().hu)
    assert loaded.hindered.code == "gap"
    told = {choice.series_instance_uid: choice for choice in loaded.choices}
    assert [told[one].is_chosen for one in (BEST, NEXT)] == [False, True]
    assert "1 slice is missing" in told[BEST].reasons[-1]


def test_the_reason_of_the_best_is_told_where_none_is_sound(tmp_path: Path) -> None:
    images = [
        *write_series(tmp_path, BEST, "B30f", left_out=9),
        *write_series(tmp_path, NEXT, "B70f", left_out=12),
        *write_series(tmp_path, LAST, "B80f"),
    ]
    images[-1].path.write_bytes(b"broken" * 99)
    _, choices = select_series(images)
    with pytest.raises(NeedsPerson) as refused:
        load_study(images, choices)
    assert refused.value.code == "gap"
    assert refused.value.reason in " ".join(choices[0].reasons + refused.value.choices[0].reasons)
    assert [choice.is_chosen for choice in refused.value.choices] == [choice.is_chosen for choice in choices]
    assert all("cannot be read as one volume" in choice.reasons[-1] for choice in refused.value.choices)


def test_pixels_that_cannot_be_read_need_a_person_though_there_is_another_series(tmp_path: Path) -> None:
    images = write_series(tmp_path, BEST, "B30f") + write_series(tmp_path, NEXT, "B70f")
    _, choices = select_series(images)
    images[3].path.write_bytes(images[3].path.read_bytes()[:-100])
    with pytest.raises(NeedsPerson) as refused:
        load_study(images, choices)
    assert refused.value.code == "truncated_pixel_data"
