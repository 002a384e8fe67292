"""Draws what the values of a threshold would have made of the reviewed studies: ROC and PPV."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from screener.performance import Share
from screener.sweep_threshold import CT, FEWEST_OF_EACH, ULTRASOUND, Point, Sweep
from screener.web.draw_charts import Axis, Chart, Dot, Pair, share_axis

KINDS: Final[Mapping[str, str]] = {CT: "CT", ULTRASOUND: "Ultrasound"}
_AXES: Final[Mapping[str, Axis]] = {
    CT: Axis(
        name="min_voxels (log scale)",
        low=30,
        high=10_000,
        ticks=[(value, f"{value}") for value in (30, 100, 300, 1000, 3000, 10_000)],
        is_log=True,
    ),
    ULTRASOUND: share_axis("min_malignancy"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value as the table tells it."""

    value: str
    mark: str
    """in force, tried, or empty."""
    found: str
    false_alarms: str
    ppv: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """One threshold as the page shows it."""

    kind: str
    key: str
    sentence: str
    """How many reviews there are, or why nothing is drawn."""
    roc: Markup
    """Empty where nothing is drawn; so is the other."""
    ppv: Markup
    rows: tuple[Row, ...]


def draw_sweep(swept: Sweep, days: float) -> Curves:
    """The charts and the table of a threshold, or the sentence that there are too few reviews."""
    kind = KINDS[swept.key]
    reviewed = f"{_count(swept.findings)} with a finding and {swept.clean} without"
    counted = f"Reviewed of the last {days:g} days: {reviewed}"
    if swept.in_force is None:
        sentence = f"{counted}: too few for curves, which take {FEWEST_OF_EACH} of each."
        return Curves(kind=kind, key=swept.key, sentence=sentence, roc=Markup(), ppv=Markup(), rows=())
    return Curves(
        kind=kind,
        key=swept.key,
        sentence=f"{counted}.",
        roc=_draw_roc(swept, kind),
        ppv=_draw_ppv(swept, kind),
        rows=_list_rows(swept),
    )


def say_share(share: Share) -> str:
    """A share with its counts and its interval, such as "0.80 (0.55 to 0.93), 12 of 15"."""
    if share.value is None or share.interval is None:
        return "none flagged"
    low, high = share.interval
    return f"{share.value:.2f} ({low:.2f} to {high:.2f}), {share.hits} of {share.count}"


def _draw_roc(swept: Sweep, kind: str) -> Markup:
    chart = Chart(
        f"roc-{swept.key}",
        f"ROC of {kind}, reviewed studies",
        f"Share found against share of false alarms for each {swept.key}. {_say_points(swept)}",
        share_axis("flagged, of those without a finding"),
        share_axis("flagged, of those with one"),
    )
    chart.draw_line([(0.0, 0.0), (1.0, 1.0)], "chance")
    chart.draw_line((_roc_place(point) for point in swept.points), "line")
    for point in swept.points:
        chart.draw_dot(Dot(kind="usual", at=_roc_place(point)))
    for name, point in _list_marked(swept):
        across, along = point.false_alarms.interval, point.found.interval
        chart.draw_dot(Dot(kind=name, at=_roc_place(point), across=across, along=along))
    return chart.write()


def _draw_ppv(swept: Sweep, kind: str) -> Markup:
    chart = Chart(
        f"ppv-{swept.key}",
        f"PPV of {kind} by {swept.key}, reviewed studies",
        f"PPV with its 95 % interval for each {swept.key}. {_say_points(swept)}",
        _AXES[swept.key],
        share_axis("PPV"),
    )
    told = [(point.value, point.ppv) for point in swept.points if point.ppv.count]
    lows, highs, middles = ([(value, _bounds(share)[number]) for value, share in told] for number in range(3))
    chart.draw_band(lows, highs)
    chart.draw_line(middles, "line")
    for name, point in _list_marked(swept):
        if point.ppv.value is not None:
            chart.draw_dot(Dot(kind=name, at=(point.value, point.ppv.value), along=point.ppv.interval))
    return chart.write()


def _bounds(share: Share) -> tuple[float, float, float]:
    """Low and high end of the interval, and the share itself; of something."""
    low, high = share.interval or (0.0, 1.0)
    return low, high, share.value or 0.0


def _roc_place(point: Point) -> Pair:
    return point.false_alarms.value or 0.0, point.found.value or 0.0


def _list_marked(swept: Sweep) -> list[tuple[str, Point]]:
    """What stands out, under its class of the style sheet; in force comes last, above."""
    marked = [("tried", swept.tried), ("now", swept.in_force)]
    return [(name, point) for name, point in marked if point is not None]


def _say_points(swept: Sweep) -> str:
    names = {"now": "In force", "tried": "Tried"}
    return " ".join(
        f"{names[name]}: {point.value:g}, found {say_share(point.found)}, false alarms "
        f"{say_share(point.false_alarms)}, PPV {say_share(point.ppv)}."
        for name, point in reversed(_list_marked(swept))
    )


def _list_rows(swept: Sweep) -> tuple[Row, ...]:
    """All values in their order; what is tried stands at the end, for it may change other settings too."""
    rows = [_make_row(point, "in force" if point is swept.in_force else "") for point in swept.points]
    if swept.tried is not None:
        rows.append(_make_row(swept.tried, "all that is tried"))
    return tuple(rows)


def _make_row(point: Point, mark: str) -> Row:
    return Row(
        value=f"{point.value:g}",
        mark=mark,
        found=say_share(point.found),
        false_alarms=say_share(point.false_alarms),
        ppv=say_share(point.ppv),
    )


def _count(number: int) -> str:
    return "1 study" if number == 1 else f"{number} studies"
