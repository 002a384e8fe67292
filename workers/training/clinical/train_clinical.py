"""Compare models of a hospital's findings: `python -m workers train us-clinical CASES --out FILE --report DIR`.

CASES is a table (CSV) with a row per lesion: `id`, `group` (the patient), `label` (benign or malignant),
`irregular_shape`, `poorly_defined_margin`, `posterior_enhancement` and `suspicious_lymph_nodes` (yes, no, or empty
where not known) and, where there is one, `image_probability` (from networks that were not trained on these cases).
Logistic regression, random forest and gradient boosting are judged by cross-validation over patients. The weights of
the logistic regression on all cases go to FILE, which models.us_nomogram may name; the trees are only reported. Rows
that lack a finding are left out and counted. No public data hold these findings: nothing ships that was fitted by this.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from screener.outcomes import NeedsPerson
from workers.training.clinical.compare_clinical import IMAGE, ClinicalComparison, compare_clinical
from workers.training.clinical.read_clinical import ClinicalTable, read_clinical
from workers.training.evaluation.draw_plots import BLUE, GREEN, GREY, ORANGE, RED, draw_curve, plot, roc_at
from workers.training.evaluation.write_page import Page, Picture, Table, interval, number, write_page
from workers.training.nomogram import EVENTS_PER_TERM, USE, add_judge_options, find_judge_digest
from workers.training.statistics.fit_logistic import LogisticFit, fit_logistic
from workers.us.nomogram import Nomogram, log_odds, write_nomogram

COLORS: Final = (GREY, BLUE, GREEN, ORANGE)
NOT_OF_IMAGE: Final = "findings alone, the image counts for nothing"


def fit_weights(table: ClinicalTable, source: str, judge_digest: str = "") -> tuple[Nomogram, LogisticFit]:
    """Fit the logistic regression on all cases, with the image where the table has its probability.

    Raises NeedsPerson where it has no finite weights, or a patient has several rows: they would count as independent.
    """
    if len(set(table.groups)) < len(table.cases):
        raise NeedsPerson("A patient has more than one row: keep one for the weights of the nomogram.")
    names = [finding.value for finding in table.findings]
    values = table.values
    if table.image is not None:
        names = [IMAGE, *names]
        values = np.column_stack([[log_odds(float(p)) for p in table.image], values])
    try:
        fit = fit_logistic(values, table.truth, names)
    except ValueError as error:
        raise NeedsPerson(f"The logistic regression could not be fitted. {error}") from error
    weights = [term.value for term in fit.coefficients]
    of_image = 0.0 if table.image is None else weights[1]
    nomogram = Nomogram(
        intercept=weights[0],
        of_image=of_image,
        of_findings=dict(zip(table.findings, weights[-len(table.findings) :], strict=True)),
        source=source if table.image is not None else f"{source}; {NOT_OF_IMAGE}",
        judge_digest=judge_digest,
    )
    return nomogram, fit


def summarize(table: ClinicalTable, compared: ClinicalComparison, fit: LogisticFit) -> dict[str, Any]:
    """Return all figures as a JSON object."""
    malignant = int(table.truth.sum())
    rarer = min(malignant, len(table.cases) - malignant)
    return {
        "use": USE,
        "data": f"{len(table.cases)} cases of {len(set(table.groups))} patients, {malignant} malignant",
        "left_out_for_what_is_missing": table.left_out,
        "missing": {finding.value: count for finding, count in table.missing.items()},
        "findings": [finding.value for finding in table.findings],
        "folds": compared.folds,
        "too_few_cases": rarer < EVENTS_PER_TERM * len(fit.coefficients),
        "models": dict(compared.figures),
        "terms": {
            term.name: {"odds_ratio": term.odds_ratio, "interval_95": term.odds_ratio_95, "p": term.p}
            for term in fit.coefficients
        },
    }


def write_report(folder: Path, table: ClinicalTable, compared: ClinicalComparison, summary: dict[str, Any]) -> None:
    """Write summary.json, predictions.csv, the curves and index.html."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "group", "label", *compared.probabilities])
        for case, *risks in zip(table.cases, *compared.probabilities.values(), strict=True):
            label = "malignant" if case.is_malignant else "benign"
            writer.writerow([case.id, case.group, label, *(f"{risk:.4f}" for risk in risks)])
    curves = _draw_curves(folder, table, compared)
    page = Page(
        title="Clinical models on a reader's ultrasound findings",
        data=f"{summary['data']}, {table.left_out} left out for what is missing. Each case is judged by models that "
        f"saw none of its patient ({compared.folds} folds).",
        tables_first=[_table_models(summary)],
        plots=curves,
        tables=[*_table_gains(summary), _table_weights(summary)],
        galleries=[],
        made_of=[("findings", ", ".join(summary["findings"]))],
    )
    write_page(page, folder / "index.html")


