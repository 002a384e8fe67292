"""For any patient and encoding: the volume is what was written, in any order of arrival; mirroring swaps the sides."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from screener.study import Side, Volume
from tests.chaos.volumes import REFUSALS, TOLERANCE_MM, find_offset_mm, load_written, write_volume
from tests.unit.ct_study import small_phantom, write_study
from workers.ct.load_volume import load_volume

few = settings(max_examples=8, deadline=None)
seeds = st.integers(min_value=0, max_value=3)


def _load(phantom, order=None) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        instances = write_study(Path(folder), phantom.datasets)
        if order is not None:
            instances = [instances[index] for index in order]
        return load_volume(instances, instances[0].series_instance_uid)


def _same(first: Volume, second: Volume) -> bool:
    return (
        np.array_equal(first.hu, second.hu)
        and np.array_equal(first.affine, second.affine)
        and np.array_equal(first.body, second.body)
        and first.sop_instance_uids == second.sop_instance_uids
    )


@few
@given(data=st.data(), seed=seeds)
def test_the_order_of_arrival_never_changes_the_volume(data: st.DataObject, seed: int) -> None:
    phantom = small_phantom(seed=seed, z_range_mm=(-40.0, 40.0))
    order = data.draw(st.permutations(range(len(phantom.datasets))))
    assert _same(_load(phantom, order), _load(phantom))


@few
@given(seed=seeds, mass_side=st.sampled_from(Side), mass_mm=st.sampled_from([None, 15.0, 25.0]))
def test_mirroring_the_patient_mirrors_the_voxels_and_nothing_else(
    seed: int, mass_side: Side, mass_mm: float | None
) -> None:
    given_as = {"seed": seed, "mass_side": mass_side, "mass_mm": mass_mm, "z_range_mm": (-40.0, 40.0)}
    plain, mirrored = small_phantom(**given_as), small_phantom(**given_as, mirrored=True)
    first, second = _load(plain), _load(mirrored)
    assert np.array_equal(second.hu, first.hu[:, :, ::-1])
    assert np.array_equal(second.affine, first.affine)
    # The body is found on blocks of voxels, which start at one edge: a skin voxel may differ.
    assert np.mean(second.body != first.body[:, :, ::-1]) < 0.002
    assert np.array_equal(mirrored.right_parotid, plain.left_parotid[:, :, ::-1])


@few
@given(seed=seeds, thickness_mm=st.sampled_from([1.5, 2.5, 5.0]))
def test_the_affine_places_every_slice_where_its_image_says(seed: int, thickness_mm: float) -> None:
    phantom = small_phantom(seed=seed, spacing_mm=(4.0, 4.0, thickness_mm), z_range_mm=(-35.0, 35.0))
    volume = _load(phantom)
    places = {ds.SOPInstanceUID: ds.ImagePositionPatient for ds in phantom.datasets}
    for index, uid in enumerate(volume.sop_instance_uids):
        assert np.allclose((volume.affine @ [0, 0, index, 1])[:3], np.array(places[uid], float), atol=2e-3)


@few
@given(seed=st.integers(min_value=0, max_value=10**6))
def test_a_volume_of_any_geometry_and_encoding_is_read_back_voxel_for_voxel(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = write_volume(Path(folder), seed)
        volume, refusal = load_written(written)
    if volume is None:
        assert written.is_misdescribed, written.kinds
        assert refusal in REFUSALS, written.kinds
        return
    assert np.array_equal(volume.hu, written.hu), written.kinds
    assert find_offset_mm(written, volume) < TOLERANCE_MM, written.kinds
