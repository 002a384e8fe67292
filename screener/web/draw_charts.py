"""Draws charts as SVG on the server: no script, and no style but that of the pages' own style sheet.

Each chart has a title and a sentence for those who do not see it; the figures
stand in a table beside it in any case. A share runs from 0 to 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log10
from typing import Final

from markupsafe import Markup

WIDTH: Final = 360.0
HEIGHT: Final = 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 20.0, 10.0, 40.0
_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_DOT: Final = 4.0

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction of a chart."""

    name: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    """Where a value is written, and how."""
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
        low, high, at = (log10(each) if self.is_log else each for each in (self.low, self.high, value))
        return min(max((at - low) / ((high - low) or 1.0), 0.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One value that stands out, with how sure it is."""

    kind: str
    """The class of the style sheet: now, tried, usual or out."""
    at: Pair
    across: Pair | None = None
    """The interval along the first axis."""
    along: Pair | None = None
    """That along the second."""


def share_axis(name: str) -> Axis:
    """An axis of shares."""
    return Axis(name=name, low=0.0, high=1.0, ticks=[(share, f"{share:g}") for share in _SHARES])


class Chart:
    """A chart that grows by what is drawn into it; later things lie above earlier ones."""

    def __init__(self, name: str, title: str, sentence: str, x: Axis, y: Axis) -> None:
        """`name` must be the page's only one of its kind; `sentence` says what there is to see."""
        self._x, self._y = x, y
        self._name = name
        self._parts = [_tag("title", title, id=f"{name}-title"), _tag("desc", sentence, id=f"{name}-sentence")]
        self._draw_axes()

    def draw_line(self, points: Iterable[Pair], kind: str) -> None:
        """Connect points; `kind` is a class of the style sheet."""
        self._parts.append(_tag("polyline", class_=kind, points=self._join(points)))

    def draw_band(self, lows: Sequence[Pair], highs: Sequence[Pair]) -> None:
        """Fill what lies between two lines."""
        self._parts.append(_tag("polygon", class_="band", points=self._join([*lows, *reversed(highs)])))

    def draw_dot(self, dot: Dot) -> None:
        """Draw a value above its intervals."""
        x, y = dot.at
        if dot.across is not None:
            self.draw_line([(dot.across[0], y), (dot.across[1], y)], f"whisker {dot.kind}")
        if dot.along is not None:
            self.draw_line([(x, dot.along[0]), (x, dot.along[1])], f"whisker {dot.kind}")
        across, down = self._place(dot.at)
        place = {"cx": f"{across:.1f}", "cy": f"{down:.1f}", "r": f"{_DOT:g}"}
        self._parts.append(_tag("circle", class_=f"dot {dot.kind}", **place))

    def write(self) -> Markup:
        """The chart as it stands in a page; all text in it is escaped."""
        told = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img"}
        labels = f"{self._name}-title {self._name}-sentence"
        return _tag("svg", Markup().join(self._parts), class_="chart", aria_labelledby=labels, **told)

    def _draw_axes(self) -> None:
        low, high = self._y.low, self._y.high
        for value, text in self._x.ticks:
            self.draw_line([(value, low), (value, high)], "grid")
            self._write(self._place((value, low)), (0.0, 16.0), text, "middle")
        for value, text in self._y.ticks:
            self.draw_line([(self._x.low, value), (self._x.high, value)], "grid")
            self._write(self._place((self._x.low, value)), (-6.0, 4.0), text, "end")
        self._write(((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT), (0.0, -6.0), self._x.name, "middle")
        middle = (_TOP + HEIGHT - _BOTTOM) / 2
        turned = f"translate(13 {middle:g}) rotate(-90)"
        self._parts.append(_tag("text", self._y.name, text_anchor="middle", transform=turned))

    def _write(self, place: Pair, shift: Pair, text: str, anchor: str) -> None:
        where = {"x": f"{place[0] + shift[0]:.1f}", "y": f"{place[1] + shift[1]:.1f}"}
        self._parts.append(_tag("text", text, text_anchor=anchor, **where))

    def _join(self, points: Iterable[Pair]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._place, points))

    def _place(self, point: Pair) -> Pair:
        """Where a pair of values lies in the picture."""
        across = _LEFT + self._x.place(point[0]) * (WIDTH - _LEFT - _RIGHT)
        down = HEIGHT - _BOTTOM - self._y.place(point[1]) * (HEIGHT - _TOP - _BOTTOM)
        return across, down


def _tag(name: str, content: str = "", **attributes: str) -> Markup:
    """An element; `content` and values are escaped, but for what is Markup. `class_` is written class, `_` as `-`."""
    told = (Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup().join(told), content)
