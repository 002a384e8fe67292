"""The night list: backfills are ordered, searched day by day, and their studies taken one by one.

There is one taker. A study that it took is "fetching" until it is ended, also
over a restart: what is found in that state when the next one is taken was
interrupted, and goes first.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from screener.store import pull_tables as p
from screener.store import tables as t
from screener.store.base import Base
from screener.store.pull_values import BackfillOrder, BackfillReport, ListedStudy, Search
from screener.store.values import Kind

DAYTIME, BACKLOG = 0, 1
"""Priorities of runs: studies from scanners overtake those of a backfill."""

HELD_BACK = "held back by window, pause or settings before all of it had come"

_GROUPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """What became of fetching the present state of a study."""

    is_whole: bool
    is_under_way: bool
    reason: str
    """Why not all of it may have come; empty where it is whole."""


class Worklist(Base):
    """Backfills and their studies."""

    def add_backfill(self, order: BackfillOrder, now: datetime, standing_for: str | None = None) -> int:
        """Put a backfill on the list; returns its number."""
        with self._begin() as connection:
            return _add(connection, order, now, standing_for)

    def keep_standing(self, source: str, from_date: date, to_date: date | None, now: datetime) -> None:
        """Hold the one backfill that a source's settings ask for; another first day searches from there anew."""
        with self._begin() as connection:
            mine = p.backfills.c.standing_for == source
            row = connection.execute(p.backfills.select().where(mine)).one_or_none()
            if row is None:
                _add(connection, BackfillOrder(sources=(source,), from_date=from_date, to_date=to_date), now, source)
                return
            connection.execute(p.backfills.update().where(mine).values(from_date=from_date, to_date=to_date))
            if row.from_date != from_date:
                of_it = p.searches.c.backfill_id == row.id
                connection.execute(p.searches.update().where(of_it).values(next_date=from_date))

    def pause_backfill(self, number: int, is_paused: bool) -> bool:
        """Hold a backfill back or let it go on; False where there is no such number. What is in hand is finished."""
        with self._begin() as connection:
            changed = connection.execute(
                p.backfills.update().where(p.backfills.c.id == number).values(is_paused=is_paused)
            )
            return changed.rowcount == 1

    def next_search(self, sources: Collection[str], today: date, *, is_open: bool) -> Search | None:
        """What to ask a source next; only days that are over. `is_open`: the window does not hold back."""
        with self._begin() as connection:
            row = connection.execute(
                sa.select(p.searches, p.backfills.c.to_date, p.backfills.c.modalities, p.backfills.c.body_parts)
                .join(p.backfills, p.backfills.c.id == p.searches.c.backfill_id)
                .where(
                    *_may_go_on(is_open),
                    p.searches.c.source.in_(sources),
                    p.searches.c.next_date < today,
                    p.searches.c.next_date <= sa.func.coalesce(p.backfills.c.to_date, sa.literal(today, sa.Date)),
                )
                .order_by(p.backfills.c.is_now.desc(), p.searches.c.backfill_id, p.searches.c.id)
                .limit(1)
            ).one_or_none()
        if row is None:
            return None
        return Search(
            search_id=row.id,
            backfill_id=row.backfill_id,
            source=row.source,
            next_date=row.next_date,
            to_date=row.to_date,
            modalities=tuple(row.modalities),
            body_parts=tuple(row.body_parts),
        )

    def record_listing(self, search: Search, study_instance_uids: Sequence[str], now: datetime) -> int:
        """Put the studies of `search.next_date` on the list and go on to the next day; returns how many are new.

        A study of which another backfill has fetched or will fetch the same is skipped.
        """
        listed = 0
        with self._begin() as connection:
            if not _go_on(connection, search):
                return 0
            for uid in dict.fromkeys(study_instance_uids):
                same = sa.select(p.worklist.c.id).where(
                    p.worklist.c.backfill_id == search.backfill_id, p.worklist.c.study_instance_uid == uid
                )
                if connection.execute(same).first() is not None:
                    continue
                other = _listed_elsewhere(connection, search, uid)
                connection.execute(
                    p.worklist.insert().values(
                        backfill_id=search.backfill_id,
                        source=search.source,
                        study_instance_uid=uid,
                        study_date=search.next_date,
                        state="listed" if other is None else "skipped",
                        code="" if other is None else "on_another_list",
                        reason="" if other is None else f"on the list of backfill {other} already",
                        attempts=0,
                        not_before=now,
                        was_known=False,
                        ended_at=None if other is None else now,
                    )
                )
                listed += other is None
        return listed

    def give_up_day(self, search: Search, reason: str, now: datetime) -> None:
        """Go on to the next day without the studies of `search.next_date`; a row that names the day says why."""
        with self._begin() as connection:
            if not _go_on(connection, search):
                return
            connection.execute(
                p.worklist.insert().values(
                    backfill_id=search.backfill_id,
                    source=search.source,
                    study_instance_uid=_name_of_day(search),
                    study_date=search.next_date,
                    state="failed",
                    code="not_listed",
                    reason=reason,
                    attempts=0,
                    not_before=now,
                    was_known=False,
                    ended_at=now,
                )
            )

    def waiting_studies(self, sources: Collection[str], *, is_open: bool) -> int:
        """How many listed studies may be begun. `is_open`: the window does not hold back."""
        with self._begin() as connection:
            query = (
                sa.select(sa.func.count())
                .select_from(p.worklist)
                .join(p.backfills, p.backfills.c.id == p.worklist.c.backfill_id)
                .where(*_may_go_on(is_open), p.worklist.c.state == "listed", p.worklist.c.source.in_(sources))
            )
            return connection.execute(query).scalar_one()

    def take_listed(
        self, sources: Collection[str], now: datetime, *, is_open: bool, with_new: bool
    ) -> ListedStudy | None:
        """The study whose turn it is: what was interrupted or failed before what was never begun.

        `with_new` False: the limits let no further study in; what was begun may go on.
        """
        states = ["fetching", "listed"] if with_new else ["fetching"]
        with self._begin() as connection:
            row = connection.execute(
                sa.select(p.worklist, p.backfills.c.modalities, p.backfills.c.body_parts)
                .join(p.backfills, p.backfills.c.id == p.worklist.c.backfill_id)
                .where(
                    *_may_go_on(is_open),
                    p.worklist.c.source.in_(sources),
                    p.worklist.c.state.in_(states),
                    p.worklist.c.not_before <= now,
                )
                .order_by(
                    p.worklist.c.state, p.backfills.c.is_now.desc(), p.worklist.c.backfill_id, p.worklist.c.id
                )  # "fetching" stands before "listed"
                .limit(1)
            ).one_or_none()
        if row is None:
            return None
        return ListedStudy(
            item_id=row.id,
            backfill_id=row.backfill_id,
            source=row.source,
            study_instance_uid=row.study_instance_uid,
            attempts=row.attempts,
            has_begun=row.started_at is not None,
            modalities=tuple(row.modalities),
            body_parts=tuple(row.body_parts),
        )

    def release_fetches(self, sources: Collection[str], *, is_open: bool) -> int:
        """Let go of studies that were begun and may not go on now, so that what has come of them is screened."""
        begun = (
            sa.select(p.worklist.c.id)
            .join(p.backfills, p.backfills.c.id == p.worklist.c.backfill_id)
            .where(
                p.worklist.c.state == "fetching",
                sa.not_(sa.and_(*_may_go_on(is_open), p.worklist.c.source.in_(sources))),
            )
        )
        with self._begin() as connection:
            released = connection.execute(
                p.worklist.update().where(p.worklist.c.id.in_(begun)).values(state="listed", reason=HELD_BACK)
            )
            return released.rowcount

    def begin_fetch(self, item: ListedStudy, now: datetime) -> None:
        """Count an attempt; from here on the study waits until its images are here.

        It was known before where a sender had a part in it, not where backfills alone brought some of it.
        """
        with self._begin() as connection:
            values: dict[str, Any] = {"state": "fetching", "reason": "", "attempts": p.worklist.c.attempts + 1}
            if not item.has_begun:
                same = t.studies.c.study_instance_uid == item.study_instance_uid
                study = connection.execute(t.studies.select().where(same)).one_or_none()
                was_known = study is not None and backfill_of(connection, study) is None
                values |= {"started_at": now, "was_known": was_known}
            connection.execute(p.worklist.update().where(p.worklist.c.id == item.item_id).values(**values))

    def fetch_failed(self, item: ListedStudy, reason: str, not_before: datetime) -> bool:
        """Leave a study for another attempt; True: it was begun, and what has come of it waits until then."""
        with self._begin() as connection:
            mine = p.worklist.c.id == item.item_id
            connection.execute(p.worklist.update().where(mine).values(reason=reason, not_before=not_before))
            state: str = connection.execute(sa.select(p.worklist.c.state).where(mine)).scalar_one()
            return state == "fetching"

    def end_fetch(self, item: ListedStudy, state: str, *, code: str, reason: str, now: datetime) -> None:
        """End a study on the list as fetched, skipped or failed."""
        with self._begin() as connection:
            connection.execute(
                p.worklist.update()
                .where(p.worklist.c.id == item.item_id)
                .values(state=state, code=code, reason=reason, ended_at=now)
            )

    def images_by_series(self, study_instance_uid: str) -> dict[str, int] | None:
        """How many instances of each series were ever received; None where the study is not known."""
        with self._begin() as connection:
            study_id = connection.execute(
                sa.select(t.studies.c.id).where(t.studies.c.study_instance_uid == study_instance_uid)
            ).scalar()
            if study_id is None:
                return None
            rows = connection.execute(
                sa.select(t.instances.c.series_instance_uid, sa.func.count())
                .where(t.instances.c.study_id == study_id, t.instances.c.kind != Kind.OWN)
                .group_by(t.instances.c.series_instance_uid)
            ).all()
        return {row[0]: row[1] for row in rows}

    def fetches_since(self, since: datetime) -> int:
        """How many studies were first asked for at or after `since`."""
        with self._begin() as connection:
            return connection.execute(sa.select(sa.func.count()).where(p.worklist.c.started_at >= since)).scalar_one()

    def backlog_in_flight(self) -> int:
        """Studies of backfills that are being fetched, or are fetched and not yet screened."""
        fetching = sa.select(sa.func.count()).where(p.worklist.c.state == "fetching")
        undispatched = sa.select(sa.func.count(t.studies.c.id.distinct())).where(
            t.studies.c.news_since_at.is_not(None),
            t.studies.c.study_instance_uid == p.worklist.c.study_instance_uid,
            p.worklist.c.state == "fetched",
        )
        undecided = sa.select(sa.func.count()).where(
            t.runs.c.priority == BACKLOG, t.runs.c.state.in_(["waiting", "running"])
        )
        with self._begin() as connection:
            return sum(connection.execute(query).scalar_one() for query in (fetching, undispatched, undecided))

    def backfill_reports(self, number: int | None = None) -> list[BackfillReport]:
        """Every backfill, or the one with this number, and how far it has come."""
        query = p.backfills.select().order_by(p.backfills.c.id)
        with self._begin() as connection:
            rows = connection.execute(query if number is None else query.where(p.backfills.c.id == number)).all()
            return [_report(connection, row) for row in rows]


