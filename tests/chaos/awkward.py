"""Send every awkward file through the door and tell what becomes of it: decoded, kept, refused or failed, and why.

`python tests/chaos/awkward.py`. The files are those of the development data
and those that ship with pydicom. Each goes over a true association into a door
of its own, is completed and dispatched, and selected, loaded and decoded as a
worker would. `expected_endings.toml` says what must come of it; another ending
fails the program, and so do other values of a CT image than that file tells,
or fewer files than it counts. Then all of them go into one running daemon, with every
collision of their UIDs, and each study there must end.
"""

import argparse
import hashlib
import logging
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from screener.archive import Archive
from screener.config import Listener as ListenerSettings
from screener.config import Peer
from screener.dispatch import dispatch_study
from screener.outcomes import NeedsPerson, Outcome, SetAside
from screener.receive import Listener
from screener.sop_classes import CT, ULTRASOUND
from screener.store import Store
from screener.study import Instance, Thresholds
from tests.peers.hospital import Hospital, open_hospital, wait_until
from tests.peers.mailbox import open_mailbox
from tests.peers.scanner import Answer, AssociationFailed, Raw, Scanner, read_data_set_bytes
from tests.peers.stores import open_new_store
from tests.unit.ct_study import describe
from workers.ct.decode_slice import SliceDecoder
from workers.ct.list_frames import ENHANCED_CT
from workers.ct.load_volume import load_volume
from workers.ct.select_series import select_series
from workers.us.select_frames import select_frames

AWKWARD = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dicom" / "awkward"
SYNTAXES = AWKWARD / "transfer_syntaxes"
SAME_IMAGE = "CTImage.dcm"
"""How the names of one image in every transfer syntax begin, and of the plain one all of it."""
PYDICOM = Path(pydicom.__file__).parent / "data"
EXPECTED = Path(__file__).parent / "expected_endings.toml"
NO_DICOM = {".py", ".pyc", ".json", ".dump", ".txt", ".md", ".icc"}
VOLUMES = ("gantrytilting", "notavolume", "slicecount", "sliceincrement", "sliceorientation")
THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="0" * 12)
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
CANNOT_UNDERSTAND = 0xC000
CLASS_REFUSED = None
DAEMON_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file, or the slices of one folder."""

    name: str
    paths: list[Path]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What became of a case; the fields are those of `expected_endings.toml`."""

    result: str
    ending: str = ""
    volume: str = ""
    reason: str = ""
    pixels: str = ""
    """What is wrong with the values; empty where nothing is."""


