"""Confirmation of deliveries, storage commitment, and what has expired.

A delivery that an earlier version called "sent" ended its study: it is
delivered, and nobody was asked. A study's time to be kept runs from its last
step, where it has ended before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables, and bring the rows of earlier versions up to date."""
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "ended_at",
                sa.DateTime(timezone=True),
                nullable=True,
                comment="when it last reached an ending; its time to be kept runs from here",
            )
        )
        batch_op.create_index(batch_op.f("ix_studies_ended_at"), ["ended_at"], unique=False)
    for table in ("instances", "results"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(
                sa.Column(
                    "expired_at",
                    sa.DateTime(timezone=True),
                    nullable=True,
                    comment="set before the file is removed; null while the file is there",
                )
            )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "confirm_attempts",
                sa.Integer(),
                nullable=False,
                server_default="0",
                comment="times it was asked for since it was sent",
            )
        )
        batch_op.add_column(sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column(
                "confirmed_by",
                sa.String(length=16),
                nullable=False,
                server_default="",
                comment="find, commitment or none",
            )
        )
        batch_op.alter_column(
            "state",
            existing_type=sa.String(length=16),
            existing_nullable=False,
            comment="owed, sent (answered with Success), delivered (confirmed), given up or superseded",
            existing_comment="owed, sent or given up",
        )
    op.execute(
        "UPDATE deliveries SET state = 'delivered', delivered_at = sent_at, confirmed_by = 'none' WHERE state = 'sent'"
    )
    op.execute(
        "UPDATE studies SET ended_at = "
        "coalesce((SELECT max(at) FROM steps WHERE steps.study_id = studies.id), received_at) "
        "WHERE ending IS NOT NULL"
    )
    op.create_table(
        "commitments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("committed", sa.JSON(), nullable=False, comment="SOP Instance UIDs that the PACS has committed to"),
        sa.Column("failed", sa.JSON(), nullable=False, comment="SOP Instance UID to failure reason"),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_commitments_delivery_id_deliveries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitments")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitments_transaction_uid")),
        comment="storage commitment that we asked of a PACS: written before it is asked, answered when the PACS likes",
    )
    with op.batch_alter_table("commitments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitments_delivery_id"), ["delivery_id"], unique=False)
    op.create_table(
        "commitment_reports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("ae_title", sa.String(length=16), nullable=False, comment="of the sender that asked"),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("instances", sa.JSON(), nullable=False, comment="pairs of SOP Class and SOP Instance UID"),
        sa.Column("state", sa.String(length=16), nullable=False, comment="owed, sent or given up"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owed_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_reports")),
        comment="storage commitment that a sender asked of us, and the report that it is owed",
    )
    with op.batch_alter_table("commitment_reports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitment_reports_state"), ["state"], unique=False)


def downgrade() -> None:
    """Remove what `upgrade` added."""
    op.drop_table("commitment_reports")
    op.drop_table("commitments")
    op.execute("UPDATE deliveries SET state = 'sent' WHERE state = 'delivered'")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.alter_column(
            "state",
            existing_type=sa.String(length=16),
            existing_nullable=False,
            comment="owed, sent or given up",
            existing_comment="owed, sent (answered with Success), delivered (confirmed), given up or superseded",
        )
        batch_op.drop_column("confirmed_by")
        batch_op.drop_column("delivered_at")
        batch_op.drop_column("confirm_attempts")
    for table in ("results", "instances"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("expired_at")
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_studies_ended_at"))
        batch_op.drop_column("ended_at")
