"""The state from which a book went live, frozen with its first hand-off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "book_openings",
        sa.Column("book", sa.String(64), nullable=False),
        sa.Column("session", sa.String(10), nullable=False),
        sa.Column("state_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("frozen_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("book", name="pk_book_openings"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("book_openings")
