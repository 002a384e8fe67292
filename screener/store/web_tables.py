"""The tables of the web pages: accounts, sessions, failed sign-ins, and the trail of who saw and did what."""

import sqlalchemy as sa

from screener.store.tables import Instant, metadata, runs

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False, comment="reader, radiologist or administrator"),
    sa.Column("password_hash", sa.Text, nullable=False, comment="argon2id, with its salt and parameters"),
    sa.Column("is_disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("openid_subject", sa.String(64), unique=True, comment="digest of issuer and subject; null: local"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True, comment="of the cookie, which is not kept"),
    sa.Column("begun_at", Instant, nullable=False),
    sa.Column("seen_at", Instant, nullable=False, comment="to the minute"),
    sa.Column("ends_at", Instant, nullable=False, index=True),
    sa.Column("id_token", sa.Text, comment="of an OpenID provider, which is shown it at the sign-out; null: local"),
)

failed_sign_ins = sa.Table(
    "failed_sign_ins",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, index=True, comment="digest of an account's name or an address"),
    sa.Column("at", Instant, nullable=False, index=True),
    comment="the name itself is not kept: people type their password there",
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", Instant, nullable=False, index=True),
    sa.Column("account", sa.String(255), nullable=False, comment="its name, or whom a notice with a link went to"),
    sa.Column("address", sa.String(64), nullable=False, comment="where the request came from"),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("study_id", sa.Integer, index=True, comment="outlives the study, hence no reference"),
    sa.Column("detail", sa.Text, nullable=False, comment="never a patient's identity"),
    comment="who saw and did what; rows are only ever added",
)

patients = sa.Table(
    "patients",
    metadata,
    sa.Column("study_id", sa.ForeignKey("studies.id"), primary_key=True, autoincrement=False),
    sa.Column("patient_key", sa.String(64), nullable=False, index=True, comment="keyed digest; empty where unreadable"),
    sa.Column("study_date", sa.Date, comment="null where the images name none"),
    comment="which studies are of the same patient, without saying of whom",
)

FLAGGED_INDEX = sa.Index("ix_runs_is_flagged_state_study_id", runs.c.is_flagged, runs.c.state, runs.c.study_id)
"""The worklist begins with what is flagged: a few of very many runs."""
