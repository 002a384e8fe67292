"""Results made of frames of a multi-frame image satisfy the tools of others, and highdicom finds the frames in them."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset

from tests.conformance.studies import Study, dress
from tests.unit.ct_study import small_phantom, write_study
from tests.unit.enhanced_ct import enhance
from workers.ct.load_volume import load_volume


def _study(folder: Path, *images: Dataset) -> Study:
    instances = write_study(folder, images)
    volume = load_volume(instances, instances[0].series_instance_uid)
    paths = {one.sop_instance_uid: one.path for one in instances}
    return dress(volume, [paths[uid] for uid in volume.sop_instance_uids])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One image, all of whose frames were screened."""
    return _study(tmp_path_factory.mktemp("whole"), enhance(small_phantom().datasets[::-1]))


def test_dciodvfy_finds_no_error_in_results_of_one_image(whole: Study, find_errors) -> None:
    for ds in whole.both():
        assert find_errors(ds) == []


def test_dciodvfy_finds_no_error_in_results_of_parts_of_two_images(tmp_path: Path, find_errors) -> None:
    slices = small_phantom().datasets
    frames = [{"TemporalPositionIndex": 1}] * (len(slices) - 10) + [{"TemporalPositionIndex": 2}] * 10
    images = [
        enhance(slices[:5], sop_instance_uid="2.25.11", frames=frames[:5]),
        enhance([*slices[5:], *slices[:5]], sop_instance_uid="2.25.12", frames=[*frames[:1] * 37, *frames[-5:]]),
    ]
    study = _study(tmp_path, *images)
    assert len(study.volume.frame_numbers) == len(slices)
    for ds in study.both():
        assert find_errors(ds) == []


def test_the_masks_are_found_by_the_numbers_of_the_source_frames(whole: Study) -> None:
    seg, _ = whole.both()
    read = hd.seg.Segmentation.from_dataset(seg)
    masks = read.get_pixels_by_source_frame(
        whole.volume.sop_instance_uids[0], list(whole.volume.frame_numbers), assert_missing_frames_are_empty=True
    )  # (z, y, x, segment)
    assert np.array_equal(masks[..., 0], whole.parotids[0].mask)


def test_the_report_lists_every_frame(whole: Study) -> None:
    seg, sr = whole.both()
    listed = [
        reference.ReferencedFrameNumber
        for item in sr.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Image Library"
        for image in item.ContentSequence[0].ContentSequence
        for reference in image.get("ReferencedSOPSequence") or ()
    ]
    assert tuple(listed) == whole.volume.frame_numbers
    assert "ReferencedFrameNumber" not in seg.SourceImageSequence[0]
