"""The program that tries awkward files fails on wrong pixels, and without its files."""

import numpy as np
import pytest

from tests.chaos import awkward
from tests.unit.ct_study import DICOM

needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason="the development data are not on this machine")


def pixels_of(name: str) -> np.ndarray:
    (case,) = (case for case in awkward.list_cases() if case.name == name)
    ds = awkward.dcmread(*case.paths)
    return awkward._decode_ct(awkward.describe(*case.paths), ds)


@needs_shared
@pytest.mark.parametrize(
    ("name", "shift_hu"),
    [
        ("awkward/transfer_syntaxes/CTImage.dcm_RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm", 1),
        ("awkward/transfer_syntaxes/CTImage.dcm_JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm", 8),
        ("pydicom/test_files/J2K_pixelrep_mismatch.dcm", 1),
    ],
)
def test_other_values_than_those_expected_are_found(name: str, shift_hu: int) -> None:
    hu = pixels_of(name)
    assert not awkward.find_wrong_pixels(name, hu)
    assert awkward.find_wrong_pixels(name, hu + np.int16(shift_hu))
    assert awkward.find_wrong_pixels(name, np.zeros_like(hu))


def test_fewer_files_than_there_were_are_missed() -> None:
    cases = [awkward.Case(name="awkward/one", paths=[])]
    assert awkward._tell_missing([], is_all=False) == 1
    assert awkward._tell_missing(cases, is_all=True) == 2
    assert awkward._tell_missing(cases, is_all=False) == 0
