"""What people say of a finding: who has taken note of it, and what they think of it."""

import sqlalchemy as sa
from alembic import op

from screener.store.tables import Instant

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "acknowledgements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False, comment="the first to answer counts"),
        sa.Column(
            "finding", sa.String(length=64), nullable=False, comment="where it flagged something, such as left+right"
        ),
        sa.Column(
            "by", sa.String(length=255), nullable=False, comment="an account's name or the address of a recipient"
        ),
        sa.Column("how", sa.String(length=16), nullable=False, comment="web, mail or earlier run"),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_acknowledgements_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_acknowledgements_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acknowledgements")),
        sa.UniqueConstraint("run_id", name=op.f("uq_acknowledgements_run_id")),
        comment="flagged runs that a person has taken note of; one that is in it escalates no more",
    )
    with op.batch_alter_table("acknowledgements", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_acknowledgements_study_id"), ["study_id"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="agree, disagree, reported or comment"),
        sa.Column("by", sa.String(length=255), nullable=False, comment="an account's name"),
        sa.Column(
            "text", sa.Text(), nullable=False, comment="the reason or the comment; people may name a patient in it"
        ),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_reviews_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_reviews_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        comment="what people think of a run's decision; none is changed, of each person's answers the newest counts",
    )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reviews_study_id"), ["study_id"], unique=False)


def downgrade() -> None:
    """Remove what `upgrade` added."""
    op.drop_table("reviews")
    op.drop_table("acknowledgements")
