"""The text of a notice: what a clinician must know of a flagged study, and no more."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pydicom
from pydicom.errors import InvalidDicomError

from screener.decide import covered_in_part
from screener.store.values import LesionLine, OwedDigest, OwedNotice
from screener.study import Candidate, GlandVerdict, Presence
from screener.us_study import Answer

RESEARCH_USE = "Research use, not validated for clinical diagnosis."
NO_PAROTID_TUMOR = "The ultrasound model learned from lesions of the breast and the thyroid: from no parotid tumor."
_COUNTED = "Counted on a grid of 1 mm: one voxel is 1 mm^3. Left and right are the patient's."
IDENTITY_KEYWORDS = ("PatientName", "PatientID", "AccessionNumber")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One notice as any channel may carry it."""

    key: str
    """Makes the channel's own identifier, so that a repeated message is seen to be the same: "notice-7.study-12"."""
    subject: str
    """One line, without patient identity even where the text has it: subjects show on locked screens."""
    text: str
    """Plain text, lines of at most 100 columns."""
    owed_since: datetime


class Channel(Protocol):
    """One way of telling someone; every file of this folder but this one holds one."""

    @property
    def name(self) -> str:
        """The word that the notices table and config.toml use for it."""

    def send(self, message: Message, recipient: str) -> None:
        """Return once the other side has taken `message`; raise TryAgain or NeedsPerson when it has not."""


def compose_message(
    notice: OwedNotice, *, link: str = "", include_patient_identity: bool = False, storage_folder: Path | None = None
) -> Message:
    """Write the notice; patient identity only where `include_patient_identity` is true.

    `link` may hold "{study}" for our study number. `storage_folder` is where
    the archived image that names the patient is looked for; where it cannot be
    read the notice says so and goes out, for told without a name is told.
    """
    study = notice.study_id
    is_flagged = _is_flagged(notice)
    told = f"The parotid screener flagged study {study}."
    if not is_flagged:
        told = (
            f"The earlier notice about study {study} is withdrawn: a later run of the parotid screener, on more images "
            f"or at a person's request, no longer finds a {_sought(notice)} above the threshold."
        )
    lines = [told, ""]
    if include_patient_identity:
        lines += [*_patient_lines(notice, storage_folder), ""]
    for gland in notice.glands:
        lines += _gland_lines(gland, notice.candidates)
    lines += _lesion_lines(notice.lesion) if notice.lesion else ["", _COUNTED]
    lines += [
        "",
        f"What to do: look at study {study}. The segmentation and the report go to the PACS.",
        f"What was done and why: screener explain {study}",
    ]
    if link:
        lines.append(f"Case page: {link.replace('{study}', str(study))}")
    lines += ["", RESEARCH_USE, ""]
    return Message(
        key=f"notice-{notice.notice_id}.study-{study}",
        subject=f"Parotid screener: study {study}, {_summarize(notice)}",
        text="\n".join(lines),
        owed_since=notice.owed_since,
    )


def compose_digest(digest: OwedDigest, *, link: str = "") -> Message:
    """Write one message for all that backfills found; never a patient's identity, whatever the settings say.

    A list of many patients in one mail is another thing than the one name that a notice may carry.
    """
    flagged = [notice for notice in digest.notices if _is_flagged(notice)]
    withdrawn = [notice for notice in digest.notices if not _is_flagged(notice)]
    subject = f"Parotid screener: findings in {_count(len(flagged), 'past study', 'past studies')}"
    lines = [f"The night list's screening flagged {_count(len(flagged), 'past study', 'past studies')}."]
    for notice in flagged:
        lines += ["", f"Study {notice.study_id}: {_summarize(notice)}"]
        lines += [
            f"  {candidate.side.value.capitalize()} parotid, mass {candidate.number}: {describe_candidate(candidate)}"
            for candidate in notice.candidates
        ]
        if link:
            lines.append(f"  {link.replace('{study}', str(notice.study_id))}")
    if withdrawn:
        numbers = ", ".join(str(notice.study_id) for notice in withdrawn)
        lines += [
            "",
            f"Earlier findings withdrawn, for a later run finds nothing above the threshold: study {numbers}.",
        ]
    lines += [
        "",
        _COUNTED,
        "",
        "What to do: look at these studies. The segmentation and the report of each go to the PACS.",
        "What was done and why: screener explain NUMBER",
        "",
        RESEARCH_USE,
        "",
    ]
    return Message(
        key=f"digest-{digest.digest_id}", subject=subject, text="\n".join(lines), owed_since=digest.owed_since
    )


