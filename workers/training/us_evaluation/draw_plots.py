"""The plots of an ultrasound evaluation, one set for each source; drawn without a display."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.training.evaluation.compute_figures import Figures
from workers.training.evaluation.draw_plots import BLUE, GREEN, GREY, ORANGE, RED, draw_curve, plot, roc_at
from workers.training.us_evaluation.case_result import UsResult
from workers.training.us_evaluation.judge_probabilities import weigh_rated
from workers.training.us_read_cases import BENIGN, MALIGNANT

Results = Sequence[UsResult]


def draw_roc(path: Path, source: str, rated: Results, figures: Figures) -> None:
    """Draw the ROC curves of the automatic and of the true outline with bands over resampled groups."""
    outlined = [result for result in rated if result.outline_probability is not None]
    curves = (
        ("automatic outline", BLUE, rated, [result.score for result in rated]),
        ("true outline", GREEN, outlined, [result.outline_probability or 0.0 for result in outlined]),
    )
    with plot(path, f"ROC, {source}", "1 - specificity", "sensitivity") as axes:
        for name, color, members, scores in curves:
            truth, groups = [result.is_malignant for result in members], [result.row.group for result in members]
            draw_curve(axes, name, color, (truth, scores), groups, roc_at)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        if figures["specificity"] is not None and figures["sensitivity"] is not None:
            place = 1 - figures["specificity"], figures["sensitivity"]
            axes.plot(*place, "o", color=ORANGE, markersize=7, label="threshold in force")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right", fontsize=9)


def draw_calibration(path: Path, source: str, calibration: Figures) -> None:
    """Draw the share of malignant lesions over their probability, with Wilson's intervals."""
    title, x = f"Calibration, {source}", "probability of malignancy, mean of the bin"
    with plot(path, title, x, "share of malignant lesions") as axes:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        rows = calibration["curve"]
        for row in rows:
            axes.plot([row["mean_probability"]] * 2, row["interval_95"], color=BLUE, linewidth=1.2, alpha=0.6)
        points = [(row["mean_probability"], row["share_malignant"]) for row in rows]
        axes.plot(*zip(*points, strict=True), color=BLUE, marker="o", markersize=5)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))


def draw_decisions(path: Path, source: str, rated: Results, min_malignancy: float) -> None:
    """Draw the net benefit of the product against calling all or none; nothing of one kind only."""
    curve = weigh_rated(rated)
    if curve is None:
        return
    with plot(path, f"Decision curve, {source}", "threshold of the probability", "net benefit per picture") as axes:
        axes.plot(curve.thresholds, curve.model, color=BLUE, label="product")
        axes.plot(curve.thresholds, curve.treat_all, color=ORANGE, label="all called malignant")
        axes.plot(curve.thresholds, curve.treat_none, color=GREY, label="none called malignant")
        axes.axvline(min_malignancy, color=GREY, linestyle=":", linewidth=0.9)
        axes.set(xlim=(0, 1), ylim=(-0.1, curve.prevalence + 0.05))
        axes.legend(loc="lower left", fontsize=9)


def draw_dice(path: Path, source: str, outlined: Results) -> None:
    """Draw each lesion's Dice over its size, the share of the picture that its true outline covers."""
    kinds = ((BLUE, "benign", BENIGN), (RED, "malignant", MALIGNANT), (GREY, "of unknown kind", None))
    with plot(path, f"Dice by size, {source}", "lesion's share of the picture, %", "Dice (a miss has 0)") as axes:
        for color, name, label in kinds:
            members = [one for one in outlined if (one.row.label if one.is_rated else None) == label]
            if not members:
                continue
            x = [100 * max(one.lesion_share or 0.0, 1e-3) for one in members]
            y = [np.nan if one.dice is None else one.dice for one in members]
            axes.scatter(x, y, s=20, color=color, alpha=0.75, label=f"{name} ({len(members)})")
        axes.set(xscale="log", ylim=(-0.03, 1.03))
        axes.legend(loc="lower right", fontsize=9)


def draw_healthy(path: Path, source: str, rows: Sequence[Figures]) -> None:
    """Draw how pictures without a tumor end, one bar for each kind, and below it one for each machine."""
    parts = (("no_lesion", GREEN, "no lesion found"), ("benign", BLUE, "benign"), ("malignant", RED, "malignant"))
    title = f"Pictures without tumor, {source}"
    with plot(path, title, "share of the pictures", "", height=max(3.0, 1.6 + 0.45 * len(rows))) as axes:
        left = np.zeros(len(rows))
        for key, color, name in (*parts, ("not_assessed", GREY, "not assessed")):
            shares = np.array([row["counts"][key] / row["exams"] for row in rows])
            axes.barh(range(len(rows)), shares, 0.7, left=left, color=color, label=name)
            left += shares
        names = [f"{row['machine'] or row['kind']} ({row['exams']})" for row in rows]  # machines stand below their kind
        axes.set_yticks(range(len(rows)), names, fontsize=9)
        axes.set_xlim(0, 1.0)
        axes.invert_yaxis()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12 if len(rows) > 3 else -0.34), ncols=4, fontsize=8)
