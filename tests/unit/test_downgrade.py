"""An installation that goes back to an earlier version keeps what its reports say, and nothing that was replaced."""

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig

from screener.store.engine import MIGRATIONS, migrate, open_engine
from tests.unit.test_upgrade import fill


def go_back(engine: sa.Engine, revision: str) -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_a_report_that_was_replaced_does_not_come_into_force_again(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/screener.sqlite")
    migrate(engine, "0018")
    fill(engine)
    insert = sa.text(
        "INSERT INTO mentions (study_id, source, sha256, at, verdict, sentence_number, sides, order_key, replaced_at)"
        " VALUES (1, 'hl7', :sha256, :at, 'mentioned', 1, 'left', '', :replaced_at)"
    )
    now = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM mentions"))
        connection.execute(insert, {"sha256": "a", "at": now, "replaced_at": now})
        connection.execute(insert, {"sha256": "b", "at": now, "replaced_at": None})
    go_back(engine, "0017")
    with engine.connect() as connection:
        query = sa.text("SELECT verdict, sentence_number, sides FROM mentions ORDER BY id")
        assert connection.execute(query).all() == [("not read", None, ""), ("mentioned", 1, "left")]
    engine.dispose()
