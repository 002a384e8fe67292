"""What must hold at the end of a proof: nothing lost, nothing twice, nothing stuck, nothing false."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage

from screener.config import load_config
from screener.journey import Ending
from screener.store import StudyReport
from tests.chaos.installation import Installation
from tests.chaos.small_study import SmallStudy
from tests.peers.hospital import Hospital
from tests.peers.orthanc import Orthanc
from tests.peers.scanner import read_data_set_bytes

VOXELS = "VOXELS_1MM"


@dataclass
class Verdict:
    """Faults by kind, each a sentence or a number; none: the proof holds."""

    faults: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: object) -> None:
        self.faults.setdefault(kind, []).append(str(what))

    def describe(self) -> str:
        if not self.faults:
            return "nothing lost, nothing twice, nothing stuck, nothing false"
        return "\n".join(
            f"{kind.upper()}: {len(found)}: {'; '.join(found[:5])}{' ...' if len(found) > 5 else ''}"
            for kind, found in self.faults.items()
        )


def judge(installation: Installation, studies: Sequence[SmallStudy], sent: Mapping[str, str]) -> Verdict:
    """Look at the archive, the PACS, the mailbox and the store from outside."""
    hospital, verdict = installation.hospital, Verdict()
    find_lost(hospital, sent, verdict)
    mails = list(hospital.mailbox.mails)
    numbers = {}
    for study in studies:
        study_id = hospital.store.find_study(study.study_instance_uid)
        if study_id is None:
            verdict.add("lost", f"study {study.study_instance_uid} is not known")
            continue
        numbers[study_id] = study
        report = hospital.store.study_report(study_id)
        if report.ending is not Ending.DONE:
            verdict.add("stuck" if report.ending is None else "failed", f"{study_id}: {report.stage} {report.reason}")
            continue
        judge_reports(report, study, installation.orthanc, verdict)
        judge_mails(study_id, study, [mail for mail in mails if names_study(mail, study_id)], verdict)
    for mail in mails:
        if not any(names_study(mail, study_id) for study_id in numbers):
            verdict.add("false", f"a mail of no study: {mail['Subject']}")
    judge_equation(hospital, len(studies), verdict)
    return verdict


def find_lost(hospital: Hospital, sent: Mapping[str, str], verdict: Verdict) -> None:
    """Every instance answered with Success must be in the archive, byte for byte as it was sent."""
    folder = load_config(hospital.config_path).storage_folder
    uids = sorted(sent)
    held = hospital.store.held_instances(uids)
    for uid in uids:
        if uid not in held:
            verdict.add("lost", f"{uid} has no row")
            continue
        path = folder / held[uid][1]
        if not path.is_file():
            verdict.add("lost", f"{uid} has no file")
        elif hashlib.sha256(read_data_set_bytes(path)).hexdigest() != sent[uid]:
            verdict.add("lost", f"{uid} has other bytes")


def judge_reports(report: StudyReport, study: SmallStudy, orthanc: Orthanc, verdict: Verdict) -> None:
    """Exactly one report in the PACS, of all of this study's images and with this study's mass."""
    name = f"study {report.study_id}"
    found = orthanc.instances(study.study_instance_uid, "SR")
    if len(found) != 1:
        runs = ", ".join(f"run {run.number} {run.state}" for run in report.runs)
        verdict.add("lost" if not found else "twice", f"{name} has {len(found)} reports ({runs})")
        return
    if len(orthanc.instances(study.study_instance_uid, "SEG")) != 1:
        verdict.add("twice", f"{name} has not one segmentation")
    sr = dcmread(BytesIO(orthanc.file(found[0])))
    voxels = [int(float(value)) for value in find_numbers(sr, VOXELS)]
    expected = [study.mass_voxels] if study.mass_voxels else []
    if sr.SOPClassUID != Comprehensive3DSRStorage or voxels != expected:
        verdict.add("false", f"{name} reports masses of {voxels} voxels, not {expected}")
    images = {
        item.ReferencedSOPInstanceUID
        for study_item in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study_item.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
        if item.ReferencedSOPInstanceUID.startswith(f"{study.study_instance_uid}.")
    }
    if images != study.sop_instance_uids:
        verdict.add("false", f"{name} is reported from {len(images)} of {len(study.paths)} images")
    if report.runs[-1].is_flagged is not study.is_flagged:
        verdict.add("false", f"{name} is {'' if report.runs[-1].is_flagged else 'not '}flagged")


def find_numbers(item: Dataset, code_value: str) -> Iterable[str]:
    """The numeric values of a content tree under this concept."""
    name = item.get("ConceptNameCodeSequence")
    if name and name[0].CodeValue == code_value and "MeasuredValueSequence" in item:
        yield item.MeasuredValueSequence[0].NumericValue
    for child in item.get("ContentSequence", []):
        yield from find_numbers(child, code_value)


def names_study(mail: EmailMessage, study_id: int) -> bool:
    return f"study {study_id}," in str(mail["Subject"])


def judge_mails(study_id: int, study: SmallStudy, mails: Sequence[EmailMessage], verdict: Verdict) -> None:
    """A flagged study has one notice, or the same one again after a crash; any other none."""
    if not study.is_flagged:
        if mails:
            verdict.add("false", f"study {study_id} is told and holds no mass")
        return
    if not mails:
        verdict.add("lost", f"nobody is told of study {study_id}")
    if len({mail["Message-ID"] for mail in mails}) > 1:
        verdict.add("twice", f"study {study_id} is told under {len(mails)} identities")
    for mail in mails:
        text = mail.get_body(("plain",))
        if text is None or f"{study.mass_voxels} voxels" not in str(text.get_content()):
            verdict.add("false", f"the notice of study {study_id} gives another size than {study.mass_voxels}")


def judge_equation(hospital: Hospital, received: int, verdict: Verdict) -> None:
    """received = done + set aside + failed + in flight, and nothing is owed any more."""
    counts = hospital.store.counts()
    if not counts.is_balanced:
        verdict.add("equation", counts)
    if counts.received != received:
        verdict.add("equation", f"{counts.received} studies received, {received} were sent")
    owed = counts.deliveries_owed + counts.deliveries_unconfirmed + counts.notices_owed
    if owed:
        verdict.add("stuck", f"{owed} deliveries or notices are owed")
