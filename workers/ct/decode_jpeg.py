"""Decode lossy JPEG of 12 bits with GDCM, the retired processes too: a plugin of the DICOM library's decoders.

The library's own plugin for GDCM leaves 12 bits out, and no other decoder with
a permissive license has them. GDCM's values were compared with those of DCMTK:
the same to the last bit. Arithmetic coding and hierarchical processes, which
no scanner is known to have sent, stay undecodable.
"""

from typing import Final

import gdcm
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import DecodeRunner, JPEGExtended12BitDecoder
from pydicom.uid import UID, JPEGExtended12Bit

DECODER_DEPENDENCIES: Final = {JPEGExtended12Bit: ("gdcm>=3.0.10",)}
"""What the DICOM library asks of a plugin's module."""
RETIRED: Final = frozenset({"1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"})
"""Spectral selection and full progression (PS3.6 A): JPEG streams that say themselves how they are coded."""
_LABEL = "screener"


def is_available(uid: str) -> bool:
    """Tell the DICOM library whether this plugin decodes a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def register_decoder() -> None:
    """Add the plugin to those of the library; may be called again."""
    if _LABEL not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin(_LABEL, (__name__, "decode_frame"))


def accept_retired(ds: Dataset) -> None:
    """Give a data set of a retired process the transfer syntax under which its stream is decoded."""
    if ds.file_meta.TransferSyntaxUID in RETIRED:
        ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame of 9 to 12 bits in one gray channel; NotImplementedError leaves others to other plugins."""
    if runner.samples_per_pixel != 1 or runner.bits_allocated != 16 or not 8 < runner.bits_stored <= 12:
        raise NotImplementedError("for gray images of 9 to 12 bits only")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(src)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    gray = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gray))
    syntax = gdcm.TransferSyntax.GetTSType(str.__str__(UID(JPEGExtended12Bit)))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = runner.bits_stored
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, runner.pixel_representation))
    decoded: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM gives bytes as text
    if len(decoded) != runner.rows * runner.columns * 2:
        raise ValueError("GDCM decoded another size than the header states")
    return decoded
