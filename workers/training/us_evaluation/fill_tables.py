"""The page's tables, and a case in a line."""

from collections.abc import Sequence

from screener.us_study import Answer
from workers.training.evaluation.compute_figures import Figures
from workers.training.evaluation.write_page import Table, interval, number, percent
from workers.training.us_evaluation.case_result import UsResult
from workers.training.us_evaluation.judge_probabilities import BINNING

DASH = "–"
Row = tuple[str, ...]


def headline(source: str, figures: Figures) -> Table:
    """Return the figures of one source with lesions, beside those of the studies."""
    rows = [
        *_outline_rows(figures),
        *_ranking_rows(figures),
        *_call_rows(figures),
        *_calibration_rows(figures),
        (
            "Seconds per picture, median",
            number(figures["seconds_per_case_median"], 2),
            DASH,
            str(figures["exams"]),
            DASH,
        ),
    ]
    missed = figures["not_found"]
    return Table(
        title=f"Lesions: {source}",
        header=("", "here", "95 % interval", "count", "the studies"),
        rows=rows,
        note=f"Part: {figures['part']}. {figures['patients']} groups. "
        f"Organ: {', '.join(figures['organs']) or 'not told'}; the studies' figures are of parotid tumors. "
        f"No lesion found in {missed['malignant']} malignant, {missed['benign']} benign and {missed['unlabeled']} "
        f"lesions of unknown kind: they have Dice 0 and the lowest score. Calibration: {BINNING}.",
    )


def _outline_rows(figures: Figures) -> list[Row]:
    ends, count, iqr = figures["intervals_95"], str(figures["outlined"]), figures["dice_iqr"]
    hits = sum(row["found"] for row in figures["dice_by_label"])
    quartiles = DASH if iqr is None else f"{iqr[0]:.3f} to {iqr[1]:.3f}"
    return [
        ("Dice, median", number(figures["dice_median"]), interval(ends["dice_median"]), count, "0.958 to 0.975"),
        ("Dice, mean", number(figures["dice_mean"]), interval(ends["dice_mean"]), count, DASH),
        ("Dice, quartiles", quartiles, DASH, count, DASH),
        ("Lesions found", percent(figures["lesions_found"]), interval(ends["lesions_found"], in_percent=True),
         f"{hits} of {count}", DASH),
    ]  # fmt: skip


def _ranking_rows(figures: Figures) -> list[Row]:
    ends, compared = figures["intervals_95"], figures["auc_outlined_less_automatic"]

    def kinds(count: Sequence[int]) -> str:
        return f"{count[0]} of {count[1]} malignant"

    all_rated = [figures["positives"], figures["positives"] + figures["negatives"]]
    rows: list[Row] = [
        ("AUC, automatic outline", number(figures["auc_exam"]), interval(ends["auc_exam"]), kinds(all_rated),
         "0.808 to 0.812"),
        ("AUC, its groups resampled", number(figures["auc_exam"]), interval(ends["auc_exam_resampled"]),
         kinds(all_rated), DASH),
        ("AUC, found lesions alone", number(figures["auc_found"]), interval(ends["auc_found"]),
         kinds(figures["auc_found_count"]), DASH),
        ("AUC, true outline", number(figures["auc_outlined"]), interval(ends["auc_outlined"]),
         kinds(figures["auc_outlined_count"]), DASH),
    ]  # fmt: skip
    if compared is not None:
        words = f"{compared['difference']:+.3f} (DeLong p {compared['p']:.2g})"
        rows.append(
            ("AUC, true less automatic outline", words, interval(compared["interval_95"]),
             kinds(figures["auc_outlined_count"]), DASH)
        )  # fmt: skip
    return rows + _fusion_rows(figures)


def _fusion_rows(figures: Figures) -> list[Row]:
    """Return the fusion beside the image model, where a fusion decides."""
    found = figures["fusion_less_image"]
    if found is None:
        return []
    count = f"{found['count'][0]} of {found['count'][1]} malignant"
    words = f"{found['difference']:+.3f} (DeLong p {found['p']:.2g})"
    return [
        ("AUC, image model alone", number(found["auc_image"]), interval(found["auc_image_interval_95"]), count, DASH),
        ("AUC, fusion less image model", words, interval(found["interval_95"]), count, DASH),
        ("The same, its groups resampled", DASH, interval(found["interval_95_resampled"]), count, DASH),
        ("Lesions that the fusion could not measure", str(found["not_measured"]), DASH, count, DASH),
    ]


def _call_rows(figures: Figures) -> list[Row]:
    ends, counts = figures["intervals_95"], figures["counts"]
    true, missed = counts["true_positives"], counts["false_negatives"]
    alarms, left = counts["false_positives"], counts["true_negatives"]

    def row(name: str, key: str, part: int, whole: int) -> Row:
        return name, percent(figures[key]), interval(ends[key], in_percent=True), f"{part} of {whole}", DASH

    return [
        row("Sensitivity", "sensitivity", true, true + missed),
        row("Specificity", "specificity", left, left + alarms),
        row("PPV in this mixture", "ppv", true, true + alarms),
        row("NPV in this mixture", "npv", left, left + missed),
    ]


