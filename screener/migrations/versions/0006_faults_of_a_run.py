"""How often a run ended its worker or its own attempt: counted apart from faults outside the study.

A run opened before begins at none: what its attempts were lost to is not known.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the count to the runs."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "failures",
                sa.Integer(),
                nullable=False,
                server_default="0",
                comment="attempts that killed the worker or ended in an unexpected error",
            )
        )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("failures")
