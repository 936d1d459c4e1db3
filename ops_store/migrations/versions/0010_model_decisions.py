"""What people decided about which model serves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "model_decisions",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("horizon_sessions", sa.Integer, nullable=False),
        sa.Column("from_session", sa.Date, nullable=False),
        sa.Column("training_key", sa.String(64), nullable=False),
        sa.Column("trained_for", sa.String(10), nullable=False),
        sa.Column("decided_by", sa.String(64), nullable=False),
        sa.Column("because", sa.Text, nullable=False),
        sa.Column("decided_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_model_decisions"),
    )


def downgrade() -> None:
    """Drop the table: the rule alone says who serves then."""
    op.drop_table("model_decisions")
