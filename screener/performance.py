"""How well the screener does in this hospital: what reviews say of it, and whether a scanner drifts or falls silent.

The charts of shares are p-charts (Shewhart 1931): a share lies within three
standard errors of what it was before, or somebody should look. Two counts are
added to every share that a limit is drawn from, or a scanner without a single
flag so far would raise the alarm with its first. Volumes and times are charts
of individual weeks (Wheeler 1992), whose limits come from how much one week
differs from the next: they know holidays and busy seasons better than a law.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import sqrt
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
WEEK: Final = timedelta(days=7)
MOST_WEEKS: Final = 26
FEWEST_WEEKS: Final = 6
"""Whole weeks before the latest without which no limit of volumes and times is drawn."""
INDIVIDUAL_LIMIT: Final = 2.66
"""Times the mean difference of neighboring weeks: three standard deviations (3 / 1.128)."""
NO_PROTOCOL: Final = "no protocol named"

Rate = Callable[[QualityRow], bool | None]
"""Whether a decided study counts as a hit; None where it does not count at all."""
_RATES: Final[Mapping[str, Rate]] = {
    "flagged": lambda row: row.is_flagged,
    "not assessed": lambda row: not row.is_assessed,
}
_DISAGREED: Final = "flagged and disagreed with, of the reviewed"


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
class WeekShare:
    """A share in seven days."""

    weeks_ago: int
    """0: the latest seven days."""
    share: Share
    limits: tuple[float, float] | None
    """Control limits; None where there are too few studies to draw any."""

    @property
    def is_outside(self) -> bool:
        """True: the share lies outside its limits."""
        value = self.share.value
        return value is not None and self.limits is not None and not self.limits[0] <= value <= self.limits[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One share of one scanner in the latest days, held against its time before."""

    rate: str
    before: Share
    latest: Share
    low: float | None
    """Control limits for the latest; None where there are too few studies to draw any."""
    high: float | None
    weeks: tuple[WeekShare, ...] = ()
    """Those with a decided study, the oldest first; all are held against the time before the latest."""

    @property
    def is_drifting(self) -> bool:
        """True: the latest share lies outside its limits."""
        value = self.latest.value
        return (
            value is not None and self.low is not None and self.high is not None and not self.low <= value <= self.high
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A figure of one scanner week by week: how many studies, or how long they take."""

    name: str
    unit: str
    weeks: tuple[tuple[int, float], ...]
    """(weeks ago, value), the oldest first; only whole weeks, and only those that have a value."""
    limits: tuple[float, float] | None
    """Control limits from the weeks before the latest; None where there are too few."""

    @property
    def is_drifting(self) -> bool:
        """True: the latest week lies outside the limits."""
        if self.limits is None or not self.weeks or self.weeks[-1][0] != 0:
            return False
        return not self.limits[0] <= self.weeks[-1][1] <= self.limits[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolFigures:
    """One scanner's studies of one protocol."""

    protocol: str
    studies: int
    decided: int
    charts: tuple[Chart, ...]


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
    trends: tuple[Trend, ...]
    protocols: tuple[ProtocolFigures, ...]
    """The most frequent first."""


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
            _measure_scanner(name, [row for row in rows if row.scanner == name], judgments, now, silent_after)
            for name in sorted({row.scanner for row in rows})
        ),
    )


def count_share(decided: Iterable[QualityRow], rate: str) -> Share:
    """Count the share of decided studies that `rate` names."""
    return _count(decided, _RATES[rate])


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


def describe_trend(trend: Trend) -> str:
    """Say the latest week of a figure and its limits."""
    if not trend.weeks:
        return f"{trend.name}: no whole week"
    if trend.weeks[-1][0] != 0:
        return f"{trend.name}: none in the latest week"
    latest = f"{trend.name}: {trend.weeks[-1][1]:.0f} {trend.unit} in the latest week"
    if trend.limits is None:
        return f"{latest}, too few weeks for limits"
    state = "OUTSIDE" if trend.is_drifting else "within"
    return f"{latest}, {state} {trend.limits[0]:.0f} to {trend.limits[1]:.0f}"


def find_individual_limits(before: Sequence[float], least: Callable[[float], float]) -> tuple[float, float] | None:
    """Return the control limits of a week's figure from those of the weeks before, in their order; None of too few.

    `least` gives, for a mean, how far from it they lie at least: weeks that happen to be alike are no law.
    """
    if len(before) < FEWEST_WEEKS:
        return None
    center = float(np.mean(before))
    half = max(INDIVIDUAL_LIMIT * float(np.mean(np.abs(np.diff(before)))), least(center))
    return max(0.0, center - half), center + half


def _measure_scanner(
    name: str, rows: Sequence[QualityRow], judgments: Mapping[int, Judgment], now: datetime, silent_after: float
) -> ScannerFigures:
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
        charts=_draw_charts(decided, judgments, now),
        trends=_follow_trends(rows, now),
        protocols=_list_protocols(rows, judgments, now),
    )


def _list_protocols(
    rows: Sequence[QualityRow], judgments: Mapping[int, Judgment], now: datetime
) -> tuple[ProtocolFigures, ...]:
    by_protocol: dict[str, list[QualityRow]] = defaultdict(list)
    for row in rows:
        by_protocol[row.protocol or NO_PROTOCOL].append(row)
    figures = []
    for protocol, mine in sorted(by_protocol.items(), key=lambda item: (-len(item[1]), item[0])):
        decided = [row for row in mine if row.decided_at is not None]
        charts = _draw_charts(decided, judgments, now)
        figures.append(ProtocolFigures(protocol=protocol, studies=len(mine), decided=len(decided), charts=charts))
    return tuple(figures)


