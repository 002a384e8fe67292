"""The archive: whole or absent, and never outside its folder."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from screener import IMPLEMENTATION_CLASS_UID
from screener import archive as archive_module
from screener.archive import Archive, Arriving, Kept
from tests.peers.scanner import make_ct, read_data_set_bytes
from workers.results import identity

UID = "1.2.3"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "var", reserve_bytes=0)


def write(archive: Archive, data_set: bytes, sop_instance_uid: str = UID) -> Kept:
    arriving = begin(archive, sop_instance_uid)
    try:
        arriving.write(data_set)
        return arriving.keep()
    finally:
        arriving.discard()


def begin(archive: Archive, sop_instance_uid: str = UID, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Arriving:
    return archive.begin_received(
        sop_class_uid=CTImageStorage,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        calling_ae_title="SCANNER",
    )


def files_of(archive: Archive) -> list[Path]:
    return sorted(path for path in archive.folder.rglob("*") if path.is_file())


def test_a_received_file_is_a_whole_dicom_file_with_the_bytes_as_they_came(archive: Archive, tmp_path: Path) -> None:
    make_ct().save_as(tmp_path / "sent.dcm", enforce_file_format=True)
    data_set = read_data_set_bytes(tmp_path / "sent.dcm")
    kept = write(archive, data_set)
    path = archive.path(kept.path)
    assert read_data_set_bytes(path) == data_set
    assert kept.sha256 == hashlib.sha256(data_set).hexdigest()
    assert kept.size_bytes == path.stat().st_size
    file_meta = dcmread(path).file_meta
    assert file_meta.MediaStorageSOPInstanceUID == UID
    assert file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert file_meta.SourceApplicationEntityTitle == "SCANNER"


def test_the_same_instance_again_is_the_same_file(archive: Archive) -> None:
    assert write(archive, b"slice") == write(archive, b"slice")
    assert len(files_of(archive)) == 1


def test_other_content_under_the_same_uid_never_overwrites(archive: Archive) -> None:
    first, second = write(archive, b"slice"), write(archive, b"another")
    assert archive.path(first.path).read_bytes().endswith(b"slice")
    assert archive.path(second.path).read_bytes().endswith(b"another")


def test_the_same_content_under_another_transfer_syntax_never_overwrites(archive: Archive) -> None:
    kept = {}
    for transfer_syntax_uid in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        arriving = begin(archive, transfer_syntax_uid=transfer_syntax_uid)
        arriving.write(b"slice")
        kept[transfer_syntax_uid] = archive.path(arriving.keep().path)
        arriving.discard()
    for transfer_syntax_uid, path in kept.items():
        assert read_file_meta_info(path).TransferSyntaxUID == transfer_syntax_uid


def test_a_file_moved_aside_leaves_the_received_ones(archive: Archive) -> None:
    kept = write(archive, b"slice")
    moved = archive.move_aside(kept.path)
    assert moved.startswith("aside/")
    assert files_of(archive) == [archive.path(moved)]


@pytest.mark.parametrize("uid", ["", "../../../etc/passwd", "/etc/passwd", "1.2\0.3"])
def test_no_uid_can_name_a_path_outside_the_folder(archive: Archive, tmp_path: Path, uid: str) -> None:
    kept = write(archive, b"x", sop_instance_uid=uid)
    assert files_of(archive) == [archive.path(kept.path)]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == files_of(archive)


@pytest.mark.parametrize("relative", ["../secret", "/etc/passwd", "received/../../secret"])
def test_a_path_outside_the_folder_is_refused(archive: Archive, relative: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        archive.path(relative)


def test_a_link_that_leads_outside_is_refused(archive: Archive, tmp_path: Path) -> None:
    (archive.folder / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="outside"):
        archive.path("link/secret")


def test_a_write_that_fails_leaves_an_empty_file_at_most_and_the_next_one_takes_its_place(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archive_module.os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            write(archive, b"slice")
        assert sum(path.stat().st_size for path in files_of(archive)) == 0
        with pytest.raises(OSError, match="No space"):
            write(archive, b"slice")
    kept = write(archive, b"slice")
    assert files_of(archive) == [archive.path(kept.path)]
    assert archive.path(kept.path).read_bytes().endswith(b"slice")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to make a file durable, in its order."""
    done: list[str] = []
    fsync, link, replace = os.fsync, os.link, Path.replace

    def note_fsync(descriptor: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        fsync(descriptor)

    def note_link(source: Path, target: Path) -> None:
        link(source, target)
        done.append("name")

    def note_replace(self: Path, target: Path) -> Path:
        done.append("name")
        return replace(self, target)

    monkeypatch.setattr(archive_module.os, "fsync", note_fsync)
    monkeypatch.setattr(archive_module.os, "link", note_link)
    monkeypatch.setattr(Path, "replace", note_replace)
    return done


def test_file_and_folder_are_synced_after_the_name_and_before_the_return(archive: Archive, steps: list[str]) -> None:
    write(archive, b"first")  # the folders are there now
    steps.clear()
    write(archive, b"second")
    assert steps == ["name", "file", "folder"]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders that are synced, in their order."""
    done: list[str] = []
    sync_folder = archive_module._sync_folder

    def note(folder: Path | str) -> None:
        sync_folder(folder)
        done.append(Path(folder).name)

    monkeypatch.setattr(archive_module, "_sync_folder", note)
    return done


def test_a_folder_that_another_has_made_is_used_once_its_own_name_is_durable(
    archive: Archive, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made it may not have come so far as to sync it, or have failed at that."""

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    archive.begin(is_known=False)
    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "_sync_folder", fail)
        with pytest.raises(OSError, match="Input/output"):
            write(archive, b"slice")
    for use in (archive, Archive(archive.folder, 0, is_begun=True)):  # another thread, and another process
        synced.clear()
        kept = write(use, b"slice")
        assert synced == ["received", archive.path(kept.path).parent.name]
        synced.clear()
        write(use, b"another slice")
        assert "received" not in synced


