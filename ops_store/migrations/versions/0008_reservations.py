"""The cash that was reserved for an issued decision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what was issued before has nothing reserved."""
    with op.batch_alter_table("issued_decisions") as table:
        table.add_column(
            sa.Column("reservation_id", sa.String(64), nullable=False, server_default="")
        )
        table.add_column(
            sa.Column("reserved_minor", sa.BigInteger, nullable=False, server_default="0")
        )


def downgrade() -> None:
    """Drop the columns; the table itself stays, as the outbox refers to it."""
    with op.batch_alter_table("issued_decisions", recreate="never") as table:
        table.drop_column("reserved_minor")
        table.drop_column("reservation_id")
