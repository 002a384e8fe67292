"""The daemon with a sync of the disk taken out, to show that `durable` sees it: file, folder, database or all.

`python -m tests.chaos.without_fsync all run --config config.toml`
"""

import os
import stat
import sys
from typing import Any

import sqlalchemy as sa

from screener import __main__ as program

PARTS = ("all", "file", "folder", "database")


def take_out(what: str) -> None:
    """Let the syncs of `what` do nothing in this process."""
    sync = os.fsync

    def skip(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if what not in {"all", "folder" if is_folder else "file"}:
            sync(descriptor)

    os.fsync = os.fdatasync = skip  # type: ignore[assignment]
    if what in {"all", "database"}:
        sa.event.listen(sa.pool.Pool, "checkout", _relax)


def _relax(connection: Any, *_: object) -> None:
    """Let commits of this connection not wait for the disk; at each checkout, after the product's own settings."""
    is_sqlite = type(connection).__module__.startswith("sqlite3")
    connection.execute("PRAGMA synchronous=OFF" if is_sqlite else "SET synchronous_commit = off")


if __name__ == "__main__":
    take_out(sys.argv[1])
    sys.exit(program.main(sys.argv[2:]))
