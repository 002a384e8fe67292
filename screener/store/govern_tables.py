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
    sa.Column("protocol", sa.String(64), nullable=False, server_default="", comment="Protocol Name (0018,1030)"),
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
    sa.Column("source", sa.String(16), nullable=False, comment="file, document or hl7"),
    sa.Column("sha256", sa.String(64), nullable=False, comment="of what held the text, which is how it is known"),
    sa.Column("at", Instant, nullable=False),
    sa.Column(
        "order_key", sa.String(64), nullable=False, server_default="", comment="hl7: what a corrected report replaces"
    ),
    sa.Column("replaced_at", Instant, comment="when a corrected report took its place; null while it is in force"),
    sa.UniqueConstraint("study_id", "sha256"),
    comment="whether a radiology report speaks of a parotid mass; its text is not kept",
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("study_id", sa.ForeignKey("studies.id"), primary_key=True, autoincrement=False),
    sa.Column(
        "accession_key", sa.String(64), nullable=False, index=True, comment="keyed digest; empty where none is told"
    ),
    sa.Column("patient_key", sa.String(64), nullable=False, comment="keyed digest; empty where none is told"),
    comment="by which a report finds its study, without saying whose it is",
)

sent_reports = sa.Table(
    "sent_reports",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("accession_key", sa.String(64), nullable=False, index=True, comment="keyed digest, as that of orders"),
    sa.Column("patient_keys", sa.Text, nullable=False, comment="keyed digests, joined by +; empty where none is told"),
    sa.Column("order_key", sa.String(64), nullable=False, comment="what a corrected report replaces"),
    sa.Column("status", sa.String(16), nullable=False, comment="final, corrected or withdrawn"),
    sa.Column("verdict", sa.String(16), nullable=False, comment="as in mentions"),
    sa.Column("sentence_number", sa.Integer),
    sa.Column("sides", sa.String(16), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True, comment="of the message and the report's place"),
    sa.Column("at", Instant, nullable=False, index=True),
    comment="radiology reports that came by HL7, kept for studies that come later; their text is not kept",
)
