"""The text of a notice: what a clinician must know of a flagged study, and no more."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from screener.channels.letter import Letter, Link, Part, render_text
from screener.decide import covered_in_part
from screener.read_elements import read_elements, single_value
from screener.read_header import NOT_READABLE
from screener.store.values import Hold, LesionLine, OwedDigest, OwedNotice
from screener.study import Candidate, GlandVerdict, Presence
from screener.us_study import FUSION, GLAND_NOT_CHECKED, name_judge
from screener.weigh_reports import Standing

RESEARCH_USE = "Research use, not validated for clinical diagnosis."
BY_FUSION = f"by {FUSION}, not by the image model alone"
BY_RULES = "A small set of rules has read it, and may be wrong."
_COUNTED = "Counted on a grid of 1 mm: one voxel is 1 mm^3. Left and right are the patient's."
IDENTITY_KEYWORDS = ("PatientName", "PatientID", "AccessionNumber")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One notice as any channel may carry it."""

    key: str
    """Makes the channel's own identifier, so that a repeat is seen to be the same: "notice-7.study-12.run-20".

    The run is that whose figures it tells, by its row: what another run has found is no repeat.
    """
    subject: str
    """One line, without patient identity even where the text has it: subjects show on locked screens."""
    text: str
    """Plain text."""
    owed_since: datetime
    letter: Letter | None = None
    """The text with its parts, for a channel that can show them."""
    notices: tuple[OwedNotice, ...] = ()
    """What it tells, in numbers; more than one in a digest."""
    links: Mapping[int, tuple[Link, ...]] = field(default_factory=dict)
    """Number of a notice to the links of its study."""
    patients: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Number of a notice to DICOM keyword to value; empty unless the settings let notices name the patient."""
    key_image: Path | None = None
    """PNG of the finding; None where the run made none, and in a digest."""

    @property
    def identifier(self) -> str:
        """What stays the same when the same notice is sent again, and is another for every other."""
        return f"{self.key}.{int(self.owed_since.timestamp())}"


class Channel(Protocol):
    """One way of telling someone; every file of this folder that is named for one holds one."""

    @property
    def name(self) -> str:
        """The word that the notices table and config.toml use for it."""

    def send(self, message: Message, recipient: str) -> None:
        """Return once the other side has taken `message`; raise TryAgain or NeedsPerson when it has not."""


class Linker(Protocol):
    """Makes the link by which a notice's recipient acknowledges it."""

    def __call__(self, notice: OwedNotice, /) -> str:
        """Give the address; empty where there is no page to lead to."""


def no_link(notice: OwedNotice) -> str:  # noqa: ARG001 - the shape of Linker
    """Lead nowhere."""
    return ""


def compose_message(
    notice: OwedNotice,
    *,
    link: str = "",
    include_patient_identity: bool = False,
    storage_folder: Path | None = None,
    acknowledge: Linker = no_link,
) -> Message:
    """Write the notice; patient identity only where `include_patient_identity` is true.

    `link` may hold "{study}" for our study number. `storage_folder` is where
    the archived image that names the patient is looked for; where it cannot be
    read the notice says so and goes out, for told without a name is told.
    """
    study = notice.study_id
    told = f"The parotid screener flagged study {study}."
    if not notice.is_flagged:
        told = f"The earlier notice about study {study} is withdrawn{' in part' if notice.standing else ''}."
    patient = read_patient(notice, storage_folder) if include_patient_identity else None
    links = _links(notice, link, acknowledge)
    letter = Letter(
        title=_capitalize(summarize(notice)),
        opening=(
            told,
            *describe_withdrawal(notice),
            *describe_standing(notice),
            *([f"Why you are told: {notice.why}."] if notice.why else []),
            *describe_reports(notice),
        ),
        patient=_patient_lines(patient) if include_patient_identity else (),
        parts=_parts(notice),
        links=links,
        closing=(
            _doubts([notice.lesion]) if notice.lesion else (_COUNTED,),
            (
                f"What to do: look at study {study}. The segmentation and the report go to the PACS.",
                f"What was done and why: screener explain {study}",
            ),
            (RESEARCH_USE,),
        ),
    )
    has_picture = bool(notice.key_image_path) and storage_folder is not None
    return Message(
        key=f"notice-{notice.notice_id}.study-{study}.run-{notice.run_id}",
        subject=f"Parotid screener: study {study}, {summarize(notice)}",
        text=render_text(letter),
        owed_since=notice.owed_since,
        letter=letter,
        notices=(notice,),
        links={notice.notice_id: links},
        patients={notice.notice_id: patient} if patient else {},
        key_image=storage_folder / notice.key_image_path if has_picture and storage_folder else None,
    )


