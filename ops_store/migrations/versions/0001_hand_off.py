"""Hand-off both ways: decisions, attestations, outbox, cursors, reports, incidents, controls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _create_decisions()
    _create_attestations()
    _create_reports()
    op.create_table(
        "cursors",
        sa.Column("consumer", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("consumer", name="pk_cursors"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.create_table(
        "incidents",
        sa.Column("incident_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("opened_ns", sa.BigInteger, nullable=False),
        sa.Column("closed_ns", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("incident_id", name="pk_incidents"),
    )
    op.create_index("ix_incidents_kind", "incidents", ["kind"])
    op.create_table(
        "controls",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("engaged", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("changed_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_controls"),
    )


def _create_decisions() -> None:
    op.create_table(
        "issued_decisions",
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("book", sa.String(64), nullable=False),
        sa.Column("decision_session", sa.String(10), nullable=False),
        sa.Column("round_number", sa.Integer, nullable=False),
        sa.Column("strategy", sa.String(64), nullable=False),
        sa.Column("instrument_id", sa.String(64), nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("symbol", sa.String(32), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("payload_sha256", sa.String(64), nullable=False),
        sa.Column("decision_digest", sa.String(64), nullable=False),
        sa.Column("content_hashes", sa.Text, nullable=False),
        sa.Column("attestation_ids", sa.Text, nullable=False),
        sa.Column("issued_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_issued_decisions"),
        sa.UniqueConstraint(
            "book",
            "decision_session",
            "round_number",
            "strategy",
            "instrument_id",
            name="uq_issued_decisions_key",
        ),
    )
    op.create_index("ix_issued_decisions_decision_id", "issued_decisions", ["decision_id"])
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("topic", sa.String(32), nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_outbox"),
        sa.ForeignKeyConstraint(
            ["sequence"], ["issued_decisions.sequence"], name="fk_outbox_sequence"
        ),
    )


def _create_attestations() -> None:
    op.create_table(
        "attestations",
        sa.Column("attestation_id", sa.String(64), nullable=False),
        sa.Column("rule_set_version", sa.String(64), nullable=False),
        sa.Column("table_name", sa.String(128), nullable=False),
        sa.Column("partition", sa.String(64), nullable=False),
        sa.Column("session", sa.String(10), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("issued_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("attestation_id", name="pk_attestations"),
    )
    op.create_index("ix_attestations_content_hash", "attestations", ["content_hash"])


def _create_reports() -> None:
    op.create_table(
        "execution_reports",
        sa.Column("segment", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("record_offset", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("cl_ord_id", sa.String(64), nullable=False),
        sa.Column("exec_id", sa.String(64), nullable=False),
        sa.Column("instrument_id", sa.String(64), nullable=False),
        sa.Column("session", sa.String(10), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("recorded_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("segment", "record_offset", name="pk_execution_reports"),
    )
    for column in ("decision_id", "cl_ord_id", "exec_id"):
        op.create_index(f"ix_execution_reports_{column}", "execution_reports", [column])


def downgrade() -> None:
    """Drop the tables, readers of others first."""
    for table in (
        "controls",
        "incidents",
        "counters",
        "cursors",
        "execution_reports",
        "attestations",
        "outbox",
        "issued_decisions",
    ):
        op.drop_table(table)
