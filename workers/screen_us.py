"""The ultrasound journey from a claimed run to results owed: the list of its stages, in order."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from screener.decide_us import decide_ultrasound
from screener.journey import Stage
from screener.match_rules import Found, find_on_ultrasound
from screener.outcomes import NeedsPerson, SetAside
from screener.sop_classes import WORKSHEETS
from screener.store import Result, Run
from screener.store.ultrasound import EnteredFindings, merge_entries
from screener.store.values import LesionLine, UltrasoundOutcome
from screener.study import Instance
from screener.us_study import Frame, FrameChoice, Lesion, ReadFindings, UltrasoundVerdict
from workers.bench import Bench, UltrasoundModels
from workers.run_stages import keep_results, make_run_key, name_owed, stage
from workers.us.nomogram import combine_findings, write_nomogram

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workers.compare_patients import Patient
    from workers.us.select_frames import Selected

ON_ANOTHER_PICTURE: Final = "Entered by a person of a lesion on another picture, and so not known of this one"


def screen_us(bench: Bench, run: Run) -> None:
    """Carry one run through the ultrasound journey; leaves by return, an outcome, or a bug."""
    # The stages are imported after the fork: they bring torch and highdicom.
    from workers.us.segment_lesion import segment_lesion

    models = bench.ultrasound_models()
    started_at = bench.clock()
    images = bench.store.images_of(run.study_id, bench.config.storage_folder, run.newest_instance_id)
    if models is None:  # before anything is read: nobody need look at a file that nobody wants to have screened
        raise SetAside(f"no ultrasound model installed ({len(images)} images kept)", code="no_ultrasound_model")
    with stage(bench, run, Stage.SELECTED) as note:
        _, frames, unread, patients = _select(bench, run, images)
        worksheets = _read_worksheets(bench, run, patients)
        entries = bench.store.entries_of(run.study_id)
        findings = _combine_findings(worksheets, entries, None)
        lost = f" {unread} object(s) could not be read." if unread else ""
        note.sentence = f"{len(frames)} B-mode picture(s).{lost} {findings.reason}"
    with stage(bench, run, Stage.SEGMENTED) as note:
        lesion = segment_lesion(frames, models.segmenter, models.segmenter.side_px)
        note.sentence = _describe_lesion(lesion)
    findings = _combine_findings(worksheets, entries, lesion)  # what was entered may be of another lesion than this
    screened = _holding(images, frames)
    read = {"findings": dict(sorted(findings.values.items())), "nomogram": write_nomogram(models.nomogram)}
    read |= {"unread": unread} if unread else {}
    run_key = make_run_key(run, screened, models.identity.device_uid, read)
    same = bench.store.record_series(run, (), run_key)
    if same is not None:
        bench.store.end_run_as(run, same, bench.clock())
        return
    malignancy, cam = _classify(lesion, models)
    verdict = decide_ultrasound(
        frames=len(frames),
        has_lesion=lesion is not None,
        malignancy=malignancy,
        thresholds=run.thresholds,
        findings=findings,
        combination=None if malignancy is None else combine_findings(malignancy, findings.values, models.nomogram),
        is_by_fusion=models.fusion is not None,
        unread=unread,
    )
    began = time.monotonic()
    results = _encode(bench, run, run_key, screened, verdict, lesion, cam, models=models, started_at=started_at)
    bench.store.finish_ultrasound_run(
        run,
        UltrasoundOutcome(
            lesion=_record(lesion, verdict, models.identity.learned_from),
            is_flagged=verdict.is_flagged,
            results=results,
            model_identity=models.identity.device_uid,
        ),
        **name_owed(bench, _find(lesion, verdict), screened),
        seconds=time.monotonic() - began,
        now=bench.clock(),
    )


def _select(bench: Bench, run: Run, images: Sequence[Instance]) -> "Selected":
    """Select the frames; the reasons are stored also where no frame will do."""
    from workers.us.select_frames import select_frames

    try:
        selected = select_frames(images)
    except (SetAside, NeedsPerson) as outcome:
        bench.store.record_frames(run, cast("tuple[FrameChoice, ...]", outcome.choices))
        raise
    bench.store.record_frames(run, selected.choices)
    return selected


def _read_worksheets(bench: Bench, run: Run, patients: Iterable["Patient"]) -> ReadFindings:
    """Read what worksheets say of the lesion; NeedsPerson where one is of another patient than `patients`."""
    from workers.compare_patients import read_patients, refuse_mixed_study
    from workers.us.read_worksheet import read_worksheets

    documents = bench.store.documents_of(run.study_id, bench.config.storage_folder, run.newest_instance_id)
    worksheets = [document for document in documents if document.sop_class_uid in WORKSHEETS]
    if worksheets:
        refuse_mixed_study([*patients, *read_patients(worksheets)])
    return read_worksheets(worksheets)


def _combine_findings(
    worksheets: ReadFindings, entries: Sequence[EnteredFindings], lesion: Lesion | None
) -> ReadFindings:
    """Put what persons have entered in place of what the worksheets say.

    What was entered of a lesion on another picture is not known of this one. Without a lesion all entries count.
    """
    from workers.us.read_worksheet import merge_entered

    if lesion is None:
        entered = {finding: value for entry in entries for finding, value in entry.findings.items()}
        return merge_entered(worksheets, entered)
    entered, elsewhere = merge_entries(entries, lesion.frame.sop_instance_uid, lesion.frame.frame_number)
    merged = merge_entered(worksheets, entered)
    if not elsewhere:
        return merged
    values = {finding: value for finding, value in merged.values.items() if finding not in elsewhere}
    return ReadFindings(values=values, reason=f"{ON_ANOTHER_PICTURE}: {', '.join(elsewhere)}. {merged.reason}")


def _holding(images: Sequence[Instance], frames: Sequence[Frame]) -> list[Instance]:
    taken = {frame.sop_instance_uid for frame in frames}
    return [image for image in images if image.sop_instance_uid in taken]


def _classify(lesion: Lesion | None, models: UltrasoundModels) -> "tuple[float | None, NDArray[np.float32] | None]":
    """Return the probability of malignancy, and where the network looked; None for both without a lesion.

    The probability is the fusion's where it decides, and None where it cannot measure the lesion.
    """
    from workers.us.classify_lesion import classify_lesion, map_activation

    if lesion is None:
        return None, None
    probability: float | None = classify_lesion(lesion, models.classifier)
    if models.fusion is not None and probability is not None:
        from workers.us.fuse_features import fuse_features

        probability = fuse_features(lesion, probability, models.fusion)
    return probability, map_activation(lesion, models.classifier)


def _encode(
    bench: Bench,
    run: Run,
    run_key: str,
    images: Sequence[Instance],
    verdict: UltrasoundVerdict,
    lesion: Lesion | None,
    cam: "NDArray[np.float32] | None",
    *,
    models: UltrasoundModels,
    started_at: datetime,
) -> tuple[Result, ...]:
    """Encode report, segmentation and capture once, and keep their bytes."""
    from workers.results.encode_us_results import encode_us_results

    thresholds = asdict(run.thresholds)
    files = encode_us_results(
        [image.path for image in images],
        verdict,
        lesion,
        cam=cam,
        identity=models.identity,
        run_key=bench.store.name_results(run, run_key),
        started_at=started_at,
        thresholds={name: thresholds[name] for name in ("min_malignancy", "us_findings", "config_revision")},
        run_number=run.number,
    )
    return keep_results(bench, run, files)


def _record(lesion: Lesion | None, verdict: UltrasoundVerdict, learned_from: str) -> LesionLine:
    """Give the numbers and words of the finding that are stored."""
    line = LesionLine(
        answer=verdict.answer, probability=verdict.probability, reason=verdict.reason, learned_from=learned_from
    )
    if lesion is None:
        return line
    line = replace(line, is_by_fusion=verdict.is_by_fusion, **_record_findings(verdict))
    return replace(
        line,
        sop_instance_uid=lesion.frame.sop_instance_uid,
        frame_number=lesion.frame.frame_number,
        area_px=lesion.area_px,
        longest_diameter_mm=lesion.longest_diameter_mm,
        mean_probability=lesion.mean_probability,
    )


def _record_findings(verdict: UltrasoundVerdict) -> dict[str, Any]:
    """Give what is stored of a reader's findings, by the names of `LesionLine`."""
    combination, findings = verdict.combination, verdict.findings
    if combination is None or findings is None:
        return {}
    return {
        "combined_probability": combination.probability,
        "is_by_findings": verdict.is_by_findings,
        "findings": findings.values,
        "findings_reason": f"{findings.reason} {combination.reason}",
    }


def _find(lesion: Lesion | None, verdict: UltrasoundVerdict) -> Found:
    """Give what the rules for notices ask for."""
    return find_on_ultrasound(
        is_flagged=verdict.is_flagged,
        probability=verdict.deciding_probability,
        diameter_mm=None if lesion is None else lesion.longest_diameter_mm,
    )


def _describe_lesion(lesion: Lesion | None) -> str:
    if lesion is None:
        return "no lesion"
    size = lesion.longest_diameter_mm
    return f"lesion of {lesion.area_px} pixels, " + ("not calibrated" if size is None else f"{size:.0f} mm")
