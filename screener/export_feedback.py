"""Hand reviewed CT studies over as cases that `python -m workers train ct-*` and `evaluate ct` read.

A case is a folder of our study number with the images of the series that was
screened and what is known to be in it: the newest segmentation that others
have sent for that series, else our own where people agreed with it. Where the
one lacks the glands, or holds a mass that people refused, the glands that we
outlined stand beside it alone. The files are copies of what was received: they
name the patient.
"""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from screener.keep_glands import write_glands
from screener.know_segments import Held, read_held
from screener.outcomes import NeedsPerson
from screener.read_header import NOT_READABLE
from screener.store import Store
from screener.store.feedback import Judgment, ReviewedRun
from screener.study import MANUFACTURER

IMAGES: Final = "images"
SEGMENTATION: Final = "segmentation.dcm"
GLANDS: Final = "glands.dcm"
INDEX: Final = "index.csv"


class Outline(StrEnum):
    """Where the outlines of a case come from."""

    CORRECTED = "corrected"
    """Sent by others for the series that was screened."""
    OURS = "ours"
    """The screener's own, which people agreed with."""
    OUR_GLANDS = "our glands"
    """Of the screener's own the glands alone: people say that there is no mass."""
    NONE = "none"


class Unclear(StrEnum):
    """Why there is no case of a study; the value is the sentence."""

    DISPUTED = "people contradict each other"
    OTHER = "people spoke of another finding than that of the newest run, or of what was not assessed"
    EXPIRED = "the images have expired"
    NOT_OUTLINED = "people say that there is a mass, and nobody has outlined it"
    MASS_MISSING = "people say that there is a mass, and the newest segmentation by others holds none"
    MASS_DENIED = "people say that there is no mass, and the newest segmentation by others holds one"
    NOT_JUDGED = "others have sent a segmentation without a mass, and nobody has said whether there is one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of one study."""

    study_id: int
    judgment: Judgment | None
    """None where nobody has reviewed it."""
    was_flagged: bool
    has_mass: bool = False
    """What the case says; False also where there is none."""
    outline: Outline = Outline.NONE
    has_our_glands: bool = False
    """True: the glands are ours and the mass, where there is one, is by others."""
    images: int = 0
    left_out: str = ""
    """Why there is no case of it, a sentence; empty where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """The newest segmentation that others have sent for the screened series, and what it holds."""

    path: Path
    held: Held


def export_feedback(store: Store, storage: Path, folder: Path) -> list[Exported]:
    """Write a case for each CT study that people judged or outlined into `folder`, new or empty.

    `storage` is the storage folder. Raises NeedsPerson where the folder holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NeedsPerson(f"{folder} is not empty: name a new folder.", code="folder_in_use")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the files name patients
    told = [_export(store, storage, folder, run) for run in store.reviewed_runs()]
    exported = [each for each in told if each is not None]
    _write_index(folder, exported)
    (folder / "README.md").write_text(describe_export(exported, count_ultrasound(store)), encoding="utf-8")
    return exported


def count_ultrasound(store: Store) -> int:
    """Count the reviewed studies of ultrasound, of which no case is made.

    A review says whether a lesion is malignant and not where it lies, and a picture may show the patient's name.
    """
    return sum(1 for _ in store.decided_lesions(is_reviewed=True))


