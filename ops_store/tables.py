"""The tables, in SQL that SQLite and Postgres both understand.

``migrations`` creates them; a test compares the two, so they cannot drift apart.
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

ISSUED_DECISIONS = sa.Table(
    "issued_decisions",
    METADATA,
    # Taken from `counters`, not an autoincrement: see `store.next_sequences`.
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("book", sa.String(64), nullable=False),
    sa.Column("decision_session", sa.String(10), nullable=False),
    sa.Column("round_number", sa.Integer, nullable=False),
    sa.Column("strategy", sa.String(64), nullable=False),
    sa.Column("instrument_id", sa.String(64), nullable=False),
    sa.Column("decision_id", sa.String(64), nullable=False, index=True),
    sa.Column("mode", sa.String(8), nullable=False),
    sa.Column("symbol", sa.String(32), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("payload_sha256", sa.String(64), nullable=False),
    sa.Column("decision_digest", sa.String(64), nullable=False),
    sa.Column("content_hashes", sa.Text, nullable=False),
    sa.Column("attestation_ids", sa.Text, nullable=False),
    sa.Column("issued_ns", sa.BigInteger, nullable=False),
    sa.Column("reservation_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("reserved_minor", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("verdicts", sa.Text, nullable=False, server_default="[]"),
    sa.UniqueConstraint(
        "book",
        "decision_session",
        "round_number",
        "strategy",
        "instrument_id",
        name="uq_issued_decisions_key",
    ),
)

OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column(
        "sequence",
        sa.BigInteger,
        sa.ForeignKey("issued_decisions.sequence"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("topic", sa.String(32), nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
)

ATTESTATIONS = sa.Table(
    "attestations",
    METADATA,
    sa.Column("attestation_id", sa.String(64), primary_key=True),
    sa.Column("rule_set_version", sa.String(64), nullable=False),
    sa.Column("table_name", sa.String(128), nullable=False),
    sa.Column("partition", sa.String(64), nullable=False),
    sa.Column("session", sa.String(10), nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False, index=True),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("issued_ns", sa.BigInteger, nullable=False),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),
)

CURSORS = sa.Table(
    "cursors",
    METADATA,
    sa.Column("consumer", sa.String(64), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
)

COUNTERS = sa.Table(
    "counters",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

BOOK_OPENINGS = sa.Table(
    "book_openings",
    METADATA,
    sa.Column("book", sa.String(64), primary_key=True),
    sa.Column("session", sa.String(10), nullable=False),
    sa.Column("state_hash", sa.String(64), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("frozen_ns", sa.BigInteger, nullable=False),
)

EXECUTION_REPORTS = sa.Table(
    "execution_reports",
    METADATA,
    sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("record_offset", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("decision_id", sa.String(64), nullable=False, index=True),
    sa.Column("cl_ord_id", sa.String(64), nullable=False, index=True),
    sa.Column("exec_id", sa.String(64), nullable=False, index=True),
    sa.Column("instrument_id", sa.String(64), nullable=False),
    sa.Column("session", sa.String(10), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("recorded_ns", sa.BigInteger, nullable=False),
)

INCIDENTS = sa.Table(
    "incidents",
    METADATA,
    sa.Column("incident_id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False, index=True),
    sa.Column("subject", sa.String(256), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("opened_ns", sa.BigInteger, nullable=False),
    sa.Column("closed_ns", sa.BigInteger, nullable=True),
    sa.Column("note", sa.Text, nullable=True),
)

CONTROLS = sa.Table(
    "controls",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("engaged", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
)

LEDGER_ACCOUNTS = sa.Table(
    "ledger_accounts",
    METADATA,
    sa.Column("account_id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("balance_limit", sa.String(32), nullable=False),
    sa.Column("parent", sa.String(64), nullable=False),
    sa.Column("is_split", sa.Boolean, nullable=False),
    sa.Column("debits_posted", sa.BigInteger, nullable=False),
    sa.Column("credits_posted", sa.BigInteger, nullable=False),
    sa.Column("debits_pending", sa.BigInteger, nullable=False),
    sa.Column("credits_pending", sa.BigInteger, nullable=False),
    # The ledger enforces its limits; that the database does too costs nothing.
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

# The migration adds triggers that refuse to change or delete a row: a booking is for ever.
LEDGER_TRANSFERS = sa.Table(
    "ledger_transfers",
    METADATA,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    # A client's id has up to 64 characters, and the ledger's own put a word before one.
    sa.Column("transfer_id", sa.String(80), nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("debit_account", sa.String(64), nullable=False, index=True),
    sa.Column("credit_account", sa.String(64), nullable=False, index=True),
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
    sa.UniqueConstraint("transfer_id", name="uq_ledger_transfers_transfer_id"),
    sa.CheckConstraint("moved_minor > 0", name="ck_ledger_transfers_moved"),
    sa.CheckConstraint("debit_account <> credit_account", name="ck_ledger_transfers_accounts"),
)
sa.Index(
    "uq_ledger_transfers_reverses",
    LEDGER_TRANSFERS.c.reverses,
    unique=True,
    sqlite_where=LEDGER_TRANSFERS.c.reverses != "",
    postgresql_where=LEDGER_TRANSFERS.c.reverses != "",
)

LEDGER_RESERVATIONS = sa.Table(
    "ledger_reservations",
    METADATA,
    sa.Column("transfer_id", sa.String(64), primary_key=True),
    sa.Column("left_minor", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),
    sa.CheckConstraint(
        "(left_minor > 0) = (status = 'open') AND left_minor >= 0",
        name="ck_ledger_reservations_left",
    ),
)
sa.Index(
    "ix_ledger_reservations_due",
    LEDGER_RESERVATIONS.c.expires_ns,
    sqlite_where=LEDGER_RESERVATIONS.c.status == "open",
    postgresql_where=LEDGER_RESERVATIONS.c.status == "open",
)

COMPLIANCE_CASES = sa.Table(
    "compliance_cases",
    METADATA,
    sa.Column("case_id", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("source_id", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("subjects", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("opened_ns", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("owner", sa.String(64), nullable=True),
    sa.Column("disposition", sa.String(16), nullable=True),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
    sa.Column("n_events", sa.Integer, nullable=False),
    sa.UniqueConstraint("source", "source_id", name="uq_compliance_cases_source"),
)

# Only ever appended to: `migrations` gives it triggers that refuse anything else.
CASE_EVENTS = sa.Table(
    "case_events",
    METADATA,
    sa.Column(
        "case_id", sa.String(64), sa.ForeignKey("compliance_cases.case_id"), primary_key=True
    ),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String(64), nullable=True),
    sa.Column("disposition", sa.String(16), nullable=True),
    sa.Column("reason", sa.Text, nullable=True),
)

BANK_STATEMENTS = sa.Table(
    "bank_statements",
    METADATA,
    sa.Column("content_sha256", sa.String(64), primary_key=True),
    # What may be there once only, whatever it says: a bank's number of a year, and its page.
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
    sa.UniqueConstraint("identity", name="uq_bank_statements_identity"),
    sa.Index("ix_bank_statements_account_currency_as_of", "account", "currency", "as_of"),
)

REFUSED_STATEMENTS = sa.Table(
    "refused_statements",
    METADATA,
    sa.Column("refusal_id", sa.String(64), primary_key=True),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("statement", sa.Text, nullable=True),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("file_sha256", sa.String(64), nullable=False),
    sa.Column("refused_ns", sa.BigInteger, nullable=False),
)

CASH_BREAKS = sa.Table(
    "cash_breaks",
    METADATA,
    sa.Column("break_id", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False, index=True),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("opened", sa.String(10), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
)
