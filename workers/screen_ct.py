"""The CT journey from a claimed run to results owed: the list of its stages, in order."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import cast

from screener.decide import covered_in_part, decide
from screener.journey import Stage
from screener.match_rules import find_on_ct
from screener.outcomes import NeedsPerson, SetAside
from screener.store import Result, Run, Screening
from screener.study import Candidate, Instance, Mass, Parotid, SeriesChoice, Thresholds, Verdict, Volume
from workers.bench import Bench, Models
from workers.run_stages import keep_results, make_run_key, name_owed, stage

logger = logging.getLogger(__name__)


def screen_ct(bench: Bench, run: Run) -> None:
    """Carry one run through the CT journey; leaves by return, an outcome, or a bug."""
    # The stages are imported after the fork: they bring torch and highdicom.
    from workers.ct.load_study import load_study
    from workers.ct.localize_study import localize_study
    from workers.ct.segment_masses import segment_masses

    models = bench.models()
    started_at = bench.clock()
    began = time.monotonic()
    with stage(bench, run, Stage.SELECTED) as note:
        images = bench.store.images_of(run.study_id, bench.config.storage_folder, run.newest_instance_id)
        series_instance_uid, choices = _select(bench, run, images)
        run_key, same = _record(bench, run, images, choices, models)
        note.sentence = _describe_chosen(choices)
    if same is not None:
        bench.store.end_run_as(run, same, bench.clock())
        return
    with stage(bench, run, Stage.LOADED) as note:
        with _keeping_choices(bench, run):
            loaded = load_study(images, choices)
        note.sentence = _describe_volume(loaded.volume)
        if loaded.volume.series_instance_uid != series_instance_uid:
            note.sentence += f"; the best series is no volume, the next is: {_describe_chosen(loaded.choices)}"
            run_key, same = _record(bench, run, images, loaded.choices, models)
    if same is not None:
        bench.store.end_run_as(run, same, bench.clock())
        return
    with stage(bench, run, Stage.LOCALIZED) as note:
        with _keeping_choices(bench, run):
            found, parotids = localize_study(images, loaded, models.localizer)
        volume = found.volume
        note.sentence = "; ".join(_describe_gland(parotid) for parotid in parotids)
        if found is not loaded:
            note.sentence += (
                f"; the better series covers neither, this one does: {_describe_chosen(found.choices)}; "
                f"{_describe_volume(volume)}"
            )
            run_key, same = _record(bench, run, images, found.choices, models)
    if same is not None:
        bench.store.end_run_as(run, same, bench.clock())
        return
    with stage(bench, run, Stage.SEGMENTED) as note:
        masses = segment_masses(
            volume,
            parotids,
            models.segmenter,
            min_probability=run.thresholds.min_probability,
            judge=models.candidates,
        )
        described = (f"; {_describe_candidate(mass.candidate, run.thresholds)}" for mass in masses)
        note.sentence = f"{len(masses)} candidate(s)" + "".join(described)
    assessments = tuple(parotid.assessment for parotid in parotids)
    candidates = tuple(mass.candidate for mass in masses)
    verdict = decide(assessments, candidates, run.thresholds)
    encoding_began = time.monotonic()
    results = _encode(
        bench, run, run_key, images, volume, parotids, masses, verdict, started_at=started_at, models=models
    )
    screening = Screening(
        assessments=assessments,
        candidates=candidates,
        verdict=verdict,
        results=results,
        model_identity=models.identity.device_uid,
    )
    bench.store.finish_run(
        run,
        screening,
        **name_owed(bench, find_on_ct(_above(candidates, verdict)), images),
        seconds=time.monotonic() - encoding_began,
        now=bench.clock(),
    )
    logger.info(
        "study=%d run=%d stage=encoded flagged=%s seconds=%.1f",
        run.study_id,
        run.number,
        verdict.is_flagged,
        time.monotonic() - began,
    )


def _above(candidates: Sequence[Candidate], verdict: Verdict) -> list[Candidate]:
    """Give the candidates that made the study flagged."""
    numbers = {number for gland in verdict.glands for number in gland.candidate_numbers}
    return [candidate for candidate in candidates if candidate.number in numbers]


def _select(bench: Bench, run: Run, images: Sequence[Instance]) -> tuple[str, tuple[SeriesChoice, ...]]:
    """Select the series; the reasons are stored also where no series will do."""
    from workers.ct.select_series import select_series

    with _keeping_choices(bench, run):
        return select_series(images)


@contextmanager
def _keeping_choices(bench: Bench, run: Run) -> Iterator[None]:
    """Store what the stage has found out about the series where it ends the study."""
    try:
        yield
    except (SetAside, NeedsPerson) as outcome:
        if outcome.choices:
            bench.store.record_series(run, cast("tuple[SeriesChoice, ...]", outcome.choices), None)
        raise


def _encode(
    bench: Bench,
    run: Run,
    run_key: str,
    images: Sequence[Instance],
    volume: Volume,
    parotids: Sequence[Parotid],
    masses: Sequence[Mass],
    verdict: Verdict,
    *,
    started_at: datetime,
    models: Models,
) -> tuple[Result, ...]:
    """Encode SEG, SR and key image once, and keep their bytes."""
    from workers.results.encode_results import encode_results

    paths = {image.sop_instance_uid: image.path for image in images}
    above = {number for gland in verdict.glands for number in gland.candidate_numbers}
    files = encode_results(
        [paths[uid] for uid in volume.sop_instance_uids],
        volume,
        parotids,
        [mass for mass in masses if mass.candidate.number in above],
        verdict,
        identity=models.identity,
        run_key=bench.store.name_results(run, run_key),
        started_at=started_at,
        thresholds=run.thresholds,
        run_number=run.number,
    )
    return keep_results(bench, run, files)


def _record(
    bench: Bench, run: Run, images: Sequence[Instance], choices: Sequence[SeriesChoice], models: Models
) -> tuple[str, int | None]:
    """Store the choices; return the run's key, and the number of an earlier run with the same."""
    chosen = {choice.series_instance_uid for choice in choices if choice.is_chosen}
    screened = [image for image in images if image.series_instance_uid in chosen]
    run_key = make_run_key(run, screened, models.identity.device_uid)
    return run_key, bench.store.record_series(run, choices, run_key)


def _describe_chosen(choices: Sequence[SeriesChoice]) -> str:
    (choice,) = (one for one in choices if one.is_chosen)
    return f"series of {choice.instance_count} images with score {choice.score:g}: {' '.join(choice.reasons)}"


def _describe_volume(volume: Volume) -> str:
    x, y, z = volume.spacing_mm
    slices, rows, columns = volume.hu.shape
    return f"{slices} slices of {rows} x {columns}, voxels of {x:.2f} x {y:.2f} x {z:.2f} mm"


def _describe_gland(parotid: Parotid) -> str:
    if not parotid.is_assessed:
        return f"{parotid.side} parotid not assessed: {parotid.reason}"
    part = f", {covered_in_part(parotid.covered_share)}" if parotid.is_partial else ""
    return f"{parotid.side} parotid of {parotid.volume_mm3 / 1000:.1f} ml{part}"


def _describe_candidate(candidate: Candidate, thresholds: Thresholds) -> str:
    score = candidate.score(thresholds.gamma)
    judged = f", score {score:.2f}" if score is not None else ""
    return (
        f"{candidate.number}: {candidate.side}, {candidate.voxels} voxels, "
        f"{candidate.longest_diameter_mm:.0f} mm, probability up to {candidate.max_probability:.2f}{judged}"
    )
