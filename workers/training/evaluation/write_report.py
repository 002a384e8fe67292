"""Results to report: summary.json, cases.csv, the plots, the pictures of wrong cases, and the page with all of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from screener.study import Thresholds
from workers.training.evaluation.case_result import CaseResult
from workers.training.evaluation.compute_figures import (
    Figures,
    exam_scores,
    gland_scores,
    patient_of,
    summarize,
)
from workers.training.evaluation.draw_case import draw_slice, load_slice
from workers.training.evaluation.draw_plots import (
    draw_dice_by_size,
    draw_free_response,
    draw_groups,
    draw_precision_recall,
    draw_prevalence,
    draw_rates,
    draw_roc,
)
from workers.training.evaluation.fill_tables import (
    badness,
    describe_case,
    groups_table,
    headline,
    not_assessed_table,
    prevalence_table,
    sizes_table,
    sweep_tables,
    wrong_table,
)
from workers.training.evaluation.judge_case import Judgment, judge_all
from workers.training.evaluation.replay_thresholds import (
    Row,
    group_cases,
    look_alike_kind,
    mass_kind,
    replay_gamma,
    replay_scores,
    replay_voxels,
    source_kind,
    spacing_kind,
    trace_free_response,
)
from workers.training.evaluation.write_page import Gallery, Page, Picture, number, write_page
from workers.training.evaluation.write_tables import write_cases

WORST: Final = 10
MAX_KINDS: Final = 16
"""A grouping with more kinds, such as one source per patient, says nothing."""


def write_report(
    cases: Sequence[CaseResult],
    stores: Sequence[Path],
    thresholds: Thresholds,
    digests: Mapping[str, str],
    folder: Path,
    *,
    data: str,
    separator: str = "+",
) -> Figures:
    """Write everything into `folder` and return the summary; `stores` names each case's stored result.

    Nothing is inferred here: a report under other thresholds costs seconds.
    """
    judged = judge_all(cases, thresholds)
    patients = [patient_of(case.name, separator) for case in cases]
    summary = summarize(judged, thresholds, separator)
    about_data = describe_data(data, summary)
    sweeps = {
        "by_min_voxels": replay_voxels(cases, thresholds),
        "by_gamma": replay_gamma(cases, thresholds),
        "by_min_score": replay_scores(cases, thresholds),
        "by_spacing": group_cases(judged, spacing_kind),
        "by_look_alike": group_cases(judged, look_alike_kind),
        "by_mass": _few(group_cases(judged, mass_kind)),
        "by_source": _few(group_cases(judged, source_kind)),
    }
    summary |= {"data": about_data, "bundles": dict(digests)} | sweeps
    text = json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
    write_cases(judged, patients, thresholds, about_data, folder / "cases.csv")
    plots = _draw_plots(judged, patients, summary, thresholds, folder, separator)
    wrong = _draw_cases(judged, stores, folder / "pictures")
    page = Page(
        title="Evaluation of the CT models",
        data=about_data,
        tables_first=[headline(summary), sizes_table(summary)],
        plots=plots,
        tables=[
            *sweep_tables(summary),
            prevalence_table(summary),
            *(groups_table(summary[key], title) for key, title in _GROUPS if summary[key]),
            not_assessed_table(judged),
            wrong_table(judged),
        ],
        galleries=[
            Gallery(
                title="The worst cases",
                legend="Green: the true mass. Red: called a mass. Orange: seen, not called. Gray: the true gland. "
                "Seen from the feet, front above, the patient's right on the left; window -125 to 225 HU.",
                pictures=wrong[:WORST],
                if_none="None: every answer was right.",
            )
        ],
        made_of=[*digests.items(), ("thresholds", json.dumps(summary["thresholds"]))],
    )
    write_page(page, folder / "index.html")
    return summary


_GROUPS: Final = (
    ("by_spacing", "By spacing"),
    ("by_look_alike", "By look-alike"),
    ("by_mass", "By kind of mass"),
    ("by_source", "By source and contrast"),
)


def describe_data(data: str, summary: Figures) -> str:
    """Say in a sentence or two what was judged."""
    masses = f"{summary['positives']} with a mass"
    if summary["synthetic_masses"]:
        masses += f" ({summary['synthetic_masses']} of them synthetic, not a patient's own)"
    return (
        f"Data: {data}; {summary['exams']} examinations of {summary['patients']} patients, {masses}, "
        f"{summary['negatives']} without."
    )


def _few(rows: list[Row]) -> list[Row]:
    return rows if len(rows) <= MAX_KINDS else []


def _draw_plots(
    judged: Sequence[Judgment],
    patients: Sequence[str],
    summary: Figures,
    thresholds: Thresholds,
    folder: Path,
    separator: str,
) -> list[Picture]:
    """Draw each plot that has something to show."""
    exams, glands = exam_scores(judged), gland_scores(judged)
    gland_patients = [patient_of(j.case.name, separator) for j in judged for _ in j.gland_scores]
    pictures: list[Picture] = []

    def place(name: str, caption: str) -> Path:
        pictures.append(Picture(path=folder / f"{name}.png", caption=caption))
        return pictures[-1].path

    band = "Bands: 95 % over resampled patients."
    if summary["auc_exam"] is not None or summary["auc_gland"] is not None:
        areas = f"AUC {number(summary['auc_exam'])} per examination, {number(summary['auc_gland'])} per gland."
        in_force = summary["sensitivity"], summary["specificity"]
        draw_roc(place("roc", f"{areas} {band}"), exams, glands, patients, gland_patients, in_force)
        path = place("precision_recall", f"In this mixture of cases. {band}")
        draw_precision_recall(path, exams, glands, patients, gland_patients)
    if summary["positives"]:
        caption = "Each candidate on its own: masses hit against false candidates."
        draw_free_response(place("free_response", caption), trace_free_response([j.case for j in judged], thresholds))
        draw_dice_by_size(place("dice_by_size", "One point per mass."), judged)
    for key, field, title, label, mark in (
        ("by_min_voxels", "min_voxels", "Threshold of size", "least voxels of 1 mm³", thresholds.min_voxels),
        ("by_gamma", "gamma", "Gamma", "gamma (inverse radius of influence)", thresholds.gamma),
        ("by_min_score", "min_score", "Cut-off of the machine's score", "cut-off", thresholds.min_score),
    ):
        if summary[key]:
            path = place(key, f"Decided again on stored candidates; dotted: in force ({mark:g}).")
            draw_rates(path, summary[key], field, title, label, mark)
    if summary["ppv_at_prevalence"][0]["ppv"] is not None:
        caption = "Both Wilson intervals' lower and upper ends carried through."
        draw_prevalence(place("ppv_at_prevalence", caption), summary["ppv_at_prevalence"])
    for key, title in _GROUPS[:2]:
        if summary[key]:
            draw_groups(place(key, f"{title}; examinations in brackets."), summary[key], title)
    return pictures


def _draw_cases(judged: Sequence[Judgment], stores: Sequence[Path], folder: Path) -> list[Picture]:
    """Draw every wrong case, and the worst outlines up to WORST; worst first."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    pairs = sorted(zip(judged, stores, strict=True), key=lambda pair: -badness(pair[0]))
    pictures = []
    for rank, (judgment, store) in enumerate(pairs):
        if badness(judgment) <= 0 or (judgment.is_right and rank >= WORST):
            break
        cut = load_slice(store.with_suffix(".npz"))
        if cut is not None:
            picture = Picture(
                path=folder / f"{rank + 1:03d}_{store.stem}.png",
                caption=f"{judgment.case.name}: {describe_case(judgment)}",
            )
            draw_slice(cut, picture.path)
            pictures.append(picture)
    return pictures
