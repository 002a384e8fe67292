"""Read the pixels of one image or frame as Hounsfield units, or say why they cannot be."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from screener.outcomes import NeedsPerson
from screener.study import Instance
from workers.ct.check_stream import check_stream
from workers.ct.check_values import AIR_HU
from workers.ct.decode_jpeg import accept_retired, register_decoder
from workers.ct.list_frames import flatten_frame
from workers.ct.read_file import BROKEN_FILE, read_file

register_decoder()

MAX_SIZE = 4096
"""Rows and columns; the loader asks for less."""
MAX_BELOW_AIR_HU = 100
"""Noise, and what some scanners store for air."""


@contextmanager
def reading(instance: Instance) -> Iterator[None]:
    """Turn what pydicom raises over a broken file into a sentence that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # flaws of elements that are not used here are many and harmless
            yield
    except BROKEN_FILE as error:
        raise NeedsPerson(
            f"The file of SOP Instance UID {instance.sop_instance_uid} cannot be read ({type(error).__name__}).",
            code="unreadable_file",
        ) from error


class SliceDecoder:
    """Decodes slices; of multi-frame files the last is kept, for its frames are asked for one after the other."""

    def __init__(self) -> None:
        self._sop_instance_uid = ""
        self._ds = Dataset()

    def decode(self, instance: Instance, shape: tuple[int, int], number: int = 0) -> NDArray[np.int16]:
        """Read the pixels of an image, or of frame `number` of it, from 1, as Hounsfield units, (y, x).

        Padding and everything below -1024 become -1024. NeedsPerson: unreadable_file, missing_rescale,
        truncated_pixel_data, undecodable, the last also where the image is not of `shape` (rows, columns).
        """
        with reading(instance):
            if not number:
                ds = read_file(instance.path)
                return _decode(ds, ds, shape, 0, instance.sop_instance_uid)
            if self._sop_instance_uid != instance.sop_instance_uid:
                self._ds = Dataset()  # before the next is read: each may hold hundreds of megabytes
                self._ds = read_file(instance.path)
                self._sop_instance_uid = instance.sop_instance_uid
            return _decode(self._ds, flatten_frame(self._ds, number), shape, number, instance.sop_instance_uid)


def _decode(ds: Dataset, header: Dataset, shape: tuple[int, int], number: int, uid: str) -> NDArray[np.int16]:
    """Decode the pixels that `ds` holds by what `header` says of the slice."""
    if max(shape) > MAX_SIZE or (not number and int(ds.get("NumberOfFrames") or 1) > 1):
        raise NeedsPerson(f"SOP Instance UID {uid} is no single image, or an absurdly large one.", code="undecodable")
    if "PixelData" not in ds:
        raise NeedsPerson(f"SOP Instance UID {uid} has no pixels.", code="truncated_pixel_data")
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope is None or intercept is None or not 0.0 < slope < np.inf or not np.isfinite(float(intercept)):
        raise NeedsPerson(
            f"SOP Instance UID {uid} does not say how its values become Hounsfield units.", code="missing_rescale"
        )
    _check_length(ds, uid)
    stored = _decode_pixels(ds, number, uid)
    if stored.shape != shape:
        raise NeedsPerson(f"SOP Instance UID {uid} is no grayscale image.", code="undecodable")
    hu = stored.astype(np.float32)
    hu *= np.float32(slope)
    hu += np.float32(intercept)
    np.rint(hu, out=hu)
    hu[_find_padding(header, stored)] = AIR_HU
    _check_bits(ds, number, stored, hu, uid)
    return np.clip(hu, AIR_HU, np.iinfo(np.int16).max, out=hu).astype(np.int16)


def _decode_pixels(ds: Dataset, number: int, uid: str) -> NDArray[np.integer]:
    """Decode with whichever decoder is installed; the sentence names the transfer syntax where none can."""
    name = _transfer_syntax(ds).name
    accept_retired(ds)
    try:
        check_stream(ds, number)
        return pixel_array(ds, index=number - 1) if number else ds.pixel_array
    except (*BROKEN_FILE, RuntimeError) as error:
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {uid} cannot be decoded: {name}.", code="undecodable"
        ) from error


def _check_length(ds: Dataset, uid: str) -> None:
    """Refuse uncompressed pixel data shorter than frames x rows x columns: the transfer or the disk lost the rest."""
    if _transfer_syntax(ds).is_compressed:
        return
    bits = int(ds.get("SamplesPerPixel") or 1) * int(ds.get("BitsAllocated") or 16)
    expected = int(ds.get("NumberOfFrames") or 1) * int(ds.Rows) * int(ds.Columns) * bits // 8
    if len(ds.PixelData) < expected:
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {uid} are cut short: {len(ds.PixelData)} of {expected} bytes.",
            code="truncated_pixel_data",
        )


def _check_bits(ds: Dataset, number: int, stored: NDArray[np.integer], hu: NDArray[np.float32], uid: str) -> None:
    """Refuse values that BitsStored and HighBit misdescribe (PS3.5 8.1.1): decoded, bone would wrap round to air.

    The decoder drops the unused bits. They may hold an old overlay, or lack the sign of a negative value; then the
    value is true, unless it lies below all Hounsfield units.
    """
    bits_stored = int(ds.get("BitsStored") or 16)
    if int(ds.get("HighBit", bits_stored - 1)) != bits_stored - 1:
        raise NeedsPerson(f"The values of SOP Instance UID {uid} do not end at the lowest bit.", code="undecodable")
    if _transfer_syntax(ds).is_compressed or int(ds.get("BitsAllocated") or 16) != 16:
        return
    order = "<" if _transfer_syntax(ds).is_little_endian else ">"
    begin_bytes = max(0, number - 1) * stored.size * 2
    written = np.frombuffer(ds.PixelData, f"{order}u2", stored.size, begin_bytes).reshape(stored.shape)
    wrapped = written != stored.astype(np.uint16)
    if stored.dtype.kind == "i":
        wrapped &= (written >= 1 << bits_stored) | (hu < AIR_HU - MAX_BELOW_AIR_HU)
    has_overlay = any((group, 0x0102) in ds for group in range(0x6000, 0x6020, 2))
    if wrapped.any() and not has_overlay:
        raise NeedsPerson(
            f"The values of SOP Instance UID {uid} do not fit in its {bits_stored} bits.", code="undecodable"
        )


def _transfer_syntax(ds: Dataset) -> UID:
    return UID(ds.file_meta.TransferSyntaxUID)


def _find_padding(ds: Dataset, stored: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where PixelPaddingValue, or the range up to PixelPaddingRangeLimit, stands (PS3.3 C.7.5.1.1.2)."""
    value = ds.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(stored.shape, bool)
    limit = ds.get("PixelPaddingRangeLimit")
    ends = [value, limit if isinstance(limit, int) else value]
    if int(ds.get("PixelRepresentation") or 0) == 1:  # some senders write the signed value as an unsigned one
        ends = [end - 65536 if end > 32767 else end for end in ends]
    else:  # or the other way round
        ends = [end + 65536 if end < 0 else end for end in ends]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)), np.bool_)
