"""What may go: first the row says so, then the file is removed, and what a crash leaves in between is swept."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import sqlalchemy as sa

from screener.journey import Ending
from screener.store import tables as t
from screener.store.base import DISCARDED, Base, add_step, end_study, lock_study
from screener.store.engine import reading
from screener.store.values import Receipt

EXPIRED = "expired"
ARRIVING = timedelta(minutes=15)
"""So long after something came of a study it is not removed for want of room: the rest may be on its way."""
REMOVED_SINCE = " The file has been removed since."


def _owes_nothing() -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions on a study that is over: ended, not for a person to look at, no work in hand, nothing owed.

    What may still be passed on, as nobody has answered, is owed too: whoever hears of it next is told whose it is.
    """

    def has(table: sa.Table, *states: str) -> sa.ColumnElement[bool]:
        return sa.exists().where(table.c.study_id == t.studies.c.id, table.c.state.in_(states))

    return (
        t.studies.c.ending.in_([Ending.DONE, Ending.SET_ASIDE]),
        t.studies.c.news_since_at.is_(None),
        ~has(t.runs, "waiting", "running"),
        ~has(t.deliveries, "owed", "sent"),
        ~has(t.notices, "owed"),
        ~sa.exists().where(t.notices.c.study_id == t.studies.c.id, t.notices.c.escalate_at.is_not(None)),
    )


def _nothing_came_since(moment: datetime) -> sa.ColumnElement[bool]:
    """True: of the study, which is over, nothing has come again since."""
    return sa.or_(t.studies.c.last_came_at.is_(None), t.studies.c.last_came_at <= moment)


_KEPT_SINCE = sa.case(
    (t.studies.c.last_came_at > t.studies.c.ended_at, t.studies.c.last_came_at), else_=t.studies.c.ended_at
)
"""When the time of a study to be kept began."""


def _has_files(table: sa.Table) -> sa.ColumnElement[bool]:
    """True: the study has files of this kind (instances or results) that have not expired."""
    return sa.exists().where(_is_of(table, t.studies.c.id), table.c.expired_at.is_(None))


def _is_of(table: sa.Table, study_id: int | sa.Column[int]) -> sa.ColumnElement[bool]:
    """True for a row of `table` (instances or results) that belongs to the study."""
    if "study_id" in table.c:
        return table.c.study_id == study_id
    return table.c.run_id.in_(_runs_of(study_id))


def _runs_of(study_id: int | sa.Column[int]) -> sa.Select[tuple[int]]:
    return sa.select(t.runs.c.id).where(t.runs.c.study_id == study_id).correlate(t.studies)


def _named(
    connection: sa.Connection, table: sa.Table, paths: Collection[str], *where: sa.ColumnElement[bool]
) -> set[str]:
    """Those of `paths` that a row of `table` names for which `where` holds."""
    return set(connection.execute(sa.select(table.c.path).where(table.c.path.in_(paths), *where)).scalars())


