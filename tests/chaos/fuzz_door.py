"""Send spoiled objects, and spoiled conversations, to a running daemon."""

import random
import re
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, build_context

from screener.archive import encode_file_meta
from tests.chaos.fuzz_seeds import INSTANCE, Seed, name_uid
from tests.chaos.fuzz_watch import Footprint
from tests.chaos.mutate import LENGTHS
from tests.peers.hospital import Hospital, open_hospital
from tests.peers.mailbox import open_mailbox

NETWORK_SECONDS = 5.0
ANSWER_SECONDS = 120.0
"""A busy machine may take so long."""
PER_ASSOCIATION = 25
BUG = re.compile(r" ERROR |Traceback|CRITICAL")


class Door:
    """A daemon without workers, and who calls it."""

    def __init__(self, folder: Path, seeds: Sequence[Seed]) -> None:
        self._stack = ExitStack()
        mailbox = self._stack.enter_context(open_mailbox())
        settings = {
            "listener": {"network_timeout_seconds": NETWORK_SECONDS},
            "completeness": {"quiet_seconds": 5, "max_wait_seconds": 10},
        }
        self._hospital = Hospital(folder, mailbox, [], settings=settings)  # type: ignore[arg-type]
        self._stack.enter_context(open_hospital(self._hospital, "--no-workers"))
        self._contexts = [
            build_context(*pair)
            for pair in dict.fromkeys((seed.sop_class_uid, seed.transfer_syntax_uid) for seed in seeds)
        ]
        self._assoc: Any = None
        self._sent = 0
        self._spoke_at = time.monotonic()
        self._log_read = 0
        self._conversation: list[bytes] = []
        self._seed = seeds[0]
        self._footprint = Footprint()
        self._record(folder)

    def send(self, path: Path) -> str:
        """Send a file over an association that many share; how it was answered."""
        if self._is_associated and time.monotonic() - self._spoke_at > NETWORK_SECONDS / 2:
            # After a caller that the door waited for: just when the door ends this one, pynetdicom, too, may send, and
            # waits for an answer that never comes.
            self._assoc.abort()
        if not self._is_associated or self._sent >= PER_ASSOCIATION:
            self._hang_up()
            ae = AE("SCANNER")
            ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
            self._assoc = ae.associate("127.0.0.1", self._hospital.port, contexts=self._contexts, ae_title="PAROTID")
            if not self._assoc.is_established:
                return self._judge("HANG no association")
        self._sent += 1
        began_at = time.monotonic()
        try:
            status = self._assoc.send_c_store(path).get("Status")
        except (RuntimeError, ValueError):
            status = None
        self._spoke_at = time.monotonic()
        if status is None:
            is_late = time.monotonic() - began_at > ANSWER_SECONDS - 1
            return self._judge("HANG no answer" if is_late else "aborted")
        return self._judge({0x0000: "kept", 0xA700: "CRASH answered 0xA700"}.get(status, f"refused 0x{status:04X}"))

    def converse(self, rng: random.Random) -> str:
        """Send a whole spoiled conversation at once; how the door ended it."""
        spoiled = _spoil(self._conversation, rng)
        received = b""
        try:
            with socket.create_connection(("127.0.0.1", self._hospital.port), timeout=ANSWER_SECONDS) as connection:
                connection.sendall(spoiled)
                if rng.random() < 0.8:
                    connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    received += piece
        except TimeoutError:
            return self._judge("HANG the connection stays open")
        except OSError:
            return self._judge("connection reset")
        return self._judge("answered with " + (", ".join(_names(received)) or "nothing"))

    def _judge(self, ending: str) -> str:
        """The ending, unless the daemon has ended or has logged an error."""
        process = self._hospital._process
        assert process is not None
        if process.poll() is not None:
            end = self._hospital.log_path.read_text(errors="replace")[-3000:]
            raise AssertionError(f"the daemon ended with {process.returncode}: {end}")
        self._footprint.look(process.pid)
        with self._hospital.log_path.open("rb") as log:
            log.seek(self._log_read)
            written = log.read().decode(errors="replace")
            self._log_read = log.tell()
        bugs = [line for line in written.splitlines() if BUG.search(line)]
        return f"CRASH logged {bugs[0][:300]}" if bugs and not ending.startswith("HANG") else ending

    @property
    def _is_associated(self) -> bool:
        return self._assoc is not None and bool(self._assoc.is_established)

    def _hang_up(self) -> None:
        if self._is_associated:
            self._assoc.release()
        self._assoc, self._sent = None, 0

    def _record(self, folder: Path) -> None:
        """Keep the bytes of a sound association, PDU by PDU, as they pass a post in between."""
        post = socket.create_server(("127.0.0.1", 0))
        passed = bytearray()
        thread = threading.Thread(target=_pass_on, args=(post, self._hospital.port, passed), daemon=True)
        thread.start()
        path = folder / "sound.dcm"
        seed = self._seed.numbered(10**9)
        uid = name_uid(INSTANCE, 10**9)
        meta = encode_file_meta(seed.sop_class_uid, uid, seed.transfer_syntax_uid, "SCANNER")
        path.write_bytes(meta + seed.data_set)
        assert read_file_meta_info(path)
        ae = AE("SCANNER")
        assoc = ae.associate("127.0.0.1", post.getsockname()[1], contexts=self._contexts, ae_title="PAROTID")
        assert assoc.is_established
        assoc.send_c_store(path)
        assoc.release()
        thread.join(timeout=60)
        post.close()
        at = 0
        while at + 6 <= len(passed):
            (length,) = struct.unpack_from(">L", passed, at + 2)
            self._conversation.append(bytes(passed[at : at + 6 + length]))
            at += 6 + length
        assert [pdu[0] for pdu in self._conversation] == [1, *[4] * (len(self._conversation) - 2), 5]

    def close(self) -> list[str]:
        """Stop the daemon; what it has left behind, or that it no longer answers."""
        self._hang_up()
        found = []
        process = self._hospital._process
        if process is not None and process.poll() is None:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:  # connections that it has yet to give up
                self._footprint.measure(process.pid)
                if not self._footprint.complaints("daemon"):
                    break
                time.sleep(1)
            found = self._footprint.complaints("daemon")
            if self._hospital.scanner.echo() != 0:
                found.append("HANG the daemon no longer answers C-ECHO")
        self._stack.close()
        return found

    @property
    def figures(self) -> str:
        """One line for the report."""
        return f"daemon: {self._footprint}"