def _calibration_rows(figures: Figures) -> list[Row]:
    found = figures["calibration"]
    if found is None:
        return []
    count, fit, line = str(found["cases"]), found["hosmer_lemeshow"], found["line"]
    chance = f"{number(found['expected_error_by_chance'])}, 95 % below {number(found['expected_error_by_chance_p95'])}"
    rows: list[Row] = [
        ("Expected calibration error", number(found["expected_error"]), interval(found["interval_95"]), count, DASH),
        ("The same of true probabilities, by chance", chance, DASH, count, DASH),
        ("The same, 10 bins of equal width", number(found["expected_error_equal_width"]), DASH, count, DASH),
    ]
    if fit is not None:
        chi_square = "infinite" if fit["chi_square"] is None else f"{fit['chi_square']:.1f}"
        words = f"p {fit['p']:.2g} (chi-square {chi_square}, {fit['degrees']} degrees)"
        rows.append(("Hosmer-Lemeshow", words, DASH, count, DASH))
    if line is not None:
        slope = line["slope"]
        rows.append(("Calibration slope", number(slope["value"], 2), interval(slope["interval_95"]), count, DASH))
    return rows


def kinds_table(sources: Figures) -> Table:
    """Return Dice by the kind of lesion, within each source."""
    rows = [
        (
            f"{source}, {row['label']}",
            f"{row['found']} of {row['lesions']}",
            number(row["dice_median"]),
            number(row["dice_mean"]),
            interval(row["dice_iqr"]),
        )
        for source, figures in sources.items()
        for row in figures["dice_by_label"]
    ]
    header = ("", "found", "Dice, median", "Dice, mean", "quartiles")
    return Table(title="Dice by kind of lesion", header=header, rows=rows or [("no outlined lesion", "", "", "", "")])


def healthy_table(sources: Figures) -> Table:
    """Return how pictures without a tumor end."""
    rows = []
    for source, figures in sources.items():
        for row in figures["without_tumor"]:
            counts, forced = row["counts"], row["whole_picture"]
            name = f"· {row['machine']}" if row["machine"] else f"{source}, {row['kind']}"
            ends = interval(row["malignant_interval_95"], in_percent=True)
            rows.append(
                (
                    name,
                    str(row["exams"]),
                    *(str(counts[key]) for key in ("no_lesion", "benign", "malignant", "not_assessed")),
                    f"{percent(row['malignant'])} ({ends})",
                    f"{percent(forced['malignant'])} ({forced['malignant_count']} of {forced['exams']})",
                )
            )
    header = ("", "pictures", "no lesion", "benign", "malignant", "no answer", "share malignant", "where forced")
    return Table(
        title="Pictures without tumor",
        header=header,
        rows=rows or [("none", *[""] * 7)],
        note="With a dot: the machines of the row above. Forced: the classifier on the whole picture, as if all of it "
        "were a lesion; the product never asks so.",
    )


def unassessed_table(summary: Figures) -> Table:
    """Return the cases without an answer, and those whose outline could not be used, with the reasons."""
    rows = [(row["name"], row["label"], row["reason"]) for row in summary["not_assessed"]["cases"]]
    rows += [(row["name"], "its outline alone", row["reason"]) for row in summary["outlines_unusable"]]
    title = f"Not assessed ({len(rows)})"
    return Table(title=title, header=("case", "truth", "reason"), rows=rows or [("none", "", "")], is_prose=True)


def wrong_table(results: Sequence[UsResult]) -> Table:
    """Return the wrong calls: missed malignant lesions, then false alarms."""
    wrong = [result for result in results if is_wrong(result)]
    wrong.sort(key=lambda result: (not result.is_malignant, result.row.source, -abs(result.score - 0.5)))
    rows = [(result.row.name, describe_case(result)) for result in wrong]
    title = f"Wrong answers ({len(rows)})"
    return Table(title=title, header=("case", "what happened"), rows=rows or [("none", "")], is_prose=True)


def is_wrong(result: UsResult) -> bool:
    """Return whether a malignant lesion was missed, or anything else that is known was called malignant."""
    if result.is_malignant:
        return not result.is_called
    return result.answer is Answer.MALIGNANT and (result.is_rated or not result.has_lesion)


def describe_case(result: UsResult) -> str:
    """Say in one line what happened to a case."""
    row = result.row
    words = [f"{row.source}, {row.label.replace('_', ' ')}: {result.answer}"]
    if result.probability is not None:
        words.append(f"probability {result.probability:.2f}")
    if result.outline_probability is not None:
        words.append(f"on the true outline {result.outline_probability:.2f}")
    if result.dice is not None:
        words.append(f"Dice {result.dice:.2f}")
    return ", ".join(words)
