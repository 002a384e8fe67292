"""The tables of what people say of a finding: who has seen it, and what they think of it."""

import sqlalchemy as sa

from screener.store.tables import Instant, metadata

acknowledgements = sa.Table(
    "acknowledgements",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False, unique=True, comment="the first to answer counts"),
    sa.Column("finding", sa.String(64), nullable=False, comment="where it flagged something, such as left+right"),
    sa.Column("by", sa.String(255), nullable=False, comment="an account's name or the address of a recipient"),
    sa.Column("how", sa.String(16), nullable=False, comment="web, mail or earlier run"),
    sa.Column("at", Instant, nullable=False),
    comment="flagged runs that a person has taken note of; one that is in it escalates no more",
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, comment="agree, disagree, reported or comment"),
    sa.Column("by", sa.String(255), nullable=False, comment="an account's name"),
    sa.Column("text", sa.Text, nullable=False, comment="the reason or the comment; people may name a patient in it"),
    sa.Column("at", Instant, nullable=False),
    comment="what people think of a run's decision; none is changed, of each person's answers the newest counts",
)
