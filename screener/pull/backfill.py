"""Backfills as an operator orders and reads them: what `screener backfill` does and prints."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType

from screener.clock import is_open, night_began, parse_window
from screener.config import Config, Pull, Source
from screener.store import BackfillOrder, BackfillReport, Store

STUDY_BYTES = 1 << 30
"""Free disk space beyond the reserve without which no past study is fetched."""
NO_STOPS: Mapping[int, str] = MappingProxyType({})
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


def describe_limit(store: Store, settings: Pull, now: datetime, *, has_room: bool) -> str:
    """What lets no further study be asked for at `now`; empty where nothing does."""
    if not has_room:
        return f"the disk has less than {STUDY_BYTES >> 20} MiB free beyond storage.reserve_mib"
    if store.backlog_in_flight() >= settings.studies_in_flight:
        return f"{settings.studies_in_flight} or more are fetched or wait for their screening (pull.studies_in_flight)"
    if store.fetches_since(now - timedelta(hours=1)) >= settings.studies_per_hour:
        return f"{settings.studies_per_hour} were asked for within an hour (pull.studies_per_hour)"
    if store.fetches_since(night_began(parse_window(settings.window), now.astimezone())) >= settings.studies_per_night:
        return f"{settings.studies_per_night} were asked for since the window opened (pull.studies_per_night)"
    return ""


def describe_stop(report: BackfillReport, settings: Pull, now: datetime, limit: str) -> str:
    """Why a backfill that is not over stands still at `now`, as far as settings and `limit` tell; empty otherwise."""
    local = now.astimezone()
    is_listed = report.states.get("listed", 0) > 0
    last = report.to_date or local.date() - timedelta(days=1)
    if not (is_listed or report.states.get("fetching") or any(day <= last for day in report.next_dates.values())):
        return ""
    if report.is_paused:
        return f"waits: paused; `screener backfill --resume {report.backfill_id}` lets it go on"
    if not (report.is_now or is_open(parse_window(settings.window), local)):
        return f"waits for the window {settings.window} (pull.window, local time)"
    return f"no further study is asked for: {limit}" if is_listed and limit else ""


def describe_backfills(reports: Sequence[BackfillReport], stops: Mapping[int, str] = NO_STOPS) -> str:
    """One paragraph per backfill, with how far it has come; `stops` say by number why one stands still."""
    told = [_describe(report, stops.get(report.backfill_id, "")) for report in reports]
    return "\n".join(told) or "no backfill was ever ordered"


def describe_report(report: BackfillReport, stop: str = "") -> str:
    """One backfill whole: why it stands still, what became of its studies, why, and which were flagged."""
    lines = [_describe(report, stop)]
    if report.endings:
        ended = ", ".join(f"{ending} {count}" for ending, count in sorted(report.endings.items()))
        lines.append(f"  of the {sum(report.endings.values())} fetched: {ended}")
    lines += [f"  {state}, {count}: {reason}" for (state, reason), count in report.reasons.items()]
    numbers = ", ".join(str(study_id) for study_id in report.flagged)
    lines.append(f"  flagged, by our number: {numbers}" if report.flagged else "  flagged: none")
    return "\n".join(lines)


def _describe(report: BackfillReport, stop: str) -> str:
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
    lines = [f"backfill {report.backfill_id}: {'; '.join(what)}", searched, f"{counts}; flagged {len(report.flagged)}"]
    return "\n  ".join([*lines, stop] if stop else lines)


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
