"""The page's tables, and a case in a line."""

from collections.abc import Sequence
from typing import Any, Final

from workers.training.evaluation.compute_figures import Figures, why_not_assessed
from workers.training.evaluation.judge_case import Judgment
from workers.training.evaluation.replay_thresholds import Row
from workers.training.evaluation.write_page import Table, interval, number, percent

RATES: Final = ("sensitivity", "sensitivity_main", "specificity", "ppv", "dice_median", "dice_mean")


def badness(judgment: Judgment) -> float:
    """Return 1 to 2 for a wrong answer, surest error first; for a found mass 1 - Dice, 0 to 1; 0 for a true negative.

    A missed mass is the worse the larger it is, a false alarm the worse the higher it scored.
    """
    if judgment.is_right:
        return 0.0 if judgment.dice is None else 1.0 - judgment.dice
    if judgment.case.is_positive:
        return 1.0 + min(1.0, judgment.case.mass_diameter_mm / 40)
    return 1.0 + min(1.0, judgment.score)


def describe_case(judgment: Judgment) -> str:
    """Say in one line what happened to a case."""
    case = judgment.case
    if not judgment.is_assessed:
        answer = "not assessed"
    elif case.is_positive:
        answer = "found" if judgment.is_flagged else "missed"
    else:
        answer = "false alarm" if judgment.is_flagged else "left alone"
    words = [f"{answer}, score {judgment.score:.2f}"]
    if case.is_positive:
        side = " and ".join(case.mass_sides)
        kind = "synthetic mass" if case.is_synthetic else "mass"
        words.append(f"{kind} {side}, {case.mass_diameter_mm:.0f} mm, Dice {judgment.dice or 0.0:.2f}")
    if case.look_alikes:
        words.append(f"look-alikes: {', '.join(case.look_alikes)}")
    if judgment.verdict:
        words += [gland.reason.rstrip(".") for gland in judgment.verdict.glands if gland.candidate_numbers]
    return "; ".join(words)


def headline(summary: Figures) -> Table:
    """Return the figures beside the study's own."""
    ends, counts, glands = summary["intervals_95"], summary["counts"], summary["glands"]
    true, missed = counts["true_positives"], counts["false_negatives"]
    alarms, left = counts["false_positives"], counts["true_negatives"]
    iqr = summary["dice_iqr"]
    centers = summary["centre_errors"]
    center = f"{number(centers['median'], 1)} / {number(centers['p95'], 1)} mm"
    held, crops = summary["crop_holds_95_count"]
    main = summary["masses_by_size"][0]
    gland_found, gland_counts = percent(glands["sensitivity"]), glands["counts"]
    rows = [
        ("AUC per examination", number(summary["auc_exam"]), interval(ends["auc_exam"]), str(summary["exams"]), "–"),
        ("AUC per examination, main masses", number(summary["auc_exam_main"]), interval(ends["auc_exam_main"]),
         str(summary["negatives"] + main["masses"]), "0.956"),
        ("AUC per gland", number(summary["auc_gland"]), interval(ends["auc_gland"]),
         str(sum(gland_counts.values())), "–"),
        ("Sensitivity, main masses", percent(summary["sensitivity_main"]),
         interval(main["interval_95"], in_percent=True), f"{main['found']} of {main['masses']}", "88.4 %"),
        ("Sensitivity, all masses", percent(summary["sensitivity"]), interval(ends["sensitivity"], in_percent=True),
         f"{true} of {true + missed}", "–"),
        ("Specificity", percent(summary["specificity"]), interval(ends["specificity"], in_percent=True),
         f"{left} of {left + alarms}", "> 95 %"),
        ("PPV in this mixture", percent(summary["ppv"]), interval(ends["ppv"], in_percent=True),
         f"{true} of {true + alarms}", "> 90 %"),
        ("Dice, median, all masses", number(summary["dice_median"]), interval(ends["dice_median"]),
         str(summary["positives"]), "0.725"),
        ("Dice, quartiles", "–" if iqr is None else f"{iqr[0]:.3f} to {iqr[1]:.3f}", "–", str(summary["positives"]),
         "0.500 to 0.788"),
        ("Dice, median, main masses", number(summary["dice_median_main"]), "–", str(main["masses"]), "0.725"),
        ("Volume over the true one, median, main masses", number(summary["volume_ratio_median"], 2), "–",
         str(summary["volume_ratio_count"]), "–"),
        ("Gland's center, median / 95th percentile", center, "–",
         f"{centers['glands']}, {centers['not_found']} not found", "–"),
        ("Crops with 95 % of the gland", percent(summary["crop_holds_95"]),
         interval(ends["crop_holds_95"], in_percent=True), f"{held} of {crops}", "–"),
        ("Sensitivity / specificity per gland", f"{gland_found} / {percent(glands['specificity'])}", "–",
         str(sum(gland_counts.values())), "–"),
        ("Seconds per case, median", number(summary["seconds_per_case_median"], 1), "–", str(summary["exams"]), "–"),
    ]  # fmt: skip
    return Table(
        title="Figures",
        header=("", "here", "95 % interval", "count", "the study"),
        rows=rows,
        note=f"Main masses: at least 10 mm and 500 mm³. Not assessed: {summary['not_assessed']['positives']} positives "
        f"(counted as missed) and {summary['not_assessed']['negatives']} negatives (counted as false alarms). "
        "The study's figures are of its own patients and masses.",
    )


