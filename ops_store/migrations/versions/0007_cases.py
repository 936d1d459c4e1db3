"""Compliance cases, and their histories that are only ever appended to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_MESSAGE = "case_events is append-only"
_POSTGRES_FUNCTION = f"""
CREATE FUNCTION case_events_append_only() RETURNS trigger AS $$
BEGIN
    RAISE EXCEPTION '{_MESSAGE}';
END;
$$ LANGUAGE plpgsql
"""


def upgrade() -> None:
    """Create the tables, and the triggers that keep a history as it was written."""
    op.create_table(
        "compliance_cases",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("source_id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subjects", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("opened_ns", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(64), nullable=True),
        sa.Column("disposition", sa.String(16), nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("changed_ns", sa.BigInteger, nullable=False),
        sa.Column("n_events", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("case_id", name="pk_compliance_cases"),
        sa.UniqueConstraint("source", "source_id", name="uq_compliance_cases_source"),
    )
    op.create_index("ix_compliance_cases_state", "compliance_cases", ["state"])
    op.create_table(
        "case_events",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(64), nullable=True),
        sa.Column("disposition", sa.String(16), nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.ForeignKeyConstraint(
            ["case_id"], ["compliance_cases.case_id"], name="fk_case_events_case_id"
        ),
        sa.PrimaryKeyConstraint("case_id", "sequence", name="pk_case_events"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRES_FUNCTION)
        op.execute(
            "CREATE TRIGGER case_events_kept BEFORE UPDATE OR DELETE ON case_events "
            "FOR EACH ROW EXECUTE FUNCTION case_events_append_only()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER case_events_no_{verb.lower()} BEFORE {verb} ON case_events "
            f"BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
        )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("case_events")
    op.drop_table("compliance_cases")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION case_events_append_only()")
