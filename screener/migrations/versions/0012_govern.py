"""The log of the settings, what made the images, and what radiology reports say of the glands."""

import sqlalchemy as sa
from alembic import op

from screener.store.tables import Instant

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "settings_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="start, change or refused"),
        sa.Column(
            "revision", sa.String(length=16), nullable=False, comment="of the decision settings in force from then on"
        ),
        sa.Column(
            "file_sha256", sa.String(length=64), nullable=False, comment="of config.toml; empty where there was none"
        ),
        sa.Column("changes", sa.JSON(), nullable=False, comment="key, before and after of what came into force"),
        sa.Column(
            "waits", sa.JSON(), nullable=False, comment="the same of what stands in the file and needs a restart"
        ),
        sa.Column("problem", sa.Text(), nullable=False, comment="why the file was refused; empty where it was not"),
        sa.Column("settings", sa.JSON(), nullable=False, comment="all that was in force then, secrets masked"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settings_log")),
        comment="when the settings were changed, and from what to what; rows are only ever added",
    )
    op.create_table(
        "scanners",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "station",
            sa.String(length=64),
            nullable=False,
            comment="Station Name (0008,1010); empty where none is told",
        ),
        sa.Column("manufacturer", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_scanners_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_scanners")),
        comment="what made the images of a study",
    )
    op.create_table(
        "mentions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column(
            "verdict",
            sa.String(length=16),
            nullable=False,
            comment="mentioned, denied, not mentioned or not read",
        ),
        sa.Column(
            "sentence_number", sa.Integer(), nullable=True, comment="from 1; null where no sentence speaks of it"
        ),
        sa.Column("source", sa.String(length=16), nullable=False, comment="file or document"),
        sa.Column(
            "sha256", sa.String(length=64), nullable=False, comment="of the file or document, which is how it is known"
        ),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_mentions_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mentions")),
        sa.UniqueConstraint("study_id", "sha256", name=op.f("uq_mentions_study_id_sha256")),
        comment="whether a radiology report speaks of a parotid mass; its text is not kept",
    )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    for table in ("mentions", "scanners", "settings_log"):
        op.drop_table(table)
