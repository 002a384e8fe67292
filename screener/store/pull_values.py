"""What the night list puts into the store and asks of it: frozen values, no SQL."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOrder:
    """What a backfill is to fetch."""

    sources: tuple[str, ...]
    from_date: date
    to_date: date | None
    """The last study date; None means up to yesterday, night after night."""
    modalities: tuple[str, ...] = ()
    """Empty: those of the source's settings."""
    body_parts: tuple[str, ...] = ()
    """Empty: those of the source's settings."""
    is_now: bool = False
    """True: the window does not hold it back; the limits do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One source to be searched for a backfill, from one study date on."""

    search_id: int
    backfill_id: int
    source: str
    next_date: date
    to_date: date | None
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStudy:
    """One past study whose turn it is."""

    item_id: int
    """Names it in the log until our study number does."""
    backfill_id: int
    source: str
    study_instance_uid: str
    attempts: int
    """Those already made."""
    has_begun: bool
    """True: an earlier attempt may have fetched a part of it."""
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillReport:
    """One backfill: what was asked for and how far it has come."""

    backfill_id: int
    standing_for: str | None
    from_date: date
    to_date: date | None
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    is_now: bool
    is_paused: bool
    opened_at: datetime
    next_dates: dict[str, date]
    """By source: the first study date that was not searched yet."""
    states: dict[str, int]
    """Studies by what became of fetching them."""
    reasons: dict[tuple[str, str], int]
    """Studies that were skipped or failed, by (state, reason)."""
    endings: dict[str, int]
    """The fetched studies by their ending; "in flight" while they have none."""
    flagged: tuple[int, ...]
    """Our numbers of the studies in which the newest run of this backfill found a mass."""
