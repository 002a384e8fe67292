"""How well the screener does in this hospital: what reviews say of it, and whether a scanner drifts or falls silent.

The charts are p-charts (Shewhart 1931): a share lies within three standard
errors of what it was before, or somebody should look. Two counts are added to
every share that a limit is drawn from, or a scanner without a single flag so
far would raise the alarm with its first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np

from screener.proportion import Interval, describe_share, wilson_interval
from screener.replay import Reviewed, count_reviews
from screener.store.feedback import Judgment
from screener.store.quality import QualityRow

SIGMAS: Final = 3.0
LATEST: Final = timedelta(days=7)
"""What is held against the time before it."""
FEWEST_BEFORE: Final = 20
"""Decided studies without which no limit is drawn."""
FEWEST_LATEST: Final = 5
FEWEST_GAPS: Final = 5
SILENT_AFTER: Final = 5.0
"""Times its usual gap that a scanner may be silent."""
_RATES: Final[Mapping[str, Callable[[QualityRow], bool]]] = {
    "flagged": lambda row: row.is_flagged,
    "not assessed": lambda row: not row.is_assessed,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of how many."""

    hits: int
    count: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of nothing."""
        return self.hits / self.count if self.count else None

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval; None of nothing."""
        return wilson_interval(self.hits, self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One share of one scanner in the latest days, held against its time before."""

    rate: str
    before: Share
    latest: Share
    low: float | None
    """Control limits for the latest; None where there are too few studies to draw any."""
    high: float | None

    @property
    def is_drifting(self) -> bool:
        """True: the latest share lies outside its limits."""
        value = self.latest.value
        return (
            value is not None and self.low is not None and self.high is not None and not self.low <= value <= self.high
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerFigures:
    """One scanner's studies."""

    scanner: str
    studies: int
    decided: int
    last_at: datetime
    """When its newest study came."""
    usual_gap: timedelta | None
    """Between two of its studies, 19 of 20 times no longer; None where there are too few."""
    is_silent: bool
    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """The figures of a period."""

    days: float
    studies: int
    endings: Mapping[str, int]
    """Studies by ending; "in flight" those without one."""
    decided: int
    flagged: Share
    not_assessed: Share
    median_turnaround: timedelta | None
    """From a study's first image to its results; None where none was screened as it came."""
    long_turnaround: timedelta | None
    """95 of 100 are no longer."""
    months: Mapping[str, Reviewed]
    """Month as YYYY-MM to what people said of what was flagged in it."""
    missed: int
    """Studies that were not flagged, and of which people say that there is a finding."""
    scanners: tuple[ScannerFigures, ...]

    @property
    def alarms(self) -> tuple[str, ...]:
        """What somebody should look at, a sentence each."""
        return tuple(_list_alarms(self.scanners))


def measure_performance(
    rows: Sequence[QualityRow],
    judgments: Mapping[int, Judgment],
    now: datetime,
    *,
    days: float,
    silent_after: float = SILENT_AFTER,
) -> Performance:
    """Count the figures of `rows`, the studies of the last `days`."""
    decided = [row for row in rows if row.decided_at is not None]
    flagged: dict[str, list[int]] = defaultdict(list)
    for row in decided:
        if row.is_flagged and row.decided_at is not None:
            flagged[f"{row.decided_at:%Y-%m}"].append(row.study_id)
    endings: dict[str, int] = defaultdict(int)
    for row in rows:
        endings[row.ending or "in flight"] += 1
    seconds = [(row.decided_at - row.received_at).total_seconds() for row in decided if row.is_first and row.decided_at]
    return Performance(
        days=days,
        studies=len(rows),
        endings=dict(endings),
        decided=len(decided),
        flagged=count_share(decided, "flagged"),
        not_assessed=count_share(decided, "not assessed"),
        median_turnaround=_percentile(seconds, 50),
        long_turnaround=_percentile(seconds, 95),
        months={month: count_reviews(flagged[month], judgments) for month in sorted(flagged)},
        missed=sum(not row.is_flagged and judgments.get(row.study_id) is Judgment.FINDING for row in decided),
        scanners=tuple(
            _measure_scanner(name, [row for row in rows if row.scanner == name], now, silent_after)
            for name in sorted({row.scanner for row in rows})
        ),
    )


def count_share(decided: Iterable[QualityRow], rate: str) -> Share:
    """Count the share of decided studies that `rate` names."""
    hits = [_RATES[rate](row) for row in decided]
    return Share(hits=sum(hits), count=len(hits))


def find_limits(before: Share, count: int) -> tuple[float, float]:
    """Return the control limits of a share of `count`, three standard errors around what it was `before`."""
    center = (before.hits + 1) / (before.count + 2)
    half = SIGMAS * (center * (1 - center) / count) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)