def _draw_charts(decided: Sequence[QualityRow], judgments: Mapping[int, Judgment], now: datetime) -> tuple[Chart, ...]:
    def is_disagreed(row: QualityRow) -> bool | None:
        judgment = judgments.get(row.study_id) if row.is_flagged else None
        return judgment is Judgment.NO_FINDING if judgment in {Judgment.FINDING, Judgment.NO_FINDING} else None

    return tuple(_chart(name, rate, decided, now) for name, rate in {**_RATES, _DISAGREED: is_disagreed}.items())


def _chart(name: str, rate: Rate, decided: Sequence[QualityRow], now: datetime) -> Chart:
    before = _count((row for row in decided if row.received_at < now - LATEST), rate)
    weeks: dict[int, list[QualityRow]] = defaultdict(list)
    for row in decided:
        weeks[_weeks_ago(row, now)].append(row)
    shares = {ago: _count(rows, rate) for ago, rows in sorted(weeks.items(), reverse=True)}
    latest = shares.get(0, Share(hits=0, count=0))
    limits = _limit(before, latest)
    return Chart(
        rate=name,
        before=before,
        latest=latest,
        low=None if limits is None else limits[0],
        high=None if limits is None else limits[1],
        weeks=tuple(
            WeekShare(weeks_ago=ago, share=share, limits=_limit(before, share))
            for ago, share in shares.items()
            if share.count and ago < MOST_WEEKS
        ),
    )


def _limit(before: Share, share: Share) -> tuple[float, float] | None:
    if before.count < FEWEST_BEFORE or share.count < FEWEST_LATEST:
        return None
    return find_limits(before, share.count)


def _count(rows: Iterable[QualityRow], rate: Rate) -> Share:
    hits = [hit for row in rows if (hit := rate(row)) is not None]
    return Share(hits=sum(hits), count=len(hits))


def _follow_trends(rows: Sequence[QualityRow], now: datetime) -> tuple[Trend, ...]:
    """Follow how many studies a scanner sends in a week, and how long their results take; backfills say nothing."""
    sent = [row for row in rows if not row.is_past]
    weeks: dict[int, list[QualityRow]] = defaultdict(list)
    for row in sent:
        weeks[_weeks_ago(row, now)].append(row)
    # The oldest week began before the first study that is counted: it is not whole.
    whole = range(min(max(weeks, default=0), MOST_WEEKS) - 1, -1, -1)
    volumes = [(ago, float(len(weeks[ago]))) for ago in whole]
    minutes = [(ago, middle) for ago in whole if (middle := _middle_minutes(weeks[ago])) is not None]
    volume_limits = find_individual_limits([value for ago, value in volumes if ago], _vary_as_counts)
    time_limits = find_individual_limits([value for ago, value in minutes if ago], _vary_by_half)
    return (
        Trend(name="studies", unit="studies", weeks=tuple(volumes), limits=volume_limits),
        Trend(
            name="first image to results, middle",
            unit="min",
            weeks=tuple(minutes),
            limits=None if time_limits is None else (0.0, time_limits[1]),  # nobody minds that it is quick
        ),
    )


def _vary_as_counts(mean: float) -> float:
    return SIGMAS * sqrt(mean)


def _vary_by_half(mean: float) -> float:
    return mean / 2


def _middle_minutes(rows: Sequence[QualityRow]) -> float | None:
    """Return the median time to results of the studies that were screened as they came; None where there is none."""
    minutes = [
        (row.decided_at - row.received_at).total_seconds() / 60 for row in rows if row.is_first and row.decided_at
    ]
    return float(np.median(minutes)) if minutes else None


def _weeks_ago(row: QualityRow, now: datetime) -> int:
    """0: within the latest seven days, its first instant included; so is whatever a clock puts into the future."""
    return max(0, -((row.received_at - now) // WEEK) - 1)


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
        for trend in scanner.trends:
            if trend.is_drifting:
                yield f"{scanner.scanner} drifts: {describe_trend(trend)}"
        for protocol in scanner.protocols if len(scanner.protocols) > 1 else ():
            for chart in protocol.charts:
                if chart.is_drifting:
                    yield f"{scanner.scanner}, protocol {protocol.protocol}, drifts: {describe_chart(chart)}"


def _describe_scanner(scanner: ScannerFigures) -> list[str]:
    gap = f", usual gap {describe_time(scanner.usual_gap)}" if scanner.usual_gap is not None else ""
    head = f"  {scanner.scanner}: {scanner.studies} studies, {scanner.decided} decided, last at "
    return [
        f"{head}{scanner.last_at:%Y-%m-%d %H:%M} UTC{gap}",
        *(f"    {describe_chart(chart)}" for chart in scanner.charts),
        *(f"    {describe_trend(trend)}" for trend in scanner.trends),
        *(
            f"    protocol {each.protocol}: {each.studies} studies, {describe_chart(each.charts[0])}"
            for each in scanner.protocols
        ),
    ]


def _describe(share: Share) -> str:
    return "none" if share.value is None else f"{share.hits} of {share.count} ({100 * share.value:.1f} %)"


def _percentile(seconds: Sequence[float], percent: float) -> timedelta | None:
    return timedelta(seconds=float(np.percentile(seconds, percent))) if seconds else None
