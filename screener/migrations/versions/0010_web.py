"""The web pages: accounts, sessions, failed sign-ins, the audit trail, and an index for the worklist."""

import sqlalchemy as sa
from alembic import op

from screener.store.tables import Instant

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the index."""
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False, comment="reader, radiologist or administrator"),
        sa.Column("password_hash", sa.Text(), nullable=False, comment="argon2id, with its salt and parameters"),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("token_sha256", sa.String(length=64), nullable=False, comment="of the cookie, which is not kept"),
        sa.Column("begun_at", Instant(timezone=True), nullable=False),
        sa.Column("seen_at", Instant(timezone=True), nullable=False, comment="to the minute"),
        sa.Column("ends_at", Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_sessions_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_sessions_token_sha256")),
    )
    op.create_index(op.f("ix_sessions_account_id"), "sessions", ["account_id"], unique=False)
    op.create_index(op.f("ix_sessions_ends_at"), "sessions", ["ends_at"], unique=False)
    op.create_table(
        "failed_sign_ins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False, comment="digest of an account's name or an address"),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failed_sign_ins")),
        comment="the name itself is not kept: people type their password there",
    )
    op.create_index(op.f("ix_failed_sign_ins_key"), "failed_sign_ins", ["key"], unique=False)
    op.create_index(op.f("ix_failed_sign_ins_at"), "failed_sign_ins", ["at"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", Instant(timezone=True), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False, comment="where the request came from"),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=True, comment="outlives the study, hence no reference"),
        sa.Column("detail", sa.Text(), nullable=False, comment="never a patient's identity"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        comment="who saw and did what; rows are only ever added",
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index(op.f("ix_audit_study_id"), "audit", ["study_id"], unique=False)
    op.create_table(
        "patients",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False, comment="keyed digest; empty where unreadable"),
        sa.Column("study_date", sa.Date(), nullable=True, comment="null where the images name none"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_patients_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_patients")),
        comment="which studies are of the same patient, without saying of whom",
    )
    op.create_index(op.f("ix_patients_patient_key"), "patients", ["patient_key"], unique=False)
    op.create_index("ix_runs_is_flagged_state_study_id", "runs", ["is_flagged", "state", "study_id"], unique=False)


def downgrade() -> None:
    """Remove what `upgrade` added."""
    op.drop_index("ix_runs_is_flagged_state_study_id", table_name="runs")
    for table in ("patients", "audit", "failed_sign_ins", "sessions", "accounts"):
        op.drop_table(table)
