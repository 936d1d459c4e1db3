"""What banks said, what of it was refused, and the breaks that came of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "bank_statements",
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("identity", sa.String(256), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("as_of", sa.String(10), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("page", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        sa.Column("loaded_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("content_sha256", name="pk_bank_statements"),
        sa.UniqueConstraint("identity", name="uq_bank_statements_identity"),
    )
    op.create_index(
        "ix_bank_statements_account_currency_as_of",
        "bank_statements",
        ["account", "currency", "as_of"],
    )
    op.create_table(
        "refused_statements",
        sa.Column("refusal_id", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("statement", sa.Text, nullable=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        sa.Column("refused_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("refusal_id", name="pk_refused_statements"),
    )
    op.create_table(
        "cash_breaks",
        sa.Column("break_id", sa.String(64), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("opened", sa.String(10), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("changed_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("break_id", name="pk_cash_breaks"),
    )
    op.create_index("ix_cash_breaks_account", "cash_breaks", ["account"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("cash_breaks", "refused_statements", "bank_statements"):
        op.drop_table(table)
