"""What the ultrasound queue decides by, takes and finds.

A run opened before was decided without it: 0.5 stands there and is never read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the setting to the runs, and the two tables."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("min_malignancy", sa.Float(), nullable=False, server_default="0.5"))
    op.create_table(
        "frame_choices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column(
            "frame_number",
            sa.Integer(),
            nullable=False,
            comment="from 1; 0 where the object holds a single image",
        ),
        sa.Column("is_taken", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_frame_choices_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frame_choices")),
        comment="ultrasound: the frames of a run, taken or refused",
    )
    with op.batch_alter_table("frame_choices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_frame_choices_run_id"), ["run_id"], unique=False)
    op.create_table(
        "lesions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(length=16), nullable=False, comment="us_study.Answer"),
        sa.Column("probability", sa.Float(), nullable=True, comment="of malignancy; null without a lesion"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "sop_instance_uid",
            sa.String(length=64),
            nullable=False,
            comment="of the frame that stands for the study; empty if none",
        ),
        sa.Column("frame_number", sa.Integer(), nullable=False),
        sa.Column("area_px", sa.Integer(), nullable=False),
        sa.Column("longest_diameter_mm", sa.Float(), nullable=True, comment="null where the frame is not calibrated"),
        sa.Column(
            "mean_probability",
            sa.Float(),
            nullable=True,
            comment="of the segmenter within the lesion; null without one",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_lesions_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lesions")),
        sa.UniqueConstraint("run_id", name=op.f("uq_lesions_run_id")),
        comment="ultrasound: what a run found, one row also where it found nothing",
    )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    op.drop_table("lesions")
    op.drop_table("frame_choices")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("min_malignancy")
