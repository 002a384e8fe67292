"""What the proof of durability reads out of strace's files: answers, and what was on disk before them."""

import struct
from pathlib import Path

from tests.chaos.durable import is_committed
from tests.chaos.read_trace import Call, find_answers, read_calls

UID = "1.2.3.1"
WAL = "/var/screener.sqlite-wal"


def write_trace(folder: Path, *lines: str) -> list[Call]:
    for number, line in enumerate(lines):
        (folder / f"call.{number}").write_text(line + "\n")
    return read_calls(folder / "call")


def in_hex(content: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in content)


def an_answer(status: int, uid: str = UID) -> bytes:
    """A C-STORE response as PS3.7 9.3.1.2 has it, in a P-DATA-TF PDU."""
    values = {0x0100: struct.pack("<H", 0x8001), 0x0900: struct.pack("<H", status), 0x1000: uid.encode() + b"\0"}
    elements = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in values.items())
    command = struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
    return struct.pack(">BBLLBB", 4, 0, len(command) + 6, len(command) + 2, 1, 3) + command


def sent(at: float, content: bytes) -> str:
    return f'{at:.6f} sendto(9<socket:[77]>, "{in_hex(content)}", {len(content)}, 0, NULL, 0) = 1 <0.000100>'


def written(at: float, content: bytes) -> str:
    return f'{at:.6f} pwrite64(7<{WAL}>, "{in_hex(content)}", {len(content)}, 0) = 1 <0.000100>'


def synced(at: float, seconds: float = 0.001) -> str:
    return f"{at:.6f} fdatasync(7<{WAL}>) = 0 <{seconds:.6f}>"


def test_an_answer_is_found_with_its_status_and_time(tmp_path: Path) -> None:
    (answer,) = find_answers(write_trace(tmp_path, sent(5.0, an_answer(0xA700))))
    assert (answer.sop_instance_uid, answer.status, answer.left_at) == (UID, 0xA700, 5.0)


def test_several_answers_in_one_packet_are_all_found(tmp_path: Path) -> None:
    packet = an_answer(0) + an_answer(0, "1.2.3.2")
    found = find_answers(write_trace(tmp_path, sent(5.0, packet)))
    assert [answer.sop_instance_uid for answer in found] == [UID, "1.2.3.2"]


def test_calls_that_failed_and_other_bytes_are_no_answers(tmp_path: Path) -> None:
    failed = sent(5.0, an_answer(0)).replace("= 1", "= -1 EPIPE (Broken pipe)")
    calls = write_trace(tmp_path, failed, sent(6.0, b"\0\0\0\0\4\0\0\0"), "+++ exited with 0 +++")
    assert list(find_answers(calls)) == []


def test_a_path_written_in_hexadecimal_is_the_path(tmp_path: Path) -> None:
    (call,) = write_trace(tmp_path, f"1.000000 fsync(3<{in_hex(b'/a b')}>) = 0 <0.000001>")
    assert call.descriptor == "/a b"


def test_a_file_that_was_opened_under_a_name_since_removed_keeps_that_name(tmp_path: Path) -> None:
    calls = write_trace(
        tmp_path,
        f"1.000000 fsync(3<{in_hex(b'/a.part')}>(deleted)) = 0 <0.000001>",
        f"2.000000 fsync(3<{in_hex(b'/a.part (deleted)')}>) = 0 <0.000001>",
    )
    assert [call.descriptor for call in calls] == ["/a.part", "/a.part"]


def test_a_row_is_durable_once_its_log_was_synced_after_it_was_written(tmp_path: Path) -> None:
    calls = write_trace(tmp_path, synced(1.0), written(2.0, b"row " + UID.encode() + b" row"), synced(3.0, 0.5))
    assert not is_committed(calls, UID, 2.9, is_sqlite=True)
    assert not is_committed(calls, UID, 3.2, is_sqlite=True)  # the sync has not returned
    assert is_committed(calls, UID, 3.6, is_sqlite=True)


def test_a_uid_may_be_followed_by_anything_in_its_page(tmp_path: Path) -> None:
    calls = write_trace(tmp_path, written(2.0, f"row {UID}1".encode()), synced(3.0))
    assert is_committed(calls, UID, 9.0, is_sqlite=True)


def test_the_row_of_another_uid_is_another(tmp_path: Path) -> None:
    calls = write_trace(tmp_path, written(2.0, f"row {UID[:-1]}".encode()), synced(3.0))
    assert not is_committed(calls, UID, 9.0, is_sqlite=True)


def test_a_commit_counts_on_the_connection_that_the_row_went_over(tmp_path: Path) -> None:
    row = f'1.000000 sendto(5<socket:[50]>, "{in_hex(UID.encode())}", 7, 0, NULL, 0) = 7 <0.000010>'
    other = f'2.000000 recvfrom(6<socket:[60]>, "{in_hex(b"COMMIT" + bytes(1))}", 99, 0, NULL, NULL) = 7 <0.000010>'
    own = other.replace("2.0", "3.0").replace("6<socket:[60]>", "5<socket:[50]>")
    calls = write_trace(tmp_path, row, other, own)
    assert not is_committed(calls, UID, 2.5, is_sqlite=False)
    assert is_committed(calls, UID, 3.5, is_sqlite=False)
