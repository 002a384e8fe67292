"""A study whose best series is no sound volume is screened by its next one, and `explain` says so."""

from copy import deepcopy

from screener.journey import Ending
from screener.phantom import make_phantom
from tests.peers.hospital import Hospital


def test_a_series_that_is_no_volume_gives_way_to_the_next(clinic: Hospital) -> None:
    sound = make_phantom(seed=23, spacing_mm=(2.0, 2.0, 5.0), rows=128).datasets
    better = []
    for number, ds in enumerate(sound):
        ds.ConvolutionKernel = "B70f"
        for phase in (1, 2):  # at the same places, and nothing tells them apart
            copy = deepcopy(ds)
            copy.SeriesInstanceUID, copy.ConvolutionKernel = "2.25.424242", "B30f"
            copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = f"2.25.424242.{phase}.{number + 1}"
            copy.PixelData = ds.PixelData if phase == 1 else ds.PixelData[2:] + ds.PixelData[:2]
            better.append(copy)
    clinic.scanner.send([*better, *sound])
    report = clinic.wait_for_ending(str(sound[0].StudyInstanceUID))
    assert report.ending is Ending.DONE, report.reason
    told = clinic.explain(str(report.study_id))
    (refused,) = [line for line in told.splitlines() if "2.25.424242" in line]
    assert "refused" in refused
    assert "Two different slices lie at one position" in refused
    assert sum("series chosen" in line for line in told.splitlines()) == 1