def sizes_table(summary: Figures) -> Table:
    """Return sensitivity and Dice by the size of the mass."""
    rows = [
        (
            row["size"],
            f"{row['found']} of {row['masses']}",
            percent(row["sensitivity"]),
            interval(row["interval_95"], in_percent=True),
            number(row["dice_median"]),
        )
        for row in summary["masses_by_size"]
        if row["masses"]
    ]
    header = ("mass", "found", "sensitivity", "95 % interval", "Dice, median")
    return Table(title="Masses by size", header=header, rows=rows)


def sweep_tables(summary: Figures) -> list[Table]:
    """Return a table for each setting that was replayed."""
    tables = []
    for key, field, title in (
        ("by_gamma", "gamma", "Gamma 1 to 10"),
        ("by_min_voxels", "min_voxels", "Threshold of size"),
        ("by_min_score", "min_score", "Cut-off of the machine's score"),
    ):
        if not summary[key]:
            continue
        header = [field.replace("_", " "), *(name.replace("_", " ") for name in RATES)]
        rows = [[f"{row[field]:g}", *(percent(row[name]) for name in RATES)] for row in summary[key]]
        if key == "by_gamma":
            header.append("Dice, the study's own")
            rows = [[*words, percent(row["study_dice"])] for words, row in zip(rows, summary[key], strict=True)]
        tables.append(Table(title=title, header=header, rows=rows, note="Decided again on the stored candidates."))
    return tables


def prevalence_table(summary: Figures) -> Table:
    """Return the PPV at lower prevalences."""
    rows = [
        (f"{100 * row['prevalence']:g} %", percent(row["ppv"]), interval(row["interval_95"], in_percent=True))
        for row in summary["ppv_at_prevalence"]
    ]
    return Table(title="PPV where masses are rarer", header=("prevalence", "PPV", "95 % interval"), rows=rows)


def groups_table(rows: Sequence[Row], title: str) -> Table:
    """Return the figures of groups of cases."""
    header = ("", "examinations", "positives", "sensitivity", "specificity", "false alarms", "AUC", "Dice, median")
    words = [
        (
            row["kind"].replace("_", " "),
            str(row["exams"]),
            str(row["positives"]),
            percent(row["sensitivity"]),
            percent(row["specificity"]),
            str(row["false_alarms"]),
            number(row["auc"]),
            number(row["dice_median"]),
        )
        for row in rows
    ]
    return Table(title=title, header=header, rows=words)


def not_assessed_table(judged: Sequence[Judgment]) -> Table:
    """Return the cases without an answer and the reasons."""
    rows = [why_not_assessed(judgment) for judgment in judged if not judgment.is_assessed]
    words = [(row["name"], "mass" if row["is_positive"] else "no mass", row["outcome"], row["reason"]) for row in rows]
    title = f"Not assessed ({len(words)})"
    return Table(
        title=title, header=("case", "truth", "outcome", "reason"), rows=words or [("none", "", "", "")], is_prose=True
    )


def wrong_table(judged: Sequence[Judgment]) -> Table:
    """Return the wrong answers, worst first."""
    wrong: list[Any] = sorted((j for j in judged if not j.is_right), key=lambda judgment: -badness(judgment))
    rows = [(judgment.case.name, describe_case(judgment)) for judgment in wrong]
    title = f"Wrong answers ({len(rows)})"
    return Table(title=title, header=("case", "what happened"), rows=rows or [("none", "")], is_prose=True)
