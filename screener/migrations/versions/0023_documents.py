"""Documents of others are found without a look at every image."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    here = sa.text("kind = 'document' AND expired_at IS NULL")
    op.create_index(
        "ix_instances_documents", "instances", ["sop_class_uid"], unique=False, sqlite_where=here, postgresql_where=here
    )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    op.drop_index("ix_instances_documents", table_name="instances")
