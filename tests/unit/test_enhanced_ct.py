"""Enhanced multi-frame CT becomes the same volume as the same slices one by one, and its results name the frames."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, LegacyConvertedEnhancedCTImageStorage, RLELossless

from screener.outcomes import NeedsPerson, Outcome, SetAside
from screener.study import Instance, Volume
from tests.conformance.studies import dress
from tests.unit.ct_study import small_phantom, write_study
from tests.unit.enhanced_ct import enhance
from workers.ct.load_volume import load_volume
from workers.ct.select_series import select_series


def _load(instances: list[Instance]) -> Volume:
    uid, _ = select_series(instances)
    return load_volume(instances, uid)


def _refusal(instances: list[Instance]) -> Outcome:
    with pytest.raises((SetAside, NeedsPerson)) as caught:
        _load(instances)
    return caught.value


def _shuffled(seed: int = 3) -> list[Dataset]:
    slices = small_phantom().datasets
    return [slices[index] for index in np.random.default_rng(seed).permutation(len(slices))]


def _brighter(slices: list[Dataset], by: int) -> list[Dataset]:
    """Another phase: the same places, other values."""
    brighter = []
    for single in slices:
        copy = deepcopy(single)
        copy.PixelData = (np.frombuffer(single.PixelData, "<u2") + by).astype("<u2").tobytes()
        brighter.append(copy)
    return brighter


@pytest.mark.parametrize("is_shared", [True, False])
def test_its_volume_is_that_of_the_single_images(tmp_path: Path, is_shared: bool) -> None:
    phantom = small_phantom()
    slices = _shuffled()
    volume = _load(write_study(tmp_path, [enhance(slices, is_shared=is_shared)]))
    assert np.array_equal(volume.hu, phantom.hu)
    assert np.allclose(volume.affine, phantom.affine, atol=1e-3)
    assert set(volume.sop_instance_uids) == {"2.25.31415"}
    in_place = [slices[number - 1].SOPInstanceUID for number in volume.frame_numbers]
    assert in_place == [ds.SOPInstanceUID for ds in phantom.datasets]


def test_single_images_have_no_frame_numbers(tmp_path: Path) -> None:
    assert _load(write_study(tmp_path, small_phantom().datasets)).frame_numbers == ()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_frames_give_the_same_values(tmp_path: Path, syntax: str) -> None:
    ds = enhance(_shuffled())
    ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(_load(write_study(tmp_path, [ds])).hu, small_phantom().hu)


def test_a_converted_series_is_read(tmp_path: Path) -> None:
    ds = enhance(_shuffled(), SOPClassUID=LegacyConvertedEnhancedCTImageStorage)
    ds.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedCTImageStorage
    assert np.array_equal(_load(write_study(tmp_path, [ds])).hu, small_phantom().hu)


def test_a_stack_in_several_objects_is_one_volume(tmp_path: Path) -> None:
    slices = _shuffled()
    parts = [enhance(slices[::2], sop_instance_uid="2.25.11"), enhance(slices[1::2], sop_instance_uid="2.25.12")]
    volume = _load(write_study(tmp_path, parts))
    assert np.array_equal(volume.hu, small_phantom().hu)
    assert set(volume.sop_instance_uids) == {"2.25.11", "2.25.12"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"TemporalPositionIndex": 1}, {"TemporalPositionIndex": 2}),
        ({"StackID": "1"}, {"StackID": "2"}),
        ({"FrameAcquisitionNumber": 1}, {"FrameAcquisitionNumber": 2}),
        ({"ConvolutionKernel": "STANDARD"}, {"ConvolutionKernel": "BONEPLUS"}),
        ({}, {"FrameType": ["DERIVED", "PRIMARY", "VOLUME", "SUBTRACTION"]}),
    ],
)
def test_of_two_phases_or_reconstructions_one_is_read_whole(tmp_path: Path, first: dict, second: dict) -> None:
    slices = small_phantom().datasets
    both = [*_brighter(slices, 40), *slices]
    frames = [second] * len(slices) + [first] * len(slices)
    instances = write_study(tmp_path, [enhance(both, frames=frames)])
    _, (choice,) = select_series(instances)
    assert "of 2 stacks" in " ".join(choice.reasons)
    volume = _load(instances)
    assert np.array_equal(volume.hu, small_phantom().hu)
    assert volume.frame_numbers == tuple(range(len(slices) + 1, 2 * len(slices) + 1))


def test_two_phases_in_two_objects_are_never_mixed(tmp_path: Path) -> None:
    slices = small_phantom().datasets
    first = enhance(slices, sop_instance_uid="2.25.11")
    second = enhance(_brighter(slices, 40), sop_instance_uid="2.25.12")
    volume = _load(write_study(tmp_path, [second, first]))
    assert set(volume.sop_instance_uids) == {"2.25.11"}
    assert np.array_equal(volume.hu, small_phantom().hu)


def test_two_objects_that_merely_overlap_are_refused_not_halved(tmp_path: Path) -> None:
    slices = small_phantom().datasets
    first = enhance(slices[:22], sop_instance_uid="2.25.11")
    second = enhance(_brighter(slices[21:], 40), sop_instance_uid="2.25.12")
    assert _refusal(write_study(tmp_path, [first, second])).code == "duplicate_position"


def test_frames_at_one_position_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    slices = small_phantom().datasets
    outcome = _refusal(write_study(tmp_path, [enhance([*slices, *_brighter(slices, 40)])]))
    assert outcome.code == "duplicate_position"


def test_a_missing_frame_is_a_gap(tmp_path: Path) -> None:
    slices = list(small_phantom().datasets)
    del slices[10]
    assert _refusal(write_study(tmp_path, [enhance(slices)])).code == "gap"


def _forget_position(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


def _forget_rescale(ds: Dataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence


def _map_of_iodine(ds: Dataset) -> None:
    ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType = "MGML"


def _projections(ds: Dataset) -> None:
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.CTImageFrameTypeSequence[0].VolumeBasedCalculationTechnique = "MAX_IP"


def _fewer_groups(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[-1]


def _cut_pixels(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[:-200]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_forget_position, "missing_position"),
        (_forget_rescale, "missing_rescale"),
        (_map_of_iodine, "only_reformats"),
        (_projections, "only_reformats"),
        (_fewer_groups, "unreadable_file"),
        (_cut_pixels, "truncated_pixel_data"),
    ],
)
def test_what_cannot_be_trusted_is_refused(tmp_path: Path, spoil: Callable[[Dataset], None], code: str) -> None:
    ds = enhance(small_phantom().datasets)
    spoil(ds)
    assert _refusal(write_study(tmp_path, [ds])).code == code


def test_a_single_image_beside_it_in_the_series_is_not_mixed_in(tmp_path: Path) -> None:
    slices = small_phantom().datasets
    volume = _load(write_study(tmp_path, [enhance(slices), slices[4]]))
    assert set(volume.sop_instance_uids) == {"2.25.31415"}
    assert np.array_equal(volume.hu, small_phantom().hu)


def test_results_name_the_frames_they_were_made_of(tmp_path: Path) -> None:
    slices = small_phantom().datasets
    frames = [{"TemporalPositionIndex": 2}] * len(slices) + [{"TemporalPositionIndex": 1}] * len(slices)
    instances = write_study(tmp_path, [enhance([*_brighter(slices, 40), *slices], frames=frames)])
    volume = _load(instances)
    seg, sr = dress(volume, [instances[0].path] * len(volume.hu)).both()
    source = dcmread(instances[0].path, stop_before_pixels=True)
    (image,) = seg.SourceImageSequence
    assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert image.ReferencedSOPClassUID == source.SOPClassUID
    assert tuple(image.ReferencedFrameNumber) == tuple(sorted(volume.frame_numbers))
    for group in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        frame = source.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(group.PlanePositionSequence[0].ImagePositionPatient, place, atol=1e-3)
    known = {source.SOPInstanceUID, seg.SOPInstanceUID}
    assert {item.value for item in seg.iterall() if item.keyword == "ReferencedSOPInstanceUID"} <= known
    (evidence,) = [
        item
        for item in sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        if item.SeriesInstanceUID == source.SeriesInstanceUID
    ]
    assert [one.ReferencedSOPInstanceUID for one in evidence.ReferencedSOPSequence] == [source.SOPInstanceUID]
