"""Ultrasound frames of every color space and transfer syntax come as a viewer shows them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from screener.outcomes import NeedsPerson
from tests.unit.us_objects import TISSUE, add_clutter, draw_picture, draw_speckle, make_object, write_object
from workers.us import read_frames as module
from workers.us.find_pictures import to_gray
from workers.us.read_frames import read_frames, read_header

COLORED = add_clutter(draw_picture(TISSUE))
COLORED[200:260, 300:360] = (220, 40, 30)
GRAY = draw_speckle((120, 160))


def _read(folder: Path, ds: FileDataset, number: int = 1) -> NDArray[np.uint8]:
    ((_, picture),) = read_frames(write_object(folder, ds), [number])
    return picture


def _mean_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def test_gray_and_inverted_gray_look_the_same(tmp_path: Path) -> None:
    assert np.array_equal(_read(tmp_path, make_object(GRAY)), GRAY)
    inverted = make_object(255 - GRAY, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(_read(tmp_path, inverted), GRAY)


def test_sixteen_bits_are_shown_by_their_window_or_else_in_full(tmp_path: Path) -> None:
    deep = (GRAY.astype(np.uint16) * 16) + 100
    windowed = _read(tmp_path, make_object(deep, WindowCenter=2140, WindowWidth=4081))
    assert _mean_difference(windowed, GRAY) < 1
    full = _read(tmp_path, make_object(deep))
    assert (full.min(), full.max()) == (0, 255)
    assert np.corrcoef(full.ravel(), GRAY.ravel())[0, 1] > 0.999


def test_a_window_hides_nothing_of_eight_bits_without_one(tmp_path: Path) -> None:
    dark = (GRAY // 4).astype(np.uint8)
    assert np.array_equal(_read(tmp_path, make_object(dark)), dark)


@pytest.mark.parametrize("planar", [0, 1])
def test_color_by_pixel_and_by_plane_looks_the_same(tmp_path: Path, planar: int) -> None:
    stored = np.moveaxis(COLORED, 2, 0) if planar else COLORED
    ds = make_object(COLORED, PlanarConfiguration=planar, PixelData=stored.tobytes())
    assert np.array_equal(_read(tmp_path, ds), COLORED)


def _make_ybr(picture: NDArray[np.uint8], *, is_subsampled: bool) -> FileDataset:
    ybr = convert_color_space(picture, "RGB", "YBR_FULL")
    if not is_subsampled:
        return make_object(picture, PhotometricInterpretation="YBR_FULL", PixelData=ybr.tobytes())
    pairs = ybr.reshape(-1, 2, 3)  # PS3.3 C.7.6.3.1.2: Y Y B R
    stored = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=1)
    return make_object(picture, PhotometricInterpretation="YBR_FULL_422", PixelData=stored.tobytes())


@pytest.mark.parametrize("is_subsampled", [False, True])
def test_luminance_and_chrominance_become_color(tmp_path: Path, is_subsampled: bool) -> None:
    picture = _read(tmp_path, _make_ybr(COLORED, is_subsampled=is_subsampled))
    assert picture[230, 330].tolist() == pytest.approx([220, 40, 30], abs=4)
    assert _mean_difference(to_gray(picture), to_gray(COLORED)) < 2


def test_luminance_and_chrominance_that_are_named_subsampled_and_are_not_become_color(tmp_path: Path) -> None:
    ds = _make_ybr(COLORED, is_subsampled=False)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    picture = _read(tmp_path, ds)
    assert picture[230, 330].tolist() == pytest.approx([220, 40, 30], abs=4)
    assert _mean_difference(picture, COLORED) < 2


def _make_palette(bits: int, scale: int) -> FileDataset:
    table = (np.arange(256)[::-1] * scale).astype(f"<u{bits // 8}")
    more: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color in ("Red", "Green", "Blue"):
        more[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        more[f"{color}PaletteColorLookupTableData"] = table.tobytes()
    return make_object(255 - GRAY, **more)


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 256), (16, 1)], ids=["8 bits", "16 bits", "8 bits in 16"])
def test_tables_of_colors_are_looked_up(tmp_path: Path, bits: int, scale: int) -> None:
    assert np.array_equal(to_gray(_read(tmp_path, _make_palette(bits, scale))), GRAY)


def _make_segmented(*words: int) -> FileDataset:
    ds = _make_palette(16, 1)
    for color in ("Red", "Green", "Blue"):
        delattr(ds, f"{color}PaletteColorLookupTableData")
        setattr(ds, f"Segmented{color}PaletteColorLookupTableData", np.array(words, "<u2").tobytes())
    return ds


def test_tables_in_segments_are_expanded_and_endless_ones_refused(tmp_path: Path) -> None:
    falling = _make_segmented(0, 1, 65280, 1, 255, 0)  # one entry, and a line of 255 down to 0
    assert _mean_difference(to_gray(_read(tmp_path, falling)), GRAY) < 1
    for endless in ((0, 1, 255, *((1, 65535, 9) * 3)), (0, 1, 255, 2, 60000, 0, 0)):
        with pytest.raises(NeedsPerson, match="cannot be read"):
            _read(tmp_path, _make_segmented(*endless))


def test_tables_of_a_big_endian_object_are_read_for_each_frame(tmp_path: Path) -> None:
    ds = _make_palette(16, 256)
    for color in ("Red", "Green", "Blue"):
        element = ds[f"{color}PaletteColorLookupTableData"]
        element.VR, element.value = "OW", np.frombuffer(element.value, "<u2").astype(">u2").tobytes()
    ds.NumberOfFrames, ds.PixelData = 2, ds.PixelData * 2
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pictures = [picture for _, picture in read_frames(write_object(tmp_path, ds), [1, 2])]
    assert np.array_equal(to_gray(pictures[0]), GRAY)
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=["RLE", "J2K", "JPEG-LS"])
def test_what_was_compressed_without_loss_comes_back(tmp_path: Path, syntax: str) -> None:
    ds = make_object(COLORED)
    ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(_read(tmp_path, ds), COLORED)


def test_lossy_jpeg_2000_comes_back_in_color(tmp_path: Path) -> None:
    ds = make_object(COLORED, PhotometricInterpretation="RGB")
    ds.compress(JPEG2000, j2k_psnr=[45], generate_instance_uid=False)
    picture = _read(tmp_path, ds)
    assert _mean_difference(picture, COLORED) < 3
    assert picture[230, 330].tolist() == pytest.approx([220, 40, 30], abs=15)


@pytest.mark.parametrize("named", ["YBR_FULL_422", "RGB"], ids=["as it is", "wrongly"])
def test_baseline_jpeg_comes_in_color_also_where_its_color_space_is_named_wrongly(tmp_path: Path, named: str) -> None:
    stream = BytesIO()
    Image.fromarray(COLORED).save(stream, "JPEG", quality=95)
    ds = make_object(COLORED, PhotometricInterpretation=named, PixelData=encapsulate([stream.getvalue()]))
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    picture = _read(tmp_path, ds)
    assert _mean_difference(to_gray(picture), to_gray(COLORED)) < 3
    assert picture[230, 330].tolist() == pytest.approx([220, 40, 30], abs=8)


def test_a_jpeg_with_stray_bytes_ends_no_process(tmp_path: Path) -> None:
    stream = BytesIO()
    Image.fromarray(COLORED).save(stream, "JPEG", quality=75)
    content = bytearray(stream.getvalue())
    content[3] = 0  # in place of the marker of the first segment
    ds = make_object(COLORED, PhotometricInterpretation="YBR_FULL_422", PixelData=encapsulate([bytes(content)]))
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert _mean_difference(_read(tmp_path, ds), COLORED) < 3


def test_the_frames_asked_for_come_in_order_and_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = np.stack([np.full((64, 64, 3), 10 * number, np.uint8) for number in range(6)])
    instance = write_object(tmp_path, make_object(clip))
    decoded: list[int] = []
    decode = module._decode
    monkeypatch.setattr(module, "_decode", lambda ds, number: decoded.append(number) or decode(ds, number))
    frames = read_frames(instance, [2, 6])
    number, picture = next(frames)
    assert (number, int(picture[0, 0, 0]), decoded) == (2, 10, [2])
    number, picture = next(frames)
    assert (number, int(picture[0, 0, 0]), decoded) == (6, 50, [2, 6])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"PixelData": bytes(100)}, "truncated_pixel_data"),
        ({"Rows": 600}, "truncated_pixel_data"),
        ({"Rows": 60}, "undecodable"),
        ({"PhotometricInterpretation": "HSV"}, "undecodable"),
    ],
    ids=["cut short", "too many rows", "too few rows", "unknown color space"],
)
def test_pixels_that_are_not_as_the_header_says_are_refused(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    with pytest.raises(NeedsPerson) as refused:
        _read(tmp_path, make_object(COLORED, **change))
    assert refused.value.code == code
    assert "CANARY" not in refused.value.reason


def test_an_object_without_pixels_is_refused(tmp_path: Path) -> None:
    ds = make_object(GRAY)
    del ds.PixelData
    with pytest.raises(NeedsPerson, match="no pixels"):
        _read(tmp_path, ds)


@pytest.mark.parametrize("change", [{"Rows": 60000}, {"Columns": 0}, {"NumberOfFrames": 10**6}])
def test_absurd_sizes_are_refused_before_anything_is_decoded(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(NeedsPerson, match="absurd size"):
        read_header(write_object(tmp_path, make_object(GRAY, **change)))


def test_a_stream_of_another_size_than_its_header_is_refused(tmp_path: Path) -> None:
    ds = make_object(COLORED)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.Rows = 240
    with pytest.raises(NeedsPerson, match="cannot be decoded: JPEG 2000"):
        _read(tmp_path, ds)


def test_a_stream_that_no_decoder_takes_is_refused_by_the_name_of_its_transfer_syntax(tmp_path: Path) -> None:
    ds = make_object(COLORED)
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = HTJ2KLossless
    with pytest.raises(NeedsPerson, match="High-Throughput"):
        _read(tmp_path, ds)


@pytest.mark.parametrize("syntax", ["", "1.2.840.10008.1.1"], ids=["none", "no transfer syntax"])
def test_a_file_that_does_not_say_how_it_is_written_is_refused(tmp_path: Path, syntax: str) -> None:
    instance = write_object(tmp_path, make_object(GRAY))
    content = instance.path.read_bytes()
    assert content.count(b"1.2.840.10008.1.2.1\0") == 1
    instance.path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", syntax.encode().ljust(20, b"\0")))
    with pytest.raises(NeedsPerson, match="cannot be read"):
        next(read_frames(instance, [1]))


def test_a_file_that_is_not_dicom_is_refused(tmp_path: Path) -> None:
    instance = write_object(tmp_path, make_object(GRAY))
    instance.path.write_bytes(b"no DICOM" * 100)
    with pytest.raises(NeedsPerson, match="cannot be read"):
        read_header(instance)
