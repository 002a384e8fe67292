"""First schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Build every table of version 0.1.0."""
    op.create_table(
        "studies",
        sa.Column(
            "id", sa.Integer(), nullable=False, comment="our study number: the only name of a study in logs and notices"
        ),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False, comment="journey.Stage reached"),
        sa.Column("ending", sa.String(length=16), nullable=True, comment="journey.Ending; null while in flight"),
        sa.Column("code", sa.String(length=64), nullable=False, comment="a short word for the ending's reason"),
        sa.Column("reason", sa.Text(), nullable=False, comment="a sentence for the operator"),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="first instance"),
        sa.Column(
            "news_since_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="first image that no run has seen; null when there is none",
        ),
        sa.Column("news_at", sa.DateTime(timezone=True), nullable=True, comment="newest image that no run has seen"),
        sa.Column(
            "reprocess_number", sa.Integer(), nullable=False, comment="raised by a person's `screener reprocess`"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_studies_study_instance_uid")),
    )
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_studies_ending"), ["ending"], unique=False)
        batch_op.create_index(batch_op.f("ix_studies_news_since_at"), ["news_since_at"], unique=False)

    op.create_table(
        "instances",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="image, document or own"),
        sa.Column("path", sa.String(length=255), nullable=False, comment="relative to the storage folder"),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_instances_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_instances_sop_instance_uid")),
    )
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instances_study_id"), ["study_id"], unique=False)

    op.create_table(
        "oddities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=True, comment="null where it could not be read"),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "path",
            sa.String(length=255),
            nullable=False,
            comment="the bytes kept aside, relative to the storage folder; empty when none",
        ),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oddities")),
        comment="instances that were refused or kept aside, with the reason",
    )
    with op.batch_alter_table("oddities", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_oddities_sop_instance_uid"), ["sop_instance_uid"], unique=False)
        batch_op.create_index(batch_op.f("ix_oddities_study_instance_uid"), ["study_instance_uid"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="1, 2, ... within the study"),
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="waiting, running, ended or superseded"),
        sa.Column(
            "run_key",
            sa.String(length=64),
            nullable=True,
            comment="digest of what is screened and how; known once a series is selected",
        ),
        sa.Column("min_voxels", sa.Integer(), nullable=False),
        sa.Column("min_probability", sa.Float(), nullable=False),
        sa.Column("config_revision", sa.String(length=16), nullable=False),
        sa.Column("reprocess_number", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=True, comment="the worker that holds the lease"),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hinted_at", sa.DateTime(timezone=True), nullable=True, comment="when the broker was last told"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ending", sa.String(length=16), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("is_flagged", sa.Boolean(), nullable=True),
        sa.Column("model_identity", sa.String(length=128), nullable=False, comment="Device UID of the models used"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_runs_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_runs_study_id_number")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_runs_lease_until"), ["lease_until"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_run_key"), ["run_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_state"), ["state"], unique=False)

    op.create_table(
        "candidates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("is_above_threshold", sa.Boolean(), nullable=False),
        sa.Column("voxels", sa.Integer(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False, comment="study.Candidate as a JSON object"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_candidates_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidates")),
    )
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_candidates_run_id"), ["run_id"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="owed, sent or given up"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owed_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hinted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_deliveries_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_deliveries_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("run_id", "destination", name=op.f("uq_deliveries_run_id_destination")),
        comment="results owed to a destination: written with the decision, marked after the effect",
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deliveries_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_study_id"), ["study_id"], unique=False)

    op.create_table(
        "glands",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("is_assessed", sa.Boolean(), nullable=False),
        sa.Column("assessment_reason", sa.Text(), nullable=False),
        sa.Column("volume_mm3", sa.Float(), nullable=False),
        sa.Column("mean_hu", sa.Float(), nullable=True),
        sa.Column("presence", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_glands_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_glands")),
    )
    with op.batch_alter_table("glands", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_glands_run_id"), ["run_id"], unique=False)

    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("recipient", sa.String(length=255), nullable=False),
        sa.Column("finding_key", sa.String(length=64), nullable=False, comment="the same finding never alerts twice"),
        sa.Column("state", sa.String(length=16), nullable=False, comment="owed or sent"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owed_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_notices_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_notices_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint(
            "study_id",
            "channel",
            "recipient",
            "finding_key",
            name=op.f("uq_notices_study_id_channel_recipient_finding_key"),
        ),
        comment="notices owed to a person: written with the decision, marked after the effect",
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_notices_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_notices_study_id"), ["study_id"], unique=False)

    op.create_table(
        "results",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False, comment="seg, sr or key_image"),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False, comment="empty for a key image"),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False, comment="relative to the storage folder"),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_results_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
    )
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_results_run_id"), ["run_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_results_sop_instance_uid"), ["sop_instance_uid"], unique=False)

    op.create_table(
        "series_choices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("is_chosen", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_series_choices_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series_choices")),
    )
    with op.batch_alter_table("series_choices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_series_choices_run_id"), ["run_id"], unique=False)

    op.create_table(
        "steps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False, comment="a journey.Stage, or what happened instead"),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_steps_run_id_runs")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_steps_study_id_studies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
        comment="what happened to a study, in order; `screener explain` prints it",
    )
    with op.batch_alter_table("steps", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_steps_study_id"), ["study_id"], unique=False)


def downgrade() -> None:
    """Remove every table."""
    with op.batch_alter_table("steps", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_steps_study_id"))

    op.drop_table("steps")
    with op.batch_alter_table("series_choices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_series_choices_run_id"))

    op.drop_table("series_choices")
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_results_sop_instance_uid"))
        batch_op.drop_index(batch_op.f("ix_results_run_id"))

    op.drop_table("results")
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_notices_study_id"))
        batch_op.drop_index(batch_op.f("ix_notices_state"))

    op.drop_table("notices")
    with op.batch_alter_table("glands", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_glands_run_id"))

    op.drop_table("glands")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deliveries_study_id"))
        batch_op.drop_index(batch_op.f("ix_deliveries_state"))

    op.drop_table("deliveries")
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_candidates_run_id"))

    op.drop_table("candidates")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_runs_state"))
        batch_op.drop_index(batch_op.f("ix_runs_run_key"))
        batch_op.drop_index(batch_op.f("ix_runs_lease_until"))

    op.drop_table("runs")
    with op.batch_alter_table("oddities", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_oddities_study_id"))
        batch_op.drop_index(batch_op.f("ix_oddities_sop_instance_uid"))

    op.drop_table("oddities")
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_instances_study_id"))

    op.drop_table("instances")
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_studies_news_since_at"))
        batch_op.drop_index(batch_op.f("ix_studies_ending"))

    op.drop_table("studies")
