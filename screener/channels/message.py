"""The text of a notice: what a clinician must know of a flagged study, and no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pydicom
from pydicom.errors import InvalidDicomError

from screener.decide import covered_in_part
from screener.store.values import OwedNotice
from screener.study import Candidate, GlandVerdict, Presence

RESEARCH_USE = "Research use, not validated for clinical diagnosis."
IDENTITY_KEYWORDS = ("PatientName", "PatientID", "AccessionNumber")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One notice as any channel may carry it."""

    notice_id: int
    """Makes the channel's own identifier, so that a repeated notice is seen to be the same."""
    study_id: int
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
    is_flagged = any(gland.presence is Presence.PRESENT for gland in notice.glands)
    told = f"The parotid screener flagged study {study}."
    if not is_flagged:
        told = (
            f"The earlier notice about study {study} is withdrawn: a later run of the parotid screener, on more images "
            "or at a person's request, no longer finds a mass above the threshold."
        )
    lines = [told, ""]
    if include_patient_identity:
        lines += [*_patient_lines(notice, storage_folder), ""]
    for gland in notice.glands:
        lines += _gland_lines(gland, notice.candidates)
    lines += [
        "",
        "Counted on a grid of 1 mm: one voxel is 1 mm^3. Left and right are the patient's.",
        "",
        f"What to do: look at study {study}. The segmentation and the report go to the PACS.",
        f"What was done and why: screener explain {study}",
    ]
    if link:
        lines.append(f"Case page: {link.replace('{study}', str(study))}")
    lines += ["", RESEARCH_USE, ""]
    return Message(
        notice_id=notice.notice_id,
        study_id=study,
        subject=f"Parotid screener: study {study}, {_summarize(notice.glands)}",
        text="\n".join(lines),
        owed_since=notice.owed_since,
    )


def describe_candidate(candidate: Candidate) -> str:
    """Give the size of one candidate in one phrase."""
    return (
        f"{candidate.voxels} voxels of 1 mm^3, {candidate.volume_mm3 / 1000:.2f} ml, "
        f"longest diameter {candidate.longest_diameter_mm:.0f} mm"
    )


def _summarize(glands: Sequence[GlandVerdict]) -> str:
    sides = [gland.side.value for gland in glands if gland.presence is Presence.PRESENT]
    if not sides:
        return "earlier notice withdrawn: no mass above the threshold"
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
