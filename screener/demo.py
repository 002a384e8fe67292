"""The whole journey once, on this machine: daemon, PACS and mailbox, two phantoms or a study of yours."""

import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from screener.demo_hospital import AE_TITLE, QUIET_SECONDS, DemoError, Hospital, open_hospital, wait_for
from screener.demo_peers import HOST, Mail, Received
from screener.demo_report import describe_checks, describe_decision, describe_mail, describe_step, heading, wrap
from screener.explain import describe_counts, describe_study
from screener.journey import Ending
from screener.phantom import make_phantom, write_phantom
from screener.send_folder import SendError, send_folder
from screener.store import StudyReport

PHANTOM_MASS_MM = 25.0
IDENTITY_KEYWORDS = ("PatientName", "PatientID")
STUDY_SECONDS = 600.0
"""The longest that the demo waits for one study's ending."""


@dataclass(slots=True, kw_only=True)
class DemoStudy:
    """One study that is sent, and what is expected of it."""

    title: str
    study_instance_uid: str
    is_mass_expected: bool | None
    """True or False for a phantom; None where nobody knows."""
    identity: frozenset[str]
    """The patient's name and ID, which no log may hold."""
    sent_at: float = 0.0
    """time.monotonic() when its last image was answered."""
    checks: list[tuple[str, bool]] = field(default_factory=list)
    """Expectations in words, and whether they were met."""


def run_demo(study: Path | None = None, *, keep: Path | None = None) -> int:
    """Send two phantoms, or the folder `study`, through a daemon of the demo's own; 0 when all was as expected.

    Results stay in a new folder below `keep` (default: demo-results). Nothing
    of an installation beside the demo is read or touched.
    """
    results = (keep or Path("demo-results")) / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    library = logging.getLogger("pynetdicom")
    level = library.level
    library.setLevel(logging.CRITICAL)  # a peer that is not up yet is no error here
    before = signal.signal(signal.SIGTERM, _leave)
    began = time.monotonic()
    try:
        given = _find_studies(study) if study else {}
        results.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="parotid-demo-") as folder:
            is_good = _run(Path(folder), study, given, results)
    except DemoError as error:
        print(f"\nThe demo stopped: {error}")
        is_good = False
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
        library.setLevel(level)
    if results.exists():
        print(f"\nResults: {results}   ({time.monotonic() - began:.0f} s in all)")
    print("Everything was as expected." if is_good else "Not everything was as expected.")
    return 0 if is_good else 1


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the shape of a signal handler
    raise KeyboardInterrupt


def _run(work: Path, study: Path | None, given: dict[str, set[str]], results: Path) -> bool:
    print("Parotid screener: demo. Research use, not validated for clinical diagnosis.\n")
    with open_hospital(work, results / "daemon.log") as hospital:
        studies = _send_given(hospital, study, given) if study else _send_phantoms(hospital, work)
        reports = _wait(hospital, studies)
        for demo_study, report in zip(studies, reports, strict=True):
            _show(hospital, demo_study, report, results)
        counts = hospital.store.counts()
        print(heading("All studies"))
        print(f"  {describe_counts(counts)}".replace("\n", "\n  "))
        log = hospital.log.read_text(encoding="utf-8", errors="replace")
        identity = {value for demo_study in studies for value in demo_study.identity}
        checks = [
            ("received = done + set aside + failed + in flight", counts.is_balanced),
            ("the daemon's log names no patient", not any(value in log for value in identity)),
        ]
        checks += [check for demo_study in studies for check in demo_study.checks]
        print(heading("Expected"))
        print(f"{describe_checks(checks)}\n\nStopping the daemon.", flush=True)
    return all(is_met for _, is_met in checks)


def _send_phantoms(hospital: Hospital, work: Path) -> list[DemoStudy]:
    """Make two synthetic patients, one with a mass, and send them as a scanner would."""
    studies = []
    for number, mass_mm in enumerate((PHANTOM_MASS_MM, None), start=1):
        identity = (f"PHANTOM^{number}", f"PHANTOM-{number}")
        phantom = make_phantom(mass_mm=mass_mm, seed=number, patient_name=identity[0], patient_id=identity[1])
        folder = work / f"phantom-{number}"
        write_phantom(phantom, folder)
        title = f"phantom {number}, {f'with a mass of {mass_mm:.0f} mm' if mass_mm else 'without a mass'}"
        demo_study = DemoStudy(
            title=title,
            study_instance_uid=phantom.study_instance_uid,
            is_mass_expected=mass_mm is not None,
            identity=frozenset(identity),
        )
        _send(hospital, folder, title)
        demo_study.sent_at = time.monotonic()
        studies.append(demo_study)
    return studies


def _send_given(hospital: Hospital, folder: Path, found: dict[str, set[str]]) -> list[DemoStudy]:
    _send(hospital, folder, str(folder))
    sent_at = time.monotonic()
    return [
        DemoStudy(
            title=f"study in {folder}",
            study_instance_uid=study_instance_uid,
            is_mass_expected=None,
            identity=frozenset(identity),
            sent_at=sent_at,
        )
        for study_instance_uid, identity in found.items()
    ]