def describe_export(exported: Sequence[Exported], on_ultrasound: int) -> str:
    """What is in the folder, what is not, and what must be done before it leaves the hospital."""
    cases = [each for each in exported if not each.left_out]
    positive = [each for each in cases if each.has_mass]
    corrected = [each for each in positive if each.outline is Outline.CORRECTED]
    unreviewed = sum(each.judgment in {None, Judgment.OTHER} for each in positive)
    negative = [each for each in cases if not each.has_mass]
    reasons = sorted({each.left_out for each in exported if each.left_out})
    lines = [
        "# Reviewed cases",
        "",
        "**The files name the patients: they are copies of what the scanners sent. De-identification is the hospital's",
        "task and has not been done. Nothing of this may leave the hospital before.**",
        "",
        f"{len(cases)} cases of {len(exported)} CT studies that people reviewed or outlined; `{INDEX}` lists them.",
        "",
        f"- {len(positive)} with a mass: {len(corrected)} outlined by others ({unreviewed} of them not reviewed), "
        f"{len(positive) - len(corrected)} with the",
        "  screener's own outline, which people agreed with as a finding and nobody has corrected voxel by voxel.",
        "  Outlined by others means: the newest segmentation that anybody sent for the series. Look at each of them.",
        f"- {len(negative)} without a mass, as people say. Where the screener had outlined one, it is left out of its",
        f"  segmentation (`{GLANDS}` holds the rest).",
        f"- In {sum(each.has_our_glands for each in positive)} of those with a mass the glands are the screener's, for "
        f"others outlined the mass alone (`{GLANDS}`).",
        "- Reviews are mostly of what was flagged: the cases tell little of masses that the screener never finds.",
        "",
        *([f"Left out: {len(exported) - len(cases)}.", ""] if reasons else []),
        *(f"- {sum(each.left_out == reason for each in exported)}: {reason}" for reason in reasons),
        *([""] if reasons else []),
        *_tell_ultrasound(on_ultrasound),
        "```",
        "python -m workers evaluate ct THIS_FOLDER --report report",
        "python -m workers train ct-segmenter --data THIS_FOLDER --out my/parotid_mass_segmenter",
        "```",
        "",
        "Training needs outlined glands; cases without are passed over by it, and judged by `evaluate`. A case whose",
        "segmentation lies on another grid than its images is passed over by both, which name it. Never judge on",
        "patients that were trained on. Research use, not validated for clinical diagnosis.",
        "",
    ]
    return "\n".join(lines)


def _tell_ultrasound(count: int) -> list[str]:
    if not count:
        return []
    studies = "1 reviewed study of it is" if count == 1 else f"{count} reviewed studies of it are"
    return [f"Ultrasound is not exported; {studies} not here.", ""]


def _export(store: Store, storage: Path, folder: Path, run: ReviewedRun) -> Exported | None:
    """Write the case of one study, or say why there is none; None where only our own results came back."""
    told = Exported(study_id=run.study_id, judgment=run.judgment, was_flagged=run.is_flagged)
    series = run.series_instance_uid
    correction = find_correction(list_received(store, storage, run.study_id), series)
    if run.judgment is None and correction is None:
        return None
    chosen = choose_outline(run, correction)
    if isinstance(chosen, Unclear):
        return replace(told, left_out=chosen.value)
    images = [image.path for image in store.images_of(run.study_id, storage) if image.series_instance_uid == series]
    images = [path for path in images if path.is_file()]
    if not images:
        return replace(told, left_out=Unclear.EXPIRED.value)
    own = store.result_file(run.study_id, run.number, "seg", storage)
    own = own if own is not None and own.is_file() else None
    if chosen is Outline.OURS and own is None:
        if run.is_flagged:
            return replace(told, left_out=Unclear.NOT_OUTLINED.value)
        chosen = Outline.NONE
    case = folder / f"study-{run.study_id}"
    (case / IMAGES).mkdir(parents=True)
    for number, path in enumerate(images, 1):
        shutil.copyfile(path, case / IMAGES / f"{number:04d}.dcm")
    return _add_outlines(replace(told, images=len(images)), case, chosen, correction, own)


def _add_outlines(
    told: Exported, case: Path, chosen: Outline, correction: Correction | None, own: Path | None
) -> Exported:
    """Put what is known to be in the images beside them."""
    if chosen is Outline.OURS and own is not None:
        shutil.copyfile(own, case / SEGMENTATION)
        return replace(told, outline=chosen, has_mass=told.was_flagged)
    has_our_glands = False
    if own is not None and not (correction is not None and correction.held.has_gland):
        has_our_glands = write_glands(own, case / GLANDS)
    if chosen is Outline.CORRECTED and correction is not None:
        shutil.copyfile(correction.path, case / SEGMENTATION)
        has_mass = correction.held.has_mass
        return replace(told, outline=chosen, has_mass=has_mass, has_our_glands=has_our_glands)
    outline = Outline.OUR_GLANDS if has_our_glands else Outline.NONE
    return replace(told, outline=outline, has_our_glands=has_our_glands)