def _doubts(lesions: Sequence[LesionLine]) -> tuple[str, ...]:
    """Say what the models of these findings learned from, and what was not checked."""
    return (*dict.fromkeys(lesion.learned_from for lesion in lesions if lesion.learned_from), GLAND_NOT_CHECKED)


def compose_digest(digest: OwedDigest, *, link: str = "", acknowledge: Linker = no_link) -> Message:
    """Write one message for all that waited for the digest; never a patient's identity, whatever the settings say.

    A list of many patients in one mail is another thing than the one name that a notice may carry.
    """
    flagged = [notice for notice in digest.notices if notice.is_flagged]
    kind = "past study" if all(notice.hold is Hold.PAST for notice in digest.notices) else "study"
    counted = _count(len(flagged), kind, kind.replace("study", "studies"))
    links = {notice.notice_id: _links(notice, link, acknowledge) for notice in digest.notices}
    title, opening = f"findings in {counted}", f"The parotid screener flagged {counted}, gathered for this message."
    if not flagged:
        part = ", in whole or in part" if any(notice.standing for notice in digest.notices) else ""
        title = f"earlier notices withdrawn{part}"
        opening = f"There is no new finding; earlier notices are withdrawn{part}."
    lesions = [notice.lesion for notice in flagged if notice.lesion is not None]
    letter = Letter(
        title=_capitalize(title),
        opening=(opening,),
        parts=tuple(
            Part(
                heading=f"Study {notice.study_id}: {summarize(notice)}",
                lines=tuple(_digest_lines(notice)),
                links=links[notice.notice_id],
            )
            for notice in sorted(digest.notices, key=lambda notice: (not notice.is_flagged, not notice.reports.is_news))
        ),
        is_list=True,
        closing=(
            *([(_COUNTED,)] if any(notice.lesion is None for notice in flagged) else []),
            *([_doubts(lesions)] if lesions else []),
            (
                "What to do: look at these studies. The segmentation and the report of each go to the PACS.",
                "What was done and why: screener explain NUMBER",
            ),
            (RESEARCH_USE,),
        ),
    )
    return Message(
        key=f"digest-{digest.digest_id}",
        subject=f"Parotid screener: {title}",
        text=render_text(letter),
        owed_since=digest.owed_since,
        letter=letter,
        notices=digest.notices,
        links=links,
    )


def _links(notice: OwedNotice, link: str, acknowledge: Linker) -> tuple[Link, ...]:
    """The links of one notice; a withdrawal needs no acknowledgment."""
    address = acknowledge(notice) if notice.is_flagged else ""
    found = [Link(label="Acknowledge", url=address, is_button=True)] if address else []
    if link:
        found.append(Link(label="Case page", url=link.replace("{study}", str(notice.study_id))))
    return tuple(found)


def _parts(notice: OwedNotice) -> tuple[Part, ...]:
    if notice.lesion is not None:
        heading, *lines = _lesion_lines(notice.lesion)
        return (Part(heading=heading, lines=tuple(line.strip() for line in lines)),)
    return tuple(_gland_part(gland, notice.candidates) for gland in notice.glands)


def _digest_lines(notice: OwedNotice) -> list[str]:
    if not notice.is_flagged:
        return [*describe_withdrawal(notice), *describe_standing(notice)]
    why = [*describe_standing(notice), *_say_why_in_digest(notice), *describe_reports(notice)]
    if notice.lesion is not None:
        return [line.strip() for line in _lesion_lines(notice.lesion)] + why
    return [
        f"{candidate.side.value.capitalize()} parotid, mass {candidate.number}: {describe_candidate(candidate)}"
        for candidate in notice.candidates
    ] + why


def _say_why_in_digest(notice: OwedNotice) -> list[str]:
    """Say why it was put into the digest; of a report that is no longer so, only what it was then."""
    if notice.hold is Hold.REPORTED and notice.reports.standing is not Standing.MENTIONED:
        return ["Put into the digest as a radiology report mentioned it then."]
    return [f"Told in the digest: {notice.waits}."] if notice.waits and notice.hold is not Hold.PAST else []


def describe_withdrawal(notice: OwedNotice) -> list[str]:
    """Say why a notice is withdrawn, and where the settings, not the images, are why; nothing of a finding."""
    if notice.is_flagged:
        return []
    images = "CT images" if notice.lesion is None else "ultrasound images and findings"
    cause = (
        f"A later run of the parotid screener, on the {images} now at hand, "
        f"no longer finds a {_sought(notice)} above the threshold."
    )
    changed = (
        f"The settings have changed meanwhile ({notice.changed_settings}): under the earlier ones what this run found "
        "would still be flagged. The finding itself is not refuted."
    )
    if notice.standing:
        cause = f"A later run of the parotid screener, on the {images} now at hand, no longer finds all that was told."
    unheard = "That notice may not have reached you."
    return [cause, *([changed] if notice.changed_settings else []), *([] if notice.is_heard else [unheard])]


