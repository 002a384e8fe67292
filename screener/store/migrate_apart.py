"""Brings the schema up to date in another process: Alembic takes 11 MiB that a daemon has no use for afterwards."""

import subprocess
import sys

import sqlalchemy as sa

from screener.store.engine import MIGRATIONS, migrate, open_engine

MIGRATE = f"from {__name__} import migrate_here; migrate_here()"


def migrate_here() -> None:
    """Bring the schema up to date of the database whose address comes on standard input."""
    migrate(open_engine(sys.stdin.read()))


def migrate_in_child(engine: sa.Engine) -> None:
    """Bring the schema up to date without loading Alembic here.

    What the other process cannot do is tried in this one, so that whatever it raises is raised here.
    """
    if _is_current(engine):
        return
    url = engine.url.render_as_string(hide_password=False)
    # The address may hold a password: arguments and environment are there for others to read, a pipe is not.
    command = [sys.executable, "-c", MIGRATE]
    if subprocess.run(command, input=url, text=True, capture_output=True, check=False).returncode:
        migrate(engine)


def _is_current(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return False
        revisions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    newest = max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    return revisions == [newest]
