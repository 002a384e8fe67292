"""Received files and results on disk: whole or absent, under names made of digests."""

import errno
import hashlib
import io
import itertools
import os
import re
import secrets
import shutil
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from screener import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

RECEIVED = "received"
ASIDE = "aside"
RESULTS = "results"
_UNFINISHED = ".part"
_NO_LINK = {errno.EEXIST, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_FILE_MODE = 0o640  # images of patients: nothing for other users of the machine
_FOLDER_MODE = 0o750


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file that is durable."""

    path: str
    """Relative to the archive's folder."""
    sha256: str
    """Of the data set without preamble and file meta information, in hexadecimal."""
    size_bytes: int
    """Of the whole file."""


_PROCESS = secrets.token_hex(8)
"""Tells the unfinished files of this process from those of others, now and before."""
_NUMBERS = itertools.count()


class Arriving:
    """A received instance while it arrives: `keep` gives it its name, `discard` leaves nothing behind."""

    def __init__(self, archive: "Archive", sop_instance_uid: str, transfer_syntax_uid: str, meta: bytes) -> None:
        self._archive = archive
        self._meta = meta
        self._syntax = hashlib.sha256(transfer_syntax_uid.encode()).hexdigest()[:8]
        self._name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        """Of the data set so far."""
        self._unwritten = meta
        self._descriptor, self._unfinished = self._open()

    def write(self, piece: bytes | memoryview) -> None:
        """Append to the data set."""
        self._digest.update(piece)
        self._write(memoryview(piece))
        self.size_bytes += len(piece)

    def _write(self, piece: memoryview) -> None:
        """Write, and before the first piece what stands before the data set; both in one call of the system."""
        if self._unwritten:
            meta = self._unwritten
            written = os.writev(self._descriptor, (meta, piece))
            _write_all(self._descriptor, memoryview(meta)[written:])
            self._unwritten = b""
            piece = piece[max(written - len(meta), 0) :]
        _write_all(self._descriptor, piece)

    def open_data_set(self) -> io.BufferedReader:
        """Read what has come so far, without preamble and file meta information."""
        return io.BufferedReader(_Tail(self._descriptor, len(self._meta), self.size_bytes), 16 << 10)

    def keep(self, part: str = RECEIVED) -> Kept:
        """Make the instance durable, in `part` of the archive; the same one again gives the same file.

        The name holds digests of the SOP Instance UID, the data set and the
        transfer syntax, so that other content under the same UID, or the same
        bytes that mean something else, never overwrite what is there.
        """
        if self._unfinished is None:
            raise ValueError("kept or discarded before")
        if self._unwritten:  # an empty data set
            self._write(memoryview(b""))
        sha256 = self._digest.hexdigest()
        # Text, not Path: what joins and takes apart paths costs more than what the system does with them.
        relative_folder = f"{part}/{self._name[:2]}"
        relative = f"{relative_folder}/{self._name}-{sha256[:16]}-{self._syntax}.dcm"
        folder, path = f"{self._archive.folder}/{relative_folder}", f"{self._archive.folder}/{relative}"
        if part != RECEIVED:  # that folder was made when the file began
            self._archive.make_folder(Path(folder))
        if _link(self._unfinished, path):
            # Named first, the file takes its name along when it is synced, and little is left to do for the folder.
            # What a power cut leaves half written has no row yet.
            try:
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, 0)  # the name may be another's by now: the daily sweep removes it
                raise
            _sync_folder(folder)
            # Not before: the folder would have changed again, which makes its sync one of the journal, too.
            os.unlink(self._unfinished)  # noqa: PTH108 - text, see above
        else:  # what is there may have a row: what takes its place must be whole before
            os.fsync(self._descriptor)
            Path(self._unfinished).replace(path)
            _sync_folder(folder)
        self._unfinished = None
        return Kept(path=relative, sha256=sha256, size_bytes=len(self._meta) + self.size_bytes)

    def is_kept(self) -> bool:
        """True: what `keep` has made durable still has its name."""
        return os.fstat(self._descriptor).st_nlink > 0

    def keep_again(self) -> Kept:
        """Make another file of what was kept, for the one that has been removed since."""
        old = self._descriptor
        self._descriptor, self._unfinished = self._open()
        try:
            position = 0
            while sent := os.sendfile(self._descriptor, old, position, 1 << 30):
                position += sent
        finally:
            os.close(old)
        return self.keep()

    def discard(self) -> None:
        """Let go; what was not kept is gone. May be called at any time, and twice."""
        if self._unfinished is not None:
            Path(self._unfinished).unlink(missing_ok=True)
            self._unfinished = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> tuple[int, str | None]:
        folder = self._archive.find_received_folder(self._name[:2])
        unfinished = f"{folder}/.{self._name}.{_PROCESS}{next(_NUMBERS):x}{_UNFINISHED}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            return os.open(unfinished, flags, _FILE_MODE), unfinished
        except FileNotFoundError:
            self._archive.make_folder(Path(folder))
            return os.open(unfinished, flags, _FILE_MODE), unfinished


