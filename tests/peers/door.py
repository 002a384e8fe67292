"""A listener on the real store and disk, and a scanner that stands before it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from screener.archive import Archive
from screener.config import Listener as ListenerSettings
from screener.receive import Listener
from screener.store import Store
from screener.store.tables import instances
from tests.peers.scanner import Scanner
from tests.peers.stores import open_new_store

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Door:
    """Made by `open_door`."""

    def __init__(
        self, folder: Path, settings: ListenerSettings, reserve_bytes: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.archive = Archive(folder / "var", reserve_bytes)
        self.store: Store = open_new_store(f"sqlite:///{folder / 'screener.sqlite'}")
        self.listener = Listener(settings, self.archive, self.store, lambda: NOW, tls=tls)

    @property
    def scanner(self) -> Scanner:
        return Scanner(self.listener.port)

    def rows(self) -> dict[str, sa.Row[tuple[object, ...]]]:
        with self.store.engine.connect() as connection:
            return {row.sop_instance_uid: row for row in connection.execute(sa.select(instances))}

    def files(self, part: str = "") -> list[Path]:
        return sorted(path for path in (self.archive.folder / part).rglob("*") if path.is_file())

    def oddities(self) -> list[tuple[str, str]]:
        return [(line.code, line.path) for line in self.store.latest_oddities()]


@contextmanager
def open_door(
    folder: Path, *, reserve_bytes: int = 0, tls: ssl.SSLContext | None = None, **settings: object
) -> Iterator[Door]:
    """Listen on a port of the system's choice, with `settings` of [listener]."""
    folder.mkdir(exist_ok=True)
    door = Door(folder, ListenerSettings(port=0, **settings), reserve_bytes, tls)  # type: ignore[arg-type]
    door.listener.start()
    try:
        yield door
    finally:
        door.listener.stop()
        door.store.engine.dispose()
