"""On which picture the lesion lay that a person saw who entered findings.

Of entries that were made before it is not known; they count of any lesion, as they did.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("entered_findings", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "sop_instance_uid",
                sa.String(length=64),
                nullable=False,
                server_default="",
                comment="of the lesion's picture when it was entered; empty where none was outlined",
            )
        )
        batch_op.add_column(sa.Column("frame_number", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("entered_findings", schema=None) as batch_op:
        batch_op.drop_column("frame_number")
        batch_op.drop_column("sop_instance_uid")