def _link(unfinished: str, path: str) -> bool:
    """Give a file its name; False where there is one of that name, or the file system knows no second names."""
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


class _Tail(io.RawIOBase):
    """What a file holds from a position on, without moving the position at which it is written."""

    def __init__(self, descriptor: int, start: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = max(min(len(buffer), self._size_bytes - self._position), 0)
        with memoryview(buffer) as view:
            read = os.preadv(self._descriptor, [view[:wanted]], self._start + self._position)
        self._position += read
        return read


class Archive:
    """The storage folder; `reserve_bytes` of its disk are never touched."""

    def __init__(self, folder: Path, reserve_bytes: int, *, is_begun: bool = False) -> None:
        """True: a daemon has begun it, see `begin`."""
        self.folder = folder.resolve()
        self._reserve_bytes = reserve_bytes
        self._is_begun = is_begun
        self._durable: set[str] = set()
        """Folders of received files whose names are known to be durable."""
        if not is_begun:
            _make_folder(self.folder)

    def begin(self, *, is_known: bool) -> None:
        """Make the parts of the folder; from now on one that is missing is on a disk that is away, and not made anew.

        Raises FileNotFoundError where rows know of files (`is_known`) and there are none.
        """
        if is_known:
            _find(self.folder / RECEIVED)
        for part in (RECEIVED, ASIDE, RESULTS):
            _make_folder(self.folder / part)
        _sync_folder(self.folder)  # who made them may have been killed before
        self._is_begun = True

    def make_folder(self, folder: Path) -> None:
        """Make a folder in a part of the archive; FileNotFoundError where the part is on a disk that is away.

        What leads to it from there is durable on return, even where it is there already: who made it may not have
        come so far, or have failed at that.
        """
        part, *names = folder.relative_to(self.folder).parts
        parent = self.folder / part
        if self._is_begun:
            _find(parent)
        else:
            _make_folder(parent)
        for name in names:
            (parent / name).mkdir(_FOLDER_MODE, exist_ok=True)
            _sync_folder(parent)
            parent /= name

    def find_received_folder(self, name: str) -> str:
        """Give the path of a folder of received files, made and durable; only the first time does it cost anything."""
        folder = f"{self.folder}/{RECEIVED}/{name}"
        if name not in self._durable:
            self.make_folder(Path(folder))
            self._durable.add(name)
        return folder

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether the reserve stays free after another `size_bytes`."""
        return self.free_bytes() - size_bytes >= self._reserve_bytes

    def free_bytes(self) -> int:
        """Tell how much of the disk is free, the reserve included."""
        return shutil.disk_usage(self.folder).free

    def path(self, relative: str) -> Path:
        """Give the absolute path of a file that a row names; ValueError where it leaves the folder."""
        path = (self.folder / relative).resolve()
        if not path.is_relative_to(self.folder):
            raise ValueError("a path outside the storage folder")
        return path

    def begin_received(
        self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae_title: str
    ) -> Arriving:
        """Begin the file of an instance, whose data set is kept as it comes, byte for byte."""
        meta = encode_file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae_title)
        return Arriving(self, sop_instance_uid, transfer_syntax_uid, meta)

    def move_aside(self, relative: str) -> str:
        """Take a received file out of the way of the stages; returns its new relative path."""
        source = self.path(relative)
        target = self.folder / ASIDE / source.parent.name / source.name
        self.make_folder(target.parent)
        source.replace(target)
        _sync_folder(target.parent)
        _sync_folder(source.parent)
        return str(target.relative_to(self.folder))

    def write_result(
        self,
        study_id: int,
        run_number: int,
        role: str,
        content: bytes | memoryview,
        *,
        attempt: int,
        suffix: str = ".dcm",
    ) -> str:
        """Make one result of a run durable, `role` being seg, sr, key_image ...; returns its relative path.

        Each attempt at the run has names of its own: a worker that stood still
        until another took the run overwrites nothing when it wakes.
        """
        if not re.fullmatch(r"[a-z0-9_]+", role) or not re.fullmatch(r"\.[a-z0-9]+", suffix):
            raise ValueError("a role and a suffix consist of lower case letters, digits and underscores")
        name = role if attempt == 1 else f"{role}-{attempt:d}"
        path = self.folder / RESULTS / f"study-{study_id:d}" / f"run-{run_number:d}" / f"{name}{suffix}"
        self.make_folder(path.parent)
        _write_whole(path, content)
        return str(path.relative_to(self.folder))

    def remove(self, relative: str) -> bool:
        """Remove a file, and its folder where that is empty then; False where it was gone already."""
        path = self.path(relative)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        if path.is_relative_to(self.folder / RESULTS):  # a folder per run; those of received files are few and stay
            with suppress(OSError):
                path.parent.rmdir()
                path.parent.parent.rmdir()
        return True

    def files_before(self, part: str, moment: datetime) -> Iterator[str]:
        """Yield the relative paths of whole files in `part` that were last written before `moment`, by folder."""
        for folder, folders, names in os.walk(self.folder / part):
            folders.sort()
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    if not name.endswith(_UNFINISHED) and path.stat().st_mtime < moment.timestamp():
                        yield str(path.relative_to(self.folder))

    def remove_unfinished(self, older_than_seconds: float = 3600) -> int:
        """Remove what a crash left half written; returns the number of files.

        A worker may be writing a result while the daemon starts, hence the age.
        """
        limit = time.time() - older_than_seconds
        removed = 0
        for path, found in self._unfinished():
            if found.st_mtime <= limit:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def unfinished_bytes(self) -> int:
        """Tell how much of the disk is held by what is being written."""
        return sum(found.st_size for _, found in self._unfinished())

    def _unfinished(self) -> Iterator[tuple[Path, os.stat_result]]:
        for part in (RECEIVED, ASIDE, RESULTS):
            for folder, _, names in os.walk(self.folder / part):
                for path in (Path(folder, name) for name in names if name.endswith(_UNFINISHED)):
                    try:
                        found = path.stat()
                    except FileNotFoundError:
                        continue
                    yield path, found


def encode_file_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae_title: str
) -> bytes:
    """Encode preamble, prefix and file meta information (PS3.10 7.1), to stand before a data set.

    By hand, because a general encoder costs as much as the rest of a C-STORE.
    """
    elements = b"".join(
        (
            struct.pack("<HH2s2xL", 0x0002, 0x0001, b"OB", 2) + b"\0\1",
            _encode_text(0x0002, b"UI", sop_class_uid),
            _encode_text(0x0003, b"UI", sop_instance_uid),
            _encode_text(0x0010, b"UI", transfer_syntax_uid),
            _encode_text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _encode_text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _encode_text(0x0016, b"AE", calling_ae_title),
        )
    )
    group_length = struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(elements))
    return bytes(128) + b"DICM" + group_length + elements


def _encode_text(element: int, value_representation: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:  # PS3.5 6.2: UI is padded with a null, text with a space
        value += b"\0" if value_representation == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, element, value_representation, len(value)) + value


def _write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write `content` so that `path` either holds all of it or does not exist.

    A crash between two answers must never leave half a slice for the loader
    to find, so the bytes are synced before the name appears, and the name
    before anybody is told.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_UNFINISHED}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            _write_all(file.fileno(), memoryview(content).cast("B"))
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _write_all(descriptor: int, part: memoryview) -> None:
    written = 0
    while written < len(part):  # one write takes 2 GiB at most, and less on a disk that fills up
        written += os.write(descriptor, part[written:])


def _find(part: Path) -> None:
    """Raise FileNotFoundError where the folder is not there."""
    if not part.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(part))


def _make_folder(folder: Path) -> None:
    """Make `folder` and what leads to it; each new name is durable on return."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(_FOLDER_MODE)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path | str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