def is_being_fetched() -> sa.ColumnElement[bool]:
    """True for a row of `studies` whose images are still being fetched."""
    return sa.exists().where(
        p.worklist.c.study_instance_uid == t.studies.c.study_instance_uid, p.worklist.c.state == "fetching"
    )


def was_fetched_first() -> sa.ColumnElement[bool]:
    """True for a row of `studies` that a backfill asked for before anything of it was here."""
    return sa.exists().where(
        p.worklist.c.study_instance_uid == t.studies.c.study_instance_uid,
        p.worklist.c.started_at.is_not(None),
        p.worklist.c.was_known.is_(False),
    )


def fetch_of(connection: sa.Connection, study: sa.Row[Any]) -> Fetch | None:
    """The latest attempt at fetching a study; None where there was none, or all news came after it had ended."""
    row = _latest_fetch(connection, study.study_instance_uid)
    if row is None or (row.ended_at is not None and study.news_since_at > row.ended_at):
        return None
    is_whole = row.state == "fetched" and not row.code
    reason = "" if is_whole else row.reason or "not all of it has come yet"
    return Fetch(is_whole=is_whole, is_under_way=row.state == "fetching", reason=reason)


def backfill_of(connection: sa.Connection, study: sa.Row[Any]) -> int | None:
    """The backfill that brought the present state of a study; None where a sender had a part in it."""
    row = _latest_fetch(connection, study.study_instance_uid)
    if row is None or row.was_known or _has_senders_part(connection, study, row):
        return None
    backfill_id: int = row.backfill_id
    return backfill_id


