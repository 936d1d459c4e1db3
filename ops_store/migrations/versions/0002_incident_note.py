"""Why an incident was closed, in the words of who closed it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the note."""
    with op.batch_alter_table("incidents") as table:
        table.add_column(sa.Column("note", sa.Text, nullable=True))


def downgrade() -> None:
    """Drop the note."""
    with op.batch_alter_table("incidents") as table:
        table.drop_column("note")