def _find_studies(folder: Path) -> dict[str, set[str]]:
    """Give each Study Instance UID in `folder` with its patient's name and ID, in the order of the files."""
    if not folder.is_dir():
        raise DemoError(f"{folder} is no folder")
    found: dict[str, set[str]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", *IDENTITY_KEYWORDS])
        except (InvalidDicomError, OSError):
            continue
        if "StudyInstanceUID" in ds:
            values = {str(ds.get(keyword) or "") for keyword in IDENTITY_KEYWORDS}
            # shorter ones are found in any log by chance
            found.setdefault(str(ds.StudyInstanceUID), set()).update(value for value in values if len(value) >= 6)
    if not found:
        raise DemoError(f"{folder} holds no DICOM file with a Study Instance UID")
    return found


def _send(hospital: Hospital, folder: Path, title: str) -> None:
    began = time.monotonic()
    try:
        report = send_folder(
            folder, host=HOST, port=hospital.port, called_ae_title=AE_TITLE, calling_ae_title="DEMO_SCANNER"
        )
    except SendError as error:
        raise DemoError(str(error)) from error
    print(wrap(f"Sent {title}: {report.sent} objects over the network in {time.monotonic() - began:.1f} s.", indent=0))
    for refusal in (*report.refused, *report.not_sent)[:5]:
        print(wrap(f"not taken: {refusal.path}: {refusal.reason}"))
    if report.not_dicom:
        print(wrap(f"left out: {len(report.not_dicom)} files that hold no DICOM instance"))


def _wait(hospital: Hospital, studies: Sequence[DemoStudy]) -> list[StudyReport]:
    """Wait until every study has its ending, printing each step as it is taken."""
    print(f"\nWaiting: a study counts as whole after {QUIET_SECONDS} s without a new image.")
    shown: dict[int, int] = {}
    reports: dict[str, StudyReport] = {}

    def are_over() -> bool:
        for demo_study in studies:
            study_id = hospital.store.find_study(demo_study.study_instance_uid)
            if study_id is None:
                continue
            report = hospital.store.study_report(study_id)
            reports[demo_study.study_instance_uid] = report
            for step in report.steps[shown.get(study_id, 0) :]:
                print(describe_step(study_id, step), flush=True)
            shown[study_id] = len(report.steps)
        return len(reports) == len(studies) and all(report.ending for report in reports.values())

    limit_seconds = STUDY_SECONDS * len(studies)
    wait_for(are_over, hospital.daemon, hospital.log, limit_seconds, "not every study has its ending")
    return [reports[demo_study.study_instance_uid] for demo_study in studies]


def _show(hospital: Hospital, demo_study: DemoStudy, report: StudyReport, results: Path) -> None:
    """Print one study, copy its results to the folder that stays, and hold it against what was expected."""
    name = f"study {report.study_id}"
    print(heading(f"{name[0].upper()}{name[1:]}: {demo_study.title}"))
    print(describe_decision(report))
    folder = results / f"study-{report.study_id}"
    folder.mkdir()
    (folder / "explain.txt").write_text(describe_study(report) + "\n", encoding="utf-8")
    objects = [item for item in hospital.pacs.received if item.study_instance_uid == demo_study.study_instance_uid]
    seg = _keep_object(objects, SegmentationStorage, folder / "seg.dcm")
    sr = _keep_object(objects, Comprehensive3DSRStorage, folder / "sr.dcm")
    key_image = _keep_key_image(hospital.storage_folder, report, folder)
    mails = [mail for mail in hospital.mailbox.mails if f"study {report.study_id}," in str(mail.message["Subject"])]
    if sr is not None:
        wait_seconds = sr.at - demo_study.sent_at - QUIET_SECONDS
        print(wrap(f"report in the PACS {wait_seconds:.1f} s after the end of the quiet period"))
    for text, path in (("SEG in the PACS", seg and folder / "seg.dcm"), ("SR in the PACS", sr and folder / "sr.dcm")):
        print(wrap(f"{text}: {path or 'none'}"))
    print(wrap(f"key image: {key_image or 'none'}"))
    for mail in mails:
        print(f"  mail to {', '.join(mail.recipients)}:")
        print(describe_mail(mail))
        (folder / "mail.txt").write_bytes(mail.message.as_bytes())
    _check(demo_study, report, seg, sr, mails, key_image, name)


def _keep_object(objects: Sequence[Received], sop_class_uid: str, path: Path) -> Received | None:
    """Copy the last object of this SOP class to `path`."""
    found = [item for item in objects if item.sop_class_uid == sop_class_uid]
    if not found:
        return None
    shutil.copyfile(found[-1].path, path)
    return found[-1]


def _keep_key_image(storage_folder: Path, report: StudyReport, folder: Path) -> Path | None:
    paths = [result.path for run in report.runs for result in run.results if result.role == "key_image"]
    if not paths:
        return None
    kept = folder / "key_image.png"
    shutil.copyfile(storage_folder / paths[-1], kept)
    return kept


def _check(
    demo_study: DemoStudy,
    report: StudyReport,
    seg: Received | None,
    sr: Received | None,
    mails: Sequence[Mail],
    key_image: Path | None,
    name: str,
) -> None:
    """Hold what happened against what was expected."""
    is_flagged = bool(report.runs and report.runs[-1].is_flagged)
    if demo_study.is_mass_expected is None:
        checks = [(f"{name} is screened, or set aside with the reason", report.ending is not Ending.FAILED)]
    else:
        wanted = "flagged" if demo_study.is_mass_expected else "not flagged"
        checks = [
            (f"{name} is screened to its end", report.ending is Ending.DONE),
            (f"{name}, {demo_study.title}, is {wanted}", is_flagged == demo_study.is_mass_expected),
        ]
    if report.ending is Ending.DONE:
        checks += [
            (f"{name} has its segmentation and its report in the PACS", seg is not None and sr is not None),
            (f"{name} has its key image", key_image is not None),
            (f"{name}: a mail {'arrived' if is_flagged else 'is not owed'}", bool(mails) == is_flagged),
        ]
    demo_study.checks = checks
