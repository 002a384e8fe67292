"""The whole journey once, on this machine: daemon, PACS and mailbox, three phantoms or a study of yours."""

import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence, Set
from datetime import datetime
from pathlib import Path
from types import FrameType

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from screener.demo_expect import DemoStudy, Kept, check_study
from screener.demo_hospital import AE_TITLE, QUIET_SECONDS, DemoError, Hospital, open_hospital, wait_for
from screener.demo_peers import HOST, Received
from screener.demo_report import describe_checks, describe_decision, describe_mail, describe_step, heading, wrap
from screener.explain import describe_counts, describe_study
from screener.journey import Ending
from screener.phantom_patients import PhantomPatient, write_patients
from screener.send_folder import SendError, send_folder
from screener.store import StudyReport

REPORTS = frozenset({Comprehensive3DSRStorage, ComprehensiveSRStorage})
"""Of CT, which has places in the patient, and of ultrasound, which has places in a picture."""
IDENTITY_KEYWORDS = ("PatientName", "PatientID")
STUDY_SECONDS = 600.0
"""The longest that the demo waits for one study's ending."""


def run_demo(study: Path | None = None, *, keep: Path | None = None) -> int:
    """Send three phantoms, or the folder `study`, through a daemon of the demo's own; 0 when all was as expected.

    Results stay in a new folder below `keep` (default: demo-results). Nothing
    of an installation beside the demo is read or touched.
    """
    try:
        given = _find_studies(study) if study else {}
    except DemoError as error:
        print(f"The demo did not start: {error}")
        return 1
    results = (keep or Path("demo-results")) / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    library = logging.getLogger("pynetdicom")
    level = library.level
    library.setLevel(logging.CRITICAL)  # a peer that is not up yet is no error here
    before = signal.signal(signal.SIGTERM, _leave)
    began = time.monotonic()
    try:
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
    """Make three synthetic patients, two on CT and one on ultrasound, and send them as scanners would."""
    return [_send_phantom(hospital, patient, folder) for patient, folder in write_patients(work)]


def _send_phantom(hospital: Hospital, patient: PhantomPatient, folder: Path) -> DemoStudy:
    demo_study = DemoStudy(
        title=patient.title,
        study_instance_uid=patient.phantom.study_instance_uid,
        is_mass_expected=patient.is_mass_expected,
        identity=patient.identity,
        is_lesion_expected=patient.is_lesion_expected,
    )
    _send(hospital, folder, patient.title)
    demo_study.sent_at = time.monotonic()
    return demo_study


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
    kept = _keep(hospital, demo_study, report, folder)
    if kept.sr is not None:
        wait_seconds = kept.sr.at - demo_study.sent_at - QUIET_SECONDS
        print(wrap(f"report in the PACS {wait_seconds:.1f} s after the end of the quiet period"))
    if report.ending is not Ending.SET_ASIDE:
        _show_results(kept, folder)
    for mail in kept.mails:
        print(f"  mail to {', '.join(mail.recipients)}:")
        print(describe_mail(mail))
        (folder / "mail.txt").write_bytes(mail.message.as_bytes())
    demo_study.checks = check_study(demo_study, report, kept, name, has_ultrasound=hospital.has_ultrasound)


def _show_results(kept: Kept, folder: Path) -> None:
    """Print where the results lie; a capture is owed for ultrasound alone."""
    named = [("SEG", kept.seg, "seg.dcm"), ("SR", kept.sr, "sr.dcm")]
    if kept.capture is not None:
        named.append(("capture", kept.capture, "capture.dcm"))
    for word, received, file in named:
        print(wrap(f"{word} in the PACS: {folder / file if received else 'none'}"))
    print(wrap(f"key image: {kept.key_image or 'none'}"))


def _keep(hospital: Hospital, demo_study: DemoStudy, report: StudyReport, folder: Path) -> Kept:
    """Copy what the PACS and the mailbox hold of a study to the folder that stays."""
    objects = [item for item in hospital.pacs.received if item.study_instance_uid == demo_study.study_instance_uid]
    subject = f"study {report.study_id},"
    return Kept(
        seg=_keep_object(objects, {SegmentationStorage}, folder / "seg.dcm"),
        sr=_keep_object(objects, REPORTS, folder / "sr.dcm"),
        capture=_keep_object(objects, {SecondaryCaptureImageStorage}, folder / "capture.dcm"),
        key_image=_keep_key_image(hospital.storage_folder, report, folder),
        mails=[mail for mail in hospital.mailbox.mails if subject in str(mail.message["Subject"])],
    )


def _keep_object(objects: Sequence[Received], sop_class_uids: Set[str], path: Path) -> Received | None:
    """Copy the last object of these SOP classes to `path`."""
    found = [item for item in objects if item.sop_class_uid in sop_class_uids]
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
