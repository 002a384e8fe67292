"""Scores of candidates and coverage of glands.

A run opened before had no cut-off: its candidates were judged by size alone,
which is what a cut-off of 0 says, and 0.4 of a gland was the least that was
searched. Candidates stored before keep their rows: without features and
scores they are judged by size alone in a replay as well.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the settings to the runs and the coverage to the glands."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("gamma", sa.Integer(), nullable=False, server_default="5"))
        batch_op.add_column(sa.Column("min_score", sa.Float(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("min_covered_share", sa.Float(), nullable=False, server_default="0.4"))
    with op.batch_alter_table("glands", schema=None) as batch_op:
        batch_op.add_column(sa.Column("covered_share", sa.Float(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("is_partial", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("glands", schema=None) as batch_op:
        batch_op.drop_column("is_partial")
        batch_op.drop_column("covered_share")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("min_covered_share")
        batch_op.drop_column("min_score")
        batch_op.drop_column("gamma")
