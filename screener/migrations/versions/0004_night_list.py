"""The night list: backfills, their searches and studies, the priority of runs, and digests.

Every run and notice of an earlier version was of daytime work. The columns
added to them name rows of the new tables without a foreign key: SQLite would
have to build both tables anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and the columns that tell a backfill's runs and notices from the others."""
    op.create_table(
        "backfills",
        sa.Column("id", sa.Integer(), nullable=False, comment="the number that `screener backfill` prints"),
        sa.Column(
            "standing_for",
            sa.String(length=64),
            nullable=True,
            comment="the source whose from_date asks for it; null when ordered",
        ),
        sa.Column("from_date", sa.Date(), nullable=False),
        sa.Column("to_date", sa.Date(), nullable=True, comment="null means up to yesterday, night after night"),
        sa.Column("modalities", sa.JSON(), nullable=False, comment="empty means those of the source"),
        sa.Column("body_parts", sa.JSON(), nullable=False, comment="empty means those of the source"),
        sa.Column("is_now", sa.Boolean(), nullable=False, comment="true: the window does not hold it back"),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfills")),
        sa.UniqueConstraint("standing_for", name=op.f("uq_backfills_standing_for")),
    )
    op.create_table(
        "searches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backfill_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("next_date", sa.Date(), nullable=False, comment="the first study date that was not asked for yet"),
        sa.ForeignKeyConstraint(["backfill_id"], ["backfills.id"], name=op.f("fk_searches_backfill_id_backfills")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searches")),
        sa.UniqueConstraint("backfill_id", "source", name=op.f("uq_searches_backfill_id_source")),
        comment="how far a source has been searched for a backfill, one study date after the other",
    )
    op.create_table(
        "worklist",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backfill_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.Date(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="listed, fetching, fetched, skipped, failed"),
        sa.Column("code", sa.String(length=64), nullable=False, comment="a short word for the reason"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("was_known", sa.Boolean(), nullable=False, comment="received before the first fetch began"),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), nullable=True, comment="when its images were first asked for"
        ),
        sa.Column(
            "ended_at", sa.DateTime(timezone=True), nullable=True, comment="when it was fetched, skipped or failed"
        ),
        sa.ForeignKeyConstraint(["backfill_id"], ["backfills.id"], name=op.f("fk_worklist_backfill_id_backfills")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worklist")),
        sa.UniqueConstraint(
            "backfill_id", "study_instance_uid", name=op.f("uq_worklist_backfill_id_study_instance_uid")
        ),
        comment="the past studies of a backfill, and what became of fetching each",
    )
    for column in ("study_instance_uid", "state", "started_at"):
        op.create_index(op.f(f"ix_worklist_{column}"), "worklist", [column])
    op.create_table(
        "digests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False, comment="the local date on which it became due"),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("recipient", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="owed, sent or superseded"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owed_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_digests")),
        sa.UniqueConstraint("night", "channel", "recipient", name=op.f("uq_digests_night_channel_recipient")),
        comment="one message a night for all that a recipient must hear of backfills; its notices name it",
    )
    op.create_index(op.f("ix_digests_state"), "digests", ["state"])
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "priority",
                sa.Integer(),
                nullable=False,
                server_default="0",
                comment="0 first: daytime work; 1: past studies",
            )
        )
        batch_op.add_column(
            sa.Column(
                "backfill_id",
                sa.Integer(),
                nullable=True,
                comment="the backfill that fetched the study; null in daytime",
            )
        )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "is_in_digest",
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
                comment="true: told in a digest, never alone",
            )
        )
        batch_op.add_column(sa.Column("digest_id", sa.Integer(), nullable=True, comment="the digest that tells it"))
        batch_op.create_index(batch_op.f("ix_notices_digest_id"), ["digest_id"], unique=False)


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_notices_digest_id"))
        batch_op.drop_column("digest_id")
        batch_op.drop_column("is_in_digest")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("backfill_id")
        batch_op.drop_column("priority")
    for table in ("digests", "worklist", "searches", "backfills"):
        op.drop_table(table)
