"""On which side a radiology report speaks of a parotid mass: the left one says nothing of a finding on the right."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the sides; what was read before told none."""
    with op.batch_alter_table("mentions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "sides",
                sa.String(length=16),
                nullable=False,
                server_default="",
                comment="right, left, left+right; empty where none is told",
            )
        )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("mentions", schema=None) as batch_op:
        batch_op.drop_column("sides")