def describe_standing(notice: OwedNotice) -> list[str]:
    """Say what stands although the run has not looked at it again; nothing where it has looked at all."""
    if not notice.standing:
        return []
    return [f"What was found in the {_standing_places(notice)} before could not be assessed again: it stands."]


def _standing_places(notice: OwedNotice) -> str:
    """Such as "right parotid"; an ultrasound lesion has no side."""
    return f"{' and the '.join(notice.standing)} parotid" if notice.lesion is None else "parotid glands by ultrasound"


def describe_reports(notice: OwedNotice) -> list[str]:
    """Say in a sentence what the radiology report says of a finding; nothing of a withdrawal, or without a report."""
    is_known = notice.reports.standing is not Standing.NO_REPORT
    return [f"{notice.reports.sentence} {BY_RULES}"] if is_known and notice.is_flagged else []


def _capitalize(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


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
        *([f"  {BY_FUSION}"] if lesion.is_by_fusion else []),
        *_combination_lines(lesion),
        f"  longest diameter: {diameter}",
    ]


def _combination_lines(lesion: LesionLine) -> list[str]:
    """Say what a reader's findings add, what is missing of them, and which probability decided."""
    if not lesion.findings_reason:
        return []
    lines = textwrap.wrap(lesion.findings_reason, 98)
    judge = name_judge(is_by_fusion=lesion.is_by_fusion)
    if lesion.is_by_findings:
        lines.insert(0, f"by {judge} and a reader's findings; by {judge} alone: {lesion.probability:.2f}")
    elif lesion.combined_probability is not None:
        combined = f"{lesion.combined_probability:.2f}"
        lines.insert(0, f"by {judge} alone; with a reader's findings, which decided nothing: {combined}")
    return [f"  {line}" for line in lines]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def describe_candidate(candidate: Candidate) -> str:
    """Give the size of one candidate in one phrase."""
    return (
        f"{candidate.voxels} voxels of 1 mm^3, {candidate.volume_mm3 / 1000:.2f} ml, "
        f"longest diameter {candidate.longest_diameter_mm:.0f} mm"
    )


def summarize(notice: OwedNotice) -> str:
    """Say what a notice tells in one phrase."""
    if not notice.is_flagged and notice.standing:
        places = _standing_places(notice)
        return f"earlier notice withdrawn in part: what was found in the {places} before stands"
    if not notice.is_flagged:
        where = " in what was assessed" if any(g.presence is Presence.UNDETERMINED for g in notice.glands) else ""
        return f"earlier notice withdrawn: no {_sought(notice)} above the threshold{where}"
    if notice.lesion is not None:
        return "ultrasound lesion called malignant"
    sides = [gland.side.value for gland in notice.glands if gland.presence is Presence.PRESENT]
    return f"mass in the {' and the '.join(sides)} parotid"


def _gland_part(gland: GlandVerdict, candidates: Sequence[Candidate]) -> Part:
    words = {
        Presence.PRESENT: "mass above the threshold",
        Presence.ABSENT: "no mass above the threshold",
        Presence.UNDETERMINED: f"not assessed: {gland.reason}",
    }
    own = [candidate for candidate in candidates if candidate.number in gland.candidate_numbers]
    is_partial = gland.is_partial and gland.presence is not Presence.UNDETERMINED
    part = f" in the part that the scan covers ({covered_in_part(gland.covered_share)})" if is_partial else ""
    return Part(
        heading=f"{gland.side.value.capitalize()} parotid: {words[gland.presence]}{part}",
        lines=tuple(f"mass {candidate.number}: {describe_candidate(candidate)}" for candidate in own),
    )


def read_patient(notice: OwedNotice, storage_folder: Path | None) -> Mapping[str, str] | None:
    """Read who the patient is from an archived image: keyword to value; None where none can be read."""
    path = (storage_folder or Path()) / notice.example_path
    try:
        ds = read_elements(path, IDENTITY_KEYWORDS)
        return {keyword: _one_line(str(single_value(ds, keyword))) for keyword in IDENTITY_KEYWORDS}
    except NOT_READABLE:
        return None


def _patient_lines(patient: Mapping[str, str] | None) -> tuple[str, ...]:
    if patient is None:
        return ("Patient: the archived images cannot be read",)
    labels = ("Patient", "Patient ID", "Accession number")
    return tuple(
        f"{label}: {patient[keyword] or 'not given'}" for label, keyword in zip(labels, IDENTITY_KEYWORDS, strict=True)
    )


def _one_line(value: str) -> str:
    """Drop control characters, which a sender could use to forge lines of the notice."""
    return " ".join("".join(character if character.isprintable() else " " for character in value).split())
