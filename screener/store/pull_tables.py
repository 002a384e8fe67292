"""The tables of the night list: backfills, what is still to be searched for them, and the studies found."""

import sqlalchemy as sa

from screener.store.tables import UID, Instant, metadata

backfills = sa.Table(
    "backfills",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, comment="the number that `screener backfill` prints"),
    sa.Column(
        "standing_for", sa.String(64), unique=True, comment="the source whose from_date asks for it; null when ordered"
    ),
    sa.Column("from_date", sa.Date, nullable=False),
    sa.Column("to_date", sa.Date, comment="null means up to yesterday, night after night"),
    sa.Column("modalities", sa.JSON, nullable=False, comment="empty means those of the source"),
    sa.Column("body_parts", sa.JSON, nullable=False, comment="empty means those of the source"),
    sa.Column("is_now", sa.Boolean, nullable=False, comment="true: the window does not hold it back"),
    sa.Column("is_paused", sa.Boolean, nullable=False, default=False),
    sa.Column("opened_at", Instant, nullable=False),
)

searches = sa.Table(
    "searches",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("backfill_id", sa.ForeignKey("backfills.id"), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("next_date", sa.Date, nullable=False, comment="the first study date that was not asked for yet"),
    sa.UniqueConstraint("backfill_id", "source"),
    comment="how far a source has been searched for a backfill, one study date after the other",
)

worklist = sa.Table(
    "worklist",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("backfill_id", sa.ForeignKey("backfills.id"), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("study_instance_uid", UID, nullable=False, index=True),
    sa.Column("study_date", sa.Date, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="listed, fetching, fetched, skipped, failed"),
    sa.Column("code", sa.String(64), nullable=False, default="", comment="a short word for the reason"),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", Instant, nullable=False),
    sa.Column("was_known", sa.Boolean, nullable=False, default=False, comment="received before the first fetch began"),
    sa.Column("started_at", Instant, index=True, comment="when its images were first asked for"),
    sa.Column("ended_at", Instant, comment="when it was fetched, skipped or failed"),
    sa.UniqueConstraint("backfill_id", "study_instance_uid"),
    comment="the past studies of a backfill, and what became of fetching each",
)

digests = sa.Table(
    "digests",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("night", sa.Date, nullable=False, comment="the local date on which it became due"),
    sa.Column("channel", sa.String(16), nullable=False),
    sa.Column("recipient", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="owed, sent or superseded"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("owed_since", Instant, nullable=False),
    sa.Column("not_before", Instant, nullable=False),
    sa.Column("sent_at", Instant),
    sa.Column("last_error", sa.Text, nullable=False, default=""),
    sa.UniqueConstraint("night", "channel", "recipient"),
    comment="one message a night for all that a recipient must hear of backfills; its notices name it",
)
