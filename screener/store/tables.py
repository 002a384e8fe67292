"""The tables; migrations/ builds them, a test holds the two together."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect


class Instant(sa.types.TypeDecorator[datetime]):
    """A time zone aware instant, kept in UTC on every database."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's name
        """Refuse an instant without a time zone; the others go in as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's name
        """Give UTC its time zone back where the database has none."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

UID = sa.String(64)  # PS3.5 9.1: 64 characters at most

studies = sa.Table(
    "studies",
    metadata,
    sa.Column(
        "id", sa.Integer, primary_key=True, comment="our study number: the only name of a study in logs and notices"
    ),
    sa.Column("study_instance_uid", UID, nullable=False, unique=True),
    sa.Column("stage", sa.String(16), nullable=False, comment="journey.Stage reached"),
    sa.Column("ending", sa.String(16), index=True, comment="journey.Ending; null while in flight"),
    sa.Column("code", sa.String(64), nullable=False, default="", comment="a short word for the ending's reason"),
    sa.Column("reason", sa.Text, nullable=False, default="", comment="a sentence for the operator"),
    sa.Column("received_at", Instant, nullable=False, comment="first instance"),
    sa.Column(
        "ended_at", Instant, index=True, comment="when it last reached an ending; its time to be kept runs from here"
    ),
    sa.Column(
        "last_came_at",
        Instant,
        comment="when something last came that reopens nothing, to the minute; kept as if it had ended then",
    ),
    sa.Column(
        "news_since_at", Instant, index=True, comment="first image that no run has seen; null when there is none"
    ),
    sa.Column("news_at", Instant, comment="newest image that no run has seen"),
    sa.Column(
        "reprocess_number", sa.Integer, nullable=False, default=0, comment="raised by a person's `screener reprocess`"
    ),
    sqlite_autoincrement=True,  # a number is never another's: mails and the audit trail outlive the study
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("sop_instance_uid", UID, nullable=False, unique=True),
    sa.Column("sop_class_uid", UID, nullable=False),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("modality", sa.String(16), nullable=False),
    sa.Column("transfer_syntax_uid", UID, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, comment="image, document or own"),
    sa.Column("path", sa.String(255), nullable=False, comment="relative to the storage folder"),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("calling_ae_title", sa.String(16), nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("expired_at", Instant, comment="set before the file is removed; null while the file is there"),
)

IS_DOCUMENT_HERE = sa.and_(
    instances.c.kind == sa.literal("document", literal_execute=True), instances.c.expired_at.is_(None)
)
"""Of `instances`: a document of others whose file is there. SQLite knows the index by the word itself, no parameter."""
DOCUMENTS_INDEX = sa.Index(
    "ix_instances_documents",
    instances.c.sop_class_uid,
    sqlite_where=IS_DOCUMENT_HERE,
    postgresql_where=IS_DOCUMENT_HERE,
)
"""New documents are asked for every few seconds: a few of very many instances. Images cost nothing here."""

oddities = sa.Table(
    "oddities",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_instance_uid", UID, index=True, comment="null where it could not be read"),
    sa.Column("sop_instance_uid", UID, nullable=False, index=True),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column(
        "path",
        sa.String(255),
        nullable=False,
        comment="the bytes kept aside, relative to the storage folder; empty when none",
    ),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("at", Instant, nullable=False),
    comment="instances that were refused or kept aside, with the reason",
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False, comment="1, 2, ... within the study"),
    sa.Column("queue", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="waiting, running, ended or superseded"),
    sa.Column(
        "run_key",
        sa.String(64),
        index=True,
        comment="digest of what is screened and how; known once a series is selected",
    ),
    sa.Column("min_voxels", sa.Integer, nullable=False),
    sa.Column("min_probability", sa.Float, nullable=False),
    sa.Column("gamma", sa.Integer, nullable=False),
    sa.Column("min_score", sa.Float, nullable=False),
    sa.Column("min_covered_share", sa.Float, nullable=False),
    sa.Column("min_malignancy", sa.Float, nullable=False),
    sa.Column("us_findings", sa.String(8), nullable=False, comment="report or decide"),
    sa.Column("config_revision", sa.String(16), nullable=False),
    sa.Column("reprocess_number", sa.Integer, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column(
        "newest_instance_id",
        sa.Integer,
        comment="newest image that it was opened for; null: it reads all that are there",
    ),
    sa.Column("priority", sa.Integer, nullable=False, default=0, comment="0 first: daytime work; 1: past studies"),
    sa.Column("backfill_id", sa.Integer, comment="the backfill that fetched the study; null in daytime"),
    sa.Column("owner", sa.String(128), comment="the worker that holds the lease"),
    sa.Column("lease_until", Instant, index=True),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column(
        "failures",
        sa.Integer,
        nullable=False,
        default=0,
        comment="attempts that killed the worker or ended in an unexpected error",
    ),
    sa.Column("not_before", Instant, nullable=False),
    sa.Column("hinted_at", Instant, comment="when the broker was last told"),
    sa.Column("ended_at", Instant),
    sa.Column("ending", sa.String(16)),
    sa.Column("code", sa.String(64), nullable=False, default=""),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("is_flagged", sa.Boolean),
    sa.Column("model_identity", sa.String(128), nullable=False, default="", comment="Device UID of the models used"),
    sa.Column("standing", sa.JSON, comment="place to the row of the run whose finding stands beside this one"),
    sa.UniqueConstraint("study_id", "number"),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("run_id", sa.ForeignKey("runs.id")),
    sa.Column("at", Instant, nullable=False),
    sa.Column("stage", sa.String(16), nullable=False, comment="a journey.Stage, or what happened instead"),
    sa.Column("seconds", sa.Float),
    sa.Column("sentence", sa.Text, nullable=False),
    comment="what happened to a study, in order; `screener explain` prints it",
)

series_choices = sa.Table(
    "series_choices",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("series_instance_uid", UID, nullable=False),
    sa.Column("modality", sa.String(16), nullable=False),
    sa.Column("instance_count", sa.Integer, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("is_chosen", sa.Boolean, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
)

glands = sa.Table(
    "glands",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("side", sa.String(8), nullable=False),
    sa.Column("is_assessed", sa.Boolean, nullable=False),
    sa.Column("assessment_reason", sa.Text, nullable=False),
    sa.Column("volume_mm3", sa.Float, nullable=False),
    sa.Column("mean_hu", sa.Float),
    sa.Column("covered_share", sa.Float, nullable=False),
    sa.Column("is_partial", sa.Boolean, nullable=False),
    sa.Column("presence", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("side", sa.String(8), nullable=False),
    sa.Column("is_above_threshold", sa.Boolean, nullable=False),
    sa.Column("voxels", sa.Integer, nullable=False),
    sa.Column("features", sa.JSON, nullable=False, comment="study.Candidate as a JSON object"),
)

frame_choices = sa.Table(
    "frame_choices",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("sop_instance_uid", UID, nullable=False),
    sa.Column("frame_number", sa.Integer, nullable=False, comment="from 1; 0 where the object holds a single image"),
    sa.Column("is_taken", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    comment="ultrasound: the frames of a run, taken or refused",
)

lesions = sa.Table(
    "lesions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False, unique=True),
    sa.Column("answer", sa.String(16), nullable=False, comment="us_study.Answer"),
    sa.Column("probability", sa.Float, comment="of malignancy; null without a lesion"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("sop_instance_uid", UID, nullable=False, comment="of the frame that stands for the study; empty if none"),
    sa.Column("frame_number", sa.Integer, nullable=False),
    sa.Column("area_px", sa.Integer, nullable=False),
    sa.Column("longest_diameter_mm", sa.Float, comment="null where the frame is not calibrated"),
    sa.Column("mean_probability", sa.Float, comment="of the segmenter within the lesion; null without one"),
    sa.Column("combined_probability", sa.Float, comment="with a reader's findings; null where one is missing"),
    sa.Column("is_by_findings", sa.Boolean, nullable=False, comment="true: the combined probability decided"),
    sa.Column(
        "is_by_fusion", sa.Boolean, nullable=False, comment="true: the probability is the fusion's; false: the image's"
    ),
    sa.Column("findings", sa.JSON, nullable=False, comment="us_study.Finding to true or false; none that is not known"),
    sa.Column("findings_reason", sa.Text, nullable=False, comment="where they come from, and what they come to"),
    sa.Column("learned_from", sa.Text, nullable=False, comment="a sentence: what the models learned from"),
    comment="ultrasound: what a run found, one row also where it found nothing",
)

entered_findings = sa.Table(
    "entered_findings",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("entered_by", sa.String(64), nullable=False, comment="the person at the keyboard, never the patient"),
    sa.Column("findings", sa.JSON, nullable=False, comment="us_study.Finding to true, false or null (not known)"),
    sa.Column(
        "sop_instance_uid",
        UID,
        nullable=False,
        comment="of the lesion's picture when it was entered; empty where none was outlined",
    ),
    sa.Column("frame_number", sa.Integer, nullable=False),
    comment="ultrasound: findings that a person has entered; none is changed, of each finding the newest counts",
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("role", sa.String(16), nullable=False, comment="seg, sr or key_image"),
    sa.Column("sop_class_uid", UID, nullable=False, comment="empty for a key image"),
    sa.Column("sop_instance_uid", UID, nullable=False, index=True),
    sa.Column("path", sa.String(255), nullable=False, comment="relative to the storage folder"),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("expired_at", Instant, comment="set before the file is removed; null while the file is there"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column(
        "state",
        sa.String(16),
        nullable=False,
        index=True,
        comment="owed, sent (answered with Success), delivered (confirmed), given up or superseded",
    ),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("owed_since", Instant, nullable=False),
    sa.Column("not_before", Instant, nullable=False),
    sa.Column("owner", sa.String(128)),
    sa.Column("lease_until", Instant),
    sa.Column("hinted_at", Instant),
    sa.Column("sent_at", Instant),
    sa.Column(
        "confirm_attempts", sa.Integer, nullable=False, default=0, comment="times it was asked for since it was sent"
    ),
    sa.Column("delivered_at", Instant),
    sa.Column("confirmed_by", sa.String(16), nullable=False, default="", comment="find, commitment or none"),
    sa.Column("last_error", sa.Text, nullable=False, default=""),
    sa.UniqueConstraint("run_id", "destination"),
    comment="results owed to a destination: written with the decision, marked after the effect",
)

commitments = sa.Table(
    "commitments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("delivery_id", sa.ForeignKey("deliveries.id"), nullable=False, index=True),
    sa.Column("transaction_uid", UID, nullable=False, unique=True),
    sa.Column("asked_at", Instant, nullable=False),
    sa.Column("answered_at", Instant),
    sa.Column("committed", sa.JSON, nullable=False, comment="SOP Instance UIDs that the PACS has committed to"),
    sa.Column("failed", sa.JSON, nullable=False, comment="SOP Instance UID to failure reason"),
    comment="storage commitment that we asked of a PACS: written before it is asked, answered when the PACS likes",
)

commitment_reports = sa.Table(
    "commitment_reports",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("transaction_uid", UID, nullable=False),
    sa.Column("ae_title", sa.String(16), nullable=False, comment="of the sender that asked"),
    sa.Column("host", sa.String(64), nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("instances", sa.JSON, nullable=False, comment="pairs of SOP Class and SOP Instance UID"),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="owed, sent or given up"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("owed_since", Instant, nullable=False),
    sa.Column("not_before", Instant, nullable=False),
    sa.Column("last_error", sa.Text, nullable=False, default=""),
    comment="storage commitment that a sender asked of us, and the report that it is owed",
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("channel", sa.String(16), nullable=False),
    sa.Column("recipient", sa.String(255), nullable=False),
    sa.Column("finding_key", sa.String(64), nullable=False, comment="the same finding never alerts twice"),
    sa.Column("state", sa.String(16), nullable=False, index=True, comment="owed or sent"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("owed_since", Instant, nullable=False),
    sa.Column("not_before", Instant, nullable=False),
    sa.Column("sent_at", Instant),
    sa.Column("last_error", sa.Text, nullable=False, default=""),
    sa.Column("is_in_digest", sa.Boolean, nullable=False, default=False, comment="true: told in a digest, never alone"),
    sa.Column("digest_id", sa.Integer, index=True, comment="the digest that tells it"),
    sa.Column("rule", sa.String(64), nullable=False, default="", comment="of [[notices.rules]]; empty where none did"),
    sa.Column("why", sa.Text, nullable=False, default="", comment="why it is owed to this address; no identity"),
    sa.Column("hold", sa.String(16), nullable=False, default="", comment="values.Hold: why it is not told at once"),
    sa.Column("waits", sa.Text, nullable=False, default="", comment="the same as a sentence"),
    sa.Column("escalate_seconds", sa.Integer, comment="until the rule's next step is told; null: never"),
    sa.Column("escalate_at", Instant, index=True, comment="when, unless acknowledged before; null once it is settled"),
    sa.Column("escalates_id", sa.Integer, comment="the notice that nobody acknowledged; null where it is the first"),
    sa.UniqueConstraint("study_id", "channel", "recipient", "finding_key"),
    comment="notices owed to a person: written with the decision, marked after the effect",
)
