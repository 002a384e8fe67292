"""A study that is sent again is kept from then on: its row says when."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "last_came_at",
                sa.DateTime(timezone=True),
                nullable=True,
                comment="when something last came that reopens nothing, to the minute; kept as if it had ended then",
            )
        )


def downgrade() -> None:
    """Drop the column, in place: a table made anew would give numbers out again in SQLite."""
    op.execute("ALTER TABLE studies DROP COLUMN last_came_at")
