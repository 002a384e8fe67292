"""Results to report: summary.json, cases.csv, the plots, the pictures of wrong cases, and the page with all of them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from screener.study import Thresholds
from workers.training.evaluation.compute_figures import Figures
from workers.training.evaluation.draw_case import paint_outlines
from workers.training.evaluation.write_page import Gallery, Page, Picture, number, write_page
from workers.training.us_evaluation.case_result import UsResult
from workers.training.us_evaluation.choose_cases import Choice, describe_parts
from workers.training.us_evaluation.compute_figures import summarize
from workers.training.us_evaluation.draw_plots import (
    draw_calibration,
    draw_decisions,
    draw_dice,
    draw_healthy,
    draw_roc,
)
from workers.training.us_evaluation.fill_tables import (
    describe_case,
    headline,
    healthy_table,
    is_wrong,
    kinds_table,
    unassessed_table,
    wrong_table,
)
from workers.training.us_evaluation.screen_case import Screened
from workers.training.us_evaluation.write_cases import write_cases

WORST: Final = 10
"""Cases that a gallery shows of each source."""
NO_PAROTID_TUMOR: Final = "No public image shows a parotid tumor: figures of lesions are of the organs named."
LEGEND: Final = "Green: the true outline. Red: the automatic one."
Again = Callable[[UsResult], Screened]
"""Screens a case once more, for its picture."""


def write_report(
    results: Sequence[UsResult],
    screen_again: Again,
    thresholds: Thresholds,
    digests: Mapping[str, str],
    folder: Path,
    *,
    choice: Choice,
    data: str,
    passed_over: int,
    is_by_fusion: bool = False,
) -> Figures:
    """Write everything into `folder` and return the summary.

    `data` names the folder of cases; `passed_over` rows of its index could not be used. `is_by_fusion`: a fusion
    decided, not the classifier.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarize(results, thresholds, choice.parts, is_by_fusion=is_by_fusion)
    about_data = describe_data(data, summary, choice, passed_over)
    summary |= {
        "part": describe_parts(choice.parts),
        "rows_passed_over": passed_over,
        "data": about_data,
        "bundles": dict(digests),
    }
    text = json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
    write_cases(results, about_data, folder / "cases.csv")
    sources = summary["sources"]
    page = Page(
        title="Evaluation of the ultrasound models",
        data=about_data,
        tables_first=[
            *(headline(source, figures) for source, figures in sources.items() if figures["lesions"]),
            healthy_table(sources),
        ],
        plots=_draw_plots(results, summary, thresholds, folder),
        tables=[kinds_table(sources), unassessed_table(summary), wrong_table(results)],
        galleries=_draw_cases(results, screen_again, folder / "pictures"),
        made_of=[*digests.items(), ("thresholds", json.dumps(summary["thresholds"]))],
    )
    write_page(page, folder / "index.html")
    return summary


def describe_data(data: str, summary: Figures, choice: Choice, passed_over: int) -> str:
    """Say in a few sentences what was judged."""
    counts = "; ".join(_tell_counts(source, figures) for source, figures in summary["sources"].items())
    lost = f" {passed_over} rows of the index could not be used." if passed_over else ""
    return f"Data: {data}; {counts}. {choice.sentence}{lost} {NO_PAROTID_TUMOR}"


def _tell_counts(source: str, figures: Figures) -> str:
    lesions, healthy = figures["lesions"], figures["exams"] - figures["lesions"]
    organs = f" ({', '.join(figures['organs'])})" if figures["organs"] else ""
    words = [f"{source}{organs}: {figures['exams']} pictures"]
    if lesions:
        words.append(f"{figures['positives']} malignant and {figures['negatives']} benign lesions")
        unknown = lesions - figures["positives"] - figures["negatives"]
        words += [f"{unknown} lesions of unknown kind"] if unknown else []
    words += [f"{healthy} without tumor"] if healthy else []
    return ", ".join(words)


def _draw_plots(results: Sequence[UsResult], summary: Figures, thresholds: Thresholds, folder: Path) -> list[Picture]:
    """Draw each plot that has something to show, source by source."""
    pictures: list[Picture] = []
    for source, figures in summary["sources"].items():
        members = [result for result in results if result.row.source == source]
        rated = [result for result in members if result.is_rated]

        def place(name: str, caption: str, source: str = source) -> Path:
            pictures.append(Picture(path=folder / f"{name}_{plain_name(source)}.png", caption=f"{source}: {caption}"))
            return pictures[-1].path

        if figures["auc_exam"] is not None:
            areas = f"AUC {number(figures['auc_exam'])} automatic, {number(figures['auc_outlined'])} on true outlines."
            draw_roc(place("roc", f"{areas} Bands: 95 % over resampled groups."), source, rated, figures)
            path = place("decision_curve", "What calling by the product is worth; dotted: the threshold in force.")
            draw_decisions(path, source, rated, thresholds.min_malignancy)
        if figures["calibration"] is not None:
            error = number(figures["calibration_error"])
            caption = f"Expected calibration error {error}, by chance {_tell_chance(figures)}. Bars: Wilson, 95 %."
            draw_calibration(place("calibration", caption), source, figures["calibration"])
        if figures["outlined"]:
            outlined = [result for result in members if result.dice is not None]
            draw_dice(place("dice_by_size", "One point per outlined lesion."), source, outlined)
        if figures["without_tumor"]:
            caption = "How pictures without tumor end; their number in brackets."
            draw_healthy(place("without_tumor", caption), source, figures["without_tumor"])
    return pictures


def _tell_chance(figures: Figures) -> str:
    return number(figures["calibration"]["expected_error_by_chance"])


def _draw_cases(results: Sequence[UsResult], screen_again: Again, folder: Path) -> list[Gallery]:
    """Draw the worst outlines and the wrong calls, WORST of each source at most."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    outlined = [result for result in results if result.dice is not None]
    wrong = [result for result in results if is_wrong(result)]
    chosen = (
        ("worst_dice", "The worst outlines by Dice", outlined, lambda result: result.dice or 0.0),
        ("false_malignant", "Called malignant, and not", [one for one in wrong if not one.is_malignant], _minus_score),
        ("missed_malignant", "Malignant, and not called so", [one for one in wrong if one.is_malignant], _score),
    )
    return [
        Gallery(
            title=title,
            legend=f"{LEGEND} At most {WORST} of each source.",
            pictures=_draw_each(name, _take_worst(members, order), screen_again, folder),
            if_none="None.",
        )
        for name, title, members, order in chosen
    ]


def _score(result: UsResult) -> float:
    return result.score


def _minus_score(result: UsResult) -> float:
    return -result.score


def _take_worst(members: Sequence[UsResult], order: Callable[[UsResult], float]) -> list[UsResult]:
    sources = sorted({result.row.source for result in members})
    return [
        result
        for source in sources
        for result in sorted((one for one in members if one.row.source == source), key=order)[:WORST]
    ]


def _draw_each(name: str, members: Sequence[UsResult], screen_again: Again, folder: Path) -> list[Picture]:
    pictures = []
    for rank, result in enumerate(members, start=1):
        screened = screen_again(result)
        if screened.gray is None:
            continue
        path = folder / f"{name}_{rank:02d}_{plain_name(result.row.name)}.png"
        paint_outlines(screened.gray, screened.outlines).save(path)
        pictures.append(Picture(path=path, caption=f"{result.row.name}: {describe_case(result)}"))
    return pictures


def plain_name(text: str) -> str:
    """Return `text` as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_+-]", "_", text)[:60]
