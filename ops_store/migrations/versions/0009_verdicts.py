"""What the rules said of an issued decision, kept with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what was issued before, the lake alone knows the verdicts."""
    with op.batch_alter_table("issued_decisions") as table:
        table.add_column(sa.Column("verdicts", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Drop the column; the table itself stays, as the outbox refers to it."""
    with op.batch_alter_table("issued_decisions", recreate="never") as table:
        table.drop_column("verdicts")