def main() -> int:
    """Print the table; 1 where anything ended otherwise than expected, or did not end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="names of cases, such as 'awkward/ultrasound/*'")
    parser.add_argument("--no-daemon", action="store_true", help="leave out the running daemon")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the table says it
    warnings.simplefilter("ignore")  # of the files' flaws, which are what they are kept for
    cases = [case for case in list_cases() if fnmatchcase(case.name, options.only)]
    wrong = _tell_missing(cases, is_all=options.only == "*")
    counts: dict[str, int] = {}
    print(f"{'file':<68} {'result':<20} {'alone in its study':<32} {'as a volume':<19} reason")
    for case in cases:
        found = try_case(case)
        expected = find_expected(case.name)
        is_right = expected is not None and (found.result, found.ending, found.volume) == (
            expected.result, expected.ending, expected.volume,
        ) and not found.pixels  # fmt: skip
        wrong += not is_right
        kind = found.result.split(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
        name = case.name if len(case.name) <= 68 else f"...{case.name[-65:]}"
        print(f"{name:<68} {found.result:<20} {found.ending:<32} {found.volume:<19} {found.reason}", flush=True)
        if not is_right:
            print(f"    EXPECTED {expected} {found.pixels}")
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{len(cases)} cases: {told}; {wrong} otherwise than expected")
    stuck = 0 if options.no_daemon else try_daemon(cases)
    return 1 if wrong or stuck else 0


def _tell_missing(cases: Sequence[Case], *, is_all: bool) -> int:
    """Print which folder holds fewer cases than it did when the expectations were written; returns how many do."""
    if not cases:
        print("NO CASES: nothing is there, or nothing has a name like that")
        return 1
    wrong = 0
    for label, count in _expectations()["cases"].items() if is_all else ():
        there = sum(case.name.startswith(f"{label}/") for case in cases)
        if there < count:
            print(f"MISSING {count - there} of {count} cases of {label}")
            wrong += 1
    return wrong


def list_cases() -> list[Case]:
    """Every file there is; the folders that hold the slices of one series are one case each."""
    cases = []
    for label, root in (("awkward", AWKWARD), ("pydicom", PYDICOM)):
        for path in sorted(root.rglob("*")):
            name = f"{label}/{path.relative_to(root)}"
            is_slice = path.relative_to(root).parts[0] in VOLUMES and label == "awkward"
            if path.is_dir() and is_slice and any(one.is_file() for one in path.iterdir()):
                cases.append(Case(name=name, paths=sorted(path.iterdir())))
            elif path.is_file() and not is_slice and path.suffix not in NO_DICOM and path.name != "README":
                cases.append(Case(name=name, paths=[path]))
    return cases


def find_expected(name: str) -> Found | None:
    """The first entry that names the case."""
    for entry in _expectations()["expected"]:
        if any(fnmatchcase(name, pattern) for pattern in entry["files"]):
            return Found(result=entry["result"], ending=entry.get("ending", ""), volume=entry.get("volume", ""))
    return None


@cache
def _expectations() -> dict[str, Any]:
    return tomllib.loads(EXPECTED.read_text())


def find_wrong_pixels(name: str, hu: NDArray[np.int16]) -> str:
    """Say what is wrong with the Hounsfield units of a CT case; empty where they are as expected.

    The variants of one image are compared with it, all others with the digests of what the library decodes by itself.
    """
    expected = _expectations()
    if SAME_IMAGE in name:
        original = SliceDecoder().decode(describe(SYNTAXES / SAME_IMAGE), hu.shape[1:])
        off_hu = np.abs(hu - original.astype(int))
        worst, mean = float(off_hu.max()), float(off_hu.mean())
        syntax = name.partition(f"{SAME_IMAGE}_")[2].partition("TransferSyntax")[0]
        most_worst, most_mean = expected["lossy"].get(syntax, (0, 0))
        return f"off by {worst:.0f} HU, {mean:.2f} on average" if worst > most_worst or mean > most_mean else ""
    digest = hashlib.sha256(hu.astype("<i2").tobytes()).hexdigest()[:16]
    return "" if expected["digests"].get(name) == digest else f"digest {digest}"


def try_case(case: Case) -> Found:
    """Send one case through a door of its own, and on to where its journey ends."""
    with tempfile.TemporaryDirectory() as folder, _open_door(Path(folder)) as (listener, archive, store):
        answers = _send(Scanner(listener.port), case.paths)
        for answer in answers:
            if answer.status != 0:
                kind = "class" if answer.status is CLASS_REFUSED else "unreadable"
                kind = "truncated" if "declared length" in answer.comment else kind
                return Found(result=f"refused: {kind}", reason=answer.comment)
        far = NOW + timedelta(days=1)
        (study,) = store.quiet_studies(far, quiet=timedelta(0), max_wait=timedelta(0))
        dispatch_study(store, study, THRESHOLDS, far)
        images = store.images_of(study.study_id, archive.folder)
        result, reason, decoded = _decode_all(images)
        pixels = find_wrong_pixels(case.name, decoded[0]) if len(case.paths) == 1 and len(decoded) == 1 else ""
        ending, ending_reason = _find_ending(store, study.study_id, images)
        volume = _try_volume(images) if len(case.paths) > 1 and images[0].sop_class_uid in CT else ""
        return Found(result=result, ending=ending, volume=volume, reason=reason or ending_reason, pixels=pixels)


@contextmanager
def _open_door(folder: Path) -> Iterator[tuple[Listener, Archive, Store]]:
    archive = Archive(folder, 0)
    store = open_new_store(f"sqlite:///{folder / 'screener.sqlite'}")
    settings = ListenerSettings(port=0, peers=[_any_peer()])
    listener = Listener(settings, archive, store, lambda: NOW)
    listener.start()
    try:
        yield listener, archive, store
    finally:
        listener.stop()
        store.engine.dispose()


def _any_peer() -> Peer:
    return Peer(ae_title="*", hosts=["127.0.0.0/8"], sends_documents=True)


def _send(scanner: Scanner, paths: Sequence[Path]) -> list[Answer]:
    try:
        return scanner.send([_as_item(path) for path in paths])
    except AssociationFailed as failure:
        return [Answer("", CLASS_REFUSED, f"association {failure}")]


def _as_item(path: Path) -> Path | Raw:
    """The file itself; what lacks the file meta information that a sender goes by is sent as its bytes."""
    try:
        ds = dcmread(path, stop_before_pixels=True)
    except InvalidDicomError:
        ds = dcmread(path, stop_before_pixels=True, force=True) if path.suffix == ".dcm" else Dataset()
        is_explicit = path.read_bytes()[4:6].isalpha()
        syntax = ExplicitVRLittleEndian if is_explicit else ImplicitVRLittleEndian
        return Raw(
            path.read_bytes(),
            sop_class_uid=str(ds.get("SOPClassUID") or CTImageStorage),
            sop_instance_uid=str(ds.get("SOPInstanceUID") or "2.25.1"),
            transfer_syntax_uid=syntax,
        )
    meta = ds.file_meta
    if not all(
        meta.get(f"{name}UID") for name in ("MediaStorageSOPClass", "MediaStorageSOPInstance", "TransferSyntax")
    ):
        return Raw(read_data_set_bytes(path), sop_instance_uid="2.25.1")
    named = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    if named == (ds.get("SOPClassUID"), ds.get("SOPInstanceUID")) or "SOPInstanceUID" not in ds:
        return path
    # Left over from before the file was made anonymous; a sender goes by the data set.
    return Raw(read_data_set_bytes(path), str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(meta.TransferSyntaxUID))


def _decode_all(images: Sequence[Instance]) -> tuple[str, str, list[NDArray[np.int16]]]:
    """Decode every pixel of every image, CT as its loader does; say what hindered it, and give CT's (frame, y, x)."""
    decoded: list[NDArray[np.int16]] = []
    if not images:
        return "document", "", decoded
    for image in images:
        ds = dcmread(image.path)
        if "PixelData" not in ds:
            return "failed: no pixels", "", decoded
        try:
            if image.sop_class_uid in CT:
                decoded.append(_decode_ct(image, ds))
            elif not sum(np.asarray(frame).size for frame in iter_pixels(ds)):
                return "failed: no pixels", "", decoded
        except Outcome as outcome:
            return f"failed: {outcome.code}", outcome.reason, decoded
        except (ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
            return "failed: undecodable", f"{type(error).__name__}: {error}", decoded
    return "decoded", "", decoded


def _decode_ct(image: Instance, ds: Dataset) -> NDArray[np.int16]:
    decoder = SliceDecoder()
    frames = range(1, int(ds.NumberOfFrames) + 1) if image.sop_class_uid in ENHANCED_CT else [0]
    return np.stack([decoder.decode(image, (int(ds.Rows), int(ds.Columns)), number) for number in frames])


def _find_ending(store: Store, study_id: int, images: Sequence[Instance]) -> tuple[str, str]:
    """How the study ends: at dispatch, or in the first stages of its queue."""
    report = store.study_report(study_id)
    if report.ending is not None:
        return f"{report.ending}: {report.code}", report.reason
    try:
        if any(image.sop_class_uid in CT for image in images):
            load_volume(images, select_series(images)[0])
        elif any(image.sop_class_uid in ULTRASOUND for image in images):
            select_frames(images)
    except SetAside as outcome:
        return f"set aside: {outcome.code}", outcome.reason
    except NeedsPerson as outcome:
        return f"failed: {outcome.code}", outcome.reason
    return "loaded", ""


def _try_volume(images: Sequence[Instance]) -> str:
    try:
        load_volume(images, images[0].series_instance_uid, min_slices=2)
    except Outcome as outcome:
        return outcome.code
    return "loaded"


def try_daemon(cases: Sequence[Case]) -> int:
    """Send everything into one running daemon; returns how many studies did not end in time."""
    with tempfile.TemporaryDirectory() as folder, open_mailbox() as mailbox:
        hospital = Hospital(Path(folder), mailbox, [])
        with open_hospital(hospital):
            uids = set()
            for path in (path for case in cases for path in case.paths):
                _send(hospital.scanner, [path])
                uids.add(str(dcmread(path, stop_before_pixels=True, force=True).get("StudyInstanceUID") or ""))
            known = [study_id for uid in sorted(uids) if uid and (study_id := hospital.store.find_study(uid))]
            reports = {}

            def all_ended() -> bool:
                reports.update({study_id: hospital.store.study_report(study_id) for study_id in known})
                return all(report.ending is not None for report in reports.values())

            try:
                wait_until(all_ended, DAEMON_SECONDS, "every study has ended")
            except AssertionError as error:
                print(error)
            stuck = sum(report.ending is None for report in reports.values())
            endings: dict[str, int] = {}
            for report in reports.values():
                name = f"{report.ending}: {report.code}" if report.ending else "in flight"
                endings[name] = endings.get(name, 0) + 1
            told = ", ".join(f"{count} {name}" for name, count in sorted(endings.items()))
            print(f"in one daemon: {len(known)} studies: {told}; {stuck} stuck")
            return stuck


if __name__ == "__main__":
    sys.exit(main())
