"""Draws control charts: a figure of a scanner week by week, between its limits."""

from typing import Final

from markupsafe import Markup

from screener.performance import Chart as ShareChart
from screener.performance import Trend, describe_chart, describe_trend
from screener.web.draw_charts import Axis, Chart, Dot

_TOPS: Final = (1, 2, 5)
"""An axis ends at one of these times a power of ten."""
_TICKS: Final = 4
_FEWEST_WEEKS: Final = 4
"""Shown at least, so that a single week is no wide bar."""


def draw_share(name: str, scanner: str, chart: ShareChart) -> Markup:
    """A share of each week with the limits for so many studies; empty without any week. `name` is the page's own."""
    if not chart.weeks:
        return Markup()
    center = chart.before.value
    values = [each.share.value or 0.0 for each in chart.weeks]
    highs = [each.limits[1] for each in chart.weeks if each.limits is not None]
    top = min(_round_up(max([*values, *highs, 0.04])), 1.0)
    drawn = Chart(
        name,
        f"{scanner}: {chart.rate}, by week",
        describe_chart(chart),
        _weeks_axis(chart.weeks[0].weeks_ago),
        _value_axis("share", top),
    )
    if center is not None:
        drawn.draw_line([(-chart.weeks[0].weeks_ago - 1.0, center), (0.0, center)], "center")
    for each in chart.weeks:
        for limit in each.limits or ():
            drawn.draw_line([(-each.weeks_ago - 1.0, limit), (-float(each.weeks_ago), limit)], "limit")
    drawn.draw_line([(-each.weeks_ago - 0.5, each.share.value or 0.0) for each in chart.weeks], "line")
    for each in chart.weeks:
        kind = "out" if each.is_outside else "usual"
        drawn.draw_dot(Dot(kind=kind, at=(-each.weeks_ago - 0.5, each.share.value or 0.0)))
    return drawn.write()


def draw_trend(name: str, scanner: str, trend: Trend) -> Markup:
    """A figure of each whole week with its limits; empty without any week. `name` is the page's own."""
    if not trend.weeks:
        return Markup()
    top = _round_up(max(*(value for _, value in trend.weeks), *(trend.limits or (0.0,)), 1.0))
    first = trend.weeks[0][0]
    drawn = Chart(
        name,
        f"{scanner}: {trend.name}, by week",
        describe_trend(trend),
        _weeks_axis(first),
        _value_axis(trend.unit, top),
    )
    for limit in trend.limits or ():
        drawn.draw_line([(-first - 1.0, limit), (0.0, limit)], "limit")
    drawn.draw_line([(-ago - 0.5, value) for ago, value in trend.weeks], "line")
    low, high = trend.limits or (0.0, top)
    for ago, value in trend.weeks:
        drawn.draw_dot(Dot(kind="usual" if low <= value <= high else "out", at=(-ago - 0.5, value)))
    return drawn.write()


def _weeks_axis(oldest: int) -> Axis:
    weeks = max(oldest + 1, _FEWEST_WEEKS)
    step = max(1, -(-weeks // _TICKS))
    ticks = [(float(-ago), f"{ago}" if ago else "now") for ago in range(0, weeks + 1, step)]
    return Axis(name="weeks ago", low=float(-weeks), high=0.0, ticks=ticks)


def _value_axis(name: str, top: float) -> Axis:
    ticks = [(top * part / _TICKS, f"{top * part / _TICKS:.3g}") for part in range(_TICKS + 1)]
    return Axis(name=name, low=0.0, high=top, ticks=ticks)


def _round_up(value: float) -> float:
    """Return the next of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.01 if value < 0.1 else 0.1
    return next((top * power for top in _TOPS if top * power >= value), 10 * power)
