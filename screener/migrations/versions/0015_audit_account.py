"""Who acknowledges by a link stands in the audit trail by a mail address, which is longer than an account's name."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
_COMMENT = "its name, or whom a notice with a link went to"


def upgrade() -> None:
    """Widen the column."""
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.alter_column(
            "account",
            existing_type=sa.String(length=64),
            type_=sa.String(length=255),
            existing_nullable=False,
            comment=_COMMENT,
        )


def downgrade() -> None:
    """Cut what is longer, and narrow the column."""
    op.execute(sa.text("UPDATE audit SET account = substr(account, 1, 64)"))
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.alter_column(
            "account",
            existing_type=sa.String(length=255),
            type_=sa.String(length=64),
            existing_nullable=False,
            existing_comment=_COMMENT,
            comment=None,
        )
