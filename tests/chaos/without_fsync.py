"""The daemon with a sync of the disk taken out, to show that `durable` sees it: file, folder, database or all.

`python -m tests.chaos.without_fsync all run --config config.toml`
"""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from screener import __main__ as program

PARTS = ("all", "file", "folder", "database")


def take_out(what: str) -> None:
    """Let the syncs of `what` do nothing in this process."""
    sync = os.fsync

    def skip(descriptor: int) -> None:
        if what not in {"all", _part_of(descriptor)}:
            sync(descriptor)

    os.fsync = os.fdatasync = skip  # type: ignore[assignment]
    if what in {"all", "database"}:
        sa.event.listen(sa.pool.Pool, "checkout", _relax)


def _part_of(descriptor: int) -> str:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        return "folder"
    is_log = str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith("-wal")  # SQLite's write-ahead log
    return "database" if is_log else "file"


def _relax(connection: Any, *_: object) -> None:
    """Let commits of this connection not wait for the disk; at each checkout, after the product's own settings."""
    is_sqlite = type(connection).__module__.startswith("sqlite3")
    connection.execute("PRAGMA synchronous=OFF" if is_sqlite else "SET synchronous_commit = off")


if __name__ == "__main__":
    take_out(sys.argv[1])
    sys.exit(program.main(sys.argv[2:]))