class Retention(Base):
    """Expiry of received files, of results and of history; never of unfinished work, nor of what failed."""

    def expirable_studies(self, table: sa.Table, ended_before: datetime, limit: int = 100) -> list[int]:
        """Studies that ended by then and owe nothing, with files in `table` (instances or results); oldest first.

        One that was sent again counts as if it had ended then, and not before the rest of it may have come.
        """
        is_long_over = t.studies.c.ended_at <= ended_before, _nothing_came_since(ended_before - ARRIVING)
        with self._begin() as connection:
            query = (
                sa.select(t.studies.c.id)
                .where(*is_long_over, *_owes_nothing(), _has_files(table))
                .order_by(_KEPT_SINCE, t.studies.c.id)
            )
            return list(connection.execute(query.limit(limit)).scalars())

    def expire_files(self, study_id: int, table: sa.Table, *, why: str, now: datetime) -> list[str]:
        """Mark a study's files in `table` as expired; returns their paths, none where the study is not over after all.

        The files are removed afterwards, by `remove_expired`.
        """
        with self._begin() as connection:
            lock_study(connection, study_id)
            is_calm = _nothing_came_since(now - ARRIVING)
            is_over = sa.select(t.studies.c.id).where(t.studies.c.id == study_id, is_calm, *_owes_nothing())
            if connection.execute(is_over).first() is None:
                return []
            live = (_is_of(table, study_id), table.c.expired_at.is_(None))
            paths = list(connection.execute(sa.select(table.c.path).where(*live)).scalars())
            if paths:
                connection.execute(table.update().where(*live).values(expired_at=now))
                what = "received" if table is t.instances else "result"
                sentence = f"{len(paths)} {what} file(s) are removed: {why}"
                add_step(connection, study_id=study_id, run_id=None, at=now, stage=EXPIRED, sentence=sentence)
        return paths

    def remove_expired(
        self, table: sa.Table, study_id: int, paths: Collection[str], remove: Callable[[str], bool]
    ) -> int:
        """Call `remove` for those of `paths` whose rows in `table` are expired still; returns how many it removed.

        An image that has come again since has a live row in the expired one's place, and keeps its file; one whose
        row is not committed yet misses it, as below. Left is what a row that was forgotten meanwhile named: the sweep
        finds it.
        """
        with self._hold_rows(table) as connection:
            found = _named(connection, table, paths, _is_of(table, study_id), table.c.expired_at.is_not(None))
            return sum(remove(path) for path in paths if path in found)

    def find_unreferenced(self, table: sa.Table, begin: str, paths: Collection[str]) -> list[str]:
        """Those of `paths` that no live row of `table` names at this moment; they all begin with `begin`.

        It reads the whole table and keeps nobody from writing: cheap for very many paths, and no index of them has to
        be kept for every image that comes.
        """
        named = (table.c.path.startswith(begin, autoescape=True), table.c.expired_at.is_(None))
        with reading(self.engine).begin() as connection:
            return sorted(set(paths).difference(connection.execute(sa.select(table.c.path).where(*named)).scalars()))

    def remove_unreferenced(self, table: sa.Table, paths: Collection[str], remove: Callable[[str], bool]) -> int:
        """Call `remove` for each of `paths` that no live row of `table` names; returns how many it removed.

        While it does, no row of `table` can be committed: a file that is
        written anew at this moment is missed by its writer, who looks for it
        after its row, or its row is seen here. It takes as long as the table is long: meant for the few that
        `find_unreferenced` gives.
        """
        if not paths:
            return 0
        with self._hold_rows(table) as connection:
            live = _named(connection, table, paths, table.c.expired_at.is_(None))
            return sum(remove(path) for path in paths if path not in live)

    @contextmanager
    def _hold_rows(self, table: sa.Table) -> Iterator[sa.Connection]:
        """Begin a transaction beside which no row of `table` can be committed."""
        with self._begin() as connection:  # on SQLite this holds the write lock
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE MODE")
            yield connection

    def give_up_aside(self, paths: Sequence[str], taken_before: datetime) -> list[str]:
        """Write down that files kept aside are removed; returns those that may be, which the caller then removes.

        Other content of an image was answered with Success: it stays while received files of its study are there,
        and goes only where it was taken before that moment.
        """
        lives = sa.exists().where(
            t.studies.c.study_instance_uid == t.oddities.c.study_instance_uid, _has_files(t.instances)
        )
        is_needed = sa.or_(lives, t.oddities.c.at > taken_before)
        named = t.oddities.c.path.in_(paths)
        with self._begin() as connection:
            taken = sa.select(t.oddities.c.path).where(named, t.oddities.c.code == Receipt.CONFLICT, is_needed)
            kept = set(connection.execute(taken).scalars())
            gone = [path for path in paths if path not in kept]
            connection.execute(
                t.oddities.update()
                .where(t.oddities.c.path.in_(gone))
                .values(path="", reason=t.oddities.c.reason + REMOVED_SINCE)
            )
        return gone

    def forget_studies(self, ended_before: datetime, limit: int = 100) -> int:
        """Delete every row of studies that ended by then, owe nothing and have no file left; returns how many."""
        with self._begin() as connection:
            query = (
                sa.select(t.studies.c.id, t.studies.c.study_instance_uid)
                .where(
                    t.studies.c.ended_at <= ended_before,
                    _nothing_came_since(ended_before),
                    *_owes_nothing(),
                    ~_has_files(t.instances),
                    ~_has_files(t.results),
                )
                .order_by(t.studies.c.ended_at, t.studies.c.id)
            )
            found = connection.execute(query.limit(limit)).all()
        return sum(self._forget(row.id, row.study_instance_uid) for row in found)

    def _forget(self, study_id: int, study_instance_uid: str) -> bool:
        with self._begin() as connection:
            lock_study(connection, study_id)
            is_over = (t.studies.c.id == study_id, *_owes_nothing(), ~_has_files(t.instances), ~_has_files(t.results))
            if connection.execute(sa.select(t.studies.c.id).where(*is_over)).first() is None:
                return False
            runs = _runs_of(study_id)
            parents: dict[str, sa.Select[tuple[int]]] = {
                "studies": sa.select(t.studies.c.id).where(t.studies.c.id == study_id),
                "runs": runs,
                "deliveries": sa.select(t.deliveries.c.id).where(t.deliveries.c.run_id.in_(runs)),
            }
            for table in reversed(t.metadata.sorted_tables):  # what refers to a row goes before it
                for key in table.foreign_keys:
                    if key.column.table.name in parents:
                        connection.execute(table.delete().where(key.parent.in_(parents[key.column.table.name])))
            connection.execute(
                t.oddities.delete().where(
                    t.oddities.c.study_instance_uid == study_instance_uid, t.oddities.c.path == ""
                )
            )
            connection.execute(t.studies.delete().where(t.studies.c.id == study_id))
        return True

    def forget_reports(self, owed_before: datetime) -> int:
        """Delete storage commitment reports that were sent or given up."""
        old = (t.commitment_reports.c.state != "owed", t.commitment_reports.c.owed_since <= owed_before)
        with self._begin() as connection:
            return connection.execute(t.commitment_reports.delete().where(*old)).rowcount

    def discard(self, study_id: int, now: datetime) -> bool:
        """Set a failed study aside at a person's word, so that it may expire; False where it has not failed."""
        with self._begin() as connection:
            study = lock_study(connection, study_id)
            if study.ending != Ending.FAILED or study.news_since_at is not None:
                return False
            reason = f"a person discarded it; it had failed: {study.reason}"
            add_step(connection, study_id=study_id, run_id=None, at=now, stage=Ending.SET_ASIDE, sentence=reason)
            end_study(connection, study_id=study_id, ending=Ending.SET_ASIDE, code=DISCARDED, reason=reason, now=now)
        return True
