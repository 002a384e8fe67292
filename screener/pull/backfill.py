"""Backfills as an operator orders and reads them: what `screener backfill` does and prints."""

from collections.abc import Sequence
from datetime import date

from screener.config import Config, Pull, Source
from screener.store import BackfillOrder, BackfillReport

ORDER = ("listed", "fetching", "fetched", "skipped", "failed")


class OrderError(ValueError):
    """The backfill cannot be ordered; the message says why."""


def make_order(
    settings: Pull,
    *,
    from_date: str,
    to_date: str,
    modalities: str = "",
    body_parts: str = "",
    source: str = "",
    is_now: bool = False,
) -> BackfillOrder:
    """Check what was typed; lists are separated by commas. OrderError says what is wrong."""
    names = [found.name for found in settings.sources]
    if not names:
        raise OrderError("pull.sources: config.toml names no PACS to fetch from: add a [[pull.sources]] table")
    if source and source not in names:
        raise OrderError(f"there is no source {source}; config.toml names {', '.join(names)}")
    first, last = _day(from_date), _day(to_date)
    if last < first:
        raise OrderError(f"{last} lies before {first}")
    return BackfillOrder(
        sources=(source,) if source else tuple(names),
        from_date=first,
        to_date=last,
        modalities=_listed(modalities),
        body_parts=_listed(body_parts),
        is_now=is_now,
    )


def admits(config: Config, source: Source) -> bool:
    """Tell whether our listener lets in what this source sends; a host by name is taken on trust."""
    try:
        return any(peer.admits(source.ae_title, source.host) for peer in config.listener.peers)
    except ValueError:
        return True


def describe_backfills(reports: Sequence[BackfillReport]) -> str:
    """One paragraph per backfill, with how far it has come."""
    return "\n".join(_describe(report) for report in reports) or "no backfill was ever ordered"


def describe_report(report: BackfillReport) -> str:
    """One backfill whole: what became of its studies, why, and which were flagged."""
    lines = [_describe(report)]
    if report.endings:
        ended = ", ".join(f"{ending} {count}" for ending, count in sorted(report.endings.items()))
        lines.append(f"  of the {sum(report.endings.values())} fetched: {ended}")
    lines += [f"  {state}, {count}: {reason}" for (state, reason), count in report.reasons.items()]
    numbers = ", ".join(str(study_id) for study_id in report.flagged)
    lines.append(f"  flagged, by our number: {numbers}" if report.flagged else "  flagged: none")
    return "\n".join(lines)


def _describe(report: BackfillReport) -> str:
    last = report.to_date.isoformat() if report.to_date else "yesterday"
    what = [f"studies of {report.from_date} to {last}"]
    if report.standing_for:
        what.append(f"as pull.sources {report.standing_for} asks")
    if report.modalities:
        what.append(f"modality {', '.join(report.modalities)}")
    if report.body_parts:
        what.append(f"body part {', '.join(report.body_parts)}")
    if report.is_now:
        what.append("now")
    if report.is_paused:
        what.append("PAUSED")
    counts = ", ".join(f"{state} {report.states.get(state, 0)}" for state in ORDER)
    searched = "; ".join(_progress(source, begin, report) for source, begin in sorted(report.next_dates.items()))
    return f"backfill {report.backfill_id}: {'; '.join(what)}\n  {searched}\n  {counts}; flagged {len(report.flagged)}"


def _progress(source: str, next_date: date, report: BackfillReport) -> str:
    done = (next_date - report.from_date).days
    if report.to_date is None:
        return f"{source}: {done} days searched"
    return f"{source}: {done} of {(report.to_date - report.from_date).days + 1} days searched"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise OrderError(f"{text} is no date: write it like 2019-12-31") from None


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip().upper() for part in text.split(",")) if part)
