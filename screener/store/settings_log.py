"""What the settings were, when they were changed, and what a running daemon did not take over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from screener.show_config import Change
from screener.store import govern_tables as g
from screener.store.base import Base


class SettingsEvent(StrEnum):
    """What happened to the settings."""

    START = "start"
    """A daemon started with others than the last."""
    CHANGE = "change"
    """The file was changed while the daemon ran."""
    REFUSED = "refused"
    """The file was changed and is wrong: what was in force stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsLine:
    """One entry of the log."""

    at: datetime
    kind: SettingsEvent
    revision: str
    """Of the decision settings in force from then on."""
    file_sha256: str
    changes: tuple[Change, ...]
    """What came into force."""
    waits: tuple[Change, ...]
    """What stands in the file and needs a restart."""
    problem: str
    """Why the file was refused, a line per key; empty where it was not."""
    settings: Mapping[str, str]
    """All that was in force then, secrets masked."""


class SettingsLog(Base):
    """Rows are only ever added."""

    def add_settings_line(self, line: SettingsLine) -> None:
        """Keep one event."""
        values = {
            "at": line.at,
            "kind": line.kind,
            "revision": line.revision,
            "file_sha256": line.file_sha256,
            "changes": [_as_json(change) for change in line.changes],
            "waits": [_as_json(change) for change in line.waits],
            "problem": line.problem,
            "settings": dict(line.settings),
        }
        with self._begin() as connection:
            connection.execute(g.settings_log.insert().values(values))

    def settings_lines(self, limit: int = 50) -> Sequence[SettingsLine]:
        """The newest events, newest first."""
        with self._begin() as connection:
            rows = connection.execute(g.settings_log.select().order_by(g.settings_log.c.id.desc()).limit(limit)).all()
        return [_line(row) for row in rows]

    def revision_since(self) -> datetime | None:
        """Since when the revision in force has been so without interruption; None before the first daemon."""
        log = g.settings_log.c
        newest = sa.select(log.revision).order_by(log.id.desc()).limit(1).scalar_subquery()
        others = sa.select(sa.func.max(log.id)).where(log.revision != newest).scalar_subquery()
        query = sa.select(log.at).where(log.id > sa.func.coalesce(others, 0)).order_by(log.id).limit(1)
        with self._begin() as connection:
            return connection.execute(query).scalar_one_or_none()

    def values_since(self) -> dict[str, datetime]:
        """Since when each setting in force has had its value without interruption, by key."""
        log = g.settings_log.c
        last = self.last_settings_line()
        with self._begin() as connection:
            rows = connection.execute(sa.select(log.at, log.changes).order_by(log.id)).all()
        if last is None:
            return {}
        since = dict.fromkeys(last.settings, rows[0].at)
        since.update((change["key"], row.at) for row in rows for change in row.changes)
        return since

    def last_settings_line(self) -> SettingsLine | None:
        """The newest event; None before the first daemon of this version has started."""
        return next(iter(self.settings_lines(1)), None)


def _as_json(change: Change) -> dict[str, str]:
    return {"key": change.key, "before": change.before, "after": change.after}


def _line(row: sa.Row[Any]) -> SettingsLine:
    return SettingsLine(
        at=row.at,
        kind=SettingsEvent(row.kind),
        revision=row.revision,
        file_sha256=row.file_sha256,
        changes=tuple(Change(**change) for change in row.changes),
        waits=tuple(Change(**change) for change in row.waits),
        problem=row.problem,
        settings=row.settings,
    )
