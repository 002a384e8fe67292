"""The plots of the report, each as a figure of its own; drawn without a display."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from workers.training.evaluation.judge_case import Judgment
from workers.training.evaluation.replay_thresholds import Row
from workers.training.statistics.estimate_intervals import Indices, resample_patients

BLUE: Final = "#6cb6ff"
GREEN: Final = "#7ee787"
ORANGE: Final = "#ffa657"
RED: Final = "#ff7b72"
GREY: Final = "#8b949e"
STYLE: Final[Any] = {
    "figure.facecolor": "#0d1117",
    "axes.facecolor": "#0d1117",
    "savefig.facecolor": "#0d1117",
    "text.color": "#e6edf3",
    "axes.labelcolor": "#e6edf3",
    "axes.edgecolor": "#484f58",
    "xtick.color": "#c9d1d9",
    "ytick.color": "#c9d1d9",
    "grid.color": "#30363d",
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.facecolor": "#161b22",
    "legend.edgecolor": "#30363d",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
GRID: Final = np.linspace(0, 1, 101)
Points = tuple[list[bool], list[float]]


@contextmanager
def plot(path: Path, title: str, x: str, y: str, *, height: float = 4.6) -> Iterator[Axes]:
    """Give axes to draw on, and write them as PNG."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set(title=title, xlabel=x, ylabel=y)
        yield axes
        figure.savefig(path, dpi=110)


def draw_roc(
    path: Path,
    exams: Points,
    glands: Points,
    patients: Sequence[str],
    gland_patients: Sequence[str],
    in_force: tuple[float | None, float | None],
) -> None:
    """Draw the ROC curves of examinations and glands with bands over resampled patients.

    `in_force` is sensitivity and specificity of the examinations at the thresholds in force. The point may lie below
    the curve: a flag on the wrong side alone is no hit, though it raises the examination's score.
    """
    with plot(path, "ROC", "1 - specificity", "sensitivity") as axes:
        for name, color, points, who in (
            ("examinations", BLUE, exams, patients),
            ("glands", GREEN, glands, gland_patients),
        ):
            draw_curve(axes, name, color, points, who, roc_at)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        if None not in in_force:
            sensitivity, specificity = map(_number, in_force)
            axes.plot(1 - specificity, sensitivity, "o", color=ORANGE, markersize=7, label="thresholds in force")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right")


def draw_precision_recall(
    path: Path, exams: Points, glands: Points, patients: Sequence[str], gland_patients: Sequence[str]
) -> None:
    """Draw precision against recall, likewise."""
    with plot(path, "Precision and recall", "recall (sensitivity)", "precision (PPV in this mixture)") as axes:
        for name, color, points, who in (
            ("examinations", BLUE, exams, patients),
            ("glands", GREEN, glands, gland_patients),
        ):
            draw_curve(axes, name, color, points, who, _precision_at)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower left")


def draw_curve(
    axes: Axes,
    name: str,
    color: str,
    points: Points,
    patients: Sequence[str],
    curve_at: Callable[[Any, Any], Any],
) -> None:
    """Draw the curve over GRID that `curve_at` makes of truth and score, with a band; nothing of one kind only."""
    truth, score = np.asarray(points[0], dtype=bool), np.asarray(points[1], dtype=float)
    if len(set(points[0])) < 2:
        return

    def drawn(draw: Indices) -> Any:
        return curve_at(truth[draw], score[draw]) if 0 < truth[draw].sum() < len(draw) else None

    curves = [curve for curve in map(drawn, resample_patients(patients, repeats=300)) if curve is not None]
    if curves:
        low, high = np.percentile(curves, [2.5, 97.5], axis=0)
        axes.fill_between(GRID, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(GRID, curve_at(truth, score), color=color, label=f"{name} ({truth.sum()} of {len(truth)} positive)")


def roc_at(truth: Any, score: Any) -> Any:
    """Return the sensitivity at each false positive rate of GRID; ties are crossed by a straight line."""
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    return np.interp(GRID, false + 1e-9 * np.arange(len(false)), true)  # the shift keeps upright steps upright


def _precision_at(truth: Any, score: Any) -> Any:
    """Return the best precision at each recall of GRID or a higher one."""
    precision, recall, _ = precision_recall_curve(truth, score)
    precision, recall = precision[-2::-1], recall[-2::-1]  # rising; the last point, 1 at no recall, is made up
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.minimum(np.searchsorted(recall, GRID, side="left"), len(best) - 1)]