def test_the_parts_are_durable_once_the_archive_has_begun_whoever_made_them(
    archive: Archive, synced: list[str]
) -> None:
    archive.begin(is_known=False)
    synced.clear()
    Archive(archive.folder, 0).begin(is_known=False)
    assert synced == ["var"]


def test_a_result_is_given_a_folder_whose_own_name_is_durable(archive: Archive, synced: list[str]) -> None:
    """An earlier attempt at the run may have been killed after it had made the folders."""
    archive.begin(is_known=False)
    (archive.folder / "results" / "study-7" / "run-2").mkdir(parents=True)
    synced.clear()
    archive.write_result(7, 2, "seg", b"bytes", attempt=2)
    assert synced == ["results", "study-7", "run-2"]


def test_what_takes_the_place_of_a_file_is_synced_before(archive: Archive, steps: list[str]) -> None:
    write(archive, b"slice")
    steps.clear()
    write(archive, b"slice")
    assert steps == ["file", "name", "folder"]


def test_a_file_system_without_second_names_will_do(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(archive_module.os, "link", refuse)
    kept = write(archive, b"slice")
    assert files_of(archive) == [archive.path(kept.path)]


def test_an_instance_is_read_while_it_arrives(archive: Archive) -> None:
    arriving = begin(archive)
    arriving.write(b"first, ")
    arriving.write(b"second")
    with arriving.open_data_set() as data_set:
        assert data_set.read() == b"first, second"
        assert data_set.seek(-6, os.SEEK_END) == 7
        assert data_set.read(100) == b"second"
    arriving.write(b", third")
    kept = arriving.keep()
    arriving.discard()
    assert archive.path(kept.path).read_bytes().endswith(b"first, second, third")


def test_what_is_discarded_on_its_way_leaves_nothing(archive: Archive) -> None:
    arriving = begin(archive)
    arriving.write(b"half a sl")
    arriving.discard()
    arriving.discard()
    assert files_of(archive) == []


def test_a_file_that_was_removed_at_once_is_made_again(archive: Archive) -> None:
    arriving = begin(archive)
    arriving.write(b"slice")
    path = archive.path(arriving.keep().path)
    whole = path.read_bytes()
    path.unlink()
    assert archive.path(arriving.keep_again().path) == path
    arriving.discard()
    assert path.read_bytes() == whole
    assert files_of(archive) == [path]


def test_the_reserve_counts_the_newcomer(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    slack = 1 << 30  # others write to this disk while the test runs
    archive = Archive(tmp_path / "var", reserve_bytes=free // 2)
    assert archive.has_room(0)
    assert not archive.has_room(free // 2 + slack)


def test_only_old_unfinished_files_are_removed(archive: Archive) -> None:
    kept = archive.path(write(archive, b"slice").path)
    old, young = kept.with_name(".old.part"), kept.with_name(".young.part")
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert archive.unfinished_bytes() == 8
    assert archive.remove_unfinished() == 1
    assert archive.unfinished_bytes() == 4
    assert files_of(archive) == sorted([kept, young])


def test_a_result_lies_under_its_run(archive: Archive) -> None:
    relative = archive.write_result(7, 2, "seg", b"bytes", attempt=1)
    assert relative == "results/study-7/run-2/seg.dcm"
    assert archive.path(relative).read_bytes() == b"bytes"
    with pytest.raises(ValueError, match="lower case"):
        archive.write_result(7, 2, "../seg", b"bytes", attempt=1)


def test_results_and_received_files_name_the_same_implementation() -> None:
    assert identity._uid_of("implementation") == IMPLEMENTATION_CLASS_UID


def test_a_worker_that_wakes_late_never_overwrites_the_results_of_the_next_attempt(archive: Archive) -> None:
    valid = archive.write_result(7, 2, "seg", b"of the second attempt", attempt=2)
    late = archive.write_result(7, 2, "seg", b"of the first attempt, whose worker had stood still", attempt=1)
    assert late != valid
    assert archive.path(valid).read_bytes() == b"of the second attempt"


def test_a_disk_that_is_away_is_not_taken_for_an_empty_folder(archive: Archive, tmp_path: Path) -> None:
    archive.begin(is_known=False)
    kept = write(archive, b"content")
    archive.folder.rename(tmp_path / "away")
    for is_mount_point in (False, True):
        if is_mount_point:
            archive.folder.mkdir()
        for use in (archive, Archive(tmp_path / "var", 0, is_begun=True)):  # the daemon's, and a worker's
            with pytest.raises(FileNotFoundError):
                begin(use)
            with pytest.raises(FileNotFoundError):
                use.write_result(1, 1, "sr", b"", attempt=1)
        assert archive.folder.exists() is is_mount_point
        assert not files_of(archive)
    assert not list(archive.folder.iterdir())
    archive.folder.rmdir()
    (tmp_path / "away").rename(archive.folder)
    assert write(archive, b"more", "1.2.4").path != kept.path
    assert archive.write_result(1, 1, "sr", b"", attempt=1)


def test_an_archive_whose_images_are_known_begins_with_them_or_not_at_all(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        archive.begin(is_known=True)
    assert not list((tmp_path / "var").iterdir())
    archive.begin(is_known=False)
    Archive(tmp_path / "var", 0).begin(is_known=True)
