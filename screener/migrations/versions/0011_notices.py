"""Why a notice is owed and what it waits for, and when it is passed on if nobody acknowledges it.

What was owed before was owed to the plain list of addresses, and escalates to nobody.
"""

import sqlalchemy as sa
from alembic import op

from screener.store.tables import Instant

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXTS = (
    ("rule", sa.String(length=64), "of [[notices.rules]]; empty where none did"),
    ("why", sa.Text(), "why it is owed to this address; no identity"),
    ("hold", sa.String(length=16), "values.Hold: why it is not told at once"),
    ("waits", sa.Text(), "the same as a sentence"),
)


def upgrade() -> None:
    """Add the reasons and the escalation."""
    with op.batch_alter_table("notices", schema=None) as batch_op:
        for name, kind, comment in _TEXTS:
            batch_op.add_column(sa.Column(name, kind, nullable=False, server_default="", comment=comment))
        batch_op.add_column(
            sa.Column(
                "escalate_seconds",
                sa.Integer(),
                nullable=True,
                comment="until the rule's next step is told; null: never",
            )
        )
        batch_op.add_column(
            sa.Column(
                "escalate_at",
                Instant(timezone=True),
                nullable=True,
                comment="when, unless acknowledged before; null once it is settled",
            )
        )
        batch_op.add_column(
            sa.Column(
                "escalates_id",
                sa.Integer(),
                nullable=True,
                comment="the notice that nobody acknowledged; null where it is the first",
            )
        )
        batch_op.create_index(batch_op.f("ix_notices_escalate_at"), ["escalate_at"], unique=False)
    op.execute(
        "UPDATE notices SET hold = 'past study', waits = 'found in a past study: told in the daily digest' "
        "WHERE is_in_digest"
    )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_notices_escalate_at"))
        for column in ("escalates_id", "escalate_at", "escalate_seconds", *(name for name, _, _ in reversed(_TEXTS))):
            batch_op.drop_column(column)
