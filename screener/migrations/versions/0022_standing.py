"""What stands beside a run is settled when it is finished; of earlier runs it is worked out whenever it is asked."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "standing",
                sa.JSON(),
                nullable=True,
                comment="place to the row of the run whose finding stands beside this one",
            )
        )


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("standing")
