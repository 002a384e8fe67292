"""B-mode frames are chosen, all else is refused with its reason, and one broken object does not hide the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.sequence import Sequence
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from screener.outcomes import NeedsPerson, SetAside
from screener.sop_classes import ULTRASOUND_RETIRED
from screener.study import MANUFACTURER, Instance
from screener.us_study import Box, Frame, FrameChoice
from tests.unit.ct_study import DICOM, describe
from tests.unit.us_objects import (
    LEFT,
    RIGHT,
    TISSUE,
    add_clutter,
    draw_picture,
    draw_speckle,
    make_object,
    make_region,
    write_object,
)
from workers.us import select_frames as module
from workers.us.find_pictures import to_gray
from workers.us.select_frames import MAX_CLIP_FRAMES, MIN_CLIP_FRAMES, judge_frames, select_frames

needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason="the development data are not on this machine")

STILL = add_clutter(draw_picture(TISSUE))


def _write(folder: Path, pixels: NDArray[Any] = STILL, **header: Any) -> Instance:
    return write_object(folder, make_object(pixels, **header))


def _select_one(instance: Instance) -> tuple[FrameChoice, tuple[Frame, ...]]:
    (choice,), frames, *_ = select_frames([instance])
    return choice, frames


def _refuse(*images: Instance) -> SetAside:
    with pytest.raises(SetAside) as refused:
        select_frames(images)
    assert refused.value.code == "no_b_mode_frame"
    assert not any(choice.is_taken for choice in refused.value.choices)
    assert "CANARY" not in refused.value.reason
    return refused.value


def _paint(color: tuple[int, int, int], box: Box) -> NDArray[np.uint8]:
    picture = STILL.copy()
    picture[box.top : box.bottom, box.left : box.right] = color
    return picture


def test_a_still_without_regions_gives_the_gray_of_its_picture(tmp_path: Path) -> None:
    instance = _write(tmp_path)
    choice, (frame,) = _select_one(instance)
    assert (choice.is_taken, choice.frame_number) == (True, 0)
    assert choice.reason == "B-mode found by content; not calibrated."
    assert (frame.sop_instance_uid, frame.frame_number) == (instance.sop_instance_uid, 0)
    assert (frame.picture_shape, frame.spacing_mm) == ((480, 640), None)
    box = frame.box
    assert np.array_equal(frame.gray, to_gray(STILL)[box.top : box.bottom, box.left : box.right])


def test_regions_give_one_frame_each_and_the_millimeters(tmp_path: Path) -> None:
    regions = Sequence([make_region(LEFT), make_region(RIGHT, delta_cm=0.02)])
    choice, frames = _select_one(_write(tmp_path, draw_picture(LEFT, RIGHT), SequenceOfUltrasoundRegions=regions))
    assert choice.reason.startswith("2 B-mode pictures by its regions")
    assert [frame.spacing_mm for frame in frames] == [pytest.approx((0.1, 0.1)), pytest.approx((0.2, 0.2))]
    assert frames[0].box.right <= LEFT.right < RIGHT.left <= frames[1].box.left


@pytest.mark.parametrize("sop_class_uid", ULTRASOUND_RETIRED.values())
def test_retired_objects_are_read_too(tmp_path: Path, sop_class_uid: str) -> None:
    assert _select_one(_write(tmp_path, SOPClassUID=sop_class_uid))[0].is_taken


def test_a_secondary_capture_counts_where_it_is_ultrasound(tmp_path: Path) -> None:
    assert _select_one(_write(tmp_path, SOPClassUID=SecondaryCaptureImageStorage))[0].is_taken
    clip = {"SOPClassUID": MultiFrameTrueColorSecondaryCaptureImageStorage, "Modality": "OT"}
    assert "another modality" in _refuse(_write(tmp_path, np.stack([STILL] * 2), **clip)).reason


def test_a_capture_of_our_own_that_comes_back_is_not_read(tmp_path: Path) -> None:
    ours = _write(tmp_path, SOPClassUID=SecondaryCaptureImageStorage, Manufacturer=MANUFACTURER)
    assert "A result of this screener" in _refuse(ours).reason


def test_an_overlay_of_color_is_refused_where_no_header_tells_of_it(tmp_path: Path) -> None:
    flow = _paint((200, 30, 20), Box(top=200, left=300, bottom=260, right=380))
    flow[220:250, 310:370] = (20, 40, 210)
    assert "An overlay of color" in _refuse(_write(tmp_path, flow)).reason


def test_colored_calipers_and_a_picture_in_one_tint_are_taken(tmp_path: Path) -> None:
    image = Image.fromarray(STILL)
    draw = ImageDraw.Draw(image)
    draw.line((250, 200, 400, 280), fill=(255, 255, 0), width=2)
    draw.text((200, 120), "D1 21.4 mm", fill=(0, 255, 0), font_size=18)
    assert _select_one(_write(tmp_path, np.array(image)))[0].is_taken
    sepia = (draw_picture(TISSUE) * np.array([1.0, 0.8, 0.5])).astype(np.uint8)
    assert _select_one(_write(tmp_path, sepia))[0].is_taken


def test_the_gray_half_of_a_dual_picture_is_taken_without_the_colored_one(tmp_path: Path) -> None:
    picture = draw_picture(LEFT, RIGHT)
    picture[RIGHT.top + 50 : RIGHT.bottom - 50, RIGHT.left + 50 : RIGHT.right - 50] //= np.array([1, 3, 9], np.uint8)
    choice, (frame,) = _select_one(_write(tmp_path, picture))
    assert "1 with an overlay of color left out" in choice.reason
    assert frame.box.right <= RIGHT.left


def test_other_modes_are_refused_by_their_regions_or_their_image_type(tmp_path: Path) -> None:
    spectrum = _write(tmp_path, SequenceOfUltrasoundRegions=Sequence([make_region(TISSUE, 3, 3)]))
    assert "PW spectral Doppler" in _refuse(spectrum).reason
    assert "M-mode" in _refuse(_write(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "NECK", "0002"])).reason


def test_a_thumbnail_and_a_page_of_numbers_are_refused(tmp_path: Path) -> None:
    assert "smaller than 64 x 64" in _refuse(_write(tmp_path, draw_speckle((60, 90)))).reason
    assert "No ultrasound picture" in _refuse(_write(tmp_path, np.zeros((480, 640), np.uint8))).reason


def _make_clip(frames: int) -> NDArray[np.uint8]:
    return np.stack([draw_speckle((80, 100), seed) for seed in range(3)])[np.arange(frames) % 3][..., None].repeat(3, 3)


def test_a_clip_is_looked_at_evenly_and_told_as_one_run(tmp_path: Path) -> None:
    choice, frames = _select_one(_write(tmp_path, _make_clip(200)))
    numbers = [frame.frame_number for frame in frames]
    assert (len(numbers), numbers[0], numbers[-1]) == (MAX_CLIP_FRAMES, 1, 200)
    assert set(np.diff(numbers)) <= {5, 6}
    assert choice.reason.startswith("Frames 1 to 200 of 200, 40 of them looked at: B-mode")


def test_many_clips_share_what_is_looked_at_and_each_is(tmp_path: Path) -> None:
    clips = [_write(tmp_path, _make_clip(12)) for _ in range(11)]
    _, frames, *_ = select_frames([*clips, _write(tmp_path)])
    of_each = [sum(frame.sop_instance_uid == clip.sop_instance_uid for frame in frames) for clip in clips]
    assert of_each == [MIN_CLIP_FRAMES] * 11


def test_a_clip_that_turns_to_color_is_taken_up_to_there(tmp_path: Path) -> None:
    clip = _make_clip(6)
    clip[4:, 20:60, 20:60] = (200, 30, 20)
    choices, frames, *_ = select_frames([_write(tmp_path, clip)])
    assert [(one.frame_number, one.is_taken) for one in choices] == [(1, True), (5, False)]
    assert [frame.frame_number for frame in frames] == [1, 2, 3, 4]


def test_a_broken_object_has_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    sound, cut, none = (_write(tmp_path) for _ in range(3))
    cut.path.write_bytes(cut.path.read_bytes()[:-5000])
    none.path.write_bytes(b"nothing")
    choices, (frame,), unread, _ = select_frames([sound, cut, none])
    assert unread == 2
    assert frame.sop_instance_uid == sound.sop_instance_uid
    assert {one.sop_instance_uid for one in choices if not one.is_taken} == {
        cut.sop_instance_uid,
        none.sop_instance_uid,
    }


def test_a_person_looks_where_nothing_was_found_and_something_could_not_be_read(tmp_path: Path) -> None:
    cut, empty = _write(tmp_path), _write(tmp_path, np.zeros((480, 640), np.uint8))
    cut.path.write_bytes(cut.path.read_bytes()[:-5000])
    with pytest.raises(NeedsPerson) as outcome:
        select_frames([cut, empty])
    assert outcome.value.code == "truncated_pixel_data"
    assert len(outcome.value.choices) == 2


def test_neither_order_nor_company_changes_what_is_taken(tmp_path: Path) -> None:
    images = [_write(tmp_path), _write(tmp_path, _make_clip(3)), _write(tmp_path, np.zeros((480, 640), np.uint8))]
    forward, backward = select_frames(images), select_frames(images[::-1])
    assert forward[0] == backward[0]
    assert [frame.box for frame in forward[1]] == [frame.box for frame in backward[1]]


def test_frames_come_one_by_one(tmp_path: Path) -> None:
    judged = judge_frames([_write(tmp_path, _make_clip(5))])
    assert [next(judged).choice.frame_number for _ in range(2)] == [1, 2]


def test_a_study_of_more_than_fits_in_memory_is_given_to_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 150_000)
    images = [_write(tmp_path), _write(tmp_path)]
    assert len(select_frames(images[:1])[1]) == 1
    with pytest.raises(NeedsPerson, match="too large"):
        select_frames(images)


def test_of_very_many_objects_some_are_looked_at_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 2)
    choices, frames, *_ = select_frames([_write(tmp_path) for _ in range(3)])
    assert len(frames) == 2
    assert [one.reason for one in choices if not one.is_taken] == ["Not looked at: 2 of 3 objects were, evenly spread."]


def test_a_study_without_images_is_set_aside() -> None:
    assert _refuse().reason == "The study holds no image."


@needs_shared
@pytest.mark.parametrize(
    ("name", "taken", "spacing_mm"),
    [
        ("ultrasound/gdcm-US-ALOKA-16.dcm", 2, 0.3827),
        ("transfer_syntaxes/US-YBR_FULL_422-EVRLE.dcm", 1, 0.0616),
        ("transfer_syntaxes/no-pixel-spacing.dcm", 0, None),
        ("ultrasound/US-PAL-8-10x-echo", 0, None),
        ("ultrasound/US-RGB-8-epicard", 0, None),
        ("ultrasound/US-RGB-8-esopecho", 0, None),
        ("ultrasound/US1_J2KR.dcm", 0, None),
        ("ultrasound/US1_UNCI.dcm", 0, None),
    ],
)
def test_real_objects_end_as_what_they_show(name: str, taken: int, spacing_mm: float | None) -> None:
    instance = describe(DICOM / "awkward" / name)
    if not taken:
        _refuse(instance)
        return
    _, frames = _select_one(instance)
    assert [frame.spacing_mm for frame in frames] == [pytest.approx((spacing_mm, spacing_mm), abs=1e-3)] * taken


@pytest.mark.parametrize(
    ("name", "taken"), [("examples_palette.dcm", 1), ("examples_ybr_color.dcm", 30), ("examples_rgb_color.dcm", 0)]
)
def test_objects_of_the_dicom_library_end_as_what_they_show(name: str, taken: int) -> None:
    instance = describe(Path(str(pydicom.data.get_testdata_file(name, download=False))))
    if taken:
        assert len(_select_one(instance)[1]) == taken
    else:
        _refuse(instance)
