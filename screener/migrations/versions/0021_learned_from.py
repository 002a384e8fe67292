"""What the ultrasound models of a run learned from is kept with its finding: a hospital may train its own."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
_BEFORE = "The ultrasound model learned from lesions of the breast and the thyroid: from no parotid tumor."
"""What was said of every run until now."""


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("lesions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "learned_from",
                sa.Text(),
                nullable=False,
                server_default=_BEFORE,
                comment="a sentence: what the models learned from",
            )
        )
    with op.batch_alter_table("lesions", schema=None) as batch_op:
        batch_op.alter_column("learned_from", existing_type=sa.Text(), existing_nullable=False, server_default=None)


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("lesions", schema=None) as batch_op:
        batch_op.drop_column("learned_from")