def _pass_on(post: socket.socket, port: int, passed: bytearray) -> None:
    """Pass one connection on to `port`; what the caller says is kept."""
    caller, _ = post.accept()
    with caller, socket.create_connection(("127.0.0.1", port)) as door:
        back = threading.Thread(target=_copy, args=(door, caller, bytearray()), daemon=True)
        back.start()
        _copy(caller, door, passed)
        back.join(timeout=30)


def _copy(source: socket.socket, target: socket.socket, passed: bytearray) -> None:
    try:
        while piece := source.recv(65536):
            passed += piece
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _spoil(pdus: Sequence[bytes], rng: random.Random) -> bytes:
    """Spoil PDUs of a conversation: one's bytes or length, their order, or what stands between them."""
    spoiled = [bytearray(pdu) for pdu in pdus]
    for _ in range(rng.choice((1, 1, 2, 4))):
        index = rng.choice((0, 0, 0, 1, 1, 2, rng.randrange(len(spoiled)))) % len(spoiled)
        pdu = spoiled[index]
        how = rng.choice(("flip", "flip", "number", "length", "drop", "double", "swap", "cut", "insert", "type"))
        if how == "flip":
            at = rng.randrange(min(len(pdu), 400)) if pdu else 0
            if pdu:
                pdu[at] ^= 1 << rng.randrange(8)
        elif how == "number":
            at = rng.randrange(max(1, min(len(pdu), 300)))
            pdu[at : at + 2] = struct.pack(">H", rng.choice(LENGTHS) & 0xFFFF)
        elif how == "length":
            pdu[2:6] = struct.pack(">L", rng.choice((*LENGTHS, 5, 69, 10_000)) & 0xFFFFFFFF)
        elif how == "drop":
            spoiled[index] = bytearray()
        elif how == "double":
            spoiled.insert(index, bytearray(pdu))
        elif how == "swap":
            other = rng.randrange(len(spoiled))
            spoiled[index], spoiled[other] = spoiled[other], spoiled[index]
        elif how == "cut":
            del pdu[rng.randrange(max(1, len(pdu))) :]
        elif how == "insert":
            at = rng.randrange(len(pdu) + 1)
            pdu[at:at] = rng.randbytes(rng.choice((1, 4, 40, 3000)))
        elif pdu:
            pdu[0] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 255))
    return b"".join(spoiled)


_NAMES = {2: "accept", 3: "reject", 4: "data", 6: "release", 7: "abort"}


def _names(received: bytes) -> list[str]:
    """The kinds of PDU in an answer, each once."""
    names: dict[str, None] = {}
    at = 0
    while at + 6 <= len(received):
        names[_NAMES.get(received[at], f"type {received[at]}")] = None
        at += 6 + struct.unpack_from(">L", received, at + 2)[0]
    return list(names)
