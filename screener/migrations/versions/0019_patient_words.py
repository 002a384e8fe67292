"""By which a study is found for its patient: keyed digests; the pages read them of what is here, a few at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "patient_words",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False, comment="keyed; empty once for every study read"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_patient_words_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", "digest", name=op.f("pk_patient_words")),
        comment="by which a study is found for its patient, without saying whose it is",
    )
    with op.batch_alter_table("patient_words", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_patient_words_digest"), ["digest"], unique=False)


def downgrade() -> None:
    """Remove what `upgrade` added."""
    op.drop_table("patient_words")
