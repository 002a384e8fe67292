"""How well the screener does here: reviews by month, times, and the scanners with their control limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Query, Request
from markupsafe import Markup
from starlette.responses import Response

from screener.explain import tell_local
from screener.performance import (
    Chart,
    ScannerFigures,
    describe_chart,
    describe_time,
    describe_trend,
    measure_performance,
)
from screener.proportion import wilson_interval
from screener.read_days import MOST_DAYS
from screener.replay import Reviewed
from screener.web.draw_control import draw_share, draw_trend
from screener.web.visit import visit_of

DAYS: Final = 90.0
MOST_PROTOCOLS: Final = 12
"""Of a scanner, that are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One control chart; the sentence says what it shows."""

    picture: Markup
    """Empty where there is nothing to draw."""
    sentence: str
    is_drifting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The charts of a scanner, or of one of its protocols."""

    title: str
    pictures: Sequence[Picture]
    protocols: Sequence["Drawn"] = ()
    """The most frequent; empty where there is only one."""
    more_protocols: int = 0
    """How many are not drawn."""

    @property
    def is_drifting(self) -> bool:
        """True: something in it lies outside its limits."""
        return any(each.is_drifting for each in self.pictures) or any(each.is_drifting for each in self.protocols)


def show_quality(request: Request, days: Annotated[float, Query(gt=0, le=MOST_DAYS)] = DAYS) -> Response:
    """The figures of `screener performance`."""
    visit = visit_of(request)
    now = visit.site.clock()
    reader = visit.site.reader
    rows = reader.quality_rows(now - timedelta(days=days))
    performance = measure_performance(rows, reader.judgments(), now, days=days)
    values: dict[str, object] = {
        "performance": performance,
        "alarms": [tell_local(alarm) for alarm in performance.alarms],
        "days": days,
        "median": describe_time(performance.median_turnaround),
        "long": describe_time(performance.long_turnaround),
        "months": [(month, reviewed, _interval(reviewed)) for month, reviewed in performance.months.items()],
        "scanners": [(scanner, describe_time(scanner.usual_gap)) for scanner in performance.scanners],
        "charts": [_draw_scanner(number, scanner) for number, scanner in enumerate(performance.scanners)],
    }
    return visit.page("quality.html", values)


def _draw_scanner(number: int, scanner: ScannerFigures) -> Drawn:
    """All charts of a scanner, and those of its protocols where it has several."""
    name = f"scanner-{number}"
    pictures = _draw_shares(name, scanner.scanner, scanner.charts)
    for index, trend in enumerate(scanner.trends):
        picture = draw_trend(f"{name}-trend-{index}", scanner.scanner, trend)
        pictures.append(Picture(picture=picture, sentence=describe_trend(trend), is_drifting=trend.is_drifting))
    shown = scanner.protocols[:MOST_PROTOCOLS] if len(scanner.protocols) > 1 else ()
    parts = [
        Drawn(
            title=f"{each.protocol}, {each.studies} studies",
            pictures=_draw_shares(f"{name}-protocol-{index}", f"{scanner.scanner}, {each.protocol}", each.charts),
        )
        for index, each in enumerate(shown)
    ]
    more = len(scanner.protocols) - len(shown) if shown else 0
    return Drawn(title=scanner.scanner, pictures=pictures, protocols=parts, more_protocols=more)


def _draw_shares(name: str, title: str, charts: Sequence[Chart]) -> list[Picture]:
    return [
        Picture(
            picture=draw_share(f"{name}-share-{index}", title, chart),
            sentence=describe_chart(chart),
            is_drifting=chart.is_drifting,
        )
        for index, chart in enumerate(charts)
    ]


def _interval(reviewed: Reviewed) -> tuple[float, float, float] | None:
    """PPV with its interval; None where nothing was reviewed."""
    judged = reviewed.agreed + reviewed.disagreed
    interval = wilson_interval(reviewed.agreed, judged)
    return None if interval is None else (reviewed.agreed / judged, *interval)