def _latest_fetch(connection: sa.Connection, study_instance_uid: str) -> sa.Row[Any] | None:
    """The row of the list by which a study is being fetched, or was last; None where it was never asked for."""
    return connection.execute(
        sa.select(p.worklist)
        .where(p.worklist.c.study_instance_uid == study_instance_uid, p.worklist.c.started_at.is_not(None))
        .order_by(
            (p.worklist.c.state == "fetching").desc(),
            sa.func.coalesce(p.worklist.c.ended_at, p.worklist.c.started_at).desc(),
            p.worklist.c.id.desc(),
        )
        .limit(1)
    ).one_or_none()


def _has_senders_part(connection: sa.Connection, study: sa.Row[Any], fetch: sa.Row[Any]) -> bool:
    """Tell whether something came after `fetch`, or meanwhile from another: a source sends under one AE title."""
    senders, newest_at = connection.execute(
        sa.select(
            sa.func.count(t.instances.c.calling_ae_title.distinct()), sa.func.max(t.instances.c.received_at)
        ).where(
            t.instances.c.study_id == study.id,
            t.instances.c.kind == Kind.IMAGE,
            t.instances.c.received_at >= fetch.started_at,
        )
    ).one()
    news = [at for at in (study.news_at, newest_at) if at is not None]  # a study that was dispatched has no news
    return senders > 1 or (fetch.ended_at is not None and any(at > fetch.ended_at for at in news))


