"""Hand reviewed CT studies over as cases that `python -m workers train ct-*` and `evaluate ct` read.

A case is a folder of our study number with the images of the series that was
screened and, where there is one, a segmentation: the newest that others have
sent for that series, else our own where people agreed with it. The files are
copies of what was received: they name the patient.
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

from screener.outcomes import NeedsPerson
from screener.read_header import NOT_READABLE
from screener.store import Store
from screener.store.feedback import Judgment, ReviewedRun

IMAGES: Final = "images"
SEGMENTATION: Final = "segmentation.dcm"
INDEX: Final = "index.csv"


class Outline(StrEnum):
    """Where the segmentation of a case comes from."""

    CORRECTED = "corrected"
    """Sent by others for the series that was screened."""
    OURS = "ours"
    """The screener's own, which people agreed with."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of one reviewed study."""

    study_id: int
    judgment: Judgment
    was_flagged: bool
    outline: Outline = Outline.NONE
    images: int = 0
    left_out: str = ""
    """Why there is no case of it, a sentence; empty where there is one."""


def export_feedback(store: Store, storage: Path, folder: Path) -> list[Exported]:
    """Write a case for each reviewed CT study into `folder`, new or empty; `storage` is the storage folder.

    Raises NeedsPerson where the folder holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NeedsPerson(f"{folder} is not empty: name a new folder.", code="folder_in_use")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the files name patients
    exported = [_export(store, storage, folder, run) for run in store.reviewed_runs()]
    _write_index(folder, exported)
    (folder / "README.md").write_text(describe_export(exported), encoding="utf-8")
    return exported


def describe_export(exported: Sequence[Exported]) -> str:
    """What is in the folder, what is not, and what must be done before it leaves the hospital."""
    cases = [each for each in exported if not each.left_out]
    positive = [each for each in cases if each.judgment is Judgment.FINDING]
    corrected = sum(each.outline is Outline.CORRECTED for each in positive)
    reasons = sorted({each.left_out for each in exported if each.left_out})
    lines = [
        "# Reviewed cases",
        "",
        "**The files name the patients: they are copies of what the scanners sent. De-identification is the hospital's",
        "task and has not been done. Nothing of this may leave the hospital before.**",
        "",
        f"{len(cases)} cases of {len(exported)} reviewed CT studies; `{INDEX}` lists all of them.",
        "",
        f"- {len(positive)} with a mass, as people say: {corrected} outlined by others, "
        f"{len(positive) - corrected} with the screener's own outline, which people agreed with as a finding and",
        "  nobody has corrected voxel by voxel.",
        "  Outlined by others means: the newest segmentation that anybody sent for the series. Look at each of them.",
        f"- {len(cases) - len(positive)} without a mass. Where the screener had outlined one, its segmentation is left",
        "  out, and with it its outlines of the glands; elsewhere the glands are the screener's own.",
        "- Reviews are mostly of what was flagged: the cases tell little of masses that the screener never finds.",
        "",
        *([f"Left out: {len(exported) - len(cases)}.", ""] if reasons else []),
        *(f"- {sum(each.left_out == reason for each in exported)}: {reason}" for reason in reasons),
        *([""] if reasons else []),
        "```",
        "python -m workers evaluate ct THIS_FOLDER --report report",
        "python -m workers train ct-segmenter --data THIS_FOLDER --out my/parotid_mass_segmenter",
        "```",
        "",
        "Training needs outlined glands; cases without are passed over by it, and judged by `evaluate`. Never judge on",
        "patients that were trained on. Research use, not validated for clinical diagnosis.",
        "",
    ]
    return "\n".join(lines)


def _export(store: Store, storage: Path, folder: Path, run: ReviewedRun) -> Exported:
    """Write the case of one study, or say why there is none."""
    told = Exported(study_id=run.study_id, judgment=run.judgment, was_flagged=run.is_flagged)
    if run.judgment is Judgment.DISPUTED:
        return replace(told, left_out="people contradict each other")
    series = run.series_instance_uid
    images = [image.path for image in store.images_of(run.study_id, storage) if image.series_instance_uid == series]
    images = [path for path in images if path.is_file()]
    if not images:
        return replace(told, left_out="the images have expired")
    documents = [
        document.path
        for document in store.documents_of(run.study_id, storage)
        if document.sop_class_uid == SegmentationStorage
    ]
    corrected = find_correction(documents, series)
    own = store.result_file(run.study_id, run.number, "seg", storage)
    outline, source = choose_outline(run, corrected, own)
    if run.judgment is Judgment.FINDING and outline is Outline.NONE:
        return replace(told, left_out="people say that there is a mass, and nobody has outlined it")
    case = folder / f"study-{run.study_id}"
    (case / IMAGES).mkdir(parents=True)
    for number, path in enumerate(images, 1):
        shutil.copyfile(path, case / IMAGES / f"{number:04d}.dcm")
    if source is not None:
        shutil.copyfile(source, case / SEGMENTATION)
    return replace(told, outline=outline, images=len(images))


def choose_outline(run: ReviewedRun, corrected: Path | None, own: Path | None) -> tuple[Outline, Path | None]:
    """Choose the segmentation that is true as far as people have said: none where only a refused one is there."""
    if corrected is not None and run.judgment is Judgment.FINDING:
        return Outline.CORRECTED, corrected
    is_agreed = run.is_flagged == (run.judgment is Judgment.FINDING)
    if own is not None and own.is_file() and is_agreed:
        return Outline.OURS, own
    return Outline.NONE, None


def find_correction(paths: Sequence[Path], series_instance_uid: str) -> Path | None:
    """Return the newest of these segmentations that is of the series; None where none is."""
    dated = [(date, path) for path in paths if (date := _read_date(path, series_instance_uid)) is not None]
    return max(dated)[1] if dated else None


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
        writer.writerow(["case", "truth", "was_flagged", "outline", "images", "left_out"])
        for each in exported:
            case = "" if each.left_out else f"study-{each.study_id}"
            truth = {Judgment.FINDING: "mass", Judgment.NO_FINDING: "no mass"}.get(each.judgment, str(each.judgment))
            writer.writerow([case, truth, each.was_flagged, str(each.outline), each.images, each.left_out])
