"""A reader's findings on ultrasound: what they are for, what they came to, and those that a person has entered.

A run that ended before knew of none.
"""

import sqlalchemy as sa
from alembic import op

from screener.store.tables import Instant

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the setting to the runs, the combination to the lesions, and the table."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "us_findings", sa.String(length=8), nullable=False, server_default="report", comment="report or decide"
            )
        )
    with op.batch_alter_table("lesions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "combined_probability",
                sa.Float(),
                nullable=True,
                comment="with a reader's findings; null where one is missing",
            )
        )
        batch_op.add_column(
            sa.Column(
                "is_by_findings",
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
                comment="true: the combined probability decided",
            )
        )
        batch_op.add_column(
            sa.Column(
                "findings",
                sa.JSON(),
                nullable=False,
                server_default="{}",
                comment="us_study.Finding to true or false; none that is not known",
            )
        )
        batch_op.add_column(
            sa.Column(
                "findings_reason",
                sa.Text(),
                nullable=False,
                server_default="",
                comment="where they come from, and what they come to",
            )
        )
    op.create_table(
        "entered_findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.Column(
            "entered_by",
            sa.String(length=64),
            nullable=False,
            comment="the person at the keyboard, never the patient",
        ),
        sa.Column(
            "findings",
            sa.JSON(),
            nullable=False,
            comment="us_study.Finding to true, false or null (not known)",
        ),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_entered_findings_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entered_findings")),
        comment="ultrasound: findings that a person has entered; none is changed, of each finding the newest counts",
    )
    with op.batch_alter_table("entered_findings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_entered_findings_study_id"), ["study_id"], unique=False)


def downgrade() -> None:
    """Remove what `upgrade` added."""
    op.drop_table("entered_findings")
    with op.batch_alter_table("lesions", schema=None) as batch_op:
        for column in ("findings_reason", "findings", "is_by_findings", "combined_probability"):
            batch_op.drop_column(column)
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("us_findings")