def _add(connection: sa.Connection, order: BackfillOrder, now: datetime, standing_for: str | None) -> int:
    inserted = connection.execute(
        p.backfills.insert().values(
            standing_for=standing_for,
            from_date=order.from_date,
            to_date=order.to_date,
            modalities=list(order.modalities),
            body_parts=list(order.body_parts),
            is_now=order.is_now,
            is_paused=False,
            opened_at=now,
        )
    )
    assert inserted.inserted_primary_key is not None  # noqa: S101 - one row was inserted
    number: int = inserted.inserted_primary_key[0]
    for source in order.sources:
        connection.execute(p.searches.insert().values(backfill_id=number, source=source, next_date=order.from_date))
    return number


def _go_on(connection: sa.Connection, search: Search) -> bool:
    """Let the next day be searched, and forget that this one was given up; False: settings began it anew meanwhile."""
    here = (p.searches.c.id == search.search_id, p.searches.c.next_date == search.next_date)
    moved = connection.execute(p.searches.update().where(*here).values(next_date=search.next_date + timedelta(days=1)))
    given_up = (p.worklist.c.backfill_id == search.backfill_id, p.worklist.c.study_instance_uid == _name_of_day(search))
    connection.execute(p.worklist.delete().where(*given_up))
    return moved.rowcount == 1


def _name_of_day(search: Search) -> str:
    """What stands on the list in place of a study where those of a whole day are not known."""
    return f"day {search.next_date} of search {search.search_id}"


def _may_go_on(is_open: bool) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [p.backfills.c.is_paused.is_(False)]
    return conditions if is_open else [*conditions, p.backfills.c.is_now]


def _listed_elsewhere(connection: sa.Connection, search: Search, study_instance_uid: str) -> int | None:
    """Another backfill that has fetched the same of the study, and all of it, or will."""
    rows = connection.execute(
        sa.select(p.worklist.c.backfill_id, p.backfills.c.modalities, p.backfills.c.body_parts)
        .join(p.backfills, p.backfills.c.id == p.worklist.c.backfill_id)
        .where(
            p.worklist.c.study_instance_uid == study_instance_uid,
            p.worklist.c.source == search.source,
            sa.or_(
                p.worklist.c.state == "fetching",
                sa.and_(p.worklist.c.state == "fetched", p.worklist.c.code == ""),
                sa.and_(p.worklist.c.state == "listed", p.backfills.c.is_paused.is_(False)),
            ),
        )
        .order_by(p.worklist.c.id)
    )
    wanted = (set(search.modalities), set(search.body_parts))
    return next((row.backfill_id for row in rows if (set(row.modalities), set(row.body_parts)) == wanted), None)


def _report(connection: sa.Connection, row: sa.Row[Any]) -> BackfillReport:
    of_it = p.worklist.c.backfill_id == row.id
    searches = connection.execute(p.searches.select().where(p.searches.c.backfill_id == row.id)).all()
    states = connection.execute(
        sa.select(p.worklist.c.state, sa.func.count()).where(of_it).group_by(p.worklist.c.state)
    ).all()
    reasons = connection.execute(
        sa.select(p.worklist.c.state, p.worklist.c.reason, sa.func.count())
        .where(of_it, p.worklist.c.reason != "")
        .group_by(p.worklist.c.state, p.worklist.c.reason)
        .order_by(sa.func.count().desc())
        .limit(_GROUPS)
    ).all()
    endings = connection.execute(
        sa.select(t.studies.c.ending, sa.func.count())
        .join(p.worklist, p.worklist.c.study_instance_uid == t.studies.c.study_instance_uid)
        .where(of_it, p.worklist.c.state == "fetched")
        .group_by(t.studies.c.ending)
    ).all()
    flagged = connection.execute(
        sa.select(t.runs.c.study_id)
        .where(t.runs.c.backfill_id == row.id, t.runs.c.is_flagged, t.runs.c.state == "ended")
        .order_by(t.runs.c.study_id)
        .distinct()
    ).scalars()
    return BackfillReport(
        backfill_id=row.id,
        standing_for=row.standing_for,
        from_date=row.from_date,
        to_date=row.to_date,
        modalities=tuple(row.modalities),
        body_parts=tuple(row.body_parts),
        is_now=row.is_now,
        is_paused=row.is_paused,
        opened_at=row.opened_at,
        next_dates={search.source: search.next_date for search in searches},
        states={found[0]: found[1] for found in states},
        reasons={(found[0], found[1]): found[2] for found in reasons},
        endings={found[0] or "in flight": found[1] for found in endings},
        flagged=tuple(flagged),
    )
