"""Which images a run was opened for.

A run opened before knows no newest image, and reads all that are there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the newest image to the runs."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "newest_instance_id",
                sa.Integer(),
                nullable=True,
                comment="newest image that it was opened for; null: it reads all that are there",
            )
        )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("newest_instance_id")
