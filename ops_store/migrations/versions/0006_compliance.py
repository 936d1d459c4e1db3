"""People, approvals, rule sets, and an audit trail that only grows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_APPROVALS = (
    "action:32", "subject:256", "payload:bytes", "payload_sha256:64", "concerns:text",
    "requested_by:64", "requested_ns:int", "expires_ns:int", "reason:text", "state:16",
    "decided_by:64", "decided_ns:int", "decision_reason:text", "used_by:64", "used_ns:int",
)  # fmt: skip
_ENTRIES = (
    "at_ns:int", "actor:64", "role:128", "action:64", "subject:256", "payload:bytes",
    "payload_sha256:64", "previous_hash:64", "entry_hash:64",
)  # fmt: skip
_CHECKPOINTS = (
    "kind:16", "first:int", "sequence:int", "entry_hash:64", "contents:bytes", "at_ns:int",
    "key_id:16", "signature:bytes",
)  # fmt: skip
_TYPES = {"int": sa.BigInteger, "text": sa.Text, "bytes": sa.LargeBinary}
# Retention removes a beginning of the trail for which a signed anchor stands, and nothing else.
_UNANCHORED = (
    "OLD.sequence > "
    "(SELECT coalesce(max(sequence), 0) FROM audit_checkpoints WHERE kind = 'anchor')"
)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "people_roles",
        *_columns("person_id:64", "role:16", "granted_by:64", "granted_ns:int"),
        sa.PrimaryKeyConstraint("person_id", "role", name="pk_people_roles"),
    )
    op.create_table(
        "approvals",
        *_columns("approval_id:64", *_APPROVALS),
        sa.PrimaryKeyConstraint("approval_id", name="pk_approvals"),
    )
    op.create_index("ix_approvals_state", "approvals", ["state"])
    op.create_table(
        "rule_sets",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        *_columns("version:64", "name:64", "effective_ns:int", "payload:bytes", "approval_id:64",
                  "stored_ns:int"),
        sa.PrimaryKeyConstraint("number", name="pk_rule_sets"),
        sa.UniqueConstraint("version", name="uq_rule_sets_version"),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approvals.approval_id"], name="fk_rule_sets_approval_id"
        ),
    )  # fmt: skip
    op.create_table(
        "audit_holds",
        *_columns("name:64", "reason:text", "placed_by:64", "placed_ns:int"),
        sa.PrimaryKeyConstraint("name", name="pk_audit_holds"),
    )
    _create_trail()


def _create_trail() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("sequence", sa.BigInteger, nullable=False, autoincrement=False),
        *_columns(*_ENTRIES),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_entries"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        *_columns(*_CHECKPOINTS),
        sa.PrimaryKeyConstraint("number", name="pk_audit_checkpoints"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_entries_only_grow() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF TG_OP = 'UPDATE' OR {_UNANCHORED} THEN "
            "RAISE EXCEPTION 'the audit trail only grows'; END IF; RETURN OLD; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_entries_only_grow BEFORE UPDATE OR DELETE ON audit_entries "
            "FOR EACH ROW EXECUTE FUNCTION audit_entries_only_grow()"
        )
        return
    for event, condition in (("UPDATE", ""), ("DELETE", f"WHEN {_UNANCHORED} ")):
        op.execute(
            f"CREATE TRIGGER audit_entries_no_{event.lower()} BEFORE {event} ON audit_entries "
            f"{condition}BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END"
        )


def _columns(*described: str) -> list[sa.Column[object]]:
    """Return columns from `name:type`; a number is a text's length."""
    columns = []
    for one in described:
        name, kind = one.split(":")
        type_ = _TYPES[kind]() if kind in _TYPES else sa.String(int(kind))
        columns.append(sa.Column(name, type_, nullable=False))
    return columns


def downgrade() -> None:
    """Drop the tables; their triggers go with them."""
    for table in (
        "audit_entries", "audit_checkpoints", "audit_holds", "rule_sets", "approvals",
        "people_roles",
    ):  # fmt: skip
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_entries_only_grow()")
