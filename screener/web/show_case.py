"""One study: what was found, how it was measured, what people said of it, and the story."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy.exc
from fastapi import Request
from starlette.responses import Response

from screener.config import Config
from screener.decide import is_large, is_rejected
from screener.explain import describe_study, describe_wait
from screener.journey import Queue
from screener.store import StudyReport
from screener.store.values import RunReport
from screener.study import Candidate, Presence, Side
from screener.us_study import FUSION, GLAND_NOT_CHECKED, Answer
from screener.web.enter_findings import ask_findings
from screener.web.gate import RefusedError
from screener.web.say_answers import say_gland, say_lesion
from screener.web.visit import Visit, visit_of
from screener.weigh_reports import weigh_reports

MAX_PRIORS: Final = 20
_FIGURES: Final = (
    "exams", "patients", "sensitivity_main", "sensitivity", "specificity", "ppv", "auc_exam_main", "auc_exam", "auc",
)  # fmt: skip
_MODELS: Final = {
    Queue.CT: ("localizer", "segmenter", "candidates"),
    Queue.US: ("us_segmenter", "us_classifier", "us_fusion"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One candidate and where it stands against each threshold."""

    candidate: Candidate
    is_above: bool
    """True: it is called a mass."""
    is_large: bool
    is_rejected: bool
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """An earlier or later study of the same patient."""

    study_id: int
    study_date: Any
    is_this: bool
    lesion: str
    """What was said of an ultrasound study; empty of CT and of what is not decided."""
    presences: dict[str, Presence]
    """What is in force of each gland, by side; empty of ultrasound and of what is not decided."""
    volumes_mm3: dict[str, float]
    """Of the largest mass above the threshold that is in force, by side; a side without one is absent."""
    growth: dict[str, str]
    """Against the studies before it, by side."""

    def say_side(self, side: str) -> str:
        """What is said of a side without a mass above the threshold."""
        return say_gland(self.presences.get(side)) if self.presences else "not decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a bundle says of itself."""

    name: str
    purpose: str
    data: str
    figures: dict[str, object]
    has_synthetic_masses: bool
    """True: the figures come from masses that were painted into real scans."""


def show_case(request: Request, study_id: int) -> Response:
    """The whole page; the pictures come by themselves."""
    visit = visit_of(request)
    report = read_report(visit, study_id)
    site = visit.site
    decided = site.reader.decided_number(study_id)
    run = next((run for run in report.runs if decided is not None and run.number == decided.number), None)
    withdrawn = site.reader.withdrawn_places(decided.run_id) if decided is not None else []
    places = [place for place in list_places(run) if place not in withdrawn] if run is not None else []
    acknowledgements = site.reader.acknowledgements_of(study_id)
    wait = describe_wait(report, site.config.completeness, datetime.now(UTC))
    first = site.reader.first_image(study_id, site.config.storage_folder)
    patient = None
    if first is not None:
        patient = site.patients.read(str(first.path.relative_to(site.config.storage_folder)))
    undecided = "no decision" if report.ending else "no decision yet"
    visit.audit("case", study_id, f"run {run.number}" if run is not None else undecided)
    values: dict[str, object] = {
        "report": report,
        "run": run,
        "patient": patient,
        "is_ultrasound": run is not None and run.lesion is not None,
        "measured": measure(run) if run is not None else [],
        "acknowledgement": next((each for each in acknowledgements if run and each.run_number == run.number), None),
        "reviews": site.reader.reviews_of(study_id),
        "has_answered": run is not None and has_answered(run),
        "weighed": weigh_reports(site.reader.mentions_of(study_id), places),
        "withdrawn": withdrawn,
        "priors": list_priors(visit, study_id),
        "models": list_models(site.config, run) if run is not None else [],
        "are_shipped_models": not site.config.models.folder,
        "gland_not_checked": GLAND_NOT_CHECKED,
        "fusion": FUSION,
        "asked": ask_findings(report, run, site.reader.entries_of(study_id)) if run is not None else None,
        "has_key_image": _has_key_image(run),
        "has_stack": run is not None and run.queue == Queue.CT and any(series.is_chosen for series in run.series),
        "story": "\n".join(filter(None, (describe_study(report), wait))),
        "viewer": site.config.web.viewer.replace("{study_instance_uid}", report.study_instance_uid),
    }
    return visit.page("case.html", values)


def has_answered(run: RunReport) -> bool:
    """Tell whether an opinion on a run counts: it flags something, or has assessed all of it."""
    if run.lesion is not None and run.lesion.answer is Answer.NOT_ASSESSABLE:
        return False
    return bool(run.is_flagged) or all(gland.presence is not Presence.UNDETERMINED for gland in run.glands)


def list_places(run: RunReport) -> list[Side | None]:
    """Where each flagged mass lies; None is ultrasound, which shows no side."""
    if run.lesion is not None:
        return [None] if run.is_flagged else []
    return [candidate.side for candidate, is_above in run.candidates if is_above]


