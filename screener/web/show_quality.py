"""How well the screener does here: reviews by month, times, and the scanners with their control limits."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import Query, Request
from starlette.responses import Response

from screener.explain import tell_local
from screener.performance import describe_chart, describe_time, measure_performance
from screener.proportion import wilson_interval
from screener.replay import Reviewed
from screener.web.visit import visit_of

DAYS: Final = 90.0
MOST_DAYS: Final = 3660.0


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
        "scanners": [
            (scanner, describe_time(scanner.usual_gap), [(chart, describe_chart(chart)) for chart in scanner.charts])
            for scanner in performance.scanners
        ],
    }
    return visit.page("quality.html", values)


def _interval(reviewed: Reviewed) -> tuple[float, float, float] | None:
    """PPV with its interval; None where nothing was reviewed."""
    judged = reviewed.agreed + reviewed.disagreed
    interval = wilson_interval(reviewed.agreed, judged)
    return None if interval is None else (reviewed.agreed / judged, *interval)
