"""The tables of compliance: people, approvals, rule sets, and the audit trail."""

from __future__ import annotations

import sqlalchemy as sa

from ops_store.tables import METADATA

# Who has which role now; how it came about is in the audit trail.
PEOPLE_ROLES = sa.Table(
    "people_roles",
    METADATA,
    sa.Column("person_id", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("granted_by", sa.String(64), nullable=False),
    sa.Column("granted_ns", sa.BigInteger, nullable=False),
)

APPROVALS = sa.Table(
    "approvals",
    METADATA,
    sa.Column("approval_id", sa.String(64), primary_key=True),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("subject", sa.String(256), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("payload_sha256", sa.String(64), nullable=False),
    sa.Column("concerns", sa.Text, nullable=False),
    sa.Column("requested_by", sa.String(64), nullable=False),
    sa.Column("requested_ns", sa.BigInteger, nullable=False),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("decided_by", sa.String(64), nullable=False),
    sa.Column("decided_ns", sa.BigInteger, nullable=False),
    sa.Column("decision_reason", sa.Text, nullable=False),
    sa.Column("used_by", sa.String(64), nullable=False),
    sa.Column("used_ns", sa.BigInteger, nullable=False),
)

RULE_SETS = sa.Table(
    "rule_sets",
    METADATA,
    # In the order in which they were approved: of two with the same instant the later one applies.
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("effective_ns", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("approval_id", sa.String(64), sa.ForeignKey("approvals.approval_id"), nullable=False),
    sa.Column("stored_ns", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("version", name="uq_rule_sets_version"),
)

# The migration adds triggers: no entry is changed, none deleted before an anchor stands for it.
AUDIT_ENTRIES = sa.Table(
    "audit_entries",
    METADATA,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("role", sa.String(128), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(256), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("payload_sha256", sa.String(64), nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("entry_hash", sa.String(64), nullable=False),
)

AUDIT_CHECKPOINTS = sa.Table(
    "audit_checkpoints",
    METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("entry_hash", sa.String(64), nullable=False),
    sa.Column("contents", sa.LargeBinary, nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("key_id", sa.String(16), nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)

AUDIT_HOLDS = sa.Table(
    "audit_holds",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_by", sa.String(64), nullable=False),
    sa.Column("placed_ns", sa.BigInteger, nullable=False),
)

# Only ever appended to: a later decision about the same session replaces an earlier one.
MODEL_DECISIONS = sa.Table(
    "model_decisions",
    METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("horizon_sessions", sa.Integer, nullable=False),
    sa.Column("from_session", sa.Date, nullable=False),
    sa.Column("training_key", sa.String(64), nullable=False),
    sa.Column("trained_for", sa.String(10), nullable=False),
    sa.Column("decided_by", sa.String(64), nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("decided_ns", sa.BigInteger, nullable=False),
)
