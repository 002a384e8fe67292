"""The tables of those who answer for the screener: what its settings were, what made its images, what reports say."""

import sqlalchemy as sa

from screener.store.tables import Instant, metadata

settings_log = sa.Table(
    "settings_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, comment="start, change or refused"),
    sa.Column("revision", sa.String(16), nullable=False, comment="of the decision settings in force from then on"),
    sa.Column("file_sha256", sa.String(64), nullable=False, comment="of config.toml; empty where there was none"),
    sa.Column("changes", sa.JSON, nullable=False, comment="key, before and after of what came into force"),
    sa.Column("waits", sa.JSON, nullable=False, comment="the same of what stands in the file and needs a restart"),
    sa.Column("problem", sa.Text, nullable=False, comment="why the file was refused; empty where it was not"),
    sa.Column("settings", sa.JSON, nullable=False, comment="all that was in force then, secrets masked"),
    comment="when the settings were changed, and from what to what; rows are only ever added",
)

scanners = sa.Table(
    "scanners",
    metadata,
    sa.Column("study_id", sa.ForeignKey("studies.id"), primary_key=True, autoincrement=False),
    sa.Column("station", sa.String(64), nullable=False, comment="Station Name (0008,1010); empty where none is told"),
    sa.Column("manufacturer", sa.String(64), nullable=False),
    sa.Column("model", sa.String(64), nullable=False),
    comment="what made the images of a study",
)

mentions = sa.Table(
    "mentions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False, comment="mentioned, denied, not mentioned or not read"),
    sa.Column("sentence_number", sa.Integer, comment="from 1; null where no sentence speaks of it"),
    sa.Column(
        "sides",
        sa.String(16),
        nullable=False,
        server_default="",
        comment="right, left, left+right; empty where none is told",
    ),
    sa.Column("source", sa.String(16), nullable=False, comment="file or document"),
    sa.Column("sha256", sa.String(64), nullable=False, comment="of the file or document, which is how it is known"),
    sa.Column("at", Instant, nullable=False),
    sa.UniqueConstraint("study_id", "sha256"),
    comment="whether a radiology report speaks of a parotid mass; its text is not kept",
)
