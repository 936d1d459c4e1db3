"""The cash ledger: accounts, transfers that nobody can change, and reservations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_POSTGRES_IMMUTABLE = (
    """
    CREATE FUNCTION ledger_transfers_are_immutable() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'a booking is never changed: reverse it'; END $$
    """,
    """
    CREATE TRIGGER ledger_transfers_immutable BEFORE UPDATE OR DELETE OR TRUNCATE
    ON ledger_transfers EXECUTE FUNCTION ledger_transfers_are_immutable()
    """,
)
_SQLITE_IMMUTABLE = tuple(
    f"CREATE TRIGGER ledger_transfers_immutable_{verb.lower()} BEFORE {verb} ON ledger_transfers "
    "BEGIN SELECT RAISE(ABORT, 'a booking is never changed: reverse it'); END"
    for verb in ("UPDATE", "DELETE")
)


def upgrade() -> None:
    """Create the tables, and what keeps bookings as they are."""
    _create_accounts()
    _create_transfers()
    op.create_table(
        "ledger_reservations",
        sa.Column("transfer_id", sa.String(64), nullable=False),
        sa.Column("left_minor", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name="pk_ledger_reservations"),
        sa.CheckConstraint(
            "(left_minor > 0) = (status = 'open') AND left_minor >= 0",
            name="ck_ledger_reservations_left",
        ),
    )
    is_open = sa.text("status = 'open'")
    op.create_index(
        "ix_ledger_reservations_due",
        "ledger_reservations",
        ["expires_ns"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    is_postgres = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRES_IMMUTABLE if is_postgres else _SQLITE_IMMUTABLE:
        op.execute(statement)


def _create_accounts() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("balance_limit", sa.String(32), nullable=False),
        sa.Column("parent", sa.String(64), nullable=False),
        sa.Column("is_split", sa.Boolean, nullable=False),
        sa.Column("debits_posted", sa.BigInteger, nullable=False),
        sa.Column("credits_posted", sa.BigInteger, nullable=False),
        sa.Column("debits_pending", sa.BigInteger, nullable=False),
        sa.Column("credits_pending", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_ledger_accounts"),
        sa.CheckConstraint(
            "balance_limit <> 'debits_must_not_exceed_credits' "
            "OR debits_posted + debits_pending <= credits_posted",
            name="ck_ledger_accounts_debits_limit",
        ),
        sa.CheckConstraint(
            "balance_limit <> 'credits_must_not_exceed_debits' "
            "OR credits_posted + credits_pending <= debits_posted",
            name="ck_ledger_accounts_credits_limit",
        ),
        sa.CheckConstraint(
            "debits_posted >= 0 AND credits_posted >= 0 "
            "AND debits_pending >= 0 AND credits_pending >= 0",
            name="ck_ledger_accounts_totals",
        ),
    )


def _create_transfers() -> None:
    op.create_table(
        "ledger_transfers",
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("transfer_id", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("debit_account", sa.String(64), nullable=False),
        sa.Column("credit_account", sa.String(64), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("moved_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("event_time_ns", sa.BigInteger, nullable=False),
        sa.Column("knowledge_time_ns", sa.BigInteger, nullable=False),
        sa.Column("cause", sa.String(32), nullable=False),
        sa.Column("pending_id", sa.String(64), nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.Column("link", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(128), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reverses", sa.String(64), nullable=False),
        sa.Column("rate", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_ledger_transfers"),
        sa.UniqueConstraint("transfer_id", name="uq_ledger_transfers_transfer_id"),
        sa.CheckConstraint("moved_minor > 0", name="ck_ledger_transfers_moved"),
        sa.CheckConstraint("debit_account <> credit_account", name="ck_ledger_transfers_accounts"),
    )
    for column in ("debit_account", "credit_account"):
        op.create_index(f"ix_ledger_transfers_{column}", "ledger_transfers", [column])
    is_reversal = sa.text("reverses <> ''")
    op.create_index(
        "uq_ledger_transfers_reverses",
        "ledger_transfers",
        ["reverses"],
        unique=True,
        sqlite_where=is_reversal,
        postgresql_where=is_reversal,
    )


def downgrade() -> None:
    """Drop the tables; their triggers go with them."""
    for table in ("ledger_reservations", "ledger_transfers", "ledger_accounts"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION ledger_transfers_are_immutable()")
