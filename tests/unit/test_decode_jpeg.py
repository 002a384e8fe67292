"""Lossy JPEG of 12 bits is decoded, the retired processes too, to the values that DCMTK gives."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from screener.study import Instance
from tests.unit.ct_study import DICOM, describe, small_phantom, write_study
from workers.ct.decode_slice import SliceDecoder

SYNTAXES = DICOM / "awkward" / "transfer_syntaxes"
MEAN_LOSS_HU = 5.0
"""What the encoder that made the files lost, on average; 3.8 was seen."""

needs_shared = pytest.mark.skipif(not DICOM.is_dir(), reason="the development data are not on this machine")
needs_dcmtk = pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="DCMTK is not installed")


def _decode(instance: Instance) -> np.ndarray:
    ds = dcmread(instance.path, stop_before_pixels=True)
    return SliceDecoder().decode(instance, (ds.Rows, ds.Columns))


@needs_shared
@pytest.mark.parametrize("name", ["2_4TransferSyntax*.51", "6_8TransferSyntax*.53", "10_12TransferSyntax*.55"])
def test_every_lossy_process_gives_the_same_slice(name: str) -> None:
    (path,) = SYNTAXES.glob(f"CTImage.dcm_JPEGProcess{name}.dcm")
    lossless = _decode(describe(SYNTAXES / "CTImage.dcm")).astype(int)
    assert np.abs(_decode(describe(path)) - lossless).mean() < MEAN_LOSS_HU


@needs_dcmtk
@pytest.mark.parametrize("process", ["+ee", "+es", "+ep"], ids=["extended", "spectral selection", "progressive"])
def test_the_values_are_those_of_dcmtk(tmp_path: Path, process: str) -> None:
    def narrow(ds: Dataset, number: int) -> None:
        ds.PixelData = np.minimum(np.frombuffer(ds.PixelData, "<u2"), 4095).astype("<u2").tobytes()
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0

    (plain,) = write_study(tmp_path / "plain", small_phantom().datasets[20:21], narrow)
    coded, decoded = tmp_path / "coded.dcm", tmp_path / "decoded.dcm"
    subprocess.run(["dcmcjpeg", process, "+un", str(plain.path), str(coded)], check=True, capture_output=True)
    subprocess.run(["dcmdjpeg", str(coded), str(decoded)], check=True, capture_output=True)
    assert dcmread(coded).file_meta.TransferSyntaxUID != dcmread(decoded).file_meta.TransferSyntaxUID
    assert np.array_equal(_decode(describe(coded)), _decode(describe(decoded)))
