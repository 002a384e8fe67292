"""Radiology reports that come by HL7: kept until their study comes, and replaced by what corrects them."""

import sqlalchemy as sa
from alembic import op

from screener.store.tables import Instant

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
_COMMENTS = (
    ("source", 16, ("file or document", "file, document or hl7")),
    (
        "sha256",
        64,
        ("of the file or document, which is how it is known", "of what held the text, which is how it is known"),
    ),
)


def upgrade() -> None:
    """Add the tables, and the columns by which a corrected report finds what it replaces."""
    with op.batch_alter_table("mentions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "order_key",
                sa.String(length=64),
                nullable=False,
                server_default="",
                comment="hl7: what a corrected report replaces",
            )
        )
        batch_op.add_column(
            sa.Column(
                "replaced_at",
                Instant(timezone=True),
                nullable=True,
                comment="when a corrected report took its place; null while it is in force",
            )
        )
        for name, length, (before, after) in _COMMENTS:
            batch_op.alter_column(
                name,
                existing_type=sa.String(length=length),
                existing_nullable=False,
                existing_comment=before,
                comment=after,
            )
    op.create_table(
        "orders",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "accession_key", sa.String(length=64), nullable=False, comment="keyed digest; empty where none is told"
        ),
        sa.Column(
            "patient_key", sa.String(length=64), nullable=False, comment="keyed digest; empty where none is told"
        ),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_orders_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_orders")),
        comment="by which a report finds its study, without saying whose it is",
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_orders_accession_key"), ["accession_key"], unique=False)
    op.create_table(
        "sent_reports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("accession_key", sa.String(length=64), nullable=False, comment="keyed digest, as that of orders"),
        sa.Column(
            "patient_keys", sa.Text(), nullable=False, comment="keyed digests, joined by +; empty where none is told"
        ),
        sa.Column("order_key", sa.String(length=64), nullable=False, comment="what a corrected report replaces"),
        sa.Column("status", sa.String(length=16), nullable=False, comment="final, corrected or withdrawn"),
        sa.Column("verdict", sa.String(length=16), nullable=False, comment="as in mentions"),
        sa.Column("sentence_number", sa.Integer(), nullable=True),
        sa.Column("sides", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="of the message and the report's place"),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sent_reports")),
        sa.UniqueConstraint("sha256", name=op.f("uq_sent_reports_sha256")),
        comment="radiology reports that came by HL7, kept for studies that come later; their text is not kept",
    )
    with op.batch_alter_table("sent_reports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sent_reports_accession_key"), ["accession_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_sent_reports_at"), ["at"], unique=False)


def downgrade() -> None:
    """Remove what `upgrade` added; reports that were replaced stay out of force, as documents that are none."""
    mentions = sa.table(
        "mentions", *(sa.column(name) for name in ("verdict", "sentence_number", "sides", "replaced_at"))
    )
    nothing = {"verdict": "not read", "sentence_number": None, "sides": ""}
    op.execute(mentions.update().where(mentions.c.replaced_at.is_not(None)).values(nothing))
    op.drop_table("sent_reports")
    op.drop_table("orders")
    with op.batch_alter_table("mentions", schema=None) as batch_op:
        for name, length, (before, after) in _COMMENTS:
            batch_op.alter_column(
                name,
                existing_type=sa.String(length=length),
                existing_nullable=False,
                existing_comment=after,
                comment=before,
            )
        batch_op.drop_column("replaced_at")
        batch_op.drop_column("order_key")
