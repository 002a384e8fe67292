"""Read frames of an ultrasound object one by one, as a viewer shows them: 8 bits, gray or red, green and blue.

An object of hundreds of frames is kept as it was sent; only one frame at a time is decoded.
"""

import warnings
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import get_expected_length, pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian

from screener.outcomes import NeedsPerson
from screener.read_file import BROKEN_FILE, read_file
from screener.study import Instance
from workers.ct.check_stream import check_stream, choose_decoder
from workers.ct.decode_jpeg import accept_retired
from workers.ct.decode_slice import MAX_SIZE, reading

MAX_FRAMES: Final = 16384
"""More frames than any clip has, so the number is wrong."""
MAX_FILE_BYTES: Final = 2 << 30
"""A minute of uncompressed color at 30 frames of 640 x 480 a second."""
MAX_TABLE_ENTRIES: Final = 65536
"""Of a palette: as many as 16 bits can name."""

Picture = NDArray[np.uint8]
"""(rows, columns) of gray, or (rows, columns, 3) of red, green and blue."""

_FARTHEST = 1e9
_GRAY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"})
_PALETTES = tuple(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue"))
_SEGMENTED = tuple(f"Segmented{keyword}" for keyword in _PALETTES)
_DISCRETE, _LINEAR = 0, 1


def read_header(instance: Instance) -> Dataset:
    """Read what stands before the pixels; NeedsPerson (unreadable_file, undecodable) where it describes no picture."""
    with reading(instance):
        ds = read_file(instance.path, with_pixels=False)
        rows, columns, frames = int(ds.Rows), int(ds.Columns), count_frames(ds)
        is_sound = 0 < rows <= MAX_SIZE and 0 < columns <= MAX_SIZE and 0 < frames <= MAX_FRAMES
    if not is_sound or instance.path.stat().st_size > MAX_FILE_BYTES:
        raise _undecodable(instance, "has an absurd size")
    return ds


def count_frames(ds: Dataset) -> int:
    """How many frames an object holds; 1 where it does not say."""
    return int(ds.get("NumberOfFrames") or 1)


def read_frames(instance: Instance, numbers: Iterable[int]) -> Iterator[tuple[int, Picture]]:
    """Yield the frames with `numbers` (from 1) in their order, each with its number, as a viewer shows them.

    NeedsPerson: unreadable_file, truncated_pixel_data, or undecodable at the first frame that no decoder takes.
    """
    with reading(instance):
        ds = read_file(instance.path)
        name = UID(ds.file_meta.TransferSyntaxUID).name
        if "PixelData" not in ds:
            raise NeedsPerson(
                f"SOP Instance UID {instance.sop_instance_uid} has no pixels.", code="truncated_pixel_data"
            )
        accept_retired(ds)
        _check_length(ds, instance)
        _name_as_stored(ds)
        _check_segments(ds)
        if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
            _swap_tables(ds)
    for number in numbers:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # flaws of elements that are not used here are many and harmless
                picture = _decode(ds, number)
        except (*BROKEN_FILE, RuntimeError) as error:
            raise _undecodable(instance, f"cannot be decoded: {name}") from error
        yield number, picture


def _undecodable(instance: Instance, what: str) -> NeedsPerson:
    return NeedsPerson(f"The picture of SOP Instance UID {instance.sop_instance_uid} {what}.", code="undecodable")


def _check_length(ds: Dataset, instance: Instance) -> None:
    """Refuse uncompressed pixel data of another length than its header says, but for a byte to make it even.

    Shorter: something was lost. Longer: the rows or columns are others, and the picture would be sheared. Some senders
    say YBR_FULL_422 of values that are not subsampled.
    """
    if UID(ds.file_meta.TransferSyntaxUID).is_encapsulated:
        return
    expected = {get_expected_length(ds)}
    if ds.PhotometricInterpretation == "YBR_FULL_422":
        expected.add(count_frames(ds) * int(ds.Rows) * int(ds.Columns) * 3)
    length = len(ds.PixelData)
    if length < min(expected):
        raise NeedsPerson(
            f"The pixels of SOP Instance UID {instance.sop_instance_uid} are cut short: {length} of {min(expected)} "
            "bytes.",
            code="truncated_pixel_data",
        )
    if length not in expected | {one + one % 2 for one in expected} or ds["PixelData"].is_undefined_length:
        raise _undecodable(instance, "is not of the size that its header says")


def _name_as_stored(ds: Dataset) -> None:
    """Name uncompressed YBR_FULL_422 of three values a pixel YBR_FULL, which it is (PS3.3 C.7.6.3.1.2): two are due."""
    is_plain = not UID(ds.file_meta.TransferSyntaxUID).is_encapsulated
    values = count_frames(ds) * int(ds.Rows) * int(ds.Columns) * 3
    if is_plain and ds.PhotometricInterpretation == "YBR_FULL_422" and len(ds.PixelData) >= values:
        ds.PhotometricInterpretation = "YBR_FULL"


def _check_segments(ds: Dataset) -> None:
    """Raise ValueError where the segments of a table (PS3.3 C.7.9.2) would become more entries than a table has.

    Segments that repeat others are refused too: of these a few could stand for any number.
    """
    for keyword in _SEGMENTED:
        data = ds.get(keyword) or b""
        if data:
            bits = int(ds[keyword.replace("Segmented", "").replace("Data", "Descriptor")].value[2])
            order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
            _count_entries(np.frombuffer(data[: len(data) // 2 * 2], "u1" if bits == 8 else f"{order}u2"))


def _count_entries(words: NDArray[np.integer]) -> None:
    at = entries = 0
    while at + 1 < len(words):
        kind, length = int(words[at]), int(words[at + 1])
        entries += length
        if kind not in {_DISCRETE, _LINEAR} or entries > MAX_TABLE_ENTRIES:
            raise ValueError("the table of colors has more segments than it may have")
        at += 2 + (length if kind == _DISCRETE else 1)


def _decode(ds: Dataset, number: int) -> Picture:
    check_stream(ds, number)
    stored = pixel_array(ds, index=number - 1, decoding_plugin=choose_decoder(ds))
    kind = str(ds.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        return _color_by_table(stored, ds)
    if stored.ndim == 3 and kind in _COLOR:
        return _to_8_bits(stored, int(ds.BitsStored))
    if stored.ndim != 2 or kind not in _GRAY:
        raise ValueError("neither gray nor color")
    gray = _apply_window(stored, ds)
    return 255 - gray if kind == "MONOCHROME1" else gray


def _to_8_bits(values: NDArray[np.integer], bits: int) -> Picture:
    """Scale values of so many bits."""
    return values.astype(np.uint8) if bits <= 8 else (values >> (bits - 8)).astype(np.uint8)


def _color_by_table(stored: NDArray[np.integer], ds: Dataset) -> Picture:
    """Look up the colors of a palette (PS3.3 C.7.6.3.1.5); tables of 16 bits may hold values of 8."""
    colors = apply_color_lut(stored, ds)[..., :3]
    if colors.dtype.itemsize == 1:
        if stored.max() > 255:  # the library would look up the remainder
            raise ValueError("more entries than the table's index has bits")
        return colors.astype(np.uint8)
    return _to_8_bits(colors, 16 if colors.max() > 255 else 8)


def _swap_tables(ds: Dataset) -> None:
    """Give the tables of a big endian object the order that the library expects; again would undo it."""
    for keyword in _PALETTES:
        table = ds.get(keyword)
        if table is not None and ds[keyword].VR == "OW":
            ds[keyword].value = np.frombuffer(table, ">u2").astype("<u2").tobytes()


def _apply_window(stored: NDArray[np.integer], ds: Dataset) -> Picture:
    """Scale gray by the window or table of the header; without one by what 8 bits hold, or by what the frame holds."""
    values = np.asarray(apply_modality_lut(stored, ds))
    has_window = ds.get("WindowWidth") is not None and ds.get("WindowCenter") is not None
    if has_window or "VOILUTSequence" in ds:
        shown = np.asarray(apply_voi_lut(values, ds), np.float64)
        low, high = _find_shown_range(ds, shown, has_window="VOILUTSequence" not in ds)
    elif int(ds.BitsStored) <= 8 and not int(ds.get("PixelRepresentation") or 0):
        shown, low, high = values.astype(np.float64), 0.0, 255.0
    else:
        shown = values.astype(np.float64)
        low, high = float(shown.min()), float(shown.max())
    scaled = (shown - low) * (255.0 / max(high - low, 1e-6))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _find_shown_range(ds: Dataset, shown: NDArray[np.float64], *, has_window: bool) -> tuple[float, float]:
    """What stands for black and for white once the window or the table was applied."""
    if has_window:
        low, high = apply_voi_lut(np.array([-_FARTHEST, _FARTHEST]), ds)
        return float(low), float(high)
    bits = int(ds.VOILUTSequence[0].LUTDescriptor[2])
    return 0.0, float(max(2**bits - 1, shown.max()))