def draw_free_response(path: Path, points: Sequence[tuple[float, float]]) -> None:
    """Draw the free-response curve (FROC)."""
    false, hit = np.array(points).T
    with plot(path, "Free response", "false candidates per examination", "share of masses hit") as axes:
        axes.step(false, hit, where="post", color=BLUE)
        axes.set(xlim=(0, max(0.5, float(false.max()) * 1.02)), ylim=(-0.01, 1.01))


def draw_dice_by_size(path: Path, judged: Sequence[Judgment]) -> None:
    """Draw each mass's Dice against its diameter; one that could not be read has none."""
    with plot(path, "Dice by size", "diameter of the mass, mm", "Dice (a miss has 0)") as axes:
        for color, name, is_kept in ((BLUE, "found", True), (RED, "missed", False)):
            kept = [j for j in judged if j.case.mass_voxels and j.is_flagged == is_kept]
            x, y = [j.case.mass_diameter_mm for j in kept], [_number(j.dice) for j in kept]
            axes.scatter(x, y, s=22, color=color, alpha=0.8, label=f"{name} ({len(kept)})")
        axes.axvline(10, color=GREY, linestyle=":", linewidth=0.9)
        axes.set_ylim(-0.03, 1.03)
        axes.legend(loc="lower right")


def draw_rates(path: Path, rows: Sequence[Row], key: str, title: str, label: str, mark: float) -> None:
    """Draw sensitivity, specificity, PPV and Dice against a threshold; `mark` is the one in force."""
    with plot(path, title, label, "share") as axes:
        x = [row[key] for row in rows]
        for name, color, word in (
            ("sensitivity_main", BLUE, "sensitivity, main masses"),
            ("specificity", GREEN, "specificity"),
            ("ppv", ORANGE, "PPV in this mixture"),
            ("dice_median", RED, "Dice, median"),
        ):
            axes.plot(x, [_number(row[name]) for row in rows], color=color, marker="o", markersize=3, label=word)
        if rows and "study_dice" in rows[0]:
            axes.plot(x, [row["study_dice"] for row in rows], color=GREY, linestyle="--", label="Dice, the study's own")
        axes.axvline(mark, color=GREY, linestyle=":", linewidth=0.9)
        axes.set_ylim(-0.03, 1.03)
        axes.legend(loc="lower right", fontsize=9)


def draw_prevalence(path: Path, rows: Sequence[Row]) -> None:
    """Draw the PPV at each prevalence with its interval."""
    with plot(path, "PPV where masses are rarer", "share of examinations with a mass, %", "PPV") as axes:
        for place, row in enumerate(rows):
            if row["ppv"] is None:
                continue
            low, high = (_number(end) for end in row["interval_95"])
            axes.plot([place, place], [low, high], color=BLUE, linewidth=2)
            axes.plot(place, row["ppv"], color=BLUE, marker="o", markersize=7)
        axes.set_xticks(range(len(rows)), [f"{100 * row['prevalence']:g}" for row in rows])
        axes.set(xlim=(-0.5, len(rows) - 0.5), ylim=(-0.03, 1.03))


def draw_groups(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw sensitivity, specificity and Dice for each group of cases as bars, the first group at the top."""
    with plot(path, title, "share", "", height=max(3.0, 1.4 + 0.6 * len(rows))) as axes:
        width = 0.27
        for place, (name, color) in enumerate((("sensitivity", BLUE), ("specificity", GREEN), ("dice_median", RED))):
            y = [number + (place - 1) * width for number in range(len(rows))]
            lengths = [0.0 if row[name] is None else row[name] for row in rows]
            axes.barh(y, lengths, width * 0.92, color=color, label=name.replace("dice_median", "Dice, median"))
        names = [f"{row['kind'].replace('_', ' ')} ({row['exams']})" for row in rows]
        axes.set_yticks(range(len(rows)), names, fontsize=9)
        axes.set_xlim(0, 1.03)
        axes.invert_yaxis()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18 if len(rows) > 3 else -0.3), ncols=3, fontsize=9)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