def _draw_curves(folder: Path, table: ClinicalTable, compared: ClinicalComparison) -> list[Picture]:
    shown = _pick_shown(compared)
    roc, calibration = folder / "roc.png", folder / "calibration.png"
    with plot(roc, "ROC, cross-validated", "1 - specificity", "sensitivity") as axes:
        for name, color in shown.items():
            points = table.truth.tolist(), compared.probabilities[name].tolist()
            draw_curve(axes, name, color, points, table.groups, roc_at)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right", fontsize=9)
    with plot(calibration, "Calibration, cross-validated", "mean probability of the bin", "share malignant") as axes:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        for name, color in shown.items():
            curve = compared.figures[name]["curve"]
            means, shares = [one["mean_probability"] for one in curve], [one["share"] for one in curve]
            axes.plot(means, shares, color=color, marker="o", markersize=4, label=name)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
        axes.legend(loc="upper left", fontsize=9)
    return [
        Picture(path=roc, caption="ROC with bands over resampled patients."),
        Picture(path=calibration, caption="Share of malignant cases over the probability."),
    ]


def _pick_shown(compared: ClinicalComparison) -> dict[str, str]:
    """Return the models that are drawn, with colors: those with the image, where there are any, beside the image."""
    names = list(compared.probabilities)
    shown = [IMAGE, *names[-3:]] if IMAGE in names else names
    return dict(zip(shown, COLORS if IMAGE in names else (BLUE, GREEN, RED), strict=True))


def _table_models(summary: dict[str, Any]) -> Table:
    header = ["model", "AUC", "95 % (DeLong)", "95 % (patients)", "Brier", "calibration error", "by chance", "H-L p"]
    rows = [
        [
            name,
            number(one["auc"]),
            interval(one["auc_95_delong"]),
            interval(one["auc_95_over_patients"]),
            number(one["brier"]),
            number(one["calibration_error"]),
            number(one["calibration_error_by_chance"]),
            number(one["hosmer_lemeshow_p"]),
        ]
        for name, one in summary["models"].items()
    ]
    note = "DeLong's interval takes cases for independent; where a patient has several, read the one over patients."
    return Table(title="Models", header=header, rows=rows, note=note)


def _table_gains(summary: dict[str, Any]) -> list[Table]:
    gains = {name: one["against_the_image"] for name, one in summary["models"].items() if "against_the_image" in one}
    if not gains:
        return []
    header = ["model", "AUC difference", "DeLong p", "NRI > 0", "95 %", "IDI", "95 %"]
    rows = [
        [
            name,
            number(one["auc_difference"]),
            number(one["delong_p"]),
            number(one["nri_continuous"]["value"]),
            interval(one["nri_continuous"]["interval_95"]),
            number(one["idi"]["value"]),
            interval(one["idi"]["interval_95"]),
        ]
        for name, one in gains.items()
    ]
    return [Table(title="Gain over the image alone", header=header, rows=rows)]


def _table_weights(summary: dict[str, Any]) -> Table:
    rows = [
        [name, number(term["odds_ratio"]), interval(term["interval_95"]), number(term["p"])]
        for name, term in summary["terms"].items()
    ]
    note = "Fitted on all cases. Too few of the rarer label for each term." if summary["too_few_cases"] else ""
    return Table(title="Logistic regression", header=["term", "odds ratio", "95 %", "p"], rows=rows, note=note)


def tell_clinical(summary: dict[str, Any]) -> str:
    """Return the figures in lines for a person."""
    lines = [f"{summary['data']}; {summary['left_out_for_what_is_missing']} left out for what is missing."]
    for name, one in summary["models"].items():
        gain = one.get("against_the_image")
        more = f"  NRI {gain['nri_continuous']['value']:+.3f}  IDI {gain['idi']['value']:+.3f}" if gain else ""
        ends = interval(one["auc_95_delong"])
        lines.append(f"{name:<36} AUC {one['auc']:.3f} ({ends})  calibration {one['calibration_error']:.3f}{more}")
    if summary["too_few_cases"]:
        lines.append(f"Too few cases: fewer than {EVENTS_PER_TERM} of the rarer label for each term.")
    return "\n".join([*lines, USE])


def main(words: list[str] | None = None) -> int:
    """Compare the models, write the weights and the report. Raises NeedsPerson where that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m workers train us-clinical",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", type=Path, help="table of cases (CSV)")
    parser.add_argument("--out", type=Path, required=True, help="where to write the weights (JSON)")
    parser.add_argument("--report", type=Path, required=True, help="folder of the report")
    parser.add_argument("--source", default="fitted on own cases", help="what the reports say of the weights' origin")
    add_judge_options(parser)
    options = parser.parse_args(words)
    table = read_clinical(options.cases)
    judge_digest = "" if table.image is None else find_judge_digest(options)
    nomogram, fit = fit_weights(table, options.source, judge_digest)
    compared = compare_clinical(table)
    summary = summarize(table, compared, fit)
    write_report(options.report, table, compared, summary)
    stored = {**write_nomogram(nomogram), **{key: summary[key] for key in ("use", "data", "too_few_cases", "terms")}}
    options.out.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(tell_clinical(summary) + "\n")
    return 0
