"""By which protocol the images of a study were made; of studies that were read before it is not known."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("scanners", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "protocol",
                sa.String(length=64),
                nullable=False,
                server_default="",
                comment="Protocol Name (0018,1030)",
            )
        )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("scanners", schema=None) as batch_op:
        batch_op.drop_column("protocol")
