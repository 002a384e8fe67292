"""Sequences of countless items cost no memory; an enhanced CT of thousands of frames is read."""

import resource
import struct
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from screener.archive import encode_file_meta
from screener.read_file import BROKEN_FILE, read_file
from screener.store.web_case import Picture
from screener.web.read_stack import CannotShowError, StackReader
from tests.chaos.fuzz_seeds import deflate
from tests.unit.ct_study import small_phantom, write_study
from tests.unit.enhanced_ct import enhance
from workers.ct.list_frames import MAX_FRAMES

ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HHL", 0xFFFE, number, 0) for number in (0xE000, 0xE00D, 0xE0DD))
UNDEFINED = 0xFFFFFFFF
MAX_GROWTH_KIB = 150 << 10


def sequence(tag: int, content: bytes, *, is_defined: bool) -> bytes:
    length = len(content) if is_defined else UNDEFINED
    return (
        struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, b"SQ", length)
        + content
        + (b"" if is_defined else SEQUENCE_END)
    )


def write_bomb(folder: Path, sequences: bytes) -> Path:
    """A deflated slice with `sequences` before its PatientName."""
    (instance,) = write_study(folder, small_phantom().datasets[:1])
    content = instance.path.read_bytes()
    begin = content.index(struct.pack("<HH", 0x0008, 0x0005))
    at = content.index(struct.pack("<HH", 0x0010, 0x0010))
    ds = small_phantom().datasets[0]
    meta = encode_file_meta(ds.SOPClassUID, ds.SOPInstanceUID, DeflatedExplicitVRLittleEndian, "SCANNER")
    path = folder / "bomb.dcm"
    path.write_bytes(meta + deflate(content[begin:at] + sequences + content[at:]))
    return path


@pytest.mark.parametrize("is_defined", [False, True], ids=["undefined length", "defined length"])
@pytest.mark.parametrize("keywords", [None, ["Rows", "Columns"]], ids=["all", "some"])
def test_a_sequence_of_countless_empty_items_is_refused(
    tmp_path: Path, is_defined: bool, keywords: list[str] | None
) -> None:
    path = write_bomb(tmp_path, sequence(0x00081140, ITEM * 500_000, is_defined=is_defined))
    assert path.stat().st_size < 40_000
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if is_defined and keywords:  # it is skipped
        assert read_file(path, with_pixels=False, keywords=keywords).Rows
    else:
        with pytest.raises(BROKEN_FILE):
            read_file(path, with_pixels=False, keywords=keywords)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < MAX_GROWTH_KIB


def test_the_page_s_stack_leaves_out_an_image_of_countless_items(tmp_path: Path) -> None:
    path = write_bomb(tmp_path, sequence(0x00081140, ITEM * 500_000, is_defined=False))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CannotShowError):
        StackReader().read([Picture(path=path, sop_instance_uid="1.2")], None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < MAX_GROWTH_KIB


def test_countless_elements_in_an_item_are_refused(tmp_path: Path) -> None:
    elements = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + number, b"LO", 0) for number in range(0xE000))
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED) + elements + ITEM_END for _ in range(20))
    path = write_bomb(tmp_path, sequence(0x00081140, items, is_defined=False))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BROKEN_FILE):
        read_file(path, with_pixels=False, keywords=["Rows"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 2 * MAX_GROWTH_KIB


def test_pixels_that_look_like_items_are_no_items(tmp_path: Path) -> None:
    def draw(ds: Dataset, _: int) -> None:
        ds.Rows = ds.Columns = 1024
        ds.PixelData = ITEM * (2 * 1024 * 1024 // len(ITEM))

    (instance,) = write_study(tmp_path, small_phantom().datasets[:1], draw)
    assert 2 * 1024 * 1024 // len(ITEM) > 200_000
    assert len(read_file(instance.path).PixelData) == 2 * 1024 * 1024


@pytest.mark.parametrize("is_defined", [False, True], ids=["undefined length", "defined length"])
def test_an_enhanced_image_of_thousands_of_frames_is_read(tmp_path: Path, is_defined: bool) -> None:
    frames = 4000
    one = enhance(small_phantom().datasets[:1], is_shared=False)
    one.NumberOfFrames = frames
    one.PerFrameFunctionalGroupsSequence = [deepcopy(one.PerFrameFunctionalGroupsSequence[0]) for _ in range(frames)]
    for group in one.PerFrameFunctionalGroupsSequence if not is_defined else ():
        group.is_undefined_length_sequence_item = True
        for element in group:
            element.is_undefined_length = True
    one["PerFrameFunctionalGroupsSequence"].is_undefined_length = not is_defined
    one.PixelData = bytes(100)
    (instance,) = write_study(tmp_path, [one])
    assert frames < MAX_FRAMES
    assert len(read_file(instance.path, with_pixels=False).PerFrameFunctionalGroupsSequence) == frames