def choose_outline(run: ReviewedRun, correction: Correction | None) -> Outline | Unclear:
    """Choose what is true as far as people have said; what contradicts itself is no case."""
    if run.judgment is Judgment.DISPUTED:
        return Unclear.DISPUTED
    if correction is not None:
        return _weigh(run.judgment, correction.held)
    if run.judgment is Judgment.OTHER:
        return Unclear.OTHER
    if run.is_flagged == (run.judgment is Judgment.FINDING):
        return Outline.OURS
    return Unclear.NOT_OUTLINED if run.judgment is Judgment.FINDING else Outline.OUR_GLANDS


def _weigh(judgment: Judgment | None, held: Held) -> Outline | Unclear:
    """Hold a segmentation by others against what people say."""
    if held.has_mass:
        return Unclear.MASS_DENIED if judgment is Judgment.NO_FINDING else Outline.CORRECTED
    if judgment in {None, Judgment.OTHER}:
        return Unclear.NOT_JUDGED
    return Unclear.MASS_MISSING if judgment is Judgment.FINDING else Outline.CORRECTED


def list_received(store: Store, storage: Path, study_id: int) -> list[Path]:
    """Paths of the segmentations that others have made of a study.

    What an editor has made of ours keeps our name among its contributing equipment, and so counts as ours at the
    door: it is known by its UID, which no result of ours has, and by its manufacturer.
    """
    documents = store.documents_of(study_id, storage)
    returned = [
        each
        for each in store.returned_of(study_id, storage)
        if each.sop_class_uid == SegmentationStorage
        and not store.is_our_result(each.sop_instance_uid)
        and _read_manufacturer(each.path) != MANUFACTURER
    ]
    return [each.path for each in (*documents, *returned) if each.sop_class_uid == SegmentationStorage]


def find_correction(paths: Sequence[Path], series_instance_uid: str) -> Correction | None:
    """Return the newest of these segmentations that is of the series and can be read; None where none is."""
    dated = [(date, path) for path in paths if (date := _read_date(path, series_instance_uid)) is not None]
    for _, path in sorted(dated, reverse=True):
        held = read_held(path)
        if held is not None and (held.has_mass or held.has_gland):
            return Correction(path=path, held=held)
    return None


def _read_manufacturer(path: Path) -> str:
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Manufacturer"])
        return str(ds.get("Manufacturer") or "")
    except NOT_READABLE:
        return ""


def _read_date(path: Path, series_instance_uid: str) -> str | None:
    """Return when a segmentation says that it was made; None where it is not of the series, or cannot be read."""
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        if series_instance_uid not in {
            str(item.SeriesInstanceUID) for item in ds.get("ReferencedSeriesSequence") or []
        }:
            return None
        return _date(ds)
    except NOT_READABLE:
        return None


def _date(ds: Dataset) -> str:
    return f"{ds.get('ContentDate') or ''}{ds.get('ContentTime') or ''}"


def _write_index(folder: Path, exported: Sequence[Exported]) -> None:
    with (folder / INDEX).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "truth", "reviewed", "was_flagged", "outline", "our_glands", "images", "left_out"])
        for each in exported:
            case = "" if each.left_out else f"study-{each.study_id}"
            truth = "" if each.left_out else "mass" if each.has_mass else "no mass"
            reviewed = "nobody" if each.judgment is None else str(each.judgment)
            given = (each.was_flagged, str(each.outline), each.has_our_glands, each.images, each.left_out)
            writer.writerow([case, truth, reviewed, *given])
