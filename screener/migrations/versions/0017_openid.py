"""Sign-in through an OpenID provider: whose account it is there, and what the provider is shown at the sign-out."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "openid_subject",
                sa.String(length=64),
                nullable=True,
                comment="digest of issuer and subject; null: local",
            )
        )
        batch_op.create_unique_constraint(op.f("uq_accounts_openid_subject"), ["openid_subject"])
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "id_token",
                sa.Text(),
                nullable=True,
                comment="of an OpenID provider, which is shown it at the sign-out; null: local",
            )
        )


def downgrade() -> None:
    """Remove what `upgrade` added."""
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_column("id_token")
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("uq_accounts_openid_subject"), type_="unique")
        batch_op.drop_column("openid_subject")
