"""One instance on its way to an answer: what is cut, relabelled, endless or met by a fault of ours."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless

from screener import archive as archive_module
from screener import take_instance
from tests.peers.door import Door, open_door
from tests.peers.scanner import Raw, make_ct
from tests.unit.test_read_header import add_groups, add_overlay, add_waveform, encode

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
MIB = 1 << 20


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with open_door(tmp_path / "door") as opened:
        yield opened


def raw(ds: Dataset, missing: int = 0, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Raw:
    encoded = encode(ds)
    return Raw(encoded[: len(encoded) - missing], CTImageStorage, ds.SOPInstanceUID, transfer_syntax_uid)


@pytest.mark.parametrize("add", [add_overlay, add_groups, add_waveform])
def test_a_cut_instance_leaves_its_name_to_the_whole_one(door: Door, add: Callable[[Dataset], None]) -> None:
    ds = make_ct()
    add(ds)
    [answer] = door.scanner.send([raw(ds, missing=100)])
    assert (answer.status, "declared length" in answer.comment) == (CANNOT_UNDERSTAND, True)
    assert door.scanner.send([raw(ds)])[0].status == SUCCESS
    assert [code for code, _ in door.oddities()] == ["truncated"]
    assert list(door.rows()) == [ds.SOPInstanceUID]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), OSError(116, "Stale file handle"), MemoryError()])
def test_a_fault_of_ours_asks_the_sender_to_try_again(
    door: Door, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> int:
        raise error

    ds = make_ct()
    with monkeypatch.context() as patch:
        patch.setattr(archive_module.os, "preadv", fail)
        [answer] = door.scanner.send([ds])
    assert answer.status == OUT_OF_RESOURCES
    assert door.oddities() == []
    assert door.files() == []
    assert door.scanner.send([ds])[0].status == SUCCESS


def test_the_same_bytes_under_another_transfer_syntax_never_overwrite_what_is_kept(door: Door) -> None:
    ds = make_ct()
    sent = [raw(ds), raw(ds, transfer_syntax_uid=JPEG2000Lossless), raw(ds)]
    assert [door.scanner.send([one])[0].status for one in sent] == [SUCCESS] * 3
    row = door.rows()[ds.SOPInstanceUID]
    kept = dcmread(door.archive.path(row.path))
    assert kept.file_meta.TransferSyntaxUID == row.transfer_syntax_uid == ExplicitVRLittleEndian
    [(code, path)] = door.oddities()
    assert code == "conflict"
    assert dcmread(door.archive.path(path)).file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert len(door.files("received")) == 1


def test_an_instance_without_end_is_refused_and_leaves_nothing(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take_instance, "LONGEST_INSTANCE_BYTES", MIB)
    long, short = make_ct(PixelData=bytes(2 * MIB)), make_ct(PixelData=bytes(MIB // 2))
    answers = door.scanner.send([long, short])
    assert [answer.status for answer in answers] == [CANNOT_UNDERSTAND, SUCCESS]
    assert "longer" in answers[0].comment
    assert list(door.rows()) == [short.SOPInstanceUID]
    assert door.oddities() == [("too_long", "")]
    assert len(door.files()) == 1