def _is_flagged(notice: OwedNotice) -> bool:
    if notice.lesion is not None:
        return notice.lesion.answer is Answer.MALIGNANT
    return any(gland.presence is Presence.PRESENT for gland in notice.glands)


def _sought(notice: OwedNotice) -> str:
    return "mass" if notice.lesion is None else "probability of malignancy"


def _lesion_lines(lesion: LesionLine) -> list[str]:
    """Say what the ultrasound run found, in lines of at most 100 columns."""
    if lesion.probability is None:
        return [f"Ultrasound: {lesion.answer}."]
    size = lesion.longest_diameter_mm
    diameter = "not calibrated" if size is None else f"{size:.0f} mm"
    return [
        f"Ultrasound lesion: {lesion.answer}, probability of malignancy {lesion.deciding_probability:.2f}",
        *_combination_lines(lesion),
        f"  longest diameter: {diameter}",
        "",
        NO_PAROTID_TUMOR,
    ]


def _combination_lines(lesion: LesionLine) -> list[str]:
    """Say what a reader's findings add, what is missing of them, and which probability decided."""
    if not lesion.findings_reason:
        return []
    lines = textwrap.wrap(lesion.findings_reason, 98)
    if lesion.is_by_findings:
        lines.insert(0, f"by the image and a reader's findings; by the image alone: {lesion.probability:.2f}")
    elif lesion.combined_probability is not None:
        lines.insert(
            0, f"by the image alone; with a reader's findings, which decided nothing: {lesion.combined_probability:.2f}"
        )
    return [f"  {line}" for line in lines]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def describe_candidate(candidate: Candidate) -> str:
    """Give the size of one candidate in one phrase."""
    return (
        f"{candidate.voxels} voxels of 1 mm^3, {candidate.volume_mm3 / 1000:.2f} ml, "
        f"longest diameter {candidate.longest_diameter_mm:.0f} mm"
    )


def _summarize(notice: OwedNotice) -> str:
    if not _is_flagged(notice):
        return f"earlier notice withdrawn: no {_sought(notice)} above the threshold"
    if notice.lesion is not None:
        return "ultrasound lesion called malignant"
    sides = [gland.side.value for gland in notice.glands if gland.presence is Presence.PRESENT]
    return f"mass in the {' and the '.join(sides)} parotid"


def _gland_lines(gland: GlandVerdict, candidates: Sequence[Candidate]) -> list[str]:
    words = {
        Presence.PRESENT: "mass above the threshold",
        Presence.ABSENT: "no mass above the threshold",
        Presence.UNDETERMINED: f"not assessed: {gland.reason}",
    }
    own = [candidate for candidate in candidates if candidate.number in gland.candidate_numbers]
    is_partial = gland.is_partial and gland.presence is not Presence.UNDETERMINED
    part = f" in the part that the scan covers ({covered_in_part(gland.covered_share)})" if is_partial else ""
    return [
        f"{gland.side.value.capitalize()} parotid: {words[gland.presence]}{part}",
        *(f"  mass {candidate.number}: {describe_candidate(candidate)}" for candidate in own),
    ]


def _patient_lines(notice: OwedNotice, storage_folder: Path | None) -> list[str]:
    path = (storage_folder or Path()) / notice.example_path
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(IDENTITY_KEYWORDS))
    except (OSError, InvalidDicomError):
        return ["Patient: the archived images cannot be read"]
    labels = ("Patient", "Patient ID", "Accession number")
    return [
        f"{label}: {_one_line(str(ds.get(keyword) or '')) or 'not given'}"
        for label, keyword in zip(labels, IDENTITY_KEYWORDS, strict=True)
    ]


def _one_line(value: str) -> str:
    """Drop control characters, which a sender could use to forge lines of the notice."""
    return " ".join("".join(character if character.isprintable() else " " for character in value).split())
