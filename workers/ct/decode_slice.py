"""Read the pixels of one image or frame as Hounsfield units, or say why they cannot be."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from screener.outcomes import NeedsPerson
from screener.read_file import BROKEN_FILE, read_file
from screener.study import Instance
from workers.ct.check_stream import Values, check_stream, choose_decoder
from workers.ct.check_values import AIR_HU
from workers.ct.decode_jpeg import accept_retired, register_decoder
from workers.ct.list_frames import flatten_frame

register_decoder()

MAX_SIZE = 4096
"""Rows and columns; the loader asks for less."""
MAX_BELOW_AIR_HU = 100
"""Noise, and what some scanners store for air."""

Words = NDArray[np.unsignedinteger]
"""Pixels as they were written."""


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
    words, values = _decode_words(ds, number, uid)
    if words.shape != shape:
        raise NeedsPerson(f"SOP Instance UID {uid} is no grayscale image.", code="undecodable")
    above, within = _find_overlay_bits(ds)
    if above:
        values = replace(values, bits=int(ds.BitsStored))
    stored = _read_values(words, values.bits, is_signed=_is_signed(ds))
    hu = stored.astype(np.float32)
    hu *= np.float32(slope)
    hu += np.float32(intercept)
    np.rint(hu, out=hu)
    padding = _find_padding(header, stored) | _find_padding(header, _read_values(words, 16, is_signed=_is_signed(ds)))
    written = words & ~words.dtype.type(above)
    lost = ((written ^ stored.view(words.dtype)) & ~words.dtype.type(above)) != 0
    if lost.any():
        lost &= _find_lost(ds, values, written, hu, float(slope), float(intercept))
    if within:  # a value has its sign there
        lost |= (stored & within) != np.where(stored < 0, within, 0)
    if np.any(lost & ~padding):
        raise NeedsPerson(
            f"The values of SOP Instance UID {uid} do not fit in its {ds.BitsStored} bits.", code="undecodable"
        )
    hu[padding] = AIR_HU
    return np.clip(hu, AIR_HU, np.iinfo(np.int16).max, out=hu).astype(np.int16)


def _decode_words(ds: Dataset, number: int, uid: str) -> tuple[Words, Values]:
    """Decode to the words that were written, unsigned and with all their bits, and tell how to read them.

    The sentence names the transfer syntax where no decoder that is installed can.
    """
    name = _transfer_syntax(ds).name
    accept_retired(ds)
    try:
        if int(ds.get("HighBit", int(ds.BitsStored) - 1)) != int(ds.BitsStored) - 1:
            raise ValueError("the values do not end at the lowest bit")
        values = check_stream(ds, number)
        words: Words = pixel_array(
            ds,
            index=max(0, number - 1),
            decoding_plugin=choose_decoder(ds),
            pixel_representation=0,
            bits_stored=values.written_bits,
            correct_unused_bits=False,
            apply_j2k_sign_correction=False,
            apply_jls_sign_correction=False,
        )
    except (*BROKEN_FILE, RuntimeError) as error:
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {uid} cannot be decoded: {name}.", code="undecodable"
        ) from error
    words = words.astype(words.dtype.newbyteorder("="), copy=False)
    if values.is_signed:  # decoders differ in the bits above the value
        words = _read_values(words, values.bits, is_signed=True).view(words.dtype)
    return words, values


def _check_length(ds: Dataset, uid: str) -> None:
    """Refuse uncompressed pixel data of another length than frames x rows x columns, but for a byte to make it even.

    Shorter: the transfer or the disk lost the rest. Longer: the header tells other rows or columns than there are, and
    the image would be sheared. In items (of undefined length) they would be shifted by the items' headers.
    """
    if _transfer_syntax(ds).is_compressed:
        return
    bits = int(ds.get("SamplesPerPixel") or 1) * int(ds.get("BitsAllocated") or 16)
    expected = int(ds.get("NumberOfFrames") or 1) * int(ds.Rows) * int(ds.Columns) * bits // 8
    if len(ds.PixelData) < expected:
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {uid} are cut short: {len(ds.PixelData)} of {expected} bytes.",
            code="truncated_pixel_data",
        )
    if len(ds.PixelData) > expected + expected % 2 or ds["PixelData"].is_undefined_length:
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {uid} are not as its header says: {len(ds.PixelData)} bytes where "
            f"{expected} are needed.",
            code="undecodable",
        )


def _is_signed(ds: Dataset) -> bool:
    return int(ds.get("PixelRepresentation") or 0) == 1


def _read_values(words: Words, bits: int, *, is_signed: bool) -> NDArray[np.integer]:
    """The values in the lowest `bits` of each word."""
    unused = max(0, 8 * words.dtype.itemsize - bits)
    shifted = words << words.dtype.type(unused)
    if is_signed:
        return shifted.view(f"i{words.dtype.itemsize}") >> unused
    return shifted >> words.dtype.type(unused)


def _find_overlay_bits(ds: Dataset) -> tuple[int, int]:
    """The bits in which old overlays are drawn (PS3.3 C.9.2, PS3.5 8.1.2), as masks.

    Above the value, where they are no part of it; and within it, where nobody can tell. Bit 0 is what all others say.
    """
    above = within = 0
    for group in range(0x6000, 0x6020, 2):
        allocated, position = ds.get((group, 0x0100)), ds.get((group, 0x0102))
        is_in_pixels = allocated is not None and allocated.value == ds.BitsAllocated and (group, 0x3000) not in ds
        if is_in_pixels and position is not None and position.value in range(1, int(ds.BitsAllocated)):
            above |= 1 << position.value if position.value >= int(ds.BitsStored) else 0
            within |= 1 << position.value if position.value < int(ds.BitsStored) else 0
    return above, within


def _find_lost(
    ds: Dataset, values: Values, words: Words, hu: NDArray[np.float32], slope: float, intercept: float
) -> NDArray[np.bool_]:
    """Of values that are not as they were written, those that are not true either: bone would become air (PS3.5 8.1.1).

    The unused bits may lack the sign of a negative value: it is true unless it lies below all Hounsfield units, as only
    padding does, which fills the corners. A stream may call unsigned values signed: they are true if, signed, they
    would lie below all Hounsfield units.
    """
    lowest_hu = AIR_HU - MAX_BELOW_AIR_HU
    if _is_signed(ds):
        return np.asarray((words >> values.bits != 0) | ((hu < lowest_hu) & (words != words[0, 0])), np.bool_)
    if values.is_signed:
        signed = words.view(f"i{words.dtype.itemsize}").astype(np.float32)
        return np.asarray(signed * np.float32(slope) + np.float32(intercept) >= lowest_hu, np.bool_)
    return np.ones(words.shape, np.bool_)


def _transfer_syntax(ds: Dataset) -> UID:
    return UID(ds.file_meta.TransferSyntaxUID)


def _find_padding(ds: Dataset, stored: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where PixelPaddingValue, or the range up to PixelPaddingRangeLimit, stands (PS3.3 C.7.5.1.1.2)."""
    value = ds.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(stored.shape, bool)
    limit = ds.get("PixelPaddingRangeLimit")
    ends = [value, limit if isinstance(limit, int) else value]
    if _is_signed(ds):  # some senders write the signed value as an unsigned one
        ends = [end - 65536 if end > 32767 else end for end in ends]
    else:  # or the other way round
        ends = [end + 65536 if end < 0 else end for end in ends]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)), np.bool_)
