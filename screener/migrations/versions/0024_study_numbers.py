"""The number of a study is never given out again, in SQLite either: mails, links and the audit trail outlive it.

A server's sequence has never done otherwise. What was given out twice before stays as it is; the audit trail tells
how far the numbers had come at least.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put a table in the place of SQLite's that remembers the greatest number (sqlite.org/autoinc.html)."""
    bind = op.get_bind()
    if bind.dialect.name != "sqlite" or sa.inspect(bind).has_table("sqlite_sequence"):
        return
    with op.batch_alter_table("studies", recreate="always", table_kwargs={"sqlite_autoincrement": True}):
        pass
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'studies'")
    op.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'studies', max("
        "coalesce((SELECT max(id) FROM studies), 0), coalesce((SELECT max(study_id) FROM audit), 0))"
    )


def downgrade() -> None:
    """Leave the table as it is: earlier versions do with it, and its numbers are not forgotten."""