def describe_performance(performance: Performance) -> str:
    """All figures as text; the alarms first."""
    ended = ", ".join(f"{ending} {count}" for ending, count in sorted(performance.endings.items()))
    lines = [f"ALARM: {alarm}" for alarm in performance.alarms] or ["no alarm"]
    lines += [
        f"studies of the last {performance.days:g} days: {performance.studies} ({ended})" if ended else "no study",
        f"decided: {performance.decided}; flagged {_describe(performance.flagged)}; "
        f"with something not assessed {_describe(performance.not_assessed)}",
        f"from the first image to the results: {describe_time(performance.median_turnaround)} in the middle, "
        f"95 of 100 within {describe_time(performance.long_turnaround)}",
        "what people say of what was flagged, by month (PPV with its 95 % interval):",
    ]
    for month, reviewed in performance.months.items():
        disputed = f", {reviewed.disputed} disputed" if reviewed.disputed else ""
        share = describe_share(reviewed.agreed, reviewed.agreed + reviewed.disagreed)
        lines.append(f"  {month}: {share}; {reviewed.unreviewed} of {reviewed.flagged} not reviewed{disputed}")
    lines.append(f"not flagged, and people say that there is a finding: {performance.missed}")
    lines.append(f"scanners; the last {LATEST.days} days against the time before:")
    for scanner in performance.scanners:
        lines += _describe_scanner(scanner)
    return "\n".join(lines)


def describe_time(time: timedelta | None) -> str:
    """Say a time in the unit that suits it."""
    if time is None:
        return "none"
    seconds = time.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def describe_chart(chart: Chart) -> str:
    """Say one share and its limits."""
    latest, before = _describe(chart.latest), _describe(chart.before)
    if chart.low is None or chart.high is None:
        return f"{chart.rate} {latest}, before {before}: too few for limits"
    state = "OUTSIDE" if chart.is_drifting else "within"
    return f"{chart.rate} {latest}, before {before}: {state} {100 * chart.low:.0f} to {100 * chart.high:.0f} %"


def _measure_scanner(name: str, rows: Sequence[QualityRow], now: datetime, silent_after: float) -> ScannerFigures:
    """Count one scanner's figures; `rows` are by arrival, at least one."""
    decided = [row for row in rows if row.decided_at is not None]
    times = [row.received_at for row in rows if not row.is_past]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    usual = _percentile(gaps, 95) if len(gaps) >= FEWEST_GAPS else None
    return ScannerFigures(
        scanner=name,
        studies=len(rows),
        decided=len(decided),
        last_at=times[-1] if times else rows[-1].received_at,
        usual_gap=usual,
        is_silent=usual is not None and now - times[-1] > silent_after * usual,
        charts=tuple(_chart(rate, decided, now) for rate in _RATES),
    )


def _chart(rate: str, decided: Sequence[QualityRow], now: datetime) -> Chart:
    before = count_share((row for row in decided if row.received_at < now - LATEST), rate)
    latest = count_share((row for row in decided if row.received_at >= now - LATEST), rate)
    low = high = None
    if before.count >= FEWEST_BEFORE and latest.count >= FEWEST_LATEST:
        low, high = find_limits(before, latest.count)
    return Chart(rate=rate, before=before, latest=latest, low=low, high=high)


def _list_alarms(scanners: Iterable[ScannerFigures]) -> Iterable[str]:
    for scanner in scanners:
        if scanner.is_silent:
            yield (
                f"{scanner.scanner} is silent: no study since {scanner.last_at:%Y-%m-%d %H:%M} UTC, "
                f"its usual gap is {describe_time(scanner.usual_gap)}"
            )
        for chart in scanner.charts:
            if chart.is_drifting:
                yield f"{scanner.scanner} drifts: {describe_chart(chart)}"


def _describe_scanner(scanner: ScannerFigures) -> list[str]:
    gap = f", usual gap {describe_time(scanner.usual_gap)}" if scanner.usual_gap is not None else ""
    head = f"  {scanner.scanner}: {scanner.studies} studies, {scanner.decided} decided, last at "
    return [
        f"{head}{scanner.last_at:%Y-%m-%d %H:%M} UTC{gap}",
        *(f"    {describe_chart(chart)}" for chart in scanner.charts),
    ]


def _describe(share: Share) -> str:
    return "none" if share.value is None else f"{share.hits} of {share.count} ({100 * share.value:.1f} %)"


def _percentile(seconds: Sequence[float], percent: float) -> timedelta | None:
    return timedelta(seconds=float(np.percentile(seconds, percent))) if seconds else None
