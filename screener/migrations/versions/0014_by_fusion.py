"""Whether the probability of an ultrasound lesion is the fusion's.

That of a run which ended before is told as the image's; where a fusion gave it, its models' identity alone says so.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("lesions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "is_by_fusion",
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
                comment="true: the probability is the fusion's; false: the image's",
            )
        )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("lesions", schema=None) as batch_op:
        batch_op.drop_column("is_by_fusion")