def read_report(visit: Visit, study_id: int) -> StudyReport:
    """The study, or a sentence that there is none of this number."""
    try:
        return visit.site.reader.study_report(study_id)
    except (sqlalchemy.exc.NoResultFound, OverflowError):
        raise RefusedError(404, f"There is no study {study_id}.") from None


def measure(run: RunReport) -> list[Measured]:
    """Every candidate of a run against its thresholds, those above first."""
    measured = [
        Measured(
            candidate=candidate,
            is_above=is_above,
            is_large=is_large(candidate, run.thresholds),
            is_rejected=is_rejected(candidate, run.thresholds),
            score=candidate.score(run.thresholds.gamma),
        )
        for candidate, is_above in run.candidates
    ]
    return sorted(measured, key=lambda each: (not each.is_above, each.candidate.number))


def list_priors(visit: Visit, study_id: int) -> list[Prior]:
    """The screenings of the same patient by date, each with its growth against the one before; this one is among them.

    Empty where there is no other. Growth compares the largest mass of a side with
    the largest then: whether they are the same is for a person to say.
    """
    known = visit.site.reader.studies_of_same_patient(study_id)[-MAX_PRIORS:]
    if len(known) < 2:
        return []
    priors: list[Prior] = []
    for each in known:
        report = read_report(visit, each.study_id)
        run = report.run_in_force
        in_force = visit.site.reader.numbers_in_force(each.study_id, run.number) if run is not None else {}
        volumes = largest_volumes(report, in_force)
        priors.append(
            Prior(
                study_id=each.study_id,
                study_date=each.study_date,
                is_this=each.study_id == study_id,
                lesion=say_lesion(run.lesion.answer) if run is not None and run.lesion is not None else "",
                presences=list_presences(run, in_force) if run is not None else {},
                volumes_mm3=volumes,
                growth=_describe_growth(priors, volumes, each.study_date),
            )
        )
    return priors


def largest_volumes(report: StudyReport, in_force: Mapping[str, int]) -> dict[str, float]:
    """The volume in mm^3 of the largest mass above the threshold, by side; `in_force` names the run that found it."""
    volumes: dict[str, float] = {}
    for run in report.runs:
        for candidate, is_above in run.candidates:
            side = candidate.side.value
            if is_above and in_force.get(side) == run.number:
                volumes[side] = max(candidate.volume_mm3, volumes.get(side, 0.0))
    return volumes


def list_presences(run: RunReport, in_force: Mapping[str, int]) -> dict[str, Presence]:
    """What is in force of each gland, by side: a mass that a later run has not found where it looked is absent."""
    presences: dict[str, Presence] = {}
    for gland in run.glands:
        is_withdrawn = gland.presence is Presence.PRESENT and gland.side not in in_force
        presences[gland.side.value] = Presence.ABSENT if is_withdrawn else gland.presence
    return presences | dict.fromkeys(in_force.keys() & presences.keys(), Presence.PRESENT)


def _describe_growth(priors: Sequence[Prior], volumes: dict[str, float], study_date: Any) -> dict[str, str]:
    """Compare each side with the last CT study that found a mass there; `priors` by date."""
    earlier = [prior for prior in priors if prior.presences]
    return {side: _compare(side, volume, study_date, earlier) for side, volume in volumes.items()} if earlier else {}


def _compare(side: str, volume: float, study_date: Any, earlier: Sequence[Prior]) -> str:
    before = next((prior for prior in reversed(earlier) if prior.volumes_mm3.get(side)), None)
    if before is None:
        is_assessed = any(prior.presences.get(side) is Presence.ABSENT for prior in earlier)
        return "not found before" if is_assessed else "not assessed before"
    days = (study_date - before.study_date).days if study_date and before.study_date else None
    change = (volume / before.volumes_mm3[side] - 1) * 100
    return f"{change:+.0f} %" + (f" in {days} day{'s' if days != 1 else ''}" if days else "")


def list_models(config: Config, run: RunReport) -> list[Model]:
    """What the bundles in force say of the data that they were judged on."""
    names: Sequence[str] = [getattr(config.models, key, "") for key in _MODELS.get(Queue(run.queue), ())]
    return [model for name in names if name and (model := _read_model(config.bundles_folder / name)) is not None]


@lru_cache(maxsize=32)
def _read_model(folder: Path) -> Model | None:
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    figures = metadata.get("eval_metrics", {})
    chosen = {name: figures[name] for name in _FIGURES if isinstance(figures, dict) and name in figures}
    return Model(
        name=str(metadata.get("name", folder.name)),
        purpose=str(metadata.get("description", "")),
        data=str(metadata.get("data_source", "")),
        figures=chosen,
        has_synthetic_masses=isinstance(figures, dict) and bool(figures.get("synthetic_masses")),
    )


def _has_key_image(run: RunReport | None) -> bool:
    return run is not None and any(result.role == "key_image" for result in run.results)
