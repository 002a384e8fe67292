"""What is read back from the objects is what went in, at the place it came from."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from highdicom.seg import Segmentation
from highdicom.sr import Comprehensive3DSR
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from screener.study import Side
from tests.conformance.studies import AXIAL, STARTED_AT, Study, center_of, dress, make_study
from workers.results.encode_seg import LATERALITY, encode_seg, list_structures

COS, SIN = np.cos(np.radians(20.0)), np.sin(np.radians(20.0))
GRIDS = {
    "axial": {"directions": AXIAL},
    "head first in the files": {"directions": AXIAL, "descending": True},
    "oblique": {"directions": ((1.0, 0.0, 0.0), (0.0, COS, SIN), (0.0, -SIN, COS))},
    "tilted gantry": {"directions": ((1.0, 0.0, 0.0), (0.0, COS, SIN), (0.0, 0.0, 1.0))},
    "sheared sideways": {"directions": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (SIN, 0.0, COS))},
    "columns to the right": {"directions": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
    "prone": {"directions": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))},
}


@pytest.fixture(scope="module", params=GRIDS)
def anywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Segmentation]:
    """A study on one of the grids, and its segmentation as read back from a file."""
    folder = tmp_path_factory.mktemp("study")
    study = make_study(folder, present=(Side.RIGHT, Side.LEFT), **GRIDS[request.param])
    return study, write_and_read(study.seg(), folder)


def write_and_read(seg: Dataset | None, folder: Path) -> Segmentation:
    assert seg is not None
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    return hd.seg.segread(folder / "seg.dcm")


def masks_of(seg: Segmentation, study: Study) -> NDArray[np.bool_]:
    """Every segment on the source grid, axes (segment, z, y, x)."""
    pixels = seg.get_pixels_by_source_instance(
        list(study.volume.sop_instance_uids), assert_missing_frames_are_empty=True
    )  # (z, y, x, segment)
    return np.moveaxis(pixels, -1, 0).astype(bool)


def test_every_mask_comes_back(anywhere):
    study, seg = anywhere
    structures = list_structures(study.parotids, study.masses, run_key=study.run_key)
    expected = [structure.mask for structure in structures]
    assert len(expected) == len(study.parotids) + len(study.masses)
    assert np.array_equal(masks_of(seg, study), np.stack(expected))


def test_every_frame_lies_where_its_source_lies(anywhere):
    study, seg = anywhere
    sources = {str(ds.SOPInstanceUID): ds for ds in map(dcmread, study.source_paths)}
    shared = seg.SharedFunctionalGroupsSequence[0]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source_image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source = sources[source_image.ReferencedSOPInstanceUID]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(
            source.ImagePositionPatient, abs=1e-6
        )
        assert source_image.SpatialLocationsPreserved == "YES"
        assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
        assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing
    assert seg.FrameOfReferenceUID == study.volume.frame_of_reference_uid


def test_the_slice_spacing_is_the_distance_between_planes(anywhere):
    study, seg = anywhere
    first, second = (dcmread(path) for path in study.source_paths[:2])
    row, column = np.reshape(first.ImageOrientationPatient, (2, 3)).astype(float)
    step = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient)
    spacing = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    assert float(spacing) == pytest.approx(abs(step @ np.cross(row, column)), abs=1e-4)


def test_the_side_in_every_code_is_the_side_in_space(anywhere):
    """LPS x grows towards the patient's left: the right structure has the smaller x (PS3.3 C.7.6.2.1.1)."""
    study, seg = anywhere
    middle_x = (study.volume.affine @ np.append((np.array(study.volume.hu.shape[::-1]) - 1) / 2, 1.0))[0]
    for segment, mask in zip(seg.SegmentSequence, masks_of(seg, study), strict=True):
        is_right = center_of(mask, study.volume)[0] < middle_x
        side = LATERALITY[Side.RIGHT if is_right else Side.LEFT]
        modifier = segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
        assert (modifier.CodeValue, modifier.CodingSchemeDesignator) == (side.value, side.scheme_designator)
        assert side.meaning.lower() in segment.SegmentLabel.lower()
        if segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == codes.SCT.ParotidGland.value:
            property_type = segment.SegmentedPropertyTypeCodeSequence[0]
            assert property_type.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == side.value


def test_report_and_segmentation_name_the_same_things(encoded, tmp_path: Path):
    seg, sr = encoded
    segments = {segment.TrackingUID: segment for segment in seg.SegmentSequence}
    groups = read_report(sr, tmp_path).content.get_volumetric_roi_measurement_groups()
    assert {group.tracking_uid for group in groups} == set(segments)
    for group in groups:
        segment = segments[group.tracking_uid]
        site = group.finding_sites[0]
        assert group.tracking_identifier == segment.TrackingID
        assert group.referenced_segment.referenced_segment_numbers == [segment.SegmentNumber]
        assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert group.finding_type.value == segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
        region = segment.AnatomicRegionSequence[0]
        assert (site.value.value, site.laterality.value) == (
            region.CodeValue,
            region.AnatomicRegionModifierSequence[0].CodeValue,
        )


def test_the_numbers_in_the_report_are_those_of_the_study(study: Study, encoded, tmp_path: Path):
    report = read_report(encoded[1], tmp_path).content
    for mass in study.masses:
        (group,) = report.get_volumetric_roi_measurement_groups(
            tracking_uid=next(s.TrackingUID for s in encoded[0].SegmentSequence if "Mass" in s.SegmentLabel)
        )
        measured = {item.name.meaning: (item.value, item.unit.value) for item in group.get_measurements()}
        candidate = mass.candidate
        assert measured == {
            "Volume": (round(candidate.volume_mm3, 1), "mm3"),
            "Number of voxels on 1 mm isotropic grid": (candidate.voxels, "{voxels}"),
            "Diameter": (round(candidate.longest_diameter_mm, 1), "mm"),
            "Attenuation Coefficient": (round(candidate.mean_hu, 1), "[hnsf'U]"),
            "Maximum mass probability": (candidate.max_probability, "1"),
        }
    glands = report.get_volumetric_roi_measurement_groups(finding_type=codes.SCT.ParotidGland)
    volumes = [group.get_measurements(name=codes.SCT.Volume)[0].value for group in glands]
    assert volumes == pytest.approx([parotid.volume_mm3 for parotid in study.parotids], abs=0.05)


def read_report(sr: Dataset, folder: Path) -> Comprehensive3DSR:
    sr.save_as(folder / "sr.dcm", enforce_file_format=True)
    return hd.sr.srread(folder / "sr.dcm")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("small"), shape=(3, 5, 7), present=())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=st.lists(hnp.arrays(np.bool_, (3, 5, 7)), min_size=1, max_size=3))
def test_encoding_and_decoding_any_masks_returns_them(small: Study, tmp_path: Path, masks):
    masses = dress(small.volume, small.source_paths, present=tuple(Side)).masses
    parotids = [replace(parotid, mask=mask) for parotid, mask in zip(small.parotids, masks, strict=False)]
    masses_given = [replace(mass, mask=mask) for mass, mask in zip(masses, masks[len(parotids) :], strict=False)]
    seg = encode_seg(
        small.source_paths,
        small.volume,
        parotids,
        masses_given,
        identity=small.identity,
        run_key="any",
        started_at=STARTED_AT,
        algorithm_parameters="none",
    )
    kept = [mask for mask in masks if mask.any()]
    assert (seg is None) is (not kept)
    if seg is not None:
        assert np.array_equal(masks_of(write_and_read(seg, tmp_path), small), np.stack(kept))
